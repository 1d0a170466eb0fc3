//! What is asked of a module, and what it answers. Pure.

use crate::packet::Kind;

/// Speeds are multiples of this, in baud.
pub const BAUD_UNIT: u32 = 9_600;

/// A speed: 1 to 12 times [`BAUD_UNIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed(u8);

impl Speed {
    /// What a module comes with.
    pub const FACTORY: Self = Self(6);
    /// The fastest.
    pub const FASTEST: Self = Self(12);
    /// All speeds, the likely ones first.
    pub const ALL: [Self; 12] = [
        Self(6),
        Self(12),
        Self(1),
        Self(4),
        Self(2),
        Self(3),
        Self(5),
        Self(8),
        Self(10),
        Self(7),
        Self(9),
        Self(11),
    ];

    /// The speed with this factor; `None` unless it is 1 to 12.
    #[must_use]
    pub const fn new(factor: u16) -> Option<Self> {
        match factor {
            1..=12 => Some(Self(factor as u8)),
            _ => None,
        }
    }

    /// The fastest that is not above `baud`.
    #[must_use]
    pub fn at_most(baud: u32) -> Self {
        Self(u8::try_from((baud / BAUD_UNIT).clamp(1, 12)).unwrap_or(1))
    }

    /// In baud.
    #[must_use]
    pub fn baud(self) -> u32 {
        u32::from(self.0) * BAUD_UNIT
    }

    /// The factor, as it is written into the module.
    #[must_use]
    pub const fn factor(self) -> u8 {
        self.0
    }
}

/// Size of data packets, as code 0 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSize(u8);

impl DataSize {
    /// What a module comes with: 128 bytes.
    pub const FACTORY: Self = Self(2);
    /// 256 bytes.
    pub const LARGEST: Self = Self(3);

    /// The size with this code; `None` unless it is 0 to 3.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            0..=3 => Some(Self(code as u8)),
            _ => None,
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        32 << self.0
    }

    /// The code, as it is written into the module.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Take an image into the module's buffer.
    GenImg,
    /// Extract features from it; answers whether they are any good.
    Img2Tz,
    /// Send the image.
    UpImage,
    /// Set the speed; kept without power.
    SetSpeed(Speed),
    /// Set the size of data packets; kept without power.
    SetDataSize(DataSize),
    /// Tell the settings.
    ReadSysPara,
    /// Open the module.
    VfyPwd(u32),
}

impl Command {
    /// Kind of the packet that carries it.
    pub const KIND: Kind = Kind::Command;

    /// Content of the packet.
    #[must_use]
    pub fn content(self) -> Vec<u8> {
        match self {
            Self::GenImg => vec![0x01],
            Self::Img2Tz => vec![0x02, 1],
            Self::UpImage => vec![0x0A],
            Self::SetSpeed(speed) => vec![0x0E, 4, speed.factor()],
            Self::SetDataSize(size) => vec![0x0E, 6, size.code()],
            Self::ReadSysPara => vec![0x0F],
            Self::VfyPwd(password) => {
                let [a, b, c, d] = password.to_be_bytes();
                vec![0x13, a, b, c, d]
            }
        }
    }

    /// Name for messages. Never shows the password.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GenImg => "GenImg",
            Self::Img2Tz => "Img2Tz",
            Self::UpImage => "UpImage",
            Self::SetSpeed(_) => "SetSysPara (baud rate)",
            Self::SetDataSize(_) => "SetSysPara (packet size)",
            Self::ReadSysPara => "ReadSysPara",
            Self::VfyPwd(_) => "VfyPwd",
        }
    }
}

/// First byte of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u8);

impl Code {
    /// Done.
    pub const OK: Self = Self(0x00);
    /// The packet arrived damaged.
    pub const RECEIVE_ERROR: Self = Self(0x01);
    /// Nothing lies on the sensor.
    pub const NO_FINGER: Self = Self(0x02);
    /// The image could not be taken.
    pub const IMAGE_FAILED: Self = Self(0x03);
    /// Wrong password.
    pub const WRONG_PASSWORD: Self = Self(0x13);
    /// The password must be told first.
    pub const LOCKED: Self = Self(0x21);

    /// What it means.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0x00 => "done",
            0x01 => "the packet arrived damaged",
            0x02 => "no finger on the sensor",
            0x03 => "the image could not be taken",
            0x06 => "the image is too messy",
            0x07 => "the image has too few features",
            0x0E => "data cannot be received",
            0x0F => "the image cannot be sent",
            0x13 => "wrong password",
            0x15 => "there is no valid image",
            0x18 => "its flash cannot be written",
            0x1A => "there is no such setting",
            0x20 => "wrong address",
            0x21 => "the password must be verified first",
            _ => "a code that the manual does not have",
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02X}h, {}", self.0, self.meaning())
    }
}

/// What ReadSysPara tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// System identifier: tells families of modules apart.
    pub system: u16,
    /// Size of data packets.
    pub data_size: DataSize,
    /// Speed.
    pub speed: Speed,
}

impl Parameters {
    /// Reads the sixteen bytes behind the confirmation code; `None` where they make no sense.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        // status, system, library size, security level, address (2), packet code, speed
        let words: Vec<u16> = bytes.as_chunks().0.iter().map(|word| u16::from_be_bytes(*word)).collect();
        let [_, system, _, _, _, _, size, speed] = words.as_slice() else { return None };
        Some(Self { system: *system, data_size: DataSize::new(*size)?, speed: Speed::new(*speed)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_speed_is_tried_once_and_the_likely_ones_first() {
        let bauds: Vec<u32> = Speed::ALL.iter().map(|speed| speed.baud()).collect();
        assert_eq!(bauds[..5], [57_600, 115_200, 9_600, 38_400, 19_200]);
        let mut factors: Vec<u8> = Speed::ALL.iter().map(|speed| speed.factor()).collect();
        factors.sort_unstable();
        assert_eq!(factors, (1..=12).collect::<Vec<u8>>());
        assert_eq!((Speed::at_most(115_200), Speed::at_most(60_000)), (Speed::FASTEST, Speed::FACTORY));
        assert_eq!(Speed::at_most(0).factor(), 1);
    }

    #[test]
    fn parameters_that_make_no_sense_are_none() {
        let mut bytes = [0, 4, 0, 9, 3, 0xE8, 0, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0, 2, 0, 6];
        let read = Parameters::read(&bytes).unwrap();
        assert_eq!((read.system, read.data_size.bytes(), read.speed.baud()), (9, 128, 57_600));
        for (at, value) in [(13, 4), (15, 0), (15, 13), (14, 1)] {
            let before = std::mem::replace(&mut bytes[at], value);
            assert_eq!(Parameters::read(&bytes), None);
            bytes[at] = before;
        }
        assert_eq!(Parameters::read(&bytes[..14]), None);
    }

    #[test]
    fn the_password_is_not_named() {
        assert_eq!(Command::VfyPwd(0x1234_5678).content(), [0x13, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(Command::VfyPwd(0x1234_5678).name(), "VfyPwd");
    }
}
