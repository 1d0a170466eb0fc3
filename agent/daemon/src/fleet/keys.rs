//! Keys and certificates of a device: reading, appraising, and what is remembered of them.
//!
//! Blocking; runs on the service lane of the device. What appraisal says becomes the device's standing.
//!
//! One value of [`Keys`] is one pair of key and certificate with everything that was found about it. Whoever makes an
//! answer takes one such value and makes the whole answer with it ([`with_keys`]), so that no answer mixes two pairs.

use std::sync::Arc;
use std::time::Duration;

use biotrust_certs::Certificate;
use biotrust_driver_api::{Cancel, DigitalIdKey, FtmError, InfoJob, L1Device, L1Keys, Opened};
use biotrust_model::evidence::KeySlot;
use biotrust_model::time::UtcMillis;
use biotrust_model::{Level, Problem, ProblemKind, Purpose};
use biotrust_sbi::answer::DeviceDescription;
use biotrust_trust::block::{DigitalIdSigner, ExpectedInfo, Moment, verify_device_info};
use biotrust_trust::{
    Appraisal, AppraisedL0, AppraisedL1, Check, FailedCheck, History, appraise_l0, appraise_l1,
};

use super::attestation::{self, Evidence};
use super::device_keys::{self, CALL};
use super::ftm::KeyHold;
use super::management::ManageError;
use super::settings::{Encryption, EncryptionTarget};
use super::state::{Event, Hold, Standing};
use super::unit::{Session, Unit};
use super::{Inner, host_keys, locked};
use crate::store::Owner;

/// What is known of a device's keys after appraisal.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The device certificate, where there is one.
    pub(super) certificate: Option<Certificate>,
    /// The same with what leads to its anchor; leaf first, DER.
    chain: Vec<Vec<u8>>,
    /// The device, where it stood up to every check.
    pub(super) appraised: Option<Appraised>,
    /// When the first certificate of a path ends.
    expires: Option<UtcMillis>,
    /// The checks, for status.
    pub(super) checks: Vec<Check>,
    /// Thumbprints of encryption certificates that the device does not accept, each with its reason.
    pub(super) refused_encryption: Vec<(String, String)>,
    /// Whom to encrypt for with these keys; an L1 device has been given these.
    encryption: Arc<Encryption>,
    /// What the trust module had to say.
    evidence: Option<Evidence>,
    /// L0: keeps the key usable until the last answer with it is made, should it be rotated meanwhile.
    hold: Option<Arc<KeyHold>>,
}

/// An appraised device, by level.
#[derive(Debug)]
pub(super) enum Appraised {
    /// Its key is the host's.
    L0(Box<AppraisedL0>),
    /// Its keys are its own.
    L1(Box<AppraisedL1>),
}

impl Keys {
    fn new<T>(
        inner: &Inner,
        chain: &[Vec<u8>],
        appraisal: Appraisal<T>,
        wrap: impl FnOnce(T) -> Appraised,
    ) -> Self {
        let certificate = chain.first().and_then(|der| Certificate::parse(der).ok());
        Self {
            checks: appraisal.checks().to_vec(),
            // a path through a certificate that has ended is not found: then its own end tells (error 107, not 508)
            expires: appraisal.expires().or_else(|| certificate.as_ref().map(Certificate::not_after)),
            certificate,
            chain: chain.to_vec(),
            appraised: appraisal.into_device().ok().map(wrap),
            refused_encryption: Vec::new(),
            encryption: inner.encryption(),
            evidence: None,
            hold: None,
        }
    }

    /// Device certificate and what leads to its anchor; leaf first, DER. Empty where there is none.
    pub(super) fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The level that the device was granted, where it stood up.
    pub(super) fn granted(&self) -> Option<Level> {
        match self.appraised.as_ref()? {
            Appraised::L0(_) => Some(Level::L0),
            Appraised::L1(device) => Some(device.granted()),
        }
    }

    /// Why a device that has its keys itself is not served as L1.
    pub(super) fn why_not_l1(&self) -> Option<&str> {
        match self.appraised.as_ref()? {
            Appraised::L0(_) => None,
            Appraised::L1(device) => device.why_not_l1(),
        }
    }

