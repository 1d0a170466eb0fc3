//! What MOSIP's back ends and real clients would say to an answer of the SBI service.
//!
//! Independent judges: every rule here is written from the observed behaviour of the consumers (see each module), not
//! by calling the code that makes the answers. Own JWS parsing, own path building, own derivation of IV and AAD, own
//! hash chain, own ISO 19794 reader; RSA, AES and SHA-2 come from aws-lc-rs, DER from x509-parser, and images are
//! decoded by another library than the one that encoded them.
//!
//! Trusts nothing in an answer. No sockets, no files, no clock: bytes and a time in, a [`Verdict`] out. A judge does not stop at
//! the first fault unless what follows depends on it, so that one run names everything that is wrong.
//!
//! | judge | stands for |
//! |---|---|
//! | [`registration::judge`] | desktop registration client, then registration processor |
//! | [`ida::judge`] | browser widget and eSignet, then ID authentication with its key manager |
//! | [`info::judge`] | desktop and browser client reading MOSIPDINFO |
//! | [`discovery::judge`] | desktop client reading MOSIPDISC |

mod chain;
pub mod discovery;
pub mod hash_chain;
pub mod ida;
pub mod info;
pub mod iso;
pub mod jp2;
pub mod jws;
pub mod keymanager;
mod members;
pub mod registration;
pub mod request;
pub mod session;
mod verdict;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use keymanager::{Domain, KeyManager};
pub use request::Request;
pub use verdict::{Check, Fault, Segment, Verdict};

/// Domains in which a deployment looks for the issuer of a digital ID.
///
/// The desktop client has one property for all devices (`mosip.registration.mdm.trust.domain.digitalId`), the
/// registration processor uses the name "Device"; backends-crypto, section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigitalIdDomain {
    /// Stock configuration: L1 digital IDs of a chip key are refused.
    Device,
    /// The property set to FTM: digital IDs signed by a device key (every L0 device) are refused.
    Ftm,
    /// FTM authorities uploaded a second time under DEVICE, the cure for mixed fleets.
    #[default]
    DeviceWithFtmAnchors,
}

impl DigitalIdDomain {
    /// The domains to try.
    #[must_use]
    pub const fn domains(self) -> &'static [Domain] {
        match self {
            Self::Device => &[Domain::Device],
            Self::Ftm => &[Domain::Ftm],
            Self::DeviceWithFtmAnchors => &[Domain::Device, Domain::Ftm],
        }
    }
}
