//! The claims: RFC 9711 where it has a name for something, `mosip_…` where it has none.

use biotrust_certs::Certificate;
use biotrust_model::evidence::Proof;
use biotrust_model::{DeviceIdentity, Level};
use biotrust_spdm::measurement::{Block, index};
use biotrust_spdm::transcript::Measurements;
use serde::{Deserialize, Serialize};

use crate::wire::{Bytes, sha256};

/// Type byte of a UEID that is random, or a hash in place of that (RFC 9711, 4.2.1).
const UEID_RANDOM: u8 = 0x01;

/// Longest text of any claim, in bytes.
const MAX_TEXT: usize = 256;

/// Whether the device can be debugged (RFC 9711, 4.2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugStatus {
    /// It can.
    Enabled,
    /// Not now.
    Disabled,
    /// Not since it started.
    DisabledSinceBoot,
    /// Never again, by its owner.
    DisabledPermanently,
    /// Never again, by anybody.
    DisabledFullyAndPermanently,
}

impl DebugStatus {
    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::DisabledSinceBoot => "disabled-since-boot",
            Self::DisabledPermanently => "disabled-permanently",
            Self::DisabledFullyAndPermanently => "disabled-fully-and-permanently",
        }
    }

    /// Whether it is off for good, as a certified device must be when it leaves its factory.
    #[must_use]
    pub const fn is_permanently_off(self) -> bool {
        matches!(self, Self::DisabledPermanently | Self::DisabledFullyAndPermanently)
    }
}

/// What evidence claims about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who it is.
    pub identity: DeviceIdentity,
    /// Level that it claims.
    pub level: Level,
    /// Serial number of the trust module: the common name of the chip certificate. Empty for software.
    pub ftm_serial: String,
    /// Firmware version.
    pub firmware: String,
    /// Security version number of the firmware, where the device tells it.
    pub svn: Option<u64>,
    /// Starts of the device so far, where it tells.
    pub boot_count: Option<u64>,
    /// Whether it can be debugged, where it tells.
    pub debug: Option<DebugStatus>,
}

impl Claims {
    /// The claims that can be made beside `proof` by whoever carries it: what the device says of itself, the serial number
    /// out of its chip certificate (DER), and what is measured in the proof.
    #[must_use]
    pub fn beside(
        identity: &DeviceIdentity,
        level: Level,
        firmware: &str,
        chip: Option<&[u8]>,
        proof: &Proof,
    ) -> Self {
        let chip = chip.and_then(|der| Certificate::parse(der).ok());
        let ftm_serial = chip.as_ref().and_then(|chip| chip.subject().common_name()).unwrap_or_default();
        let mut claims = Self {
            identity: identity.clone(),
            level,
            ftm_serial: ftm_serial.to_owned(),
            firmware: firmware.to_owned(),
            svn: None,
            boot_count: None,
            debug: None,
        };
        claims.observe(proof);
        claims
    }

    /// Takes over what an SPDM module measures; a TPM measures nothing that has a claim.
    fn observe(&mut self, proof: &Proof) {
        let Proof::Spdm(spdm) = proof else { return };
        let Ok(found) = Measurements::parse(&spdm.authentication, &spdm.measurements) else { return };
        self.svn = found.block(index::SVN).and_then(Block::as_svn);
        let mode = found.block(index::DEVICE_MODE).and_then(Block::as_device_mode);
        self.debug = mode.map(|mode| match mode.is_normal() {
            true => DebugStatus::DisabledPermanently,
            false => DebugStatus::Enabled,
        });
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClaimsWire {
    /// `01 || SHA-256(serial number of the module)`.
    ueid: Bytes,
    /// First 16 bytes of SHA-256 over the provider's name: the form of RFC 9711 for whoever has no registered number.
    oemid: Bytes,
    /// UTF-8 of the model, 32 bytes at most.
    hwmodel: Bytes,
    swname: String,
    swversion: (String,),
    #[serde(skip_serializing_if = "Option::is_none")]
    bootcount: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dbgstat: Option<DebugStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mosip_svn: Option<u64>,
    mosip_cert_level: Level,
    mosip_ftm_serial: String,
    mosip_identity: DeviceIdentity,
}

impl From<&Claims> for ClaimsWire {
    fn from(claims: &Claims) -> Self {
        let identity = &claims.identity;
        Self {
            ueid: ueid(&claims.ftm_serial),
            oemid: oemid(identity),
            hwmodel: hwmodel(identity),
            swname: identity.model.clone(),
            swversion: (claims.firmware.clone(),),
            bootcount: claims.boot_count,
            dbgstat: claims.debug,
            mosip_svn: claims.svn,
            mosip_cert_level: claims.level,
            mosip_ftm_serial: claims.ftm_serial.clone(),
            mosip_identity: identity.clone(),
        }
    }
}

impl TryFrom<ClaimsWire> for Claims {
    type Error = String;

    fn try_from(wire: ClaimsWire) -> Result<Self, String> {
        let identity = wire.mosip_identity;
        let texts = [
            ("serialNo", &identity.serial_no),
            ("make", &identity.make),
            ("model", &identity.model),
            ("deviceProvider", &identity.device_provider),
            ("deviceProviderId", &identity.device_provider_id),
            ("swversion", &wire.swversion.0),
            ("mosip_ftm_serial", &wire.mosip_ftm_serial),
        ];
        if let Some((name, text)) = texts.into_iter().find(|(_, text)| text.len() > MAX_TEXT) {
            return Err(format!("{name} has {} bytes; {MAX_TEXT} are allowed", text.len()));
        }
        if !identity.device_sub_type.fits(identity.modality) {
            let (modality, kind) = (identity.modality, identity.device_sub_type);
            return Err(format!("a {modality} device of sub-type {kind} does not exist"));
        }
        let derived = [
            ("ueid", wire.ueid == ueid(&wire.mosip_ftm_serial)),
            ("oemid", wire.oemid == oemid(&identity)),
            ("hwmodel", wire.hwmodel == hwmodel(&identity)),
            ("swname", wire.swname == identity.model),
        ];
        if let Some((name, _)) = derived.into_iter().find(|(_, fits)| !fits) {
            return Err(format!("{name} does not fit mosip_identity and mosip_ftm_serial"));
        }
        Ok(Self {
            identity,
            level: wire.mosip_cert_level,
            ftm_serial: wire.mosip_ftm_serial,
            firmware: wire.swversion.0,
            svn: wire.mosip_svn,
            boot_count: wire.bootcount,
            debug: wire.dbgstat,
        })
    }
}

fn ueid(ftm_serial: &str) -> Bytes {
    let mut bytes = vec![UEID_RANDOM];
    bytes.extend(sha256(ftm_serial.as_bytes()));
    Bytes(bytes)
}

fn oemid(identity: &DeviceIdentity) -> Bytes {
    Bytes(sha256(identity.device_provider.as_bytes()).into_iter().take(16).collect())
}

fn hwmodel(identity: &DeviceIdentity) -> Bytes {
    Bytes(identity.model.bytes().take(32).collect())
}
