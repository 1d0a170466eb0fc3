//! Starting a device: ROM, then loader, then firmware, each verified before it runs (docs/developers/firmware.md).
//!
//! A stage that does not stand halts the start: the device then says why and does nothing else. The loader tries a new
//! image a few times and goes back to the one before if it never comes up; the floor of security version numbers rises
//! after a good start only. State is in the flash (which a power cut may leave half-written) and in the chip's counters.

mod factory;
mod flash;
mod image;
mod record;
mod rom;
mod start;
#[cfg(test)]
mod tests;
mod update;

use biotrust_attest::manifest::{Component, ManifestError};

pub use factory::{Factory, FactoryError, Release, SignedUpdate};
pub use flash::Slot;
pub(crate) use flash::{Flash, Part};
pub(crate) use rom::Rom;
pub use start::Measured;
pub(crate) use start::{Board, Boot, Running};
pub(crate) use update::UpdateError;

/// Why a start was halted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    /// There is no image.
    #[error("there is no {}", .0.as_str())]
    Empty(Component),
    /// The image does not stand.
    #[error("{} refused: {why}", component.as_str())]
    Refused {
        /// Which.
        component: Component,
        /// The rule that does not hold.
        why: ManifestError,
    },
    /// The image is signed, but its program says something else than its manifest.
    #[error("the program of the {} is not the one of its manifest", .0.as_str())]
    NotThisProgram(Component),
    /// The image stands but does not come up.
    #[error("the firmware does not start")]
    DoesNotStart,
    /// Both copies of the boot record are damaged.
    #[error("the boot record cannot be read")]
    Record,
    /// The chip does not answer.
    #[error("{0}")]
    Chip(#[from] crate::chip::ChipError),
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
