//! The answer to MOSIPDINFO: signed device info, reused for a few seconds.
//!
//! The desktop client asks twice per scan and throws the first answer away, so a signature is made once and served
//! while nothing visible has changed and it is younger than `info_reuse`. One build runs at a time; everybody else who
//! asks meanwhile gets its result. A device that does not sign in time is left out and nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use biotrust_certs::Certificate;
use biotrust_driver_api::{Cancel, FtmError, InfoJob, L1Device, Opened};
use biotrust_model::{DeviceStatus, Problem, ProblemKind};
use biotrust_sbi::answer::{self, DeviceDescription};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::jws;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::discovery::Listing;
use super::ftm::Urgency;
use super::keys::{Keys, with_keys};
use super::unit::{Session, Unit};
use super::{Fleet, Inner, locked};

/// The longest that one device may take to sign; the desktop client gives up after five seconds, twice per scan.
const SIGN: Duration = Duration::from_millis(1_500);
/// How long an answer is served in which a device is missing that may be there a moment later.
const FAILED: Duration = Duration::from_millis(500);

/// The finished answers, while they are fresh.
#[derive(Default)]
pub(super) struct Cache {
    built: ArcSwapOption<Built>,
    building: tokio::sync::Mutex<()>,
}

struct Built {
    /// When its making began, and of which epoch it is.
    began: Duration,
    epoch: u64,
    until: Duration,
    /// For native clients and web pages.
    plain: Bytes,
    /// For the tool kit: devices that cannot sign are empty entries with their error.
    developer: Bytes,
}

impl Built {
    fn body(&self, developer: bool) -> Bytes {
        if developer { self.developer.clone() } else { self.plain.clone() }
    }
}

/// Signed device info of one device.
#[derive(Clone)]
pub(super) struct Signed {
    jws: Arc<str>,
    status: DeviceStatus,
    certificate: String,
    until: Duration,
}

impl Fleet {
    /// The answer to MOSIPDINFO. `developer`: devices of both purposes, and those that cannot sign as empty entries with
    /// their error.
    pub async fn info(&self, developer: bool) -> Bytes {
        let inner = &self.0;
        let asked = inner.now();
        let fresh = |built: &Built| built.epoch == *inner.epoch.borrow() && inner.now() < built.until;
        if let Some(built) = inner.info.built.load().as_ref().filter(|built| fresh(built)) {
            return built.body(developer);
        }
        let _building = inner.info.building.lock().await;
        // an answer that was begun after this one was asked for is new enough, however the devices flap
        let new_enough = |built: &Built| built.began >= asked || fresh(built);
        if let Some(built) = inner.info.built.load().as_ref().filter(|built| new_enough(built)) {
            return built.body(developer);
        }
        let built = Arc::new(build(inner).await);
        inner.info.built.store(Some(Arc::clone(&built)));
        built.body(developer)
    }
}

/// What is known of one device when the answer is written.
struct Entry {
    signed: Option<Signed>,
    problem: Option<Problem>,
    /// Not served to real clients by the configuration.
    filtered: bool,
}

async fn build(inner: &Arc<Inner>) -> Built {
    let (began, epoch) = (inner.now(), *inner.epoch.borrow());
    let language = inner.settings.language;
    let listed = inner.listed();
    let entries: Vec<Entry> =
        join_all(listed.iter().map(|(unit, session)| entry(inner, unit, session))).await;
    // a device that failed is asked again soon
    let failed = entries.iter().any(|entry| entry.signed.is_none() && entry.problem.is_some());
    let reuse = if failed { FAILED.min(inner.settings.info_reuse) } else { inner.settings.info_reuse };
    let until = entries.iter().filter_map(|entry| entry.signed.as_ref().map(|signed| signed.until)).min();
    let write = |wanted: &dyn Fn(&Entry) -> bool| {
        let lines: Vec<String> = entries
            .iter()
            .filter(|entry| wanted(entry))
            .map(|entry| {
                let jws = entry.signed.as_ref().map_or("", |signed| &signed.jws);
                answer::info_entry(jws, entry.problem.as_ref(), language)
            })
            .collect();
        Bytes::from(answer::info_answer(&lines))
    };
    // an unsigned entry hides the signed ones from real clients; alone it can hide nobody
    let nobody_signed = entries.iter().all(|entry| entry.filtered || entry.signed.is_none());
    Built {
        began,
        epoch,
        until: until.unwrap_or(Duration::MAX).min(began + reuse),
        plain: write(&|entry| !entry.filtered && (nobody_signed || entry.signed.is_some())),
        developer: write(&|_| true),
    }
}

