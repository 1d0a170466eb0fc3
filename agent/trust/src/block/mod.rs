//! What an L1 device signs, held against the appraised device and the request before it leaves the host.
//!
//! A client or a back end would refuse a bad block too, but later, elsewhere, and without saying why. Here every deviation
//! is one kind of error that names the block and the member. Errors never quote the data payload: it may hold a
//! biometric.

mod capture;
mod digital_id;
mod info;
mod payload;
mod signed;

use std::time::Duration;

use biotrust_model::time::UtcMillis;
use biotrust_sbi::jws::JwsError;

pub use capture::{Block, BlockFault, CaptureFault, ExpectedCapture, Kind, Verified, verify_capture};
pub use digital_id::{DigitalIdFault, DigitalIdSigner};
pub use info::{ExpectedInfo, InfoFault, verify_device_info};
pub use payload::Member;

use crate::AppraisedL1;

/// What is wrong with a JWS, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedFault {
    /// Not a JWS as the interface wants it.
    #[error("cannot be read: {0}")]
    Form(JwsError),
    /// Not signed by the certificate that was appraised, though perhaps by another good one.
    #[error("is signed with another certificate than the appraised one of this device")]
    Signer,
    /// The list of certificates is not the one that back ends accept here.
    #[error("lists {found} certificates where exactly {expected} are wanted")]
    Certificates {
        /// How many there must be.
        expected: usize,
        /// How many there are; where it is the same number, it is other ones.
        found: usize,
    },
    /// The signature does not verify.
    #[error("has a bad signature: {0}")]
    Signature(JwsError),
    /// The payload has characters that one client's decoder cannot read.
    #[error(
        "has a payload with characters that encode to - or _ in base64url, which one client cannot decode"
    )]
    Alphabet,
    /// The appraisal has run out.
    #[error("is signed with a certificate whose path ended at {}", .0.to_wire())]
    Ended(UtcMillis),
}

/// What is wrong with a time that a device wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeFault {
    /// Another form.
    #[error("is not of the form yyyy-MM-ddTHH:mm:ssZ")]
    Form,
    /// Too far from the time of this host.
    #[error("is {seconds} s away from the time of this host (positive: ahead)")]
    Skew {
        /// How far, in whole seconds.
        seconds: i64,
    },
}

/// The moment at which something is judged, and how far a device's clock may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time of this host.
    pub now: UtcMillis,
    /// Largest difference that is accepted, either way.
    pub max_skew: Duration,
}

impl Moment {
    /// Reads a time of the wire and checks its distance. The wire has whole seconds, so the time of this host is cut to
    /// the second as well.
    fn check(&self, text: &str) -> Result<UtcMillis, TimeFault> {
        let time = UtcMillis::from_wire(text).ok_or(TimeFault::Form)?;
        let now = UtcMillis(self.now.0.div_euclid(1000).saturating_mul(1000));
        let skew = time.since(now);
        if u128::from(skew.unsigned_abs()) > self.max_skew.as_millis() {
            return Err(TimeFault::Skew { seconds: skew / 1000 });
        }
        Ok(time)
    }
}

/// The appraised device, at a moment: what every signature is held against.
#[derive(Debug, Clone, Copy)]
struct Signers<'a> {
    device: &'a AppraisedL1,
    digital_id: DigitalIdSigner,
    moment: Moment,
}

#[cfg(test)]
mod tests;
