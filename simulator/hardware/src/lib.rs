//! Virtual hardware of other makers and on other buses: R30x, U.are.U 4000, HID trust module, serial adapters, camera; each with its faults.

pub mod camera;
mod channel;
mod hid;
pub mod link;
pub mod r30x;
pub mod replay;
pub mod serial;
pub mod uru4000;
