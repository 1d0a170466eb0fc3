//! What goes wrong with a reader beyond what can go wrong with any USB device.

/// A fault of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It says that it has a fault and no power, until it is told otherwise once.
    Confused,
    /// Its logic does not start.
    Dead,
    /// The scanner gets no power.
    NoPower,
    /// It does not confirm that it has power.
    Unconfirmed,
    /// It answers no control request.
    Mute,
    /// It sends no image.
    NoImage,
    /// It halts instead of sending an image, once.
    StallsOnce,
    /// It halts in the middle of each image.
    StallsMidImage,
    /// Its images end too early.
    ShortImage,
    /// The headers of its images are garbage.
    GarbageHeader,
    /// It gives wrong keys.
    WrongKey,
    /// It announces its failure, once, when this is set.
    Failing,
    /// It loses power for a moment when this is set, and forgets what it was to do.
    Brownout,
}

impl Fault {
    /// All of them with their names.
    pub const ALL: &[(&str, Self)] = &[
        ("confused", Self::Confused),
        ("dead", Self::Dead),
        ("no-power", Self::NoPower),
        ("unconfirmed", Self::Unconfirmed),
        ("mute", Self::Mute),
        ("no-image", Self::NoImage),
        ("stalls-once", Self::StallsOnce),
        ("stalls-mid-image", Self::StallsMidImage),
        ("short-image", Self::ShortImage),
        ("garbage-header", Self::GarbageHeader),
        ("wrong-key", Self::WrongKey),
        ("failing", Self::Failing),
        ("brownout", Self::Brownout),
    ];
}

/// A name that is no fault's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a U.are.U reader has no fault {name:?}; there are {}", names())]
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
