//! Firmware manifests: what an update brings, for which device, and who says so.
//!
//! A manifest is a compact JWS of type `manifest+jwt` by a signer of purpose Firmware whose organisation is the provider
//! of the device. Its members are the information elements of RFC 9124 that apply to one image of one provider
//! (docs/developers/firmware.md says which, and why the others do not). The agent verifies it before the first byte goes
//! to the device, the device verifies it again, and its loader at each start: nobody believes the one before.
//!
//! Nothing here does I/O or asks for the time. A manifest is untrusted until [`Manifest::authenticate`] gives it.

mod document;
mod rules;
#[cfg(test)]
mod tests;

pub use document::{Component, Dependency, Manifest};
pub use rules::{ManifestError, Target, verify};

/// `typ` of the header.
pub const TYP: &str = "manifest+jwt";
/// Version of the document; another one is refused, because it may hold conditions that are not known here.
pub const VERSION: u32 = 1;
/// Longest manifest in bytes, certificates included.
pub const MAX_LENGTH: usize = 16 * 1024 - 4;
/// Longest image that a manifest may announce.
pub const MAX_IMAGE: u64 = 64 * 1024 * 1024;
