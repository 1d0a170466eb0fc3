//! One connection of the service to a driver: it watches, or it is for one device.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::Cancel;

use super::health::Health;
use super::{OpenedDevice, Refusal, VendorDriver, VendorSensor, Watch};
use crate::wire::{Failure, Frames, FromDriver, ToDriver, VERSION};

/// How long the service may leave a full socket unread.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a device may take to say how it is, or to come to rest.
const SHORT: Duration = Duration::from_secs(2);
/// Orders that may wait. The service sends one at a time.
const ORDERS: usize = 8;

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It watched: the service has gone.
    Watched,
    /// It was for a device, or for nothing.
    Other,
}

/// What all threads of a connection speak through.
pub(super) struct Line(Mutex<UnixStream>);

impl Line {
    /// A service that has gone, or does not read, is noticed by the one who reads: the connection is ended, because what
    /// follows half a frame would be taken for the rest of it.
    pub(super) fn say(&self, message: &FromDriver) {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.write_all(&message.encode()).is_err() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The service's orders, one by one.
struct Orders<'s> {
    stream: &'s UnixStream,
    frames: Frames,
}

impl Orders<'_> {
    /// `None` when the service has gone or speaks another language.
    fn next(&mut self) -> Option<ToDriver> {
        let mut room = [0; 1024];
        loop {
            match self.frames.take() {
                Ok(Some(frame)) => return ToDriver::decode(&frame).ok(),
                Ok(None) => {}
                Err(_) => return None,
            }
            match self.stream.read(&mut room) {
                Ok(0) => return None,
                Ok(length) => self.frames.push(room.get(..length)?),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// Serves a connection until the service closes it.
pub(super) fn serve(stream: &UnixStream, driver: &dyn VendorDriver, health: &Health) -> End {
    let _ = stream.set_write_timeout(Some(WRITE_PATIENCE));
    let Ok(writing) = stream.try_clone() else { return End::Other };
    let line = Arc::new(Line(Mutex::new(writing)));
    let mut orders = Orders { stream, frames: Frames::default() };
    let Some(ToDriver::Hello { .. }) = orders.next() else { return End::Other };
    line.say(&FromDriver::Hello {
        version: VERSION,
        name: driver.name().to_owned(),
        release: driver.release().to_owned(),
    });
    match orders.next() {
        Some(ToDriver::Watch) => {
            watch(&line, orders, driver, health);
            End::Watched
        }
        Some(ToDriver::Open { name }) => {
            match health.during(SHORT, || driver.open(&name)) {
                Ok(OpenedDevice::Sensor(info, sensor)) => {
                    line.say(&FromDriver::OpenedSensor(info));
                    converse(&line, orders, sensor, health);
                }
                Ok(OpenedDevice::Link(carry)) => {
                    line.say(&FromDriver::OpenedLink);
                    if let Ok(stream) = stream.try_clone() {
                        carry(stream);
                    }
                }
                Err(Refusal(failure, why)) => line.say(&FromDriver::Refused(failure, why)),
            }
            End::Other
        }
        _ => End::Other,
    }
}

/// Tells of devices on a thread of its own while this one answers pings.
fn watch(line: &Arc<Line>, mut orders: Orders<'_>, driver: &dyn VendorDriver, health: &Health) {
    let watch = Watch { line: Arc::clone(line), ended: Cancel::new() };
    std::thread::scope(|scope| {
        let telling = std::thread::Builder::new().name("watch".into());
        if telling.spawn_scoped(scope, || driver.watch(&watch)).is_ok() {
            while let Some(order) = orders.next() {
                if let ToDriver::Ping(nonce) = order
                    && health.is_well(Instant::now())
                {
                    line.say(&FromDriver::Pong(nonce));
                }
            }
        }
        watch.ended.cancel();
    });
}

/// Reads orders while another thread carries them out; CANCEL and the end of the connection reach a look that goes on.
fn converse(line: &Line, mut orders: Orders<'_>, sensor: Box<dyn VendorSensor>, health: &Health) {
    let (give, work) = sync_channel::<(ToDriver, Cancel)>(ORDERS);
    std::thread::scope(|scope| {
        let working = std::thread::Builder::new().name("sensor".into());
        if working.spawn_scoped(scope, move || carry_out(line, &work, sensor, health)).is_err() {
            return;
        }
        let mut current: Option<(u32, Cancel)> = None;
        while let Some(order) = orders.next() {
            if let ToDriver::Cancel { id } = order {
                if let Some((_, cancel)) = current.as_ref().filter(|(of, _)| *of == id) {
                    cancel.cancel();
                }
                continue;
            }
            let cancel = Cancel::new();
            if let ToDriver::Look { id, .. } = order {
                current = Some((id, cancel.clone()));
            }
            if give.try_send((order, cancel)).is_err() {
                break;
            }
        }
        if let Some((_, cancel)) = current {
            cancel.cancel();
        }
        drop(give);
    });
}

fn carry_out(
    line: &Line,
    work: &Receiver<(ToDriver, Cancel)>,
    mut sensor: Box<dyn VendorSensor>,
    health: &Health,
) {
    while let Ok((order, cancel)) = work.recv() {
        match order {
            ToDriver::Look { id, within_ms } => {
                let within = Duration::from_millis(within_ms.into());
                let answer = match health.during(within, || sensor.look(within, &cancel)) {
                    Ok(sight) => FromDriver::Seen { id, sight },
                    Err(Refusal(failure, why)) => FromDriver::Failed { id, failure, why },
                };
                line.say(&answer);
            }
            ToDriver::Status { id } => {
                line.say(&match health.during(SHORT, || sensor.status()) {
                    Ok(()) => FromDriver::Status { id, ready: true, reason: String::new() },
                    Err(Refusal(Failure::NotReady, reason)) => {
                        FromDriver::Status { id, ready: false, reason }
                    }
                    Err(Refusal(failure, why)) => FromDriver::Failed { id, failure, why },
                });
            }
            ToDriver::Rest => health.during(SHORT, || sensor.rest()),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use biotrust_model::Secret;

    use super::*;
    use crate::wire::{Picture, Sight};

    #[test]
    fn nothing_follows_half_a_frame() {
        let (driver, mut service) = UnixStream::pair().unwrap();
        driver.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let line = Line(Mutex::new(driver));
        let picture = Picture { width: 2000, height: 2000, pixels: Secret::new(vec![7; 4_000_000]) };
        // More than a socket holds, and nobody reads.
        line.say(&FromDriver::Seen { id: 1, sight: Sight::Finger(picture, 500) });
        let mut came = Vec::new();
        service.set_nonblocking(true).unwrap();
        let _ = service.read_to_end(&mut came);
        line.say(&FromDriver::Pong(9));
        let end = service.read(&mut [0; 64]);
        assert!(!came.is_empty() && came.len() < 4_000_000, "{}", came.len());
        assert_eq!(end.unwrap(), 0, "the connection has ended");
    }
}
