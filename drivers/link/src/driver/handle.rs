//! What the daemon holds of an open device: one type per level, so that neither can be used as the other.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, ChipDocument, Description, Device, DeviceClock,
    DeviceError, DeviceErrorKind, DigitalIdKey, FirmwareState, InfoJob, L0Device, L1Device, L1Keys, Pipe,
    SelfReport, SignedBlock, StreamJob,
};
use biotrust_model::evidence::{Binding, KeySlot, Proof};
use biotrust_model::time::{Clock, UtcMillis};

use super::line::Line;
use super::reader;
use super::trust::Trust;
use crate::host::Received;
use crate::message::{Captured, Image, Op, Request, Response};

/// Time to tell a device, in parting, that its preview is no longer wanted.
const FAREWELL: Duration = Duration::from_millis(50);

/// Level L0: the device delivers images.
pub(super) struct Images;
/// Level L1: the device delivers signed blocks, and has a trust module.
#[derive(Default)]
pub(super) struct Blocks {
    trust: Trust,
}

/// An open device of the level `L`. Dropping it ends the reading thread and closes the line.
pub(super) struct Handle<L> {
    line: Arc<Line>,
    reader: Option<JoinHandle<()>>,
    description: Description,
    clock: Arc<dyn Clock>,
    level: L,
}

impl<L> Handle<L> {
    /// Starts to read `line`; `early` came while it was opened.
    pub(super) fn start(
        level: L,
        line: Arc<Line>,
        pipe: Box<dyn Pipe>,
        early: Vec<Received>,
        description: Description,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DeviceError> {
        let read = Arc::clone(&line);
        let reader = std::thread::Builder::new()
            .name("link-reader".into())
            .spawn(move || reader::run(&read, pipe, early))
            .map_err(|e| DeviceError::caused(DeviceErrorKind::Internal, "no thread for the device", e))?;
        Ok(Self { line, reader: Some(reader), description, clock, level })
    }

    /// Asks, and takes the answer out of the type that all answers share.
    fn ask<T>(
        &self,
        request: Request,
        timeout: Duration,
        take: fn(Response) -> Option<T>,
    ) -> Result<T, DeviceError> {
        let op = request.op();
        take(self.line.call(request, timeout)?).ok_or_else(|| self.line.out_of_place(op))
    }
}

/// Takes the one variant of [`Response`] that answers a request.
macro_rules! only {
    ($pattern:pat => $value:expr) => {
        |response| match response {
            $pattern => Some($value),
            _ => None,
        }
    };
}

impl<L> Drop for Handle<L> {
    fn drop(&mut self) {
        if self.line.is_streaming() {
            // So that the line is quiet when the next host opens it. If it cannot be told, HELLO will stop it.
            let _ = self.line.call(Request::StreamStop, FAREWELL);
        }
        self.line.stop.cancel();
        if let Some(reader) = self.reader.take().filter(|r| r.thread().id() != std::thread::current().id()) {
            // A thread that has panicked is over as well.
            let _ = reader.join();
        }
    }
}

impl<L: Send + Sync> Device for Handle<L> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn status(&self, timeout: Duration) -> Result<SelfReport, DeviceError> {
        self.ask(Request::Status, timeout, only!(Response::Status(report) => report))
    }

    fn start_stream(&self, job: StreamJob, timeout: Duration) -> Result<(), DeviceError> {
        // Before asking: the first frame may come with the answer.
        self.line.set_streaming(true);
        let started = self.ask(Request::StreamStart(job), timeout, only!(Response::StreamStart => ()));
        if started.is_err() {
            self.line.set_streaming(false);
        }
        started
    }

    fn stop_stream(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.line.set_streaming(false);
        self.ask(Request::StreamStop, timeout, only!(Response::StreamStop => ()))
    }
}

impl L0Device for Handle<Images> {
    fn capture(
        &self,
        job: &CaptureJob,
        cancel: &Cancel,
    ) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
        let start = Instant::now();
        match self.line.capture(job, cancel)? {
            Captured::Nothing => Ok(CaptureOutcome::Nothing),
            Captured::Images { images, reached } => {
                let (now, longest) = (self.clock.now(), start.elapsed());
                let parts = images.into_iter().map(|image| dated(image, now, longest)).collect();
                Ok(CaptureOutcome::Done { parts, reached })
            }
            Captured::Blocks { .. } => Err(self.line.out_of_place(Op::Capture)),
        }
    }
}

