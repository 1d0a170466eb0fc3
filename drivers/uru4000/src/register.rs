//! Registers of the reader and how they are reached: vendor control requests, the register in wValue.
//!
//! Several registers in a row are read or written by one request. What is read is untrusted; every value has a meaning.

use biotrust_driver_api::{Recipient, RequestKind, Setup};

/// bRequest of every access to registers.
const ACCESS: u8 = 0x04;

/// A register, or the first of several that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Register {
    /// State of the power supply: [`HwStat`], 1 byte.
    HwStat = 0x07,
    /// Written: number of a key and a seed (1 + 4 bytes, little endian), which asks for the key of a scrambled image.
    ScrambleIndex = 0x33,
    /// Read: that key, mixed with the seed by exclusive or (4 bytes, little endian).
    ScrambleKey = 0x34,
    /// What the reader does: [`Mode`], 1 byte.
    Mode = 0x4e,
    /// What the reader is: [`Info`], 16 bytes.
    Info = 0xf0,
}

impl Register {
    /// The control request that reads or writes from here on.
    #[must_use]
    pub const fn request(self) -> Setup {
        Setup {
            kind: RequestKind::Vendor,
            recipient: Recipient::Device,
            request: ACCESS,
            value: self as u16,
            index: 0,
        }
    }
}

/// What the reader does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Waits for a finger and tells when it comes.
    AwaitFingerOn = 0x10,
    /// Waits for the finger to go and tells when it does.
    AwaitFingerOff = 0x12,
    /// Sends one image for each transfer that it is asked for.
    Capture = 0x20,
    /// Nothing, and its light is off.
    Off = 0x70,
}

/// State of the power supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HwStat(pub u8);

impl HwStat {
    const LOW_POWER: u8 = 0x80;
    const FAULT: u8 = 0x04;
    const ALIVE: u8 = 0x01;

    /// The scanner is without power.
    #[must_use]
    pub const fn low_power(self) -> bool {
        self.0 & Self::LOW_POWER != 0
    }

    /// The reader says that it has a fault. A fault without power is confusion, which the power-up sequence ends.
    #[must_use]
    pub const fn fault(self) -> bool {
        self.0 & Self::FAULT != 0
    }

    /// The logic runs.
    #[must_use]
    pub const fn alive(self) -> bool {
        self.0 & Self::ALIVE != 0
    }

    /// To be written: take the scanner's power.
    #[must_use]
    pub const fn powered_down(self) -> Self {
        Self(self.0 | Self::LOW_POWER)
    }

    /// To be written: give the scanner power.
    #[must_use]
    pub const fn powered_up(self) -> Self {
        Self(self.0 & 0x0f)
    }
}

/// What the reader says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info(pub [u8; 16]);

impl Info {
    /// Its two version numbers, hardware and firmware as it seems, such as `0201-0405`.
    #[must_use]
    pub fn versions(&self) -> String {
        let [_, _, _, _, c, d, _, _, _, _, a, b, ..] = self.0;
        format!("{a:02x}{b:02x}-{c:02x}{d:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_reader() {
        let setup = Register::ScrambleKey.request();
        assert_eq!((setup.kind, setup.recipient), (RequestKind::Vendor, Recipient::Device));
        assert_eq!((setup.request, setup.value, setup.index), (0x04, 0x34, 0));
        assert_eq!(Register::Info.request().value, 0xf0);
    }

    #[test]
    fn power_bits_are_where_they_are() {
        let confused = HwStat(0x85);
        assert!(confused.low_power() && confused.fault() && confused.alive());
        assert!(!HwStat(0x7b & !0x01).alive() && !HwStat(0x7b).fault() && !HwStat(0x7b).low_power());
        assert_eq!((confused.powered_up(), HwStat(0x01).powered_down()), (HwStat(0x05), HwStat(0x81)));
    }

    #[test]
    fn versions_are_in_the_middle_of_the_info() {
        let mut info = [0; 16];
        info[4..6].copy_from_slice(&[0x04, 0x05]);
        info[10..12].copy_from_slice(&[0x02, 0x01]);
        assert_eq!(Info(info).versions(), "0201-0405");
    }
}
