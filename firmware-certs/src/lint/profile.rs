//! What a certificate is to be, and how to tell when nobody says.

use std::time::Duration;

use crate::Certificate;

/// A role in an onboarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The certificate that a device provider uploads as a partner (domain DEVICE).
    Provider,
    /// The key of a device, issued by its provider.
    Device,
    /// The certificate that an FTM provider uploads as a partner (domain FTM).
    FtmProvider,
    /// The key of a chip, issued by its FTM provider.
    Chip,
    /// What captures are encrypted for (IDA-FIR).
    Encryption,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Provider, Self::Device, Self::FtmProvider, Self::Chip, Self::Encryption];

    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Device => "device",
            Self::FtmProvider => "ftm-provider",
            Self::Chip => "chip",
            Self::Encryption => "encryption",
        }
    }

    /// In words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Provider => "partner certificate of a device provider",
            Self::Device => "device certificate",
            Self::FtmProvider => "partner certificate of an FTM provider",
            Self::Chip => "chip certificate",
            Self::Encryption => "encryption certificate",
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == word).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|profile| profile.as_str()).collect();
            format!("is none of {}", known.join(", "))
        })
    }
}

/// A guess, and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess {
    /// Most likely.
    pub profile: Profile,
    /// Because …
    pub because: &'static str,
}

/// Longer than any device certificate lives, shorter than any chip.
const CHIP_LIKE: Duration = Duration::from_secs(3 * 365 * 86_400);

/// What a certificate most likely is to be.
#[must_use]
pub fn guess(certificate: &Certificate) -> Guess {
    let says = |profile, because| Guess { profile, because };
    let names = format!("{} {}", certificate.subject(), certificate.issuer()).to_lowercase();
    let of_chips = names.contains("ftm") || names.contains("chip");
    if certificate.is_ca() {
        return if of_chips {
            says(Profile::FtmProvider, "it is a CA certificate with a name that speaks of FTM or chips")
        } else {
            says(Profile::Provider, "it is a CA certificate")
        };
    }
    if !certificate.may_sign_data()
        || certificate.subject().common_name().is_some_and(|cn| cn.ends_with("FIR"))
    {
        return says(Profile::Encryption, "its key usage or its name is that of a key to encrypt for");
    }
    let life = certificate.not_after().since(certificate.not_before());
    if of_chips || i128::from(life) > i128::try_from(CHIP_LIKE.as_millis()).unwrap_or(i128::MAX) {
        return says(Profile::Chip, "it is no CA, and its name or its long life is that of a chip");
    }
    says(Profile::Device, "it is no CA and its key signs data")
}
