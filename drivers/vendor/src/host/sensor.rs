//! A sensor in another process.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, DeviceError, DeviceErrorKind, SelfReport};
use biotrust_imaging::{Circle, Dpi, Gray, IrisGeometry, Rgb};
use biotrust_model::DeviceStatus;
use biotrust_sensor::{Seen, Sensor};

use super::connection::Connection;
use super::kind;
use crate::wire::{Eye, FromDriver, Picture, Sight, ToDriver};

/// A driver may take this much longer than it was given: to convert an image and to send it.
const GRACE: Duration = Duration::from_millis(1500);
/// How long a healthy driver takes to say how its device is.
const STATUS: Duration = Duration::from_secs(2);
/// How long the answer to a look that was called off is waited for.
const CALLED_OFF: Duration = Duration::from_millis(80);
/// How many answers a driver may owe before it is given up.
const MOST_OWED: usize = 4;
/// How often a look is checked for having been called off.
const TICK: Duration = Duration::from_millis(20);

/// A sensor at the other end of a connection.
pub(super) struct RemoteSensor {
    connection: Connection,
    last: u32,
    /// Looks that were called off and are not answered yet.
    owed: Vec<u32>,
}

impl RemoteSensor {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, last: 0, owed: Vec::new() }
    }

    fn number(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Whether this answers a look that nobody waits for any more.
    fn was_owed(&mut self, late: &FromDriver) -> bool {
        let (FromDriver::Seen { id, .. } | FromDriver::Failed { id, .. }) = late else { return false };
        let before = self.owed.len();
        self.owed.retain(|owed| owed != id);
        self.owed.len() < before
    }

    fn protocol(&self, asked: &str) -> DeviceError {
        self.connection.out_of_place(asked)
    }
}

impl Sensor for RemoteSensor {
    fn look(&mut self, wait: Duration, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, DeviceError> {
        if self.owed.len() > MOST_OWED {
            let why = "the driver does not come back from looks that were called off";
            return Err(DeviceError::new(DeviceErrorKind::TimedOut, why));
        }
        let id = self.number();
        let within = wait.min(until.saturating_duration_since(Instant::now()));
        let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let mut deadline = Instant::now() + within + GRACE;
        self.connection.send(&ToDriver::Look { id, within_ms }, deadline)?;
        let mut told = false;
        loop {
            if cancel.is_cancelled() && !told {
                self.connection.send(&ToDriver::Cancel { id }, deadline)?;
                told = true;
                deadline = Instant::now() + CALLED_OFF;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.connection.next_within(left.min(TICK))? {
                Some(FromDriver::Seen { id: of, sight }) if of == id => {
                    return if told { Ok(None) } else { seen(sight) };
                }
                Some(FromDriver::Failed { id: of, failure, why }) if of == id => {
                    return Err(DeviceError::new(kind(failure), why));
                }
                Some(late) if self.was_owed(&late) => {}
                Some(_) => return Err(self.protocol("LOOK")),
                // It owes an answer, which is thrown away when it comes.
                None if left.is_zero() && told => {
                    self.owed.push(id);
                    return Ok(None);
                }
                None if left.is_zero() => {
                    return Err(DeviceError::new(
                        DeviceErrorKind::TimedOut,
                        "the driver did not come back from a look at its sensor",
                    ));
                }
                None => {}
            }
        }
    }

    fn status(&mut self) -> Result<SelfReport, DeviceError> {
        let id = self.number();
        let deadline = Instant::now() + STATUS;
        self.connection.send(&ToDriver::Status { id }, deadline)?;
        loop {
            match self.connection.next(deadline)? {
                FromDriver::Status { id: of, ready, reason } if of == id => {
                    let status = if ready { DeviceStatus::Ready } else { DeviceStatus::NotReady };
                    return Ok(SelfReport { status, reason: if ready { String::new() } else { reason } });
                }
                FromDriver::Failed { id: of, failure, why } if of == id => {
                    return Err(DeviceError::new(kind(failure), why));
                }
                late if self.was_owed(&late) => {}
                _ => return Err(self.protocol("STATUS")),
            }
        }
    }

    fn rest(&mut self) -> Result<(), DeviceError> {
        self.connection.send(&ToDriver::Rest, Instant::now() + STATUS)
    }
}

fn seen(sight: Sight) -> Result<Option<Seen>, DeviceError> {
    Ok(Some(match sight {
        Sight::Nothing => return Ok(None),
        Sight::Finger(picture, dpi) => {
            let density = Dpi::new(dpi).ok_or_else(|| bad("an image without a density"))?;
            Seen::Finger { image: gray(&picture)?, density }
        }
        Sight::Iris(picture, eye) => Seen::Iris { image: gray(&picture)?, geometry: eye.map(geometry) },
        Sight::Face(picture) => {
            let Picture { width, height, pixels } = &picture;
            let image = Rgb::new((*width).into(), (*height).into(), pixels.expose().to_vec());
            Seen::Face { image: image.map_err(|e| bad(&e.to_string()))?, jpeg: None }
        }
    }))
}

fn gray(picture: &Picture) -> Result<Gray, DeviceError> {
    let pixels = picture.pixels.expose().to_vec();
    Gray::new(picture.width.into(), picture.height.into(), pixels).map_err(|e| bad(&e.to_string()))
}

fn geometry(eye: Eye) -> IrisGeometry {
    let circle = |[x, y, radius]: [u16; 3]| Circle { x: x.into(), y: y.into(), radius: radius.into() };
    IrisGeometry { pupil: circle(eye.pupil), limbus: circle(eye.limbus) }
}

fn bad(why: &str) -> DeviceError {
    DeviceError::new(DeviceErrorKind::Protocol, format!("the driver sends an image that is none: {why}"))
}
