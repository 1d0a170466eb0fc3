//! Keys and certificates of a device: reading, appraising, and what is remembered of them.
//!
//! Blocking; runs on the service lane of the device. What appraisal says becomes the device's standing.

use std::sync::Arc;
use std::time::Duration;

use biotrust_certs::Certificate;
use biotrust_driver_api::{DigitalIdKey, FtmError, InfoJob, L1Device, Opened};
use biotrust_model::time::UtcMillis;
use biotrust_model::{Problem, ProblemKind, Purpose};
use biotrust_sbi::answer::DeviceDescription;
use biotrust_trust::block::{DigitalIdSigner, ExpectedInfo, Moment, verify_device_info};
use biotrust_trust::{Appraisal, AppraisedL0, AppraisedL1, Check, FailedCheck, appraise_l0, appraise_l1};

use super::state::{Event, Standing};
use super::unit::{Session, Unit};
use super::{EnrolError, Inner, enrol, locked};

/// The longest that a device may take to hand out certificates or take one in.
const CALL: Duration = Duration::from_secs(2);

/// What is known of a device's keys after appraisal.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The device certificate, where there is one.
    pub(super) certificate: Option<Certificate>,
    /// The device, where it stood up to every check.
    pub(super) appraised: Option<Appraised>,
    /// When the first certificate of a path ends.
    expires: Option<UtcMillis>,
    /// The checks, for status.
    pub(super) checks: Vec<Check>,
    /// Thumbprints of encryption certificates that the device does not accept, each with its reason.
    pub(super) refused_encryption: Vec<(String, String)>,
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
    fn new<T>(chain: &[Vec<u8>], appraisal: Appraisal<T>, wrap: impl FnOnce(T) -> Appraised) -> Self {
        let certificate = chain.first().and_then(|der| Certificate::parse(der).ok());
        Self {
            checks: appraisal.checks().to_vec(),
            // a path through a certificate that has ended is not found: then its own end tells (error 107, not 508)
            expires: appraisal.expires().or_else(|| certificate.as_ref().map(Certificate::not_after)),
            certificate,
            appraised: appraisal.into_device().ok().map(wrap),
            refused_encryption: Vec::new(),
        }
    }

    /// Whether the device does not accept this encryption certificate.
    pub(super) fn refuses(&self, thumbprint: &str) -> bool {
        self.refused_encryption.iter().any(|(refused, _)| refused == thumbprint)
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

/// Reads the keys of the open device, appraises them and sets its standing; tells whether anything visible changed.
pub(super) fn appraise(inner: &Arc<Inner>, unit: &Unit) -> bool {
    let Some(session) = unit.session() else { return false };
    let Some(opened) = session.opened() else { return false };
    let (keys, standing) = match opened {
        Opened::L0(_) => on_host(inner, &session),
        Opened::L1(device) => in_device(inner, unit, &session, device.as_ref()),
    };
    let rotated = session.keys().is_none_or(|before| before.sha256() != keys.sha256());
    let sha256 = keys.sha256();
    session.set_keys(Some(Arc::new(keys)));
    if rotated {
        *locked(&unit.signed) = None;
    }
    let changed = unit.note(Event::Appraised(standing.clone())) || rotated;
    match &standing {
        _ if !changed => {}
        Standing::Good => tracing::info!(device = %session.id, certificate = sha256, "device trusted"),
        other => tracing::warn!(device = %session.id, standing = ?other, "device not usable"),
    }
    changed
}

fn on_host(inner: &Inner, session: &Session) -> (Keys, Standing) {
    let identity = &session.description.identity;
    let not_registered = |reason: String| (Keys::default(), Standing::NotRegistered { reason });
    let chain = match enrol::reconcile(inner, session.id.as_str()) {
        Ok(Some(chain)) => chain,
        Ok(None) => return not_registered("its key has no certificate yet".into()),
        Err(EnrolError::Ftm(FtmError::NoKey(_))) => {
            return not_registered("this host has no key for it".into());
        }
        Err(error) => return not_registered(error.to_string()),
    };
    let now = inner.clock.now();
    let appraisal = appraise_l0(identity, &chain, &inner.trust.device, now);
    let verdict = appraisal.verdict();
    let keys = Keys::new(&chain, appraisal, |device| Appraised::L0(Box::new(device)));
    let standing = standing(verdict, &keys, now);
    (keys, standing)
}

fn in_device(inner: &Inner, unit: &Unit, session: &Session, device: &dyn L1Device) -> (Keys, Standing) {
    let identity = &session.description.identity;
    let refused = |check: String| (Keys::default(), Standing::Refused { check });
    let held = match device.keys(CALL) {
        Ok(held) => held,
        Err(error) => return refused(format!("it does not show its certificates: {error}")),
    };
    if held.device_chain.is_empty() {
        let reason = "it holds no device certificate".to_owned();
        return (Keys::default(), Standing::NotRegistered { reason });
    }
    let (now, trust) = (inner.clock.now(), &inner.trust);
    let appraisal =
        appraise_l1(identity, &held.device_chain, &held.chip_chain, &trust.device, &trust.ftm, now);
    let verdict = appraisal.verdict();
    let mut keys = Keys::new(&held.device_chain, appraisal, |device| Appraised::L1(Box::new(device)));
    let standing = standing(verdict, &keys, now);
    if standing != Standing::Good {
        return (keys, standing);
    }
    // certificates are public: a device is known by what it signs
    let (job, description) = info_job(inner, unit, session);
    let proof = device
        .signed_info(&job, CALL)
        .map_err(|error| format!("it does not sign: {error}"))
        .and_then(|jws| verify_info(inner, &keys, &job, &description, &jws));
    if let Err(check) = proof {
        return (keys, Standing::Refused { check });
    }
    if session.description.purpose == Purpose::Auth {
        for (domain, target) in trust.encryption.all() {
            if let Err(error) = device.install_encryption_certificate(domain, &target.chain, CALL) {
                tracing::warn!(device = %session.id, domain, %error, "the device does not accept an encryption certificate");
                let thumbprint = target.certificate.thumbprint().to_owned();
                keys.refused_encryption.push((thumbprint, error.to_string()));
            }
        }
    }
    (keys, standing)
}

/// What the device is to sign of itself, now.
pub(super) fn info_job(inner: &Inner, unit: &Unit, session: &Session) -> (InfoJob, DeviceDescription) {
    let description = inner.describe(unit, session);
    let job = InfoJob {
        device_id: session.id.to_string(),
        status: description.status,
        env: inner.settings.env,
        callback_id: inner.settings.callback_id.clone(),
        service_version: description.service_version.clone(),
        digital_id_key: match session.description.purpose {
            Purpose::Registration => inner.settings.digital_id_key,
            Purpose::Auth => DigitalIdKey::Chip,
        },
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
    jws: String,
) -> Result<String, Problem> {
    match verify_info(inner, keys, job, description, &jws) {
        Ok(()) => Ok(jws),
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
