//! Certificates: evidence is judged, the device is approved or not, the issuing key signs.

use std::sync::Arc;
use std::time::Duration;

use biotrust_attest::evidence::{self, Payload};
use biotrust_attest::{Attested, Expected, Policy, signed, verify};
use biotrust_certs::{Certificate, Csr, Validity, issue};
use biotrust_mgmt::envelope::Received;
use biotrust_mgmt::message::{Refusal, ReplyBody, RequestKind};
use biotrust_mgmt::{Bytes, Nonce, Sha256};
use biotrust_model::Level;
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::UtcMillis;

use super::refusal::{deregistered, refuse, refuse_for_now};
use super::sender::Standing;
use super::{Outcome, Service};
use crate::config::Approval;
use crate::store::{Device, DeviceState, Registration, Taken};

const DAY: u64 = 86_400;
/// Certificates are valid from a little before they are issued: the clocks of devices and hosts are a little behind, and
/// the moment is rounded to a second.
const BACKDATED_MS: i64 = 300_000;

impl Service {
    /// `register` and `rotate`.
    pub(super) async fn enrol(
        &self,
        received: &Received,
        standing: &Standing,
        evidence: &str,
        csr: &[u8],
        now: UtcMillis,
    ) -> Result<ReplyBody, Outcome> {
        let kind = received.request.body.kind();
        may_enrol(kind, standing.device.as_ref())?;
        let taken = self.take_challenge(received, evidence).await?;
        let request = Csr::verify(csr).map_err(|error| refuse("csr", error.to_string(), REMAKE))?;
        let serial = received.request.serial.as_str();
        if request.subject().common_name() != Some(serial) {
            let text = "the common name of the certificate request is not the serial number";
            return Err(refuse("csr", text, REMAKE).into());
        }
        let attested = self.judge(received, standing, &taken, evidence, csr, now)?;
        self.approve(received, &attested).await?;
        if self.store.key(&Sha256::of(request.spki_der())).await?.is_some() {
            return Err(refuse(
                "key-reuse",
                "this key was certified before",
                "make a new key for each rotation",
            )
            .into());
        }
        let certificate = self.issue(request, now).await?;
        let registration = Registration {
            identity: &received.identity,
            level: attested.level,
            chip: standing.chip.as_ref(),
            svn: attested.svn.unwrap_or_default(),
            anew: kind == RequestKind::Register,
            certificate: &certificate,
        };
        if !self.store.register(&registration, now).await? {
            let text =
                "the key, the chip or the serial number was registered for another device at the same time";
            return Err(refuse("clone", text, "take the device out of service and look at it").into());
        }
        let text = format!(
            "certificate {} until {}, level {}, {}",
            certificate.sha256(),
            certificate.not_after().to_wire(),
            attested.level,
            attested.kind
        );
        tracing::info!(serial, kind = kind.as_str(), "{text}");
        self.store.record(now, serial, kind.as_str(), None, &text).await?;
        let chain = std::iter::once(certificate.der()).chain(self.issuer.chain.iter().map(Vec::as_slice));
        Ok(ReplyBody::Certificate { chain: chain.map(|der| Bytes(der.to_vec())).collect() })
    }

    /// The challenge that the evidence answers: ours, this device's, this sender's, for device keys, and never again.
    async fn take_challenge(&self, received: &Received, evidence: &str) -> Result<Taken, Outcome> {
        let unreadable = |why: String| refuse("evidence-form", why, REMAKE);
        let parsed = signed::parse(evidence::TYP, evidence, evidence::MAX_LENGTH)
            .map_err(|error| unreadable(error.to_string()))?;
        let payload = Payload::from_json(&parsed.payload).map_err(unreadable)?;
        let again = |text: &str| Refusal {
            retry_s: Some(10),
            ..refuse("challenge", text, "ask for a new challenge")
        };
        let taken = self.store.take(Nonce(payload.nonce), &self.audience).await?;
        let taken =
            taken.ok_or_else(|| again("the challenge is unknown, was answered before, or is too old"))?;
        if taken.serial != received.request.serial {
            return Err(again("the challenge was given to another device").into());
        }
        if taken.sender != Sha256::of(received.sender.spki()).to_string() {
            return Err(again("the challenge was given to another key").into());
        }
        if taken.challenge.purpose != EvidencePurpose::DeviceKey {
            return Err(again("the challenge was for another purpose").into());
        }
        Ok(taken)
    }

