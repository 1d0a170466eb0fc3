//! The document: its members, as JSON and as a type.

use biotrust_certs::{SignerPurpose, TrustDomain, TrustStore};
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use super::{MAX_IMAGE, MAX_LENGTH, ManifestError, TYP, VERSION};
use crate::{shown, signed};

/// Which part of a device an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// What the ROM starts. It comes from the factory.
    Loader,
    /// What the loader starts: one of two slots.
    Firmware,
}

impl Component {
    /// As in the document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Firmware => "firmware",
        }
    }
}

/// Another component that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// Which.
    pub component: Component,
    /// Its smallest security version number.
    pub min_svn: u64,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Counts the manifests for a component up; a device takes none that is not above that of what runs.
    pub sequence: u64,
    /// Provider of the device (vendor id): the organisation of its certificates.
    pub vendor: String,
    /// Make of the devices that the image is for (class id).
    pub make: String,
    /// Model of the devices that the image is for (class id).
    pub model: String,
    /// Which part of the device.
    pub component: Component,
    /// Version that the image brings.
    pub version: String,
    /// Security version number: one higher with each image that closes a hole.
    pub svn: u64,
    /// Bytes of the image.
    pub size: u64,
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
    /// Versions that it may replace; empty: any.
    pub precursors: Vec<String>,
    /// Other components that must be there.
    pub dependencies: Vec<Dependency>,
    /// When it was signed.
    pub issued_at: UtcMillis,
    /// Until when it may be installed; what is installed runs on.
    pub best_before: Option<UtcMillis>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    manifest_version: u32,
    sequence_number: u64,
    vendor_id: String,
    class_id: Class,
    component: Component,
    version: String,
    svn: u64,
    payload: Payload,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    precursors: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Dependency>,
    issued_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best_before: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    make: String,
    model: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    size: u64,
    sha256: String,
}

impl Manifest {
    /// The JSON to be signed: `signed::prepare(manifest::TYP, …)`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = Document {
            manifest_version: VERSION,
            sequence_number: self.sequence,
            vendor_id: self.vendor.clone(),
            class_id: Class { make: self.make.clone(), model: self.model.clone() },
            component: self.component,
            version: self.version.clone(),
            svn: self.svn,
            payload: Payload { size: self.size, sha256: hex::encode(self.sha256) },
            precursors: self.precursors.clone(),
            dependencies: self.dependencies.clone(),
            issued_at: self.issued_at.0,
            best_before: self.best_before.map(|at| at.0),
        };
        // Text, numbers and lists: there is nothing in it that could not be written.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Reads the JSON; it is worth nothing before the signature around it was verified.
    ///
    /// # Errors
    /// `Version` for a document of another version, `Document` for anything else that is not exactly a manifest.
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            manifest_version: u32,
        }
        let unreadable = |error: serde_json::Error| ManifestError::Document(shown::value(&error.to_string()));
        let Versioned { manifest_version } = serde_json::from_slice(json).map_err(unreadable)?;
        if manifest_version != VERSION {
            return Err(ManifestError::Version(manifest_version));
        }
        let document: Document = serde_json::from_slice(json).map_err(unreadable)?;
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&document.payload.sha256, &mut sha256)
            .map_err(|_| ManifestError::Document("sha256 is not 64 hexadecimal digits".to_owned()))?;
        let texts = [
            ("vendorId", &document.vendor_id),
            ("make", &document.class_id.make),
            ("model", &document.class_id.model),
            ("version", &document.version),
        ];
        if let Some((name, _)) = texts.into_iter().find(|(_, text)| !is_name(text)) {
            return Err(ManifestError::Document(format!(
                "{name} is empty, too long, or holds control characters"
            )));
        }
        if !(1..=MAX_IMAGE).contains(&document.payload.size) {
            return Err(ManifestError::Document(format!("an image of {} bytes", document.payload.size)));
        }
        Ok(Self {
            sequence: document.sequence_number,
            vendor: document.vendor_id,
            make: document.class_id.make,
            model: document.class_id.model,
            component: document.component,
            version: document.version,
            svn: document.svn,
            size: document.payload.size,
            sha256,
            precursors: document.precursors,
            dependencies: document.dependencies,
            issued_at: UtcMillis(document.issued_at),
            best_before: document.best_before.map(UtcMillis),
        })
    }

    /// Reads a signed manifest and verifies who signed it: a signer of purpose Firmware whose organisation is `vendor`,
    /// under an anchor of `signers`.
    ///
    /// With `now` the certificates must be valid now; without, at the time of signing that the manifest itself gives: a
    /// loader has no clock, and what was installed in time does not stop to run.
    ///
    /// # Errors
    /// `Signature` when it is not signed by such a signer, else as [`Self::from_json`].
    pub fn authenticate<D: TrustDomain>(
        jws: &str,
        signers: &TrustStore<D>,
        vendor: &str,
        now: Option<UtcMillis>,
    ) -> Result<Self, ManifestError> {
        let refused = |why: String| ManifestError::Signature(why);
        let parsed = signed::parse(TYP, jws, MAX_LENGTH).map_err(|error| refused(error.to_string()))?;
        // The document is read first for its date only; it is believed below, once the signature is known to be good.
        let manifest = Self::from_json(&parsed.payload)?;
        let at = now.unwrap_or(manifest.issued_at);
        signed::verify_by_purpose(&parsed, signers, SignerPurpose::Firmware, Some(vendor), at)
            .map_err(|error| refused(error.to_string()))?;
        Ok(manifest)
    }
}

/// Printable and not endless: it will be shown to people.
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}
