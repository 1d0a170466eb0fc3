//! Virtual hardware of other makers and on other buses: R30x, U.are.U 4000, HID trust module, serial adapters, camera; each with its faults.

pub mod uru4000;