    /// Whom to encrypt for, for `domain_uri`.
    ///
    /// # Errors
    /// What a client is to be told where there is nobody, or the certificate cannot be used.
    pub(super) fn target(&self, domain_uri: &str, now: UtcMillis) -> Result<&EncryptionTarget, Problem> {
        let target = self.encryption.target(domain_uri).ok_or(ProblemKind::EncryptionKeyMissing)?;
        let certificate = &target.certificate;
        if !certificate.is_valid_at(now) {
            let (from, to) = (certificate.not_before().to_wire(), certificate.not_after().to_wire());
            return Err(Problem::about(
                ProblemKind::EncryptionKeyExpired,
                format!("it is valid from {from} to {to}"),
            ));
        }
        let thumbprint = certificate.thumbprint();
        if self.refused_encryption.iter().any(|(refused, _)| refused == thumbprint) {
            return Err(Problem::about(ProblemKind::EncryptionKeyMissing, "the device does not accept it"));
        }
        Ok(target)
    }

    /// The evidence of the last appraisal, where there is any.
    pub(super) fn evidence(&self) -> Option<&str> {
        let result = self.evidence.as_ref().map(|evidence| evidence.result.as_ref());
        result.and_then(Result::ok).map(|(text, _)| text.as_str())
    }

    /// How long ago the device proved what it is, where it did.
    pub(super) fn attested_ago(&self, inner: &Inner) -> Option<Duration> {
        let evidence = self.evidence.as_ref().filter(|evidence| evidence.result.is_ok())?;
        Some(evidence.age(inner.now()))
    }

    /// Whether it is time to ask for evidence again.
    pub(super) fn evidence_is_due(&self, inner: &Inner) -> bool {
        let interval = inner.settings.attestation.interval;
        self.evidence.as_ref().is_some_and(|evidence| evidence.is_due(inner.now(), interval))
    }

    /// SHA-256 of the device certificate, upper-case hex; empty where there is none.
    pub(super) fn sha256(&self) -> String {
        self.certificate.as_ref().map(Certificate::sha256).unwrap_or_default()
    }

    /// Why the keys can no longer be used, where a certificate has ended.
    pub(super) fn expired(&self, now: UtcMillis) -> Option<String> {
        let ended = self.expires.filter(|expires| now > *expires)?;
        Some(format!("it ended on {}", ended.to_wire()))
    }

    /// The appraised L0 device.
    pub(super) fn l0(&self) -> Result<&AppraisedL0, Problem> {
        match &self.appraised {
            Some(Appraised::L0(device)) => Ok(device),
            _ => Err(ProblemKind::NotReady.into()),
        }
    }

    /// The appraised L1 device.
    pub(super) fn l1(&self) -> Result<&AppraisedL1, Problem> {
        match &self.appraised {
            Some(Appraised::L1(device)) => Ok(device),
            _ => Err(ProblemKind::NotReady.into()),
        }
    }
}

/// Makes something with the keys that it began with. A device may have been given others meanwhile: where the result does
/// not fit the keys, it is made again, as a whole, with those that are in place now, or that are on their way.
pub(super) fn with_keys<T>(
    session: &Session,
    cancel: &Cancel,
    begun: Arc<Keys>,
    attempt: impl Fn(&Keys) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let mut keys = begun;
    let mut result = attempt(&keys);
    for look in 0..SETTLING_LOOKS {
        let about_keys =
            matches!(&result, Err(p) if matches!(p.kind, ProblemKind::DeviceRefused | ProblemKind::NotReady));
        if !about_keys {
            break;
        }
        let now = session.keys().ok_or(ProblemKind::NotReady)?;
        if !Arc::ptr_eq(&now, &keys) {
            keys = now;
            result = attempt(&keys);
        } else if (look >= LOOKS && !session.is_settling()) || cancel.wait(PAUSE) {
            break;
        }
    }
    result
}

