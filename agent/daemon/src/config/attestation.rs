//! `[ftm]`, `[attestation]` and `[metadata]`: where the keys of L0 devices live, what devices must prove, and what is known
//! of their models.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::value;

/// `[ftm]`: the trust module of this host, which holds the keys of devices that have none of their own (L0).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ftm {
    /// What it is.
    pub backend: FtmBackend,
    /// Where the TPM is, in the spelling of the TSS (`device:/dev/tpmrm0`, `swtpm:host=...,port=...`).
    #[serde(deserialize_with = "value::tcti")]
    pub tcti: String,
    /// Where a module beside the sensors is: a serial line or a hidraw node.
    #[serde(deserialize_with = "value::some_path")]
    pub port: Option<PathBuf>,
    /// Speed of that line in baud.
    #[serde(deserialize_with = "value::baud")]
    pub baud: Option<u32>,
    /// With key files: encrypt their key to the TPM at `tcti`.
    pub seal_to_tpm: bool,
    /// PEM files of the TPM makers' authorities: the endorsement key is believed under one of these only.
    #[serde(deserialize_with = "value::files")]
    pub ek_anchors: Vec<PathBuf>,
}

impl Default for Ftm {
    fn default() -> Self {
        Self {
            backend: FtmBackend::default(),
            tcti: String::from("device:/dev/tpmrm0"),
            port: None,
            baud: None,
            seal_to_tpm: false,
            ek_anchors: Vec::new(),
        }
    }
}

/// `ftm.backend`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FtmBackend {
    /// Key files, encrypted under a key of this host.
    #[default]
    Software,
    /// A TPM 2.0.
    Tpm,
    /// A trust module beside the sensors, at `port`.
    Module,
}

/// `[attestation]`: what devices must prove, and how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attestation {
    /// A device that is in use is asked again after this time.
    #[serde(rename = "interval_s", deserialize_with = "value::seconds::<60, 2_592_000, _>")]
    pub interval: Duration,
    /// Refuse an L1 device that cannot prove anything, instead of serving it as L0.
    pub required: bool,
    /// Grant L1 to a device whose trust module is proven, where there is no list of models ([metadata]).
    pub l1_without_metadata: bool,
    /// How far the clock of a device or of its evidence may be off.
    #[serde(rename = "clock_tolerance_s", deserialize_with = "value::seconds::<1, 300, _>")]
    pub clock_tolerance: Duration,
}

impl Default for Attestation {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(86_400),
            required: false,
            l1_without_metadata: true,
            clock_tolerance: Duration::from_secs(30),
        }
    }
}

/// `[metadata]`: the adopter's signed list of models.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// The list: a compact JWS.
    #[serde(deserialize_with = "value::some_file")]
    pub file: Option<PathBuf>,
    /// PEM files of whoever may sign it.
    #[serde(deserialize_with = "value::files")]
    pub anchors: Vec<PathBuf>,
    /// How long a list is used after the date at which the next one was due.
    #[serde(rename = "grace_days", deserialize_with = "value::days::<0, 365, _>")]
    pub grace: Duration,
}

impl Default for Metadata {
    fn default() -> Self {
        Self { file: None, anchors: Vec::new(), grace: Duration::from_secs(30 * 86_400) }
    }
}
