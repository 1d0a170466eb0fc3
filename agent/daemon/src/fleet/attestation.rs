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

/// How often in a row a device that proved itself may leave us without an answer.
const MISSES: u32 = 2;

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
    /// How often in a row it was asked for again in vain.
    missed: u32,
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

    /// This evidence once more, where `found` is no answer at all: a line that is busy is no proof against a device that
    /// proved itself. Not for ever.
    pub(super) fn in_place_of(self, found: &Self) -> Option<Self> {
        let unheard = matches!(&found.result, Err(none) if !none.unable);
        let good = matches!(&self.result, Ok((_, report)) if report.verdict().is_ok());
        let stands = unheard && good && self.subject == found.subject && self.missed < MISSES;
        stands.then(|| Self { missed: self.missed + 1, ..self })
    }

    /// Whether it is time to ask again.
    pub(super) fn is_due(&self, now: Duration, interval: Duration) -> bool {
        let good = match &self.result {
            Ok((_, report)) => report.verdict().is_ok(),
            Err(none) => none.unable,
        };
        let pause = if good { interval } else { interval.min(AGAIN) };
        now.saturating_sub(self.at) >= pause.saturating_add(AGAIN.saturating_mul(self.missed))
    }
}

/// Asks for evidence about `subject` and judges it. `slot` is where the device key is.
pub(super) fn attest(inner: &Inner, session: &Session, subject: Subject, slot: KeySlot) -> Evidence {
    let at = inner.now();
    let result = asked(inner, session, &subject, slot);
    Evidence { subject, at, missed: 0, result }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn subject(key: u8) -> Subject {
        Subject { device_key: vec![key], chip_key: vec![9] }
    }

    fn none(key: u8, at: Duration, unable: bool) -> Evidence {
        let result = Err(NoEvidence { why: "no answer".into(), unable });
        Evidence { subject: subject(key), at, missed: 0, result }
    }

    /// Evidence that stood up: of a key in files, which needs no device.
    fn good(key: u8, at: Duration) -> Evidence {
        use biotrust_attest::signed::{self, Signer};
        use biotrust_model::evidence::Proof;
        let now = biotrust_model::time::UtcMillis(1_893_456_000_000);
        let pki = biotrust_certs::TestPki::mint(biotrust_certs::TestPki::DEFAULT_SPEC, now).unwrap();
        let signer = pki.signer(biotrust_certs::SignerPurpose::Management, now).unwrap();
        let spki = Certificate::parse(&signer.chain[0]).unwrap().spki_der().to_vec();
        let identity = biotrust_model::DeviceIdentity {
            serial_no: "S1".into(),
            make: "M".into(),
            model: "X".into(),
            modality: biotrust_model::Modality::Face,
            device_sub_type: biotrust_model::DeviceSubType::FullFace,
            device_provider: "P".into(),
            device_provider_id: "1".into(),
        };
        let challenge = Challenge::new([1; 32], AUDIENCE, EvidencePurpose::DeviceKey, now);
        let claims = Claims::beside(&identity, Level::L0, "1.0", None, &Proof::Software);
        let payload = evidence::payload(&challenge, &claims, &Proof::Software, now);
        let unsigned = signed::prepare(evidence::TYP, &Signer::Key(&spki), &payload).unwrap();
        let signature = signer.sign_rs256(unsigned.signing_input());
        let text = unsigned.attach(&signature);
        let ftm = pki.store().unwrap();
        let expected = Expected {
            challenge: Some(&challenge),
            now,
            ftm: &ftm,
            identity: Some(&identity),
            csr: None,
            device_key: Some(&spki),
            models: None,
            known_chip: None,
            policy: Policy::default(),
        };
        let report = verify(&text, &expected);
        assert_eq!(report.verdict().map(drop), Ok(()), "{:#?}", report.checks());
        Evidence { subject: subject(key), at, missed: 0, result: Ok((text, report)) }
    }

    #[test]
    fn evidence_stands_for_its_keys_and_its_time() {
        let held = good(1, HOUR);
        assert!(held.stands(&subject(1), HOUR * 2 - Duration::from_secs(1), HOUR));
        assert!(!held.stands(&subject(2), HOUR, HOUR), "other keys have to be proven anew");
        assert!(!held.stands(&subject(1), HOUR * 2, HOUR));
        assert!(none(1, HOUR, true).stands(&subject(1), HOUR + AGAIN, HOUR), "asking again is in vain");
        assert!(!none(1, HOUR, false).stands(&subject(1), HOUR + AGAIN, HOUR), "asked again soon");
    }

    #[test]
    fn a_device_that_proved_itself_may_be_out_of_reach_twice_and_no_more() {
        let unheard = none(1, HOUR * 2, false);
        let once = good(1, HOUR).in_place_of(&unheard).unwrap();
        assert!(!once.is_due(HOUR * 2, HOUR) && once.is_due(HOUR * 2 + AGAIN, HOUR));
        let twice = once.in_place_of(&unheard).unwrap();
        assert!(twice.in_place_of(&unheard).is_none());
        assert!(good(1, HOUR).in_place_of(&none(2, HOUR, false)).is_none(), "not for other keys");
        assert!(good(1, HOUR).in_place_of(&none(1, HOUR, true)).is_none(), "not when it says that it cannot");
        assert!(none(1, HOUR, false).in_place_of(&unheard).is_none(), "not where nothing was proven");
        let bad = Evidence { result: Ok((String::new(), verify("", &expected_nothing()))), ..unheard };
        assert!(good(1, HOUR).in_place_of(&bad).is_none(), "an answer that is no good is an answer");
    }

    fn expected_nothing() -> Expected<'static> {
        static NO_ANCHORS: std::sync::LazyLock<biotrust_certs::FtmStore> =
            std::sync::LazyLock::new(biotrust_certs::FtmStore::new);
        Expected {
            challenge: None,
            now: biotrust_model::time::UtcMillis(0),
            ftm: &NO_ANCHORS,
            identity: None,
            csr: None,
            device_key: None,
            models: None,
            known_chip: None,
            policy: Policy::default(),
        }
    }
}