    fn judge(
        &self,
        received: &Received,
        standing: &Standing,
        taken: &Taken,
        evidence: &str,
        csr: &[u8],
        now: UtcMillis,
    ) -> Result<Attested, Outcome> {
        let svn_floor =
            standing.device.as_ref().map_or(0, |device| u64::try_from(device.svn_floor).unwrap_or(0));
        let report = verify(
            evidence,
            &Expected {
                challenge: Some(&taken.challenge),
                now,
                ftm: &self.ftm,
                identity: Some(&received.identity),
                csr: Some(csr),
                device_key: None,
                models: self.models.as_ref(),
                known_chip: standing.chip.as_ref().map(Certificate::spki_der),
                policy: Policy {
                    svn_floor,
                    l1_without_metadata: self.policy.l1_without_metadata,
                    ..Policy::default()
                },
            },
        );
        let attested = report.verdict().map_err(|failed| {
            refuse(failed.name.as_str(), failed.text.clone(), "repair the device or its host")
        })?;
        // A message of a chip with evidence of another module, or of none, is a relay.
        let speaks = attested.chip.as_ref().map(Certificate::spki_der);
        match &standing.chip {
            Some(chip) if speaks != Some(chip.spki_der()) => {
                let text = "the evidence is of another trust module than the chip that signed the message";
                Err(refuse("identity", text, "take the device out of service and look at it").into())
            }
            _ => Ok(attested.clone()),
        }
    }

    /// Whether the provider wants this device.
    async fn approve(&self, received: &Received, attested: &Attested) -> Result<(), Outcome> {
        let serial = received.request.serial.as_str();
        let l1 = attested.level == Level::L1;
        let model = l1.then_some(received.identity.model.as_str());
        if (l1 && self.policy.approval == Approval::Auto) || self.store.is_approved(serial, model).await? {
            return Ok(());
        }
        let why = attested.why_not_l1.as_deref().unwrap_or("it is not on the list of devices");
        let text = format!("the device is not approved ({why})");
        Err(refuse_for_now("approved", text, "have the provider's operator approve its serial number").into())
    }

    /// On a thread where blocking is allowed: the key may be in a token.
    async fn issue(&self, request: Csr, now: UtcMillis) -> Result<Certificate, Outcome> {
        let life = Duration::from_secs(u64::from(self.policy.certificate_days) * DAY);
        let from = UtcMillis(now.0.saturating_sub(BACKDATED_MS));
        let key = Arc::clone(&self.issuer.key);
        let made = tokio::task::spawn_blocking(move || {
            issue::device_certificate(key.as_ref(), &request, Validity::starting(from, life))
        });
        match made.await {
            Ok(Ok(certificate)) => Ok(certificate),
            Ok(Err(
                error @ (issue::IssueError::KeySize(_)
                | issue::IssueError::NoCommonName
                | issue::IssueError::NotEncodable(_)),
            )) => Err(refuse("csr", error.to_string(), REMAKE).into()),
            Ok(Err(error)) => Err(Outcome::Internal(anyhow::Error::new(error).context("the issuing key"))),
            Err(error) => Err(Outcome::Internal(error.into())),
        }
    }
}

const REMAKE: &str = "update the device service; what it sends is not well formed";

/// Whether a device in this state may ask for a certificate.
fn may_enrol(kind: RequestKind, device: Option<&Device>) -> Result<(), Refusal> {
    match (device.map(|device| device.state), kind) {
        (None | Some(DeviceState::Approved), RequestKind::Register) => Ok(()),
        // A chip that registers anew proves the same as one that rotates: its host has forgotten.
        (Some(DeviceState::Registered), _) => Ok(()),
        (None | Some(DeviceState::Approved), _) => {
            Err(refuse("state", "the device is not registered", "register it first"))
        }
        (Some(DeviceState::Deregistering | DeviceState::Deregistered), _) => Err(deregistered()),
    }
}
