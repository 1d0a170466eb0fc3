//! The driver: opens whatever speaks the link protocol at the other end of a pipe.
//!
//! Each device has one reading thread, which ends when the last handle is dropped or the line breaks. Calls block the
//! caller, each within its time limit. A device that breaks the protocol loses its line, and no other device notices.

mod handle;
mod line;
mod pace;
mod reader;
#[cfg(test)]
mod tests;
mod timing;
mod transport;
mod trust;
mod turn;

use std::sync::Arc;
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, Description, DeviceError, DeviceErrorKind, DriverFactory, EventSink, Found, Opened, Pipe,
    PipeError, PipeErrorKind, Port,
};
use biotrust_model::{Level, time::Clock};
use biotrust_pipe::recover::Resets;

use crate::host::{HostRole, Received};
use crate::mctp::{Framing, hid};
use crate::message::{Request, Response, VERSION};
use handle::{Blocks, Handle, Images};
use line::Line;
use pace::Pace;
pub(crate) use transport::Transport;
use transport::baud;

/// HELLO is sent again after this long: the first may be lost in what an earlier session left on the line.
const HELLO_AGAIN: Duration = Duration::from_secs(1);
/// Bytes that are read at once: a tty has no more to give, and a flood is held back after so many.
pub(crate) const READ_ROOM: usize = 4096;

/// Opens link devices. `clock` stamps the images of L0 devices.
pub struct LinkFactory {
    clock: Arc<dyn Clock>,
    /// Of devices at USB ports, which outlive the ports.
    resets: Resets,
}

impl LinkFactory {
    /// A factory that takes the time from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, resets: Resets::default() }
    }
}

impl DriverFactory for LinkFactory {
    fn name(&self) -> &'static str {
        "link"
    }

    fn tries_unknown_lines(&self) -> bool {
        true
    }

    fn open(
        &self,
        port: Port,
        found: &Found,
        events: EventSink,
        timeout: Duration,
    ) -> Result<Opened, DeviceError> {
        let mut transport = Transport::over(port, found, &self.resets, hid::USAGE_DEVICE)?;
        // Ids that start with the time do not repeat those of a session that was cut off.
        let mut role = HostRole::over(transport.framing, self.clock.now().0 as u32);
        let (description, early) = greet(&mut transport, &mut role, timeout)?;
        let reading = transport.pipe.try_clone().map_err(from_pipe)?;
        let line = Arc::new(Line::new(transport, baud(found), role, events));
        let clock = Arc::clone(&self.clock);
        Ok(match description.level {
            Level::L0 => {
                Opened::L0(Arc::new(Handle::start(Images, line, reading, early, description, clock)?))
            }
            Level::L1 => Opened::L1(Arc::new(Handle::start(
                Blocks::default(),
                line,
                reading,
                early,
                description,
                clock,
            )?)),
        })
    }
}

/// Says HELLO until it is answered. Also gives what came right behind the answer.
fn greet(
    transport: &mut Transport,
    role: &mut HostRole,
    timeout: Duration,
) -> Result<(Description, Vec<Received>), DeviceError> {
    let Transport { pipe, framing, rescue } = transport;
    let name = pipe.name().to_owned();
    let deadline = Instant::now() + timeout;
    let mut hello_at = Instant::now();
    let (mut heard, mut is_asked) = (0, false);
    let mut buffer = [0; READ_ROOM];
    let mut pace = Pace::new(hello_at);
    loop {
        let now = Instant::now();
        if now >= deadline {
            let why = match heard {
                0 => "it says nothing".to_owned(),
                n => format!("{n} bytes came, but no answer to HELLO; is this a biotrust device?"),
            };
            return Err(DeviceError::new(DeviceErrorKind::TimedOut, format!("{name}: {why}")));
        }
        let pause = pace.pause(now).min(deadline - now);
        if !pause.is_zero() {
            // Of a flag that nobody sets: opening ends with its time limit.
            let _ = Cancel::new().wait(pause);
            continue;
        }
        if now >= hello_at {
            if is_asked && heard == 0 {
                rescue.no_answer().map_err(from_pipe)?;
            }
            let (_, bytes) = role.request(Request::Hello(VERSION)).map_err(|e| e.on(&name))?;
            hello_at = now + HELLO_AGAIN;
            // The framing recovers from half a HELLO.
            is_asked = match write(pipe.as_mut(), *framing, &bytes, hello_at.min(deadline)) {
                Ok(()) => true,
                Err(error) if error.kind == PipeErrorKind::TimedOut => false,
                Err(error) => return Err(from_pipe(error)),
            };
        }
        let patience = hello_at.min(deadline).saturating_duration_since(Instant::now());
        let length = match pipe.read(&mut buffer, patience) {
            Ok(length) => length,
            Err(error) if error.kind == PipeErrorKind::TimedOut => continue,
            Err(error) => return Err(from_pipe(error)),
        };
        heard += length;
        let mut received = Vec::new();
        let outcome = role.receive(buffer.get(..length).unwrap_or_default(), &mut received);
        pace.count(length, role.take_unasked());
        let mut received = received.into_iter();
        // Before HELLO is answered the role passes nothing else on.
        match received.next() {
            Some(Received::Response { result: Ok(Response::Hello(description)), .. }) => {
                outcome.map_err(|e| e.on(&name))?;
                return Ok((description, received.collect()));
            }
            Some(Received::Response { result: Err(refusal), .. }) => {
                let why = format!("{name} refuses HELLO: {}", refusal.message);
                return Err(DeviceError::new(refusal.kind, why));
            }
            _ => outcome.map_err(|e| e.on(&name))?,
        }
    }
}

/// Writes what a role has made.
pub(crate) fn write(
    pipe: &mut dyn Pipe,
    framing: Framing,
    bytes: &[u8],
    deadline: Instant,
) -> Result<(), PipeError> {
    framing.transfers(bytes).try_for_each(|transfer| {
        pipe.write_all(&transfer, deadline.saturating_duration_since(Instant::now()))
    })
}

/// A pipe's error as the device's.
pub(crate) fn from_pipe(error: PipeError) -> DeviceError {
    let kind = match error.kind {
        PipeErrorKind::TimedOut => DeviceErrorKind::TimedOut,
        PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
        PipeErrorKind::InUse => DeviceErrorKind::InUse,
        PipeErrorKind::Gone | PipeErrorKind::Os | PipeErrorKind::Stalled => DeviceErrorKind::Gone,
    };
    DeviceError::caused(kind, error.to_string(), error)
}
