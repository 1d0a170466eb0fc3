//! What goes wrong with a module and its line.

/// A fault of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It says nothing.
    Mute,
    /// The sums of all its packets are wrong.
    BadSums,
    /// The sum of its next packet is wrong.
    BadSumOnce,
    /// Noise before each packet, with the beginning of one in it.
    Garbage,
    /// It talks without end.
    Babbles,
    /// Half of its next packet is missing.
    HalfFrameOnce,
    /// A packet in the middle of each image is missing.
    LosesData,
    /// It falls silent in the middle of each image.
    CutsImage,
    /// It thinks half a second longer about everything.
    Slow,
    /// It answers as somebody else.
    WrongAddress,
    /// It says yes to another speed and keeps the one that it has.
    KeepsBaud,
    /// It takes no image.
    NoImage,
    /// It loses power for a moment when this is set: silence, and the password must be told again.
    Brownout,
}

impl Fault {
    /// All of them with their names.
    pub const ALL: &[(&str, Self)] = &[
        ("mute", Self::Mute),
        ("bad-sums", Self::BadSums),
        ("bad-sum-once", Self::BadSumOnce),
        ("garbage", Self::Garbage),
        ("babbles", Self::Babbles),
        ("half-frame-once", Self::HalfFrameOnce),
        ("loses-data", Self::LosesData),
        ("cuts-image", Self::CutsImage),
        ("slow", Self::Slow),
        ("wrong-address", Self::WrongAddress),
        ("keeps-baud", Self::KeepsBaud),
        ("no-image", Self::NoImage),
        ("brownout", Self::Brownout),
    ];
}

/// A name that is no fault's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an R30x module has no fault {name:?}; there are {}", names())]
pub struct UnknownFault {
    /// The name.
    pub name: String,
}

fn names() -> String {
    Fault::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl std::str::FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, fault)| *fault).ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}
