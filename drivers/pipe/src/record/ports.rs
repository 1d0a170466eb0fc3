//! Ports that pass everything on and note it. A time limit of a read is nothing that happened, and is not noted; one of a
//! write or a request is.

use std::time::Duration;

use biotrust_driver_api::{
    HidPort, Interface, Pipe, PipeError, PipeErrorKind, Port, SerialPort, Setup, UsbPort, VideoFormat,
    VideoFrame, VideoPort,
};

use super::Recorder;
use super::format::{Bytes, Op};

pub(super) fn wrap(tape: &Recorder, port: Port) -> Port {
    let tape = tape.clone();
    match port {
        Port::Serial(inner) => Port::Serial(Box::new(Serial { inner, tape })),
        Port::Usb(inner) => Port::Usb(Box::new(Usb { inner, tape })),
        Port::Hid(inner) => Port::Hid(Box::new(Hid { inner, tape })),
        Port::Video(inner) => Port::Video(Box::new(Video { inner, tape })),
    }
}

/// Notes a read, unless nothing came in time.
fn note_read<T>(tape: &Recorder, result: &Result<T, PipeError>, op: impl FnOnce(Option<&T>) -> Op) {
    if !matches!(result, Err(error) if error.kind == PipeErrorKind::TimedOut) {
        tape.note(op(result.as_ref().ok()), result);
    }
}

/// Notes a write before it is made, because another thread may have the answer before this one returns; and once more,
/// without data, where it fails.
fn note_write(
    tape: &Recorder,
    endpoint: u8,
    data: &[u8],
    write: impl FnOnce() -> Result<(), PipeError>,
) -> Result<(), PipeError> {
    tape.note(Op::Out { endpoint, data: Bytes(data.to_vec()) }, &Ok::<(), PipeError>(()));
    let result = write();
    if result.is_err() {
        tape.note(Op::Out { endpoint, data: Bytes::default() }, &result);
    }
    result
}

/// The first `length` bytes.
fn head(buffer: &[u8], length: usize) -> Bytes {
    Bytes(buffer.get(..length).unwrap_or(buffer).to_vec())
}

struct Serial {
    inner: Box<dyn SerialPort>,
    tape: Recorder,
}

impl Pipe for Serial {
    fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let result = self.inner.read(buffer, timeout);
        note_read(&self.tape, &result, |length| Op::In {
            endpoint: 0,
            data: head(buffer, length.copied().unwrap_or(0)),
        });
        result
    }

    fn write_all(&mut self, bytes: &[u8], timeout: Duration) -> Result<(), PipeError> {
        note_write(&self.tape, 0, bytes, || self.inner.write_all(bytes, timeout))
    }

    fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
        Ok(Box::new(Self { inner: self.inner.try_clone_serial()?, tape: self.tape.clone() }))
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}

impl SerialPort for Serial {
    fn set_baud(&mut self, baud: u32) -> Result<(), PipeError> {
        let result = self.inner.set_baud(baud);
        self.tape.note(Op::Baud { baud }, &result);
        result
    }

    fn try_clone_serial(&self) -> Result<Box<dyn SerialPort>, PipeError> {
        Ok(Box::new(Self { inner: self.inner.try_clone_serial()?, tape: self.tape.clone() }))
    }
}

struct Usb {
    inner: Box<dyn UsbPort>,
    tape: Recorder,
}

impl UsbPort for Usb {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn interfaces(&self) -> &[Interface] {
        self.inner.interfaces()
    }

    fn claim(&self, interface: u8) -> Result<(), PipeError> {
        self.inner.claim(interface)
    }

    fn control_in(&self, setup: Setup, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let result = self.inner.control_in(setup, buffer, timeout);
        let data = head(buffer, *result.as_ref().unwrap_or(&0));
        let length = u16::try_from(buffer.len()).unwrap_or(u16::MAX);
        self.tape.note(Op::ControlIn { setup: setup.into(), length, data }, &result);
        result
    }

