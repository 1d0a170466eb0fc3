//! The care of devices, as the control socket asks for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_attest::manifest::{self, Manifest};
use biotrust_attest::{Challenge, signed};
use biotrust_model::evidence::{Binding, KeySlot};
use biotrust_model::time::Clock as _;
use serde_json::{Value, json};

use super::Host;
use super::uploads::UploadError;
use crate::control::{Care, ControlError, ControlErrorKind, FtmChallenge};
use crate::fleet::{ManagedDevice, RecordError};
use crate::management::OrderError;
use crate::management::store::LedgerError;

impl Care for Host {
    async fn rotate(&self, serial: &str) -> Result<Value, ControlError> {
        self.device(serial)?;
        let manager = self.manager.as_ref().ok_or_else(|| {
            refused(
                "there is no management server that could certify a new key: name it in the configuration \
                 ([management] url and anchors), or certify by hand (enrol_begin and enrol_finish on the control socket)",
            )
        })?;
        let certificate = manager.rotate(serial).await?;
        Ok(json!({ "certificate_sha256": certificate }))
    }

    fn evidence(&self, serial: &str) -> Result<Value, ControlError> {
        match self.fleet.evidence(serial)? {
            Some(evidence) => Ok(json!({ "evidence": evidence })),
            None => Err(refused("there is no evidence of this device: it has not proven anything yet")),
        }
    }

    async fn fresh_evidence(&self, serial: &str, challenge: Challenge) -> Result<Value, ControlError> {
        let evidence = self.fleet.evidence_for(serial, challenge, Some(KeySlot::Current)).await?;
        Ok(json!({ "evidence": evidence }))
    }

    async fn forget(&self, serial: &str) -> Result<Value, ControlError> {
        let known = self.fleet.forget(serial).await?;
        let managed = match &self.manager {
            Some(manager) => manager.forget(serial).await?,
            None => false,
        };
        Ok(json!({ "known": known || managed }))
    }

    async fn deregister(&self, serial: &str) -> Result<Value, ControlError> {
        let device = self.device(serial)?;
        if let (Some(manager), Some(_)) = (&self.manager, &device.certificate) {
            manager.deregister(serial).await?;
            return Ok(json!({ "told": true }));
        }
        let destroyed = self.fleet.destroy_key(serial).await?;
        Ok(json!({ "told": false, "destroyed_spki_sha256": destroyed }))
    }

    async fn time(&self, serial: &str) -> Result<Value, ControlError> {
        self.device(serial)?;
        let clock = self.fleet.clock(serial).await?;
        let now = self.time.now();
        Ok(json!({
            "host": self.time_report(),
            "device": clock.map(|clock| json!({
                "now": clock.now.map(|time| time.to_wire()),
                "skew_ms": clock.now.map(|time| time.since(now)),
                "boot_count": clock.boot_count,
            })),
        }))
    }

    async fn update_begin(&self, serial: &str, text: String) -> Result<Value, ControlError> {
        self.fleet.check_update(serial, text.clone()).await?;
        // verified a moment ago; here only to be read
        let parsed = signed::parse(manifest::TYP, &text, manifest::MAX_LENGTH).map_err(refused)?;
        let manifest = Manifest::from_json(&parsed.payload).map_err(refused)?;
        let update = self.uploads.begin(serial, text, manifest.size.min(manifest::MAX_IMAGE));
        Ok(json!({ "update": update, "size": manifest.size, "version": manifest.version }))
    }

    fn update_data(&self, update: u64, data: Vec<u8>) -> Result<Value, ControlError> {
        Ok(json!({ "received": self.uploads.add(update, &data)? }))
    }

    async fn update_finish(&self, update: u64) -> Result<Value, ControlError> {
        let upload = self.uploads.finish(update)?;
        let (serial, manifest) = (upload.serial.clone(), upload.manifest.clone());
        let before = self.fleet.update(&serial, manifest, upload.into_image(), |_| {}).await?;
        Ok(json!({ "from": before.version }))
    }

    fn record_begin(&self, device: &str) -> Result<Value, ControlError> {
        let begun = self.fleet.record(device)?;
        Ok(json!({
            "recording": begun.number,
            "place": begun.place,
            "driver": begun.driver,
            "with_contents": begun.with_contents,
        }))
    }