/// How often to look for other keys where none are known to come, and where some are.
const LOOKS: u32 = 10;
const SETTLING_LOOKS: u32 = 400;
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Reads the keys of the open device, appraises them and sets its standing; tells whether anything visible changed.
pub(super) fn appraise(inner: &Arc<Inner>, unit: &Unit) -> bool {
    let Some(session) = unit.session() else { return false };
    let Some(opened) = session.opened() else { return false };
    let _one = locked(&session.judging);
    let before = session.keys();
    let (sha256, standing) = {
        let _settling = session.settle();
        let (keys, standing) = match opened {
            Opened::L0(_) => on_host(inner, &session),
            Opened::L1(device) => in_device(inner, unit, &session, device.as_ref()),
        };
        let sha256 = keys.sha256();
        session.set_keys(Some(Arc::new(keys)));
        (sha256, standing)
    };
    let now = session.keys();
    let differs = |of: &dyn Fn(&Keys) -> String| before.as_deref().map(of) != now.as_deref().map(of);
    let rotated = differs(&|keys| keys.sha256());
    let regraded = differs(&|keys| keys.granted().map(|level| level.to_string()).unwrap_or_default());
    if rotated || regraded {
        *locked(&unit.signed) = None;
    }
    let changed = unit.note(Event::Appraised(standing.clone())) || rotated || regraded;
    match &standing {
        _ if !changed => {}
        Standing::Good => {
            let why_not_l1 = now.as_deref().and_then(Keys::why_not_l1);
            tracing::info!(device = %session.id, certificate = sha256, level = %session.level(), why_not_l1, "device trusted");
        }
        other => tracing::warn!(device = %session.id, standing = ?other, "device not usable"),
    }
    changed
}

fn not_registered(reason: impl Into<String>) -> (Keys, Standing) {
    (Keys::default(), Standing::NotRegistered { reason: reason.into() })
}

fn refused(check: impl Into<String>) -> (Keys, Standing) {
    (Keys::default(), Standing::Refused { check: check.into() })
}

fn on_host(inner: &Inner, session: &Session) -> (Keys, Standing) {
    let identity = &session.description.identity;
    let chain = match host_keys::reconcile(inner, session.id.as_str()) {
        Ok(Some(chain)) => chain,
        Ok(None) => return not_registered("its key has no certificate yet"),
        Err(ManageError::Ftm(FtmError::NoKey(_))) => return not_registered("this host has no key for it"),
        Err(error) => return not_registered(error.to_string()),
    };
    let now = inner.clock.now();
    let mut appraisal =
        appraise_l0(identity, &chain, &inner.trust.device, now).with_keys_in(inner.ftm.kind());
    let leaf = chain.first().and_then(|der| Certificate::parse(der).ok());
    let mut evidence = None;
    if let (Ok(()), Some(leaf)) = (appraisal.verdict(), &leaf) {
        let found = evidence_about(inner, session, attestation::subject(leaf, None), KeySlot::Current);
        appraisal = match &found.result {
            Ok((_, report)) => appraisal.with_evidence(report),
            Err(none) => appraisal.without_evidence(&none.why),
        };
        evidence = Some(found);
    }
    let verdict = appraisal.verdict();
    let mut keys = Keys::new(inner, &chain, appraisal, |device| Appraised::L0(Box::new(device)));
    keys.evidence = evidence;
    keys.hold = leaf.map(|leaf| inner.ftm.hold(session.id.as_str(), leaf.spki_der()));
    let standing = standing(verdict, &keys, now);
    (keys, standing)
}

