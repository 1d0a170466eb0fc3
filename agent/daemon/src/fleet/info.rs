//! The answer to MOSIPDINFO: signed device info, reused for a few seconds.
//!
//! The desktop client asks twice per scan and throws the first answer away, so a signature is made once and served
//! while nothing visible has changed and it is younger than `info_reuse`. One build runs at a time; everybody else who
//! asks meanwhile gets its result. A device that does not sign in time is left out and nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use biotrust_driver_api::{DigitalIdKey, InfoJob, Opened};
use biotrust_model::{DeviceStatus, Problem, ProblemKind, Purpose};
use biotrust_sbi::answer;
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::jws;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::discovery::Listing;
use super::ftm::Urgency;
use super::keys::Keys;
use super::unit::{Session, Unit};
use super::{Fleet, Inner, locked};
use crate::catalog::SERVICE_VERSION;

/// The longest that one device may take to sign; the desktop client gives up after five seconds, twice per scan.
const SIGN: Duration = Duration::from_millis(1_500);

/// The finished answers, while they are fresh.
#[derive(Default)]
pub(super) struct Cache {
    built: ArcSwapOption<Built>,
    building: tokio::sync::Mutex<()>,
}

struct Built {
    epoch: u64,
    until: Duration,
    /// For native clients and web pages.
    plain: Bytes,
    /// For the tool kit: devices that cannot sign are empty entries with their error.
    developer: Bytes,
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
    /// The answer to MOSIPDINFO. `developer`: devices that cannot sign are listed as empty entries with their error.
    pub async fn info(&self, developer: bool) -> Bytes {
        let inner = &self.0;
        if let Some(body) = inner.info.fresh(inner, developer) {
            return body;
        }
        let _building = inner.info.building.lock().await;
        if let Some(body) = inner.info.fresh(inner, developer) {
            return body;
        }
        let built = Arc::new(build(inner).await);
        inner.info.built.store(Some(Arc::clone(&built)));
        if developer { built.developer.clone() } else { built.plain.clone() }
    }
}

impl Cache {
    fn fresh(&self, inner: &Inner, developer: bool) -> Option<Bytes> {
        let built = self.built.load();
        let built = built.as_ref()?;
        let fresh = built.epoch == *inner.epoch.borrow() && inner.now() < built.until;
        fresh.then(|| if developer { built.developer.clone() } else { built.plain.clone() })
    }
}

async fn build(inner: &Arc<Inner>) -> Built {
    let epoch = *inner.epoch.borrow();
    let language = inner.settings.language;
    let listed = inner.listed();
    let entries = join_all(listed.iter().map(|(unit, session)| async move {
        match inner.listing(unit, session) {
            Listing::Full => match signed(inner, unit, session).await {
                Ok(signed) => Some((Some(signed), unit.problem())),
                Err(problem) => {
                    tracing::warn!(device = %session.id, %problem, "left out of device info");
                    Some((None, Some(problem)))
                }
            },
            Listing::DiscoveryOnly { .. } => Some((None, unit.problem())),
            Listing::None { .. } => None,
        }
    }))
    .await;
    let entries: Vec<_> = entries.into_iter().flatten().collect();
    let until = entries
        .iter()
        .filter_map(|(signed, _)| signed.as_ref().map(|signed| signed.until))
        .min()
        .unwrap_or_else(|| inner.now() + inner.settings.info_reuse);
    let write = |with_unsigned: bool| {
        let lines: Vec<String> = entries
            .iter()
            .filter(|(signed, _)| signed.is_some() || with_unsigned)
            .map(|(signed, problem)| {
                answer::info_entry(
                    signed.as_ref().map_or("", |signed| &signed.jws),
                    problem.as_ref(),
                    language,
                )
            })
            .collect();
        Bytes::from(answer::info_answer(&lines))
    };
    // an unsigned entry hides the signed ones from real clients; alone it can hide nobody
    let nobody_signed = entries.iter().all(|(signed, _)| signed.is_none());
    Built { epoch, until, plain: write(nobody_signed), developer: write(true) }
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
    let jws = match &session.opened {
        Opened::L0(_) => by_host(inner, unit, session, &keys).await?,
        Opened::L1(_) => by_device(inner, unit, session, &keys, status).await?,
    };
    let signed =
        Signed { jws: jws.into(), status, certificate, until: inner.now() + inner.settings.info_reuse };
    *locked(&unit.signed) = Some(signed.clone());
    Ok(signed)
}

/// L0: the device key is in the host's FTM and signs digital ID and info.
async fn by_host(inner: &Inner, unit: &Unit, session: &Session, keys: &Keys) -> Result<String, Problem> {
    let description = inner.describe(unit, session);
    let x5c = [keys.l0()?.certificate().der()];
    let digital_id = DigitalId::at(description.identity.clone(), inner.clock.now()).prepare(&x5c);
    let digital_id = sign_one(inner, session, digital_id).await?;
    let info = answer::device_info_payload(&description, &digital_id);
    sign_one(inner, session, jws::prepare(&x5c, &info)).await
}

async fn sign_one(inner: &Inner, session: &Session, unsigned: jws::Unsigned) -> Result<String, Problem> {
    let key = session.id.as_str();
    let answer = inner.ftm.sign(Urgency::Interactive, key, vec![unsigned.signing_input().to_vec()]);
    let signatures = tokio::time::timeout(SIGN, answer).await;
    match signatures {
        Ok(Ok(Ok(signatures))) => match signatures.first() {
            Some(signature) => Ok(unsigned.attach(signature)),
            None => Err(ProblemKind::Internal.into()),
        },
        Ok(Ok(Err(error))) => {
            tracing::error!(device = %session.id, %error, "the host's FTM cannot sign");
            Err(ProblemKind::NotRegistered.into())
        }
        Ok(Err(_)) | Err(_) => {
            Err(Problem::about(ProblemKind::NotReady, "the host's FTM did not sign in time"))
        }
    }
}

/// L1: the device signs; what it delivers is verified before it is believed.
async fn by_device(
    inner: &Arc<Inner>,
    unit: &Unit,
    session: &Arc<Session>,
    keys: &Arc<Keys>,
    status: DeviceStatus,
) -> Result<String, Problem> {
    let job = InfoJob {
        device_id: session.id.to_string(),
        status,
        env: inner.settings.env,
        callback_id: inner.settings.callback_id.clone(),
        service_version: SERVICE_VERSION.to_owned(),
        digital_id_key: match session.description.purpose {
            Purpose::Registration => inner.settings.digital_id_key,
            Purpose::Auth => DigitalIdKey::Chip,
        },
    };
    let mut description = inner.describe(unit, session);
    description.status = status;
    let (answer, receiver) = oneshot::channel();
    let (inner, session, keys) = (Arc::clone(inner), Arc::clone(session), Arc::clone(keys));
    unit.lanes()
        .sign
        .submit(move || {
            let Opened::L1(device) = &session.opened else { return };
            let result = device
                .signed_info(&job, SIGN)
                .map_err(|error| {
                    tracing::warn!(device = %session.id, %error, "device info");
                    Problem::from(error.kind.problem())
                })
                .and_then(|jws| super::keys::verified_info(&inner, &session, &keys, &job, &description, jws));
            let _ = answer.send(result);
        })
        .map_err(|_| Problem::about(ProblemKind::NotReady, "it is not keeping up"))?;
    match tokio::time::timeout(SIGN, receiver).await {
        Ok(Ok(result)) => result,
        _ => Err(Problem::about(ProblemKind::NotReady, "it did not sign in time")),
    }
}
