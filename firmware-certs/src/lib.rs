//! Trust stores per domain, path building, certificate requests, and a declarative test PKI.
//!
//! - [`Certificate`] and [`Csr`] are owned views of X.509 certificates and PKCS#10 requests.
//! - [`TrustStore`] holds the CA certificates of one [`Domain`] and builds paths as the back ends of MOSIP do. The
//!   domain is part of its type: a chip certificate cannot be judged by the anchors of device providers by mistake.
//! - [`issue`] makes certificates over any key that can sign, with the issuer's name copied byte for byte.
//! - [`lint`] holds a certificate against the profiles of MOSIP's onboarding.
//! - [`TestPki`] mints every certificate that a simulated deployment needs, from `test-pki.toml`.
//!
//! Nothing here touches the network; files are read in `files` and [`disk`] only. Time is an argument.

pub mod ber;
mod bundle;
mod certificate;
mod csr;
pub mod disk;
mod domain;
mod files;
pub mod issue;
pub mod lint;
mod name;
mod path;
pub mod pem;
pub mod pkcs7;
mod purpose;
mod store;
mod test_pki;

#[cfg(test)]
mod forge;

pub use bundle::{BundleProblem, certificates};
pub use certificate::{Certificate, CertificateError, MAX_CERTIFICATE_BYTES, MIN_RSA_BITS, SignatureFault};
pub use csr::{Csr, CsrError, same_key};
pub use domain::{Adopter, Device, Domain, Ftm, TrustDomain};
pub use issue::Validity;
pub use name::{Name, NameMismatch};
pub use path::{PathError, PathErrorKind, VerifiedPath};
pub use purpose::SignerPurpose;
pub use store::{AdopterStore, DeviceStore, Entry, FtmStore, Role, StoreError, TrustStore};
pub use test_pki::{Authority, MAX_CHIP_LIFETIME, Order, TestPki, TestPkiError, TestSigner};

/// SHA-256 of some DER as 64 upper-case hexadecimal characters: how certificates and keys are told apart everywhere.
#[must_use]
pub fn sha256_hex(der: &[u8]) -> String {
    hex::encode_upper(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der))
}