fn in_device(inner: &Inner, unit: &Unit, session: &Session, device: &dyn L1Device) -> (Keys, Standing) {
    let held = match device.keys(CALL) {
        Ok(held) => held,
        Err(error) => return refused(format!("it does not show its certificates: {error}")),
    };
    let held = match device_keys::reconcile(inner, session, device, held) {
        Ok(held) => held,
        Err(error) => return refused(format!("an order to destroy its key cannot be carried out: {error}")),
    };
    unit.note(Event::Held(Hold::DeviceTime, untimed(inner, device)));
    if held.device_chain.is_empty() {
        return not_registered("it holds no device certificate");
    }
    let (mut keys, standing) = judge(inner, session, &held, KeySlot::Current);
    if standing != Standing::Good {
        return (keys, standing);
    }
    // certificates are public: a device is known by what it signs
    let (job, description) = info_job(inner, unit, session, keys.granted().unwrap_or(Level::L0));
    let proof = device
        .signed_info(&job, CALL)
        .map_err(|error| format!("it does not sign: {error}"))
        .and_then(|jws| verify_info(inner, &keys, &job, &description, &jws));
    if let Err(check) = proof {
        return (keys, Standing::Refused { check });
    }
    remember(inner, session, &keys);
    if session.description.purpose == Purpose::Auth {
        for (domain, target) in keys.encryption.all() {
            if let Err(error) = device.install_encryption_certificate(domain, &target.chain, CALL) {
                tracing::warn!(device = %session.id, domain, %error, "the device does not accept an encryption certificate");
                let thumbprint = target.certificate.thumbprint().to_owned();
                keys.refused_encryption.push((thumbprint, error.to_string()));
            }
        }
    }
    (keys, standing)
}

/// Holds what a device shows, or is about to be given, against certificates, memory and evidence.
pub(super) fn judge(inner: &Inner, session: &Session, held: &L1Keys, slot: KeySlot) -> (Keys, Standing) {
    let (identity, trust) = (&session.description.identity, &inner.trust);
    let now = inner.clock.now();
    let mut appraisal =
        appraise_l1(identity, &held.device_chain, &held.chip_chain, &trust.device, &trust.ftm, now);
    let parsed = |chain: &[Vec<u8>]| chain.first().and_then(|der| Certificate::parse(der).ok());
    let mut evidence = None;
    if let (Ok(()), Some(leaf), Some(chip)) =
        (appraisal.verdict(), parsed(&held.device_chain), parsed(&held.chip_chain))
    {
        match history(inner, session, &chip) {
            Ok(history) => appraisal = appraisal.with_history(&history),
            Err(error) => return refused(format!("chip-history: {error}")),
        }
        if appraisal.verdict().is_ok() {
            let found = evidence_about(inner, session, attestation::subject(&leaf, Some(&chip)), slot);
            appraisal = match &found.result {
                Ok((_, report)) => appraisal.with_evidence(report),
                Err(none) => {
                    let refuse = !none.unable || inner.settings.attestation.required;
                    appraisal.without_evidence(&none.why, refuse)
                }
            };
            evidence = Some(found);
        }
    }
    let verdict = appraisal.verdict();
    let mut keys = Keys::new(inner, &held.device_chain, appraisal, |device| Appraised::L1(Box::new(device)));
    keys.evidence = evidence;
    let standing = standing(verdict, &keys, now);
    (keys, standing)
}

/// Evidence about these keys: what was found a while ago, or what is found now.
fn evidence_about(
    inner: &Inner,
    session: &Session,
    subject: attestation::Subject,
    slot: KeySlot,
) -> Evidence {
    let interval = inner.settings.attestation.interval;
    let held = session.keys().and_then(|keys| keys.evidence.clone());
    let good = held.clone();
    let held =
        held.filter(|held| !session.takes_fresh_evidence() && held.stands(&subject, inner.now(), interval));
    held.unwrap_or_else(|| {
        let found = attestation::attest(inner, session, subject, slot);
        good.and_then(|good| good.in_place_of(&found)).unwrap_or(found)
    })
}

/// What this host remembers of the device and of the chip that it shows.
fn history(inner: &Inner, session: &Session, chip: &Certificate) -> Result<History, ManageError> {
    let identity = &session.description.identity;
    let owner = Owner::new(&identity.device_provider, &identity.serial_no);
    let known = inner.store().remembered(&owner, chip.spki_der())?;
    let other = known.owner.filter(|known| *known != owner);
    Ok(History { chip_of_device: known.chip, chip_in_other: other.map(|other| other.serial) })
}

