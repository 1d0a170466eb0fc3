//! Evidence of what holds the keys of a device, asked for with a challenge of our own and judged here.
//!
//! Blocking. An L1 device is asked for its proof and has its chip key sign it; at L0 the host's own module is. Nobody is
//! believed: the judgement is made of the raw proof, by the library that every other verifier uses as well.

use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use biotrust_attest::evidence::{self, Claims};
use biotrust_attest::{Challenge, Expected, Policy, Report, verify};
use biotrust_certs::Certificate;
use biotrust_driver_api::{ChipDocument, DeviceErrorKind, L1Device, Opened};
use biotrust_model::Level;
use biotrust_model::evidence::{EvidencePurpose, FtmKind, KeySlot};

use super::Inner;
use super::device_keys::{CALL, SIGN};
use super::host_keys::{self, By, answer, sign_document};
use super::management::ManageError;
use super::unit::Session;

/// Whom our own challenges are for.
const AUDIENCE: &str = "biotrustd";
/// The longest that a device may take to prove itself: a chain of certificates over a serial line, and three signatures of
/// a chip.
const PROVE: Duration = Duration::from_secs(15);
/// How soon a device that could not prove itself is asked again.
const AGAIN: Duration = Duration::from_secs(60);

/// The keys that evidence has to speak for; SubjectPublicKeyInfo, DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// The device key.
    pub(super) device_key: Vec<u8>,
    /// The chip key, where there is one.
    pub(super) chip_key: Vec<u8>,
}

/// What came of asking for evidence.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    subject: Subject,
    /// When it was asked for, monotonic.
    at: Duration,
    /// The evidence, a compact JWS, with what was found; or why there is none.
    pub(super) result: Result<(String, Report), NoEvidence>,
}

/// Why there is no evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoEvidence {
    /// In one sentence.
    pub(super) why: String,
    /// Whether this device has nothing that could prove anything, so that asking again is in vain.
    pub(super) unable: bool,
}

impl Evidence {
    /// Whether it still stands for these keys.
    pub(super) fn stands(&self, subject: &Subject, now: Duration, interval: Duration) -> bool {
        self.subject == *subject && !self.is_due(now, interval)
    }

    /// How long ago it was asked for.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.at)
    }

    /// Whether it is time to ask again.
    pub(super) fn is_due(&self, now: Duration, interval: Duration) -> bool {
        let good = match &self.result {
            Ok((_, report)) => report.verdict().is_ok(),
            Err(none) => none.unable,
        };
        now.saturating_sub(self.at) >= if good { interval } else { interval.min(AGAIN) }
    }
}

/// Asks for evidence about `subject` and judges it. `slot` is where the device key is.
pub(super) fn attest(inner: &Inner, session: &Session, subject: Subject, slot: KeySlot) -> Evidence {
    let at = inner.now();
    let result = asked(inner, session, &subject, slot);
    Evidence { subject, at, result }
}

fn asked(
    inner: &Inner,
    session: &Session,
    subject: &Subject,
    slot: KeySlot,
) -> Result<(String, Report), NoEvidence> {
    let failed = |why: String| NoEvidence { why, unable: false };
    let mut nonce = [0; 32];
    SystemRandom::new().fill(&mut nonce).map_err(|_| failed("this host has no randomness".into()))?;
    let challenge = Challenge::new(nonce, AUDIENCE, EvidencePurpose::DeviceKey, inner.clock.now());
    let text = evidence(inner, session, &challenge, Some(slot)).map_err(|error| NoEvidence {
        unable: matches!(&error, ManageError::Device(error) if error.kind == DeviceErrorKind::Unsupported),
        why: error.to_string(),
    })?;
    let known = inner.store().highest_svn(&subject.chip_key);
    let known = known.map_err(|error| failed(error.to_string()))?.unwrap_or_default();
    let models = inner.models.load();
    let own = inner.settings.attestation.policy;
    let expected = Expected {
        challenge: Some(&challenge),
        now: inner.clock.now(),
        ftm: &inner.trust.ftm,
        identity: Some(&session.description.identity),
        csr: None,
        device_key: Some(&subject.device_key),
        models: models.as_deref(),
        // compared by the appraisal, which knows the cure
        known_chip: None,
        policy: Policy { svn_floor: own.svn_floor.max(known), ..own },
    };
    let report = verify(&text, &expected);
    Ok((text, report))
}

/// Evidence that answers `challenge`, a compact JWS; where `key` is given, also about that device key.
pub(super) fn evidence(
    inner: &Inner,
    session: &Session,
    challenge: &Challenge,
    key: Option<KeySlot>,
) -> Result<String, ManageError> {
    match session.opened() {
        Some(Opened::L1(device)) => of_device(inner, session, device.as_ref(), challenge, key),
        Some(Opened::L0(_)) => of_host(inner, session, challenge, key),
        None => Err(ManageError::NoDevice(session.description.identity.serial_no.clone())),
    }
}

fn of_device(
    inner: &Inner,
    session: &Session,
    device: &dyn L1Device,
    challenge: &Challenge,
    key: Option<KeySlot>,
) -> Result<String, ManageError> {
    let proof = device.prove(&challenge.binding(), key, PROVE)?;
    let chip_chain = device.keys(CALL)?.chip_chain;
    let (identity, firmware) = (&session.description.identity, &session.description.firmware);
    let chip = chip_chain.first().map(Vec::as_slice);
    let claims = Claims::beside(identity, Level::L1, firmware, chip, &proof);
    let payload = evidence::payload(challenge, &claims, &proof, inner.clock.now());
    Ok(device.sign_as_chip(ChipDocument::Evidence, &payload, SIGN)?)
}

fn of_host(
    inner: &Inner,
    session: &Session,
    challenge: &Challenge,
    key: Option<KeySlot>,
) -> Result<String, ManageError> {
    let name = session.id.to_string();
    let proof = answer(inner.ftm.prove(challenge.binding(), key.map(|slot| (name.clone(), slot))))?;
    let chip_chain = answer(inner.ftm.identity_chain())?;
    let (identity, firmware) = (&session.description.identity, &session.description.firmware);
    let chip = chip_chain.first().map(Vec::as_slice);
    let claims = Claims::beside(identity, Level::L0, firmware, chip, &proof);
    let payload = evidence::payload(challenge, &claims, &proof, inner.clock.now());
    let chain = host_keys::current_chain(inner, &name)?;
    let by = match (inner.ftm.kind(), key) {
        (FtmKind::Tpm | FtmKind::Spdm, _) => By::Module,
        (FtmKind::Software, Some(KeySlot::Next)) => By::Next,
        (FtmKind::Software, _) => By::Certified(&chain),
    };
    sign_document(inner, session, ChipDocument::Evidence.typ(), &payload, by)
}

/// The keys of these certificates, where both can be read.
pub(super) fn subject(device: &Certificate, chip: Option<&Certificate>) -> Subject {
    let chip_key = chip.map(|chip| chip.spki_der().to_vec()).unwrap_or_default();
    Subject { device_key: device.spki_der().to_vec(), chip_key }
}
