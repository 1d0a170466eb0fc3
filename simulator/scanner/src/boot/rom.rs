//! The ROM: the part that cannot change, and the only one that is trusted without being verified.
//!
//! It holds the anchors of the provider's firmware signers and the one rule by which an image is judged before it runs.

use aws_lc_rs::digest;
use biotrust_attest::manifest::{Component, Manifest, ManifestError};
use biotrust_certs::DeviceStore;
use biotrust_model::DeviceIdentity;

use super::flash::{Flash, Part};
use super::image::{CAPACITY, Header, Stored};
use super::{Halt, sha256};
use crate::chip::MAX_FAILED_ATTEMPTS;

/// The code in it, as far as a simulator has any.
const CODE: &[u8] = b"biosim boot ROM 1\n";

/// The ROM of a model of a provider.
pub(crate) struct Rom {
    anchors: DeviceStore,
    vendor: String,
    make: String,
    model: String,
    digest: [u8; 32],
    policy: [u8; 32],
}

/// An image that may run.
pub(crate) struct Verified {
    pub(crate) manifest: Manifest,
    /// SHA-256 of the manifest as it was signed.
    pub(crate) document: [u8; 32],
    pub(crate) header: Header,
}

impl Rom {
    /// Burns the anchors and what the device is.
    pub(crate) fn burn(anchors: DeviceStore, identity: &DeviceIdentity) -> Self {
        let (mut code, mut policy) =
            (digest::Context::new(&digest::SHA256), digest::Context::new(&digest::SHA256));
        code.update(CODE);
        for entry in anchors.entries() {
            code.update(entry.certificate.der());
            policy.update(entry.certificate.sha256().as_bytes());
        }
        let rules = format!(
            "signer={} purpose=firmware debug=locked rollback=refused attempts={MAX_FAILED_ATTEMPTS} slot={CAPACITY}",
            identity.device_provider
        );
        policy.update(rules.as_bytes());
        Self {
            anchors,
            vendor: identity.device_provider.clone(),
            make: identity.make.clone(),
            model: identity.model.clone(),
            digest: sha256_of(code),
            policy: sha256_of(policy),
        }
    }

    /// What it measures as.
    pub(crate) const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What its anchors and rules measure as.
    pub(crate) const fn policy(&self) -> [u8; 32] {
        self.policy
    }

    pub(crate) const fn anchors(&self) -> &DeviceStore {
        &self.anchors
    }

    /// Verifies what stands in `part`: signer, device, number, every byte. There is no clock yet, so the certificates are
    /// judged at the time of signing.
    pub(crate) fn verify(
        &self,
        flash: &Flash,
        part: Part,
        component: Component,
        svn_floor: u64,
    ) -> Result<Verified, Halt> {
        let mut stored = Stored::read(flash, part).ok_or(Halt::Empty(component))?;
        let refused = |why| Halt::Refused { component, why };
        let manifest =
            Manifest::authenticate(&stored.manifest, &self.anchors, &self.vendor, None).map_err(refused)?;
        manifest.is_for(&self.vendor, &self.make, &self.model).map_err(refused)?;
        if manifest.component != component {
            return Err(refused(ManifestError::WrongComponent(manifest.component)));
        }
        manifest.not_below(svn_floor).map_err(refused)?;
        stored.payload.truncate(usize::try_from(manifest.size).unwrap_or(usize::MAX));
        manifest.check_image(&stored.payload).map_err(refused)?;
        let header = Header::read(&stored.payload).filter(|header| agrees(header, &manifest));
        let header = header.ok_or(Halt::NotThisProgram(component))?;
        Ok(Verified { manifest, document: sha256(stored.manifest.as_bytes()), header })
    }
}

/// Whether a program is the one that its manifest announces.
fn agrees(header: &Header, manifest: &Manifest) -> bool {
    header.version == manifest.version && header.svn == manifest.svn
}

fn sha256_of(context: digest::Context) -> [u8; 32] {
    sha256(context.finish().as_ref())
}
