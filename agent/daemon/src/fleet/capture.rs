//! A capture from request to answer: lease, device, blocks, and the instant at which the answer is due.
//!
//! When the answer leaves is decided in [`super::due`]. Dropping the future (the client has gone) cancels the capture at once.

use std::sync::Arc;
use std::time::Duration;

use biotrust_driver_api::{
    AuthCapture, Cancel, CaptureJob, CaptureOutcome, DeviceError, DeviceErrorKind, DigitalIdKey, Opened,
};
use biotrust_model::{Level, Problem, ProblemKind, Purpose};
use biotrust_sbi::plan;
use biotrust_sbi::request::CaptureRequest;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::blocks;
use super::due::{Due, End};
use super::keys::{Keys, with_keys};
use super::state::Lease;
use super::unit::{Session, Timing, Unit};
use super::{Fleet, Inner};
use crate::catalog::SERVICE_VERSION;

/// What a capture made.
struct Made {
    /// The finished answer, or that nothing was presented.
    answer: Result<Bytes, Problem>,
    /// Whether the requested score was reached.
    reached: bool,
}

/// How far the average may be below the requested score, for scores are written with one decimal.
const ROUNDING: f32 = 0.1;

impl Fleet {
    /// Serves CAPTURE or RCAPTURE. Dropping the future calls the capture off.
    ///
    /// # Errors
    /// The problem to tell the client.
    pub async fn capture(&self, request: CaptureRequest) -> Result<Bytes, Problem> {
        let inner = &self.0;
        let received = Instant::now();
        let unit = inner.find(&request.bio.device_id)?;
        let session = unit.session().ok_or(ProblemKind::DeviceNotFound)?;
        let (plan, keys) = admit(inner, &session, &request)?;
        let settings = &inner.settings;
        let margin = session.cost().margin(settings.finish_margin);
        let due = Due::new(request.timeout, settings.hard_ceiling, settings.answer_early, margin);

        let hold = Hold::take(inner, &unit, due.answer)?;
        let parts = plan.parts.into_iter().flatten().collect();
        let job = job(inner, &request, session.level(), parts, due);
        let ended = tokio::select! {
            ended = hold.run(session, keys, request, job) => ended,
            // it did not keep its time; the client must not wait for it
            () = tokio::time::sleep_until(received + due.answer + Due::GRACE) => {
                tracing::warn!(place = unit.place(), "the device did not deliver in time");
                Err(ProblemKind::ExtractionFailed.into())
            }
            () = inner.stop.cancelled() => return Err(ProblemKind::ShuttingDown.into()),
        };
        let (end, answer) = match ended {
            Ok(Made { answer, reached: true }) => (End::Reached, answer),
            Ok(Made { answer, reached: false }) => (End::OutOfTime, answer),
            Err(problem) => (End::Failed, Err(problem)),
        };
        tokio::select! {
            () = tokio::time::sleep_until(received + due.leaves(end, received.elapsed())) => answer,
            () = inner.stop.cancelled() => Err(ProblemKind::ShuttingDown.into()),
        }
    }
}

/// Whether this device may make this capture at all, of which parts, and with which keys it begins.
fn admit(
    inner: &Inner,
    session: &Session,
    request: &CaptureRequest,
) -> Result<(plan::Plan, Arc<Keys>), Problem> {
    let description = &session.description;
    let keys = session.keys().ok_or(ProblemKind::NotReady)?;
    if let Some(reason) = keys.expired(inner.clock.now()) {
        return Err(Problem::about(ProblemKind::DeviceKeyExpired, reason));
    }
    if description.purpose != request.purpose {
        return Err(ProblemKind::WrongPurpose.into());
    }
    if description.identity.modality != request.bio.modality {
        return Err(Problem::about(ProblemKind::AttributeInvalid, "bio[0].type is not the device's"));
    }
    if request.purpose == Purpose::Registration && !description.sub_ids.contains(&request.bio.sub_id) {
        return Err(Problem::about(
            ProblemKind::AttributeInvalid,
            "bio[0].deviceSubId is none of the device's",
        ));
    }
    let plan = plan::segments(&request.bio, description.identity.device_sub_type, request.purpose)?;
    if request.purpose == Purpose::Auth {
        if session.level() == Level::L0 && !inner.settings.allow_l0_auth {
            return Err(ProblemKind::LevelNotAllowed.into());
        }
        keys.target(&request.domain_uri, inner.clock.now())?;
    }
    Ok((plan, keys))
}

fn job(
    inner: &Inner,
    request: &CaptureRequest,
    level: Level,
    parts: Vec<biotrust_model::BioSubType>,
    due: Due,
) -> CaptureJob {
    let settings = &inner.settings;
    let registration = request.purpose == Purpose::Registration;
    CaptureJob {
        parts,
        exceptions: request.bio.exceptions.clone(),
        sub_id: request.bio.sub_id,
        requested_score: request.bio.requested_score,
        requested_score_text: request.bio.requested_score_text.clone(),
        finish_within: due.device,
        purpose: request.purpose,
        auth: (!registration).then(|| AuthCapture { domain_uri: request.domain_uri.clone() }),
        transaction_id: request.transaction_id.clone(),
        env: request.env,
        spec_version: request.spec_version.clone(),
        service_version: SERVICE_VERSION.to_owned(),
        previous_hash: request.bio.previous_hash,
        append_chip_certificate: registration && level == Level::L1 && settings.append_chip_certificate,
        digital_id_key: match (registration, level) {
            (true, Level::L1) => settings.digital_id_key,
            (true, Level::L0) => DigitalIdKey::Device,
            (false, _) => DigitalIdKey::Chip,
        },
    }
}

