//! The digital ID inside a block or inside device info.

use biotrust_certs::Certificate;
use biotrust_model::time::UtcMillis;
use biotrust_sbi::digital_id::{DigitalId, DigitalIdError};

use super::{SignedFault, Signers, TimeFault, signed};

/// Which key of an L1 device signs its digital ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigitalIdSigner {
    /// The chip key, as the specification says; always for authentication.
    #[default]
    Chip,
    /// The device key: for registration where clients trust digital IDs in domain DEVICE only.
    Device,
}

/// What is wrong with a digital ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigitalIdFault {
    /// Its JWS.
    #[error("{0}")]
    Signed(#[from] SignedFault),
    /// Its members.
    #[error("is not one: {0}")]
    Content(#[from] DigitalIdError),
    /// It is somebody else's.
    #[error("names another device than the one that was appraised")]
    Identity,
    /// Its dateTime.
    #[error("has a dateTime that {0}")]
    Time(#[from] TimeFault),
}

impl<'a> Signers<'a> {
    /// The certificate that digital IDs are signed with.
    pub(super) const fn of_digital_id(&self) -> &'a Certificate {
        match self.digital_id {
            DigitalIdSigner::Chip => self.device.chip(),
            DigitalIdSigner::Device => self.device.certificate(),
        }
    }

    /// Appraisals end; nothing that is signed later counts.
    pub(super) fn in_force(&self) -> Result<(), SignedFault> {
        let end = self.device.valid_until();
        if self.moment.now > end { Err(SignedFault::Ended(end)) } else { Ok(()) }
    }

    /// Checks a signed digital ID and returns its dateTime.
    pub(super) fn check_digital_id(&self, compact: &str) -> Result<UtcMillis, DigitalIdFault> {
        let parsed = signed::open(compact, &[self.of_digital_id()])?;
        let digital_id = DigitalId::parse(&parsed.payload)?;
        if digital_id.identity != *self.device.identity() {
            return Err(DigitalIdFault::Identity);
        }
        Ok(self.moment.check(&digital_id.date_time)?)
    }
}