/// The image with its age turned into a time. None is older than the capture, whatever the device says.
fn dated(image: Image, now: UtcMillis, longest: Duration) -> CapturedImage {
    let Image { part, image, codec, width, height, dpi, score, age_ms, iris_geometry } = image;
    let age = longest.min(Duration::from_millis(age_ms.into()));
    let captured_at = UtcMillis(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(0)));
    CapturedImage { part, image, codec, width, height, dpi, score, captured_at, iris_geometry }
}

impl L1Device for Handle<Blocks> {
    fn capture(&self, job: &CaptureJob, cancel: &Cancel) -> Result<CaptureOutcome<SignedBlock>, DeviceError> {
        match self.line.capture(job, cancel)? {
            Captured::Nothing => Ok(CaptureOutcome::Nothing),
            Captured::Blocks { blocks, reached } => Ok(CaptureOutcome::Done { parts: blocks, reached }),
            Captured::Images { .. } => Err(self.line.out_of_place(Op::Capture)),
        }
    }

    fn keys(&self, timeout: Duration) -> Result<L1Keys, DeviceError> {
        self.ask(Request::Keys, timeout, only!(Response::Keys(keys) => keys))
    }

    fn signed_info(&self, job: &InfoJob, timeout: Duration) -> Result<String, DeviceError> {
        self.ask(Request::SignedInfo(job.clone()), timeout, only!(Response::SignedInfo(jws) => jws.0))
    }

    fn install_encryption_certificate(
        &self,
        domain_uri: &str,
        chain: &[Vec<u8>],
        timeout: Duration,
    ) -> Result<(), DeviceError> {
        let request = Request::InstallEncryptionCertificate {
            domain_uri: domain_uri.to_owned(),
            chain: chain.to_vec(),
        };
        self.ask(request, timeout, only!(Response::InstallEncryptionCertificate => ()))
    }

    fn prove(
        &self,
        binding: &Binding,
        key: Option<KeySlot>,
        timeout: Duration,
    ) -> Result<Proof, DeviceError> {
        self.level.trust.prove(&self.line, binding, key, timeout)
    }

    fn sign_as_chip(
        &self,
        document: ChipDocument,
        payload: &str,
        timeout: Duration,
    ) -> Result<String, DeviceError> {
        self.level.trust.sign_as_chip(&self.line, document, payload, timeout)
    }

    fn digital_id(&self, key: DigitalIdKey, timeout: Duration) -> Result<String, DeviceError> {
        self.level.trust.digital_id(&self.line, key, timeout)
    }

    fn begin_rotation(
        &self,
        common_name: &str,
        organisation: &str,
        timeout: Duration,
    ) -> Result<Vec<u8>, DeviceError> {
        self.level.trust.begin_rotation(&self.line, common_name, organisation, timeout)
    }

    fn finish_rotation(&self, chain: &[Vec<u8>], timeout: Duration) -> Result<(), DeviceError> {
        self.level.trust.finish_rotation(&self.line, chain, timeout)
    }

    fn destroy_device_key(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.level.trust.destroy_device_key(&self.line, timeout)
    }

    fn clock(&self, timeout: Duration) -> Result<DeviceClock, DeviceError> {
        self.level.trust.clock(&self.line, timeout)
    }

    fn set_clock(&self, token: &str, timeout: Duration) -> Result<(), DeviceError> {
        self.level.trust.set_clock(&self.line, token, timeout)
    }

    fn firmware(&self, timeout: Duration) -> Result<FirmwareState, DeviceError> {
        self.level.trust.firmware(&self.line, timeout)
    }

    fn begin_update(&self, manifest: &str, timeout: Duration) -> Result<FirmwareState, DeviceError> {
        self.level.trust.begin_update(&self.line, manifest, timeout)
    }

    fn update_block(&self, offset: u64, block: &[u8], timeout: Duration) -> Result<u64, DeviceError> {
        self.level.trust.update_block(&self.line, offset, block, timeout)
    }

    fn finish_update(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.level.trust.finish_update(&self.line, timeout)
    }
}