    fn record_data(&self, recording: u64, offset: usize) -> Result<Value, ControlError> {
        Ok(json!({ "data": STANDARD.encode(self.fleet.recorded(recording, offset)?) }))
    }

    fn record_end(&self, recording: u64) -> Result<Value, ControlError> {
        let summary = self.fleet.end_recording(recording)?;
        Ok(json!({
            "entries": summary.entries,
            "bytes": summary.bytes,
            "cut": summary.cut,
            "opened": summary.opened,
        }))
    }

    async fn ftm_status(&self) -> Result<Value, ControlError> {
        Ok(self.fleet.ftm_report().await?)
    }

    async fn ftm_request(&self, challenge: FtmChallenge) -> Result<Value, ControlError> {
        let binding = match &challenge.binding {
            None => Binding([0; 32]),
            Some(text) => {
                let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                Binding(bytes.ok_or_else(|| {
                    ControlError::new(ControlErrorKind::BadRequest, "binding is 32 bytes in hex")
                })?)
            }
        };
        let FtmChallenge { common_name, organisation, .. } = challenge;
        let request = self
            .fleet
            .with_ftm(move |ftm| ftm.identity_request(&common_name, &organisation, &binding))
            .await?;
        let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
        Ok(json!({
            "ek_certificate": base64(&request.ek_certificate),
            "ek_public_key": base64(&request.ek_public_key),
            "attestation_public": base64(&request.attestation_public),
            "attestation_request": base64(&request.attestation_request),
            "identity_public": base64(&request.identity.public),
            "identity_attest": base64(&request.identity.attested.attest),
            "identity_signature": base64(&request.identity.attested.signature),
            "identity_request": base64(&request.identity_request),
            "binding": hex::encode(binding.0),
        }))
    }

    async fn ftm_activate(&self, credential: Vec<u8>, secret: Vec<u8>) -> Result<Value, ControlError> {
        let opened = self.fleet.with_ftm(move |ftm| ftm.activate(&credential, &secret)).await?;
        Ok(json!({ "secret": STANDARD.encode(opened.expose()) }))
    }

    async fn ftm_install(
        &self,
        identity: Vec<Vec<u8>>,
        attestation: Vec<Vec<u8>>,
    ) -> Result<Value, ControlError> {
        self.fleet.with_ftm(move |ftm| ftm.install_certificates(&identity, &attestation)).await?;
        Ok(self.fleet.ftm_report().await?)
    }
}

impl Host {
    /// The one device with this serial number.
    fn device(&self, serial: &str) -> Result<ManagedDevice, ControlError> {
        let mut named = self.fleet.managed();
        named.retain(|device| device.identity.serial_no == serial);
        match (named.pop(), named.is_empty()) {
            (Some(device), true) => Ok(device),
            (Some(_), false) => Err(refused(format!(
                "several devices with serial number {serial} are connected: unplug all but one"
            ))),
            (None, _) => Err(ControlError::new(
                ControlErrorKind::NoSuchDevice,
                format!("no device with serial number {serial} is connected"),
            )),
        }
    }
}

fn refused(why: impl ToString) -> ControlError {
    ControlError::new(ControlErrorKind::Refused, why.to_string())
}

impl From<OrderError> for ControlError {
    fn from(error: OrderError) -> Self {
        let kind = match error {
            OrderError::NoDevice(_) => ControlErrorKind::NoSuchDevice,
            OrderError::Failed(_) => ControlErrorKind::Refused,
            OrderError::Late => ControlErrorKind::Timeout,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<LedgerError> for ControlError {
    fn from(error: LedgerError) -> Self {
        Self::new(ControlErrorKind::Internal, error.to_string())
    }
}

impl From<RecordError> for ControlError {
    fn from(error: RecordError) -> Self {
        let kind = match error {
            RecordError::NoDevice(_) => ControlErrorKind::NoSuchDevice,
            RecordError::Ambiguous(_) | RecordError::Busy(_) | RecordError::Unknown => {
                ControlErrorKind::Refused
            }
            RecordError::Failed(_) => ControlErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<UploadError> for ControlError {
    fn from(error: UploadError) -> Self {
        refused(error)
    }
}
