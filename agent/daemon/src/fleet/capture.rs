//! A capture from request to answer: lease, device, blocks, and the instant at which the answer is due.
//!
//! The answer comes as soon as the requested score is reached; otherwise exactly at the deadline, with the best frame
//! so far or error 101. The device is asked to be done `finish_margin` earlier, so that transfer, signing and encoding
//! never make the answer late. Dropping the future (the client has gone) cancels the capture at once.

use std::sync::Arc;
use std::time::Duration;

use biotrust_driver_api::{
    AuthCapture, Cancel, CaptureJob, CaptureOutcome, DeviceError, DeviceErrorKind, Opened,
};
use biotrust_model::{Level, Problem, ProblemKind, Purpose};
use biotrust_sbi::plan;
use biotrust_sbi::request::CaptureRequest;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::blocks;
use super::keys::Keys;
use super::state::{Event, Lease};
use super::unit::{Session, Timing, Unit};
use super::{Fleet, Inner};
use crate::catalog::SERVICE_VERSION;

/// What a capture made: the finished answer, and whether it need not wait for the deadline.
enum Made {
    /// The requested score was reached.
    Reached(Bytes),
    /// The best until the device had to be done.
    Best(Bytes),
    /// Nothing was presented.
    Nothing,
}

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
        let plan = admit(inner, &session, &request)?;
        let timeout =
            inner.settings.hard_ceiling.map_or(request.timeout, |ceiling| request.timeout.min(ceiling));
        let keys = session.keys();
        if let Some(reason) = keys.as_ref().and_then(|keys| keys.expired(inner.clock.now())) {
            return Err(Problem::about(ProblemKind::DeviceKeyExpired, reason));
        }

        let hold = Hold::take(inner, &unit, timeout)?;
        let keys = keys.ok_or(ProblemKind::NotReady)?;
        let parts = plan.parts.into_iter().flatten().collect();
        let job = job(inner, &request, parts, timeout);
        let made = tokio::select! {
            made = hold.run(session, keys, request, job) => made,
            () = inner.stop.cancelled() => return Err(ProblemKind::ShuttingDown.into()),
        };
        let answer = match made? {
            Made::Reached(body) => return Ok(body),
            Made::Best(body) => Ok(body),
            Made::Nothing => Err(ProblemKind::NothingDetected.into()),
        };
        tokio::select! {
            () = tokio::time::sleep_until(received + timeout) => answer,
            () = inner.stop.cancelled() => Err(ProblemKind::ShuttingDown.into()),
        }
    }
}

/// Whether this device may make this capture at all, and of which parts.
fn admit(inner: &Inner, session: &Session, request: &CaptureRequest) -> Result<plan::Plan, Problem> {
    let description = &session.description;
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
        if inner.trust.encryption.target(&request.domain_uri).is_none() {
            return Err(ProblemKind::EncryptionKeyMissing.into());
        }
    }
    Ok(plan)
}

fn job(
    inner: &Inner,
    request: &CaptureRequest,
    parts: Vec<biotrust_model::BioSubType>,
    timeout: Duration,
) -> CaptureJob {
    let settings = &inner.settings;
    let margin = settings.finish_margin.min(timeout / 2);
    let registration = request.purpose == Purpose::Registration;
    CaptureJob {
        parts,
        exceptions: request.bio.exceptions.clone(),
        sub_id: request.bio.sub_id,
        requested_score: request.bio.requested_score,
        requested_score_text: request.bio.requested_score_text.clone(),
        finish_within: timeout - margin,
        purpose: request.purpose,
        auth: (!registration).then(|| AuthCapture { domain_uri: request.domain_uri.clone() }),
        transaction_id: request.transaction_id.clone(),
        env: request.env,
        spec_version: request.spec_version.clone(),
        service_version: SERVICE_VERSION.to_owned(),
        previous_hash: request.bio.previous_hash,
        append_chip_certificate: registration && settings.append_chip_certificate,
        digital_id_key: if registration { settings.digital_id_key } else { Default::default() },
    }
}

/// A device that is held for one capture. Dropping it calls the capture off.
struct Hold {
    lease: Arc<Held>,
    cancel: Cancel,
}

/// The lease, shared by the waiting side and the worker: the device is free again when both have let go.
struct Held {
    inner: Arc<Inner>,
    unit: Arc<Unit>,
    lease: Lease,
}

impl Hold {
    fn take(inner: &Arc<Inner>, unit: &Arc<Unit>, timeout: Duration) -> Result<Self, Problem> {
        let lease = Lease { id: inner.next_lease(), deadline: inner.now() + timeout };
        unit.acquire(lease)?;
        inner.publish();
        let held = Held { inner: Arc::clone(inner), unit: Arc::clone(unit), lease };
        Ok(Self { lease: Arc::new(held), cancel: Cancel::new() })
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
            let result = make(&lease.inner, &session, &keys, &request, &job, &cancel);
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
        made.await.unwrap_or_else(|_| Err(ProblemKind::Cancelled.into()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.unit.note(Event::Release(self.lease.id)).0 {
            self.inner.publish();
        }
    }
}

/// Captures on the device and makes the answer; blocking, on the capture lane.
fn make(
    inner: &Inner,
    session: &Session,
    keys: &Keys,
    request: &CaptureRequest,
    job: &CaptureJob,
    cancel: &Cancel,
) -> Result<Made, Problem> {
    let failed = |error: DeviceError| {
        if error.kind != DeviceErrorKind::Cancelled {
            tracing::warn!(device = %session.id, %error, "capture");
        }
        Problem::from(error.kind.problem())
    };
    let started = std::time::Instant::now();
    let (body, reached, delivered) = match &session.opened {
        Opened::L0(device) => match device.capture(job, cancel).map_err(failed)? {
            CaptureOutcome::Done { parts, reached } => {
                let delivered = started.elapsed();
                (blocks::by_host(inner, session, keys, request, &parts)?, reached, delivered)
            }
            CaptureOutcome::Nothing => return Ok(Made::Nothing),
        },
        Opened::L1(device) => match device.capture(job, cancel).map_err(failed)? {
            CaptureOutcome::Done { parts, reached } => {
                let delivered = started.elapsed();
                (blocks::by_device(inner, session, keys, request, job, &parts)?, reached, delivered)
            }
            CaptureOutcome::Nothing => return Ok(Made::Nothing),
        },
    };
    session.set_timing(Timing { device: delivered, host: started.elapsed() - delivered });
    Ok(if reached { Made::Reached(body) } else { Made::Best(body) })
}