async fn entry(inner: &Arc<Inner>, unit: &Arc<Unit>, session: &Arc<Session>) -> Entry {
    let filtered = inner.filtered(session);
    if !matches!(inner.listing(unit, session, true), Listing::Full) {
        return Entry { signed: None, problem: unit.problem(), filtered };
    }
    let signed = tokio::time::timeout(SIGN, signed(inner, unit, session)).await;
    let late = || Problem::about(ProblemKind::NotReady, "it did not sign in time");
    match signed.unwrap_or_else(|_| Err(late())) {
        Ok(signed) => Entry { signed: Some(signed), problem: unit.problem(), filtered },
        Err(problem) => {
            tracing::warn!(device = %session.id, %problem, "left out of device info");
            Entry { signed: None, problem: Some(problem), filtered }
        }
    }
}

/// The signed info of one device: what it was a moment ago, or a new one.
async fn signed(inner: &Arc<Inner>, unit: &Arc<Unit>, session: &Arc<Session>) -> Result<Signed, Problem> {
    let keys = session.keys().ok_or(ProblemKind::NotReady)?;
    if let Some(reason) = keys.expired(inner.clock.now()) {
        return Err(Problem::about(ProblemKind::DeviceKeyExpired, reason));
    }
    let (status, certificate) = (unit.status(), keys.sha256());
    let held = locked(&unit.signed).clone();
    if let Some(held) = held
        .filter(|held| held.status == status && held.certificate == certificate && inner.now() < held.until)
    {
        return Ok(held);
    }
    let (job, description) = super::keys::info_job(inner, unit, session, session.level());
    let jws = match session.opened().ok_or(ProblemKind::NotReady)? {
        Opened::L0(_) => by_host(inner, session, &keys, &description).await?,
        Opened::L1(device) => {
            by_device(inner, unit, session, Arc::clone(device), &keys, job, description).await?
        }
    };
    let signed =
        Signed { jws: jws.into(), status, certificate, until: inner.now() + inner.settings.info_reuse };
    *locked(&unit.signed) = Some(signed.clone());
    Ok(signed)
}

/// L0: the device key is in the host's FTM and signs digital ID and info.
async fn by_host(
    inner: &Inner,
    session: &Session,
    keys: &Keys,
    description: &DeviceDescription,
) -> Result<String, Problem> {
    let certificate = keys.l0()?.certificate();
    let x5c = [certificate.der()];
    let digital_id = DigitalId::at(description.identity.clone(), inner.clock.now()).prepare(&x5c);
    let digital_id = sign(inner, session, certificate, digital_id).await?;
    let info = answer::device_info_payload(description, &digital_id);
    sign(inner, session, certificate, jws::prepare(&x5c, &info)).await
}

async fn sign(
    inner: &Inner,
    session: &Session,
    certificate: &Certificate,
    unsigned: jws::Unsigned,
) -> Result<String, Problem> {
    let key = certificate.spki_der();
    let answer = inner.ftm.sign(Urgency::Interactive, session.id.as_str(), key, unsigned).await;
    match answer {
        Ok(Ok((unsigned, signature))) => Ok(unsigned.attach(&signature)),
        Ok(Err(FtmError::NoKey(_))) => Err(Problem::about(ProblemKind::NotReady, "its key was just changed")),
        Ok(Err(error)) => {
            tracing::error!(device = %session.id, %error, "the host's FTM cannot sign");
            Err(ProblemKind::Internal.into())
        }
        Err(_) => Err(Problem::about(ProblemKind::NotReady, "the host's FTM does not answer")),
    }
}

/// L1: the device signs; what it delivers is verified before it is believed.
async fn by_device(
    inner: &Arc<Inner>,
    unit: &Unit,
    session: &Arc<Session>,
    device: Arc<dyn L1Device>,
    keys: &Arc<Keys>,
    job: InfoJob,
    description: DeviceDescription,
) -> Result<String, Problem> {
    let (answer, receiver) = oneshot::channel();
    let (inner, session, keys) = (Arc::clone(inner), Arc::clone(session), Arc::clone(keys));
    let work = move || {
        let result = device
            .signed_info(&job, SIGN)
            .map_err(|error| {
                tracing::warn!(device = %session.id, %error, "device info");
                Problem::from(error.kind.problem())
            })
            .and_then(|jws| {
                with_keys(&session, &Cancel::new(), keys, |keys| {
                    super::keys::verified_info(&inner, &session, keys, &job, &description, &jws)
                })
                .map(|()| jws)
            });
        let _ = answer.send(result);
    };
    unit.lanes()
        .sign
        .submit(work)
        .map_err(|_| Problem::about(ProblemKind::NotReady, "it is not keeping up"))?;
    receiver.await.unwrap_or_else(|_| Err(Problem::about(ProblemKind::NotReady, "it did not sign")))
}
