//! The certificates of the simulated world: minted in memory at start; what others need is written as PEM.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use biotrust_certs::{Domain, TestPki};
use biotrust_model::time::UtcMillis;
use serde::Serialize;

use crate::files::{self, Access};

/// Where the files are.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PkiFiles {
    /// Certificates that device certificates lead to.
    pub(crate) device_anchors: PathBuf,
    /// Certificates that chip certificates lead to: evidence is verified under these.
    pub(crate) ftm_anchors: PathBuf,
    /// Certificates that the signer of model metadata leads to.
    pub(crate) adopter_anchor: PathBuf,
    /// What the adopter says about the models, signed.
    pub(crate) model_metadata: PathBuf,
    /// Private key of the stand-in for the authentication server.
    pub(crate) ida_key: PathBuf,
    /// Its certificate, which captures are encrypted for.
    pub(crate) ida_certificate: PathBuf,
}

/// Mints all authorities; blocks for about a second of CPU.
pub(crate) fn mint(now: UtcMillis) -> anyhow::Result<TestPki> {
    TestPki::mint(TestPki::DEFAULT_SPEC, now).context("making the test certificates")
}

/// Writes what daemon and judges need, model metadata included, into the folder `directory`, which is made if need be.
pub(crate) fn write(pki: &TestPki, metadata: &str, directory: &Path) -> anyhow::Result<PkiFiles> {
    let directory = files::absolute(directory)?;
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("making the folder {}", directory.display()))?;
    let paths = PkiFiles {
        device_anchors: directory.join("device-anchors.pem"),
        ftm_anchors: directory.join("ftm-anchors.pem"),
        adopter_anchor: directory.join("adopter-anchor.pem"),
        model_metadata: directory.join("model-metadata.jws"),
        ida_key: directory.join("ida-key.pem"),
        ida_certificate: directory.join("ida-certificate.pem"),
    };
    files::write(&paths.device_anchors, pki.anchors_pem(Domain::Device).as_bytes(), Access::Shared)?;
    files::write(&paths.ftm_anchors, pki.anchors_pem(Domain::Ftm).as_bytes(), Access::Shared)?;
    files::write(&paths.adopter_anchor, pki.adopter_anchor_pem().as_bytes(), Access::Shared)?;
    files::write(&paths.model_metadata, metadata.as_bytes(), Access::Shared)?;
    files::write(&paths.ida_key, pki.ida_key_pkcs8_pem().expose(), Access::Private)?;
    // The adopter's root follows, so that the chain can be shown to devices that check it.
    let chain = pki.ida_certificate_pem() + &pki.adopter_anchor_pem();
    files::write(&paths.ida_certificate, chain.as_bytes(), Access::Shared)?;
    Ok(paths)
}