    fn control_out(&self, setup: Setup, data: &[u8], timeout: Duration) -> Result<(), PipeError> {
        let result = self.inner.control_out(setup, data, timeout);
        self.tape.note(Op::ControlOut { setup: setup.into(), data: Bytes(data.to_vec()) }, &result);
        result
    }

    fn submit(&self, endpoint: u8, length: usize) -> Result<(), PipeError> {
        self.inner.submit(endpoint, length)
    }

    fn complete(&self, endpoint: u8, timeout: Duration) -> Result<Vec<u8>, PipeError> {
        let result = self.inner.complete(endpoint, timeout);
        note_read(&self.tape, &result, |data| Op::In {
            endpoint,
            data: Bytes(data.cloned().unwrap_or_default()),
        });
        result
    }

    fn pending(&self, endpoint: u8) -> usize {
        self.inner.pending(endpoint)
    }

    fn cancel(&self, endpoint: u8) {
        self.inner.cancel(endpoint);
    }

    fn write(&self, endpoint: u8, data: &[u8], timeout: Duration) -> Result<(), PipeError> {
        note_write(&self.tape, endpoint, data, || self.inner.write(endpoint, data, timeout))
    }

    fn clear_halt(&self, endpoint: u8) -> Result<(), PipeError> {
        let result = self.inner.clear_halt(endpoint);
        self.tape.note(Op::ClearHalt { endpoint }, &result);
        result
    }

    fn reset(&self) -> Result<(), PipeError> {
        let result = self.inner.reset();
        self.tape.note(Op::Reset, &result);
        result
    }

    fn share(&self) -> Box<dyn UsbPort> {
        Box::new(Self { inner: self.inner.share(), tape: self.tape.clone() })
    }
}

struct Hid {
    inner: Box<dyn HidPort>,
    tape: Recorder,
}

impl HidPort for Hid {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn read_report(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let result = self.inner.read_report(buffer, timeout);
        note_read(&self.tape, &result, |length| Op::In {
            endpoint: 0,
            data: head(buffer, length.copied().unwrap_or(0)),
        });
        result
    }

    fn write_report(&mut self, report: &[u8], timeout: Duration) -> Result<(), PipeError> {
        note_write(&self.tape, 0, report, || self.inner.write_report(report, timeout))
    }

    fn feature(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        let result = self.inner.feature(buffer, timeout);
        self.tape.note(Op::FeatureIn { data: head(buffer, *result.as_ref().unwrap_or(&1)) }, &result);
        result
    }

    fn set_feature(&mut self, report: &[u8], timeout: Duration) -> Result<(), PipeError> {
        let result = self.inner.set_feature(report, timeout);
        self.tape.note(Op::FeatureOut { data: Bytes(report.to_vec()) }, &result);
        result
    }

    fn descriptor(&mut self) -> Result<Vec<u8>, PipeError> {
        self.inner.descriptor()
    }

    fn try_clone(&self) -> Result<Box<dyn HidPort>, PipeError> {
        Ok(Box::new(Self { inner: self.inner.try_clone()?, tape: self.tape.clone() }))
    }
}

struct Video {
    inner: Box<dyn VideoPort>,
    tape: Recorder,
}

impl VideoPort for Video {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn formats(&mut self) -> Result<Vec<VideoFormat>, PipeError> {
        self.inner.formats()
    }

    fn start(&mut self, format: VideoFormat, fps: u8) -> Result<VideoFormat, PipeError> {
        let result = self.inner.start(format, fps);
        let VideoFormat { pixels, width, height, .. } = *result.as_ref().unwrap_or(&format);
        self.tape.note(Op::Start { format: pixels.to_string(), width, height }, &result);
        result
    }

    fn next(&mut self, timeout: Duration) -> Result<VideoFrame, PipeError> {
        let result = self.inner.next(timeout);
        note_read(&self.tape, &result, |frame| Op::Frame {
            length: frame.map_or(0, |frame| frame.bytes.len()),
        });
        result
    }

    fn stop(&mut self) -> Result<(), PipeError> {
        self.inner.stop()
    }
}
