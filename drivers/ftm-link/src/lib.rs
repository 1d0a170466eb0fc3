//! A trust module beside a sensor: device keys of this host in an FTM that speaks SPDM over a serial line or HID.