/// A device that is held for one capture. Dropping it calls the capture off.
struct Hold {
    lease: Arc<Held>,
    cancel: Cancel,
    /// Set when the device is lost: the client must not wait for a driver that may be stuck.
    lost: CancellationToken,
}

/// The lease, shared by the waiting side and the worker: the device is free again when both have let go.
struct Held {
    inner: Arc<Inner>,
    unit: Arc<Unit>,
    lease: Lease,
}

impl Hold {
    fn take(inner: &Arc<Inner>, unit: &Arc<Unit>, timeout: Duration) -> Result<Self, Problem> {
        let lease = Lease { id: inner.next_number(), deadline: inner.now() + timeout };
        let (cancel, lost) = (Cancel::new(), CancellationToken::new());
        unit.acquire(lease, &cancel, &lost)?;
        inner.publish();
        let held = Held { inner: Arc::clone(inner), unit: Arc::clone(unit), lease };
        Ok(Self { lease: Arc::new(held), cancel, lost })
    }

    /// Runs the job on the capture lane and waits for what it makes.
    async fn run(
        &self,
        session: Arc<Session>,
        keys: Arc<Keys>,
        request: CaptureRequest,
        job: CaptureJob,
    ) -> Result<Made, Problem> {
        let (answer, made) = oneshot::channel();
        let (lease, cancel) = (Arc::clone(&self.lease), self.cancel.clone());
        let worker = move || {
            let started = Instant::now();
            let result = make(&lease.inner, &session, keys, &request, &job, &cancel);
            // whatever came of it: the next capture must not be late for the same reason
            let beyond = started.elapsed().saturating_sub(job.finish_within);
            if !beyond.is_zero() {
                session.learn(beyond);
            }
            // in this order: once the client has its answer, the device must already be free
            drop(session);
            drop(lease);
            let _ = answer.send(result);
        };
        let lanes = self.lease.unit.lanes();
        lanes
            .capture
            .submit(worker)
            .map_err(|_| Problem::about(ProblemKind::NotReady, "it is not keeping up"))?;
        tokio::select! {
            biased;
            made = made => made.unwrap_or_else(|_| Err(ProblemKind::Cancelled.into())),
            () = self.lost.cancelled() => Err(lost()),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.unit.release(self.lease) {
            self.inner.publish();
        }
    }
}

/// Captures on the device and makes the answer; blocking, on the capture lane.
fn make(
    inner: &Inner,
    session: &Session,
    keys: Arc<Keys>,
    request: &CaptureRequest,
    job: &CaptureJob,
    cancel: &Cancel,
) -> Result<Made, Problem> {
    let started = Instant::now();
    let (block, delivered) = match session.opened().ok_or(ProblemKind::DeviceNotFound)? {
        Opened::L0(device) => match delivered(session, cancel, device.capture(job, cancel))? {
            Some(images) => {
                let delivered = started.elapsed();
                (
                    with_keys(session, cancel, keys, |keys| {
                        blocks::by_host(inner, session, keys, request, job, &images)
                    })?,
                    delivered,
                )
            }
            None => return Ok(Made::nothing()),
        },
        Opened::L1(device) => match delivered(session, cancel, device.capture(job, cancel))? {
            Some(signed) => {
                let delivered = started.elapsed();
                (
                    with_keys(session, cancel, keys, |keys| {
                        blocks::by_device(inner, keys, request, job, &signed)
                    })
                    .inspect_err(|problem| {
                        if problem.kind == ProblemKind::DeviceRefused {
                            tracing::error!(device = %session.id, %problem,
                                "the device delivered something else than it was asked for");
                        }
                    })?,
                    delivered,
                )
            }
            None => return Ok(Made::nothing()),
        },
    };
    session.set_timing(Timing { device: delivered, host: started.elapsed() - delivered });
    if request.purpose == Purpose::Auth && block.body.len() > ESIGNET {
        tracing::warn!(device = %session.id, bytes = block.body.len(), "eSignet does not take so large an answer");
    }
    // the host's own count: a device must not decide that it was good enough
    let reached = block.average.value() + ROUNDING >= request.bio.requested_score.value();
    Ok(Made { answer: Ok(block.body), reached })
}

/// The largest answer that eSignet takes: 500,000 characters of base64 (R31).
const ESIGNET: usize = 375_000;

impl Made {
    fn nothing() -> Self {
        Self { answer: Err(ProblemKind::NothingDetected.into()), reached: false }
    }
}

/// What the device delivered; `None` where nothing was presented.
fn delivered<T>(
    session: &Session,
    cancel: &Cancel,
    outcome: Result<CaptureOutcome<T>, DeviceError>,
) -> Result<Option<Vec<T>>, Problem> {
    match outcome {
        Ok(CaptureOutcome::Done { parts, .. }) => Ok(Some(parts)),
        Ok(CaptureOutcome::Nothing) => Ok(None),
        // called off by us while a client still waits: the device was lost (where the client has gone, nobody hears this)
        Err(error) if error.kind == DeviceErrorKind::Cancelled && cancel.is_cancelled() => Err(lost()),
        Err(error) => {
            if error.kind != DeviceErrorKind::Cancelled {
                tracing::warn!(device = %session.id, %error, "capture");
            }
            Err(error.kind.problem().into())
        }
    }
}

fn lost() -> Problem {
    Problem::about(ProblemKind::NotReady, "it was lost during the capture")
}