/// Remembers the chip of a device that stood up, and what it runs. Only a chip that was proven: anybody can show the
/// certificate of another's, or give the serial number of another's device.
fn remember(inner: &Inner, session: &Session, keys: &Keys) {
    let Ok(device) = keys.l1() else { return };
    let report = keys.evidence.as_ref().and_then(|evidence| evidence.result.as_ref().ok());
    let Some(attested) = report.and_then(|(_, report)| report.verdict().ok()) else { return };
    let identity = &session.description.identity;
    let owner = Owner::new(&identity.device_provider, &identity.serial_no);
    let remembered =
        inner.store().remember(&owner, device.chip().spki_der(), attested.svn, inner.clock.now());
    if let Err(error) = remembered {
        tracing::error!(device = %session.id, %error, "its chip cannot be remembered");
    }
}

/// Why the clock of the device cannot be believed, where that matters.
fn untimed(inner: &Inner, device: &dyn L1Device) -> Option<String> {
    if !inner.settings.require_time {
        return None;
    }
    match device.clock(CALL) {
        Ok(clock) if clock.now.is_some() => None,
        Ok(_) => Some(
            "it has not been told the time since it started; connect the host to the management server"
                .into(),
        ),
        Err(error) => Some(format!("it does not tell its time: {error}")),
    }
}

/// What the device is to sign of itself, now.
pub(super) fn info_job(
    inner: &Inner,
    unit: &Unit,
    session: &Session,
    level: Level,
) -> (InfoJob, DeviceDescription) {
    // A device that is being registered signs as what it is from then on.
    let description = DeviceDescription {
        level,
        purpose: Some(session.description.purpose),
        env: Some(inner.settings.env),
        ..inner.describe(unit, session)
    };
    let job = InfoJob {
        device_id: session.id.to_string(),
        status: description.status,
        env: inner.settings.env,
        callback_id: inner.settings.callback_id.clone(),
        service_version: description.service_version.clone(),
        digital_id_key: match (level, session.description.purpose) {
            // what is no better than L0 identifies itself as L0 does
            (Level::L0, _) => DigitalIdKey::Device,
            (Level::L1, Purpose::Registration) => inner.settings.digital_id_key,
            (Level::L1, Purpose::Auth) => DigitalIdKey::Chip,
        },
        level,
    };
    (job, description)
}

fn verify_info(
    inner: &Inner,
    keys: &Keys,
    job: &InfoJob,
    description: &DeviceDescription,
    jws: &str,
) -> Result<(), String> {
    let expected = ExpectedInfo {
        device: keys.l1().map_err(|problem| problem.to_string())?,
        digital_id_signer: signer(job.digital_id_key),
        description,
        moment: moment(inner),
    };
    verify_device_info(jws, &expected).map(drop).map_err(|error| error.to_string())
}

fn standing(verdict: Result<(), FailedCheck>, keys: &Keys, now: UtcMillis) -> Standing {
    match (verdict, keys.expired(now)) {
        (_, Some(reason)) => Standing::Expired { reason },
        (Err(failed), None) => Standing::Refused { check: failed.to_string() },
        (Ok(()), None) => Standing::Good,
    }
}

/// Device info of an L1 device, once it has been verified.
pub(super) fn verified_info(
    inner: &Inner,
    session: &Session,
    keys: &Keys,
    job: &InfoJob,
    description: &DeviceDescription,
    jws: &str,
) -> Result<(), Problem> {
    match verify_info(inner, keys, job, description, jws) {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::error!(device = %session.id, error, "the device signed something else than it was asked to");
            Err(Problem::about(ProblemKind::DeviceRefused, error))
        }
    }
}

/// The driver's word for who signs a digital ID, in the verifier's words.
pub(super) const fn signer(key: DigitalIdKey) -> DigitalIdSigner {
    match key {
        DigitalIdKey::Chip => DigitalIdSigner::Chip,
        DigitalIdKey::Device => DigitalIdSigner::Device,
    }
}

/// Now, with the five minutes that clients grant a device's clock.
pub(super) fn moment(inner: &Inner) -> Moment {
    Moment { now: inner.clock.now(), max_skew: Duration::from_secs(300) }
}
