//! What is done about a USB device that fails: the halt of an endpoint is ended, a wedged device is reset, and one that
//! does not recover is given up with the reason.
//!
//! [`UsbRecovery::advise`] decides and does no I/O; [`UsbRecovery::treat`] also does what was decided. Resets are counted
//! by the place of the device in [`Resets`], which the driver's factory keeps, because a reset ends the port: the next one
//! at the same place must know of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::{PipeError, PipeErrorKind, UsbPort};

/// Failures of one kind in a row that show that ending the halt, or waiting, does not help.
const IN_A_ROW: u32 = 3;
/// So many resets within [`WINDOW`], and the device is given up.
const RESETS: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Try again.
    Retry,
    /// End the halt of the endpoint, then try again.
    ClearHalt,
    /// Reset the device; it comes back as a new one.
    Reset,
    /// Leave it alone, for this reason.
    GiveUp(String),
}

/// The latest resets at each place. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Resets(Arc<Mutex<BTreeMap<String, VecDeque<Instant>>>>);

impl Resets {
    /// Notes a reset at `place`; false, and nothing noted, when there have been too many.
    fn spend(&self, place: &str, now: Instant) -> bool {
        // The map is whole at every moment, so that a poisoned lock is as good as any.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, times| {
            times.retain(|time| now.saturating_duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        let times = places.entry(place.to_owned()).or_default();
        if times.len() >= RESETS {
            return false;
        }
        times.push_back(now);
        true
    }
}

/// Failures of one open device.
#[derive(Debug)]
pub struct UsbRecovery {
    resets: Resets,
    place: String,
    stalls: u32,
    timeouts: u32,
    faults: u32,
}

impl UsbRecovery {
    /// For the device at `place` (that of its [`Node`](biotrust_driver_api::Node)).
    #[must_use]
    pub fn new(resets: Resets, place: impl Into<String>) -> Self {
        Self { resets, place: place.into(), stalls: 0, timeouts: 0, faults: 0 }
    }

    /// The device did what was asked: earlier failures are forgotten.
    pub fn worked(&mut self) {
        (self.stalls, self.timeouts, self.faults) = (0, 0, 0);
    }

    /// What to do about `error`. Report a time limit only where an answer was due: a finger that does not come is no
    /// failure.
    pub fn advise(&mut self, error: &PipeError, now: Instant) -> Remedy {
        let (count, gentle, what) = match error.kind {
            PipeErrorKind::Stalled => {
                (&mut self.stalls, Remedy::ClearHalt, "its endpoint halts again and again")
            }
            PipeErrorKind::TimedOut => (&mut self.timeouts, Remedy::Retry, "it does not answer"),
            PipeErrorKind::Os => (&mut self.faults, Remedy::Retry, "its transfers fail"),
            PipeErrorKind::Gone | PipeErrorKind::PermissionDenied | PipeErrorKind::InUse => {
                return Remedy::GiveUp(error.to_string());
            }
        };
        *count += 1;
        if *count < IN_A_ROW {
            return gentle;
        }
        if self.resets.spend(&self.place, now) {
            return Remedy::Reset;
        }
        Remedy::GiveUp(format!("{what}, and {RESETS} resets within a minute have not helped ({error})"))
    }

    /// Does what [`Self::advise`] says about `error` of `endpoint` (0 for a control request, which has no halt). `Ok`:
    /// try again. Blocks for seconds at most.
    ///
    /// # Errors
    /// `Gone`, with the reason: the device was reset or given up, and the port must be closed.
    pub fn treat(
        &mut self,
        port: &dyn UsbPort,
        endpoint: u8,
        error: &PipeError,
        now: Instant,
    ) -> Result<(), PipeError> {
        let gone = |reason: String| PipeError {
            kind: PipeErrorKind::Gone,
            os: error.os,
            doing: format!("recovering {}: {reason}", port.name()),
        };
        match self.advise(error, now) {
            Remedy::Retry => Ok(()),
            Remedy::ClearHalt if endpoint == 0 => Ok(()),
            Remedy::ClearHalt => port.clear_halt(endpoint).map_err(|failed| {
                gone(format!("its halt cannot be ended: {failed}; unplug it and plug it in"))
            }),
            Remedy::Reset => Err(match port.reset() {
                Ok(()) => gone(format!("it was reset because of: {error}")),
                Err(failed) => gone(format!("it cannot be reset: {failed}; unplug it and plug it in")),
            }),
            Remedy::GiveUp(reason) => Err(gone(format!("given up: {reason}; unplug it and plug it in"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: PipeErrorKind) -> PipeError {
        PipeError { kind, os: None, doing: "reading from a test".into() }
    }

    fn wedge(resets: &Resets, place: &str, now: Instant) -> Remedy {
        let mut recovery = UsbRecovery::new(resets.clone(), place);
        assert_eq!(recovery.advise(&error(PipeErrorKind::TimedOut), now), Remedy::Retry);
        assert_eq!(recovery.advise(&error(PipeErrorKind::TimedOut), now), Remedy::Retry);
        recovery.advise(&error(PipeErrorKind::TimedOut), now)
    }

    #[test]
    fn a_stall_is_cleared_and_the_third_in_a_row_resets() {
        let now = Instant::now();
        let mut recovery = UsbRecovery::new(Resets::default(), "usb:1-1");
        for _ in 0..10 {
            assert_eq!(recovery.advise(&error(PipeErrorKind::Stalled), now), Remedy::ClearHalt);
            assert_eq!(recovery.advise(&error(PipeErrorKind::Stalled), now), Remedy::ClearHalt);
            recovery.worked();
        }
        recovery.advise(&error(PipeErrorKind::Stalled), now);
        recovery.advise(&error(PipeErrorKind::Stalled), now);
        assert_eq!(recovery.advise(&error(PipeErrorKind::Stalled), now), Remedy::Reset);
    }

    #[test]
    fn three_resets_in_a_minute_are_enough_and_each_place_has_its_own() {
        let resets = Resets::default();
        let start = Instant::now();
        for second in [0, 10, 20] {
            assert_eq!(wedge(&resets, "usb:1-1", start + Duration::from_secs(second)), Remedy::Reset);
        }
        let fourth = wedge(&resets, "usb:1-1", start + Duration::from_secs(59));
        assert!(matches!(&fourth, Remedy::GiveUp(why) if why.contains("does not answer")), "{fourth:?}");
        assert_eq!(wedge(&resets, "usb:1-2", start + Duration::from_secs(59)), Remedy::Reset, "a neighbour");
        assert_eq!(
            wedge(&resets, "usb:1-1", start + Duration::from_secs(61)),
            Remedy::Reset,
            "the first is old"
        );
    }

    #[test]
    fn what_is_gone_is_not_treated() {
        let mut recovery = UsbRecovery::new(Resets::default(), "usb:1-1");
        for kind in [PipeErrorKind::Gone, PipeErrorKind::PermissionDenied, PipeErrorKind::InUse] {
            assert!(matches!(recovery.advise(&error(kind), Instant::now()), Remedy::GiveUp(_)));
        }
    }
}
