//! The clock of a device: told by its management server, counting from there, forgotten with the power.
//!
//! Until a server has told the time it takes the one of its battery clock, which nobody vouches for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use biotrust_driver_api::DeviceClock;
use biotrust_model::time::{Clock, UtcMillis};

use super::FtmError;

/// A nonce that is asked for again after this is another one.
const FRESH: Duration = Duration::from_secs(60);
/// A token whose nonce was given out longer ago is too late: whoever holds tokens back must not make the clock late by
/// more than this.
const LATEST: Duration = Duration::from_secs(120);

/// The clock.
pub(crate) struct DeviceTime {
    battery: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    nonce: [u8; 32],
    /// When the nonce was made.
    made: Instant,
    /// What a server told, and when.
    told: Option<(UtcMillis, Instant)>,
    boot_count: u64,
    /// The moment at which it stopped.
    stopped: Option<(UtcMillis, Instant)>,
}

impl DeviceTime {
    pub(crate) fn new(battery: Arc<dyn Clock>) -> Result<Self, FtmError> {
        let state = State { nonce: nonce()?, made: Instant::now(), told: None, boot_count: 0, stopped: None };
        Ok(Self { battery, state: Mutex::new(state) })
    }

    /// The device starts: whatever it was told is forgotten, and so is the nonce that was out.
    pub(crate) fn start(&self, boot_count: u64) -> Result<(), FtmError> {
        let nonce = nonce()?;
        let mut state = self.state();
        *state = State { nonce, made: Instant::now(), told: None, boot_count, stopped: state.stopped };
        Ok(())
    }

    /// The time that a server has told, counted on; `None` before that.
    pub(crate) fn trusted(&self) -> Option<UtcMillis> {
        let state = self.state();
        let (utc, at) = state.told?;
        let now = state.stopped.map_or_else(Instant::now, |(_, stopped)| stopped);
        Some(utc.plus(now.saturating_duration_since(at)))
    }

    /// The time that it works with.
    pub(crate) fn now(&self) -> UtcMillis {
        let battery = || self.state().stopped.map(|(utc, _)| utc).unwrap_or_else(|| self.battery.now());
        self.trusted().unwrap_or_else(battery)
    }

    /// What the host is told of it.
    pub(crate) fn shown(&self) -> Result<DeviceClock, FtmError> {
        let (now, fresh) = (self.trusted(), nonce()?);
        let mut state = self.state();
        if state.made.elapsed() > FRESH {
            (state.nonce, state.made) = (fresh, Instant::now());
        }
        Ok(DeviceClock { nonce: state.nonce, now, boot_count: state.boot_count })
    }

    /// The nonce that the next token has to hold.
    pub(crate) fn nonce(&self) -> [u8; 32] {
        self.state().nonce
    }

    /// Takes over the time of a token with this nonce, which was verified and is used up now.
    pub(crate) fn set(&self, used: [u8; 32], utc: UtcMillis) -> Result<(), FtmError> {
        let next = nonce()?;
        let mut state = self.state();
        if state.nonce != used {
            // Another token came first.
            return Err(FtmError::Token("its nonce is not the one that this device gave out".to_owned()));
        }
        let late = state.made.elapsed() > LATEST;
        (state.nonce, state.made) = (next, Instant::now());
        if late {
            return Err(FtmError::Token("it comes too late; ask for the time again".to_owned()));
        }
        state.told = Some((utc, Instant::now()));
        Ok(())
    }

    /// Stops the clock, or lets it go on.
    pub(crate) fn stop(&self, stop: bool) {
        let now = self.battery.now();
        let mut state = self.state();
        state.stopped = stop.then(|| state.stopped.unwrap_or_else(|| (now, Instant::now())));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nonce() -> Result<[u8; 32], FtmError> {
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| FtmError::Internal("making a nonce"))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use biotrust_driver_api::Cancel;
    use biotrust_model::time::SystemClock;

    #[test]
    fn it_counts_on_from_what_it_was_told_and_forgets_it_at_a_start() {
        let time = DeviceTime::new(Arc::new(SystemClock)).unwrap();
        assert_eq!(time.trusted(), None);
        let told = UtcMillis(1_000_000);
        time.set(time.nonce(), told).unwrap();
        let _ = Cancel::new().wait(Duration::from_millis(20));
        let since = time.trusted().unwrap().since(told);
        assert!((20..2_000).contains(&since), "{since}");
        let nonce = time.nonce();
        time.start(2).unwrap();
        assert_eq!((time.trusted(), time.shown().unwrap().boot_count), (None, 2));
        assert!(time.set(nonce, told).is_err(), "a nonce of the start before");
    }

    #[test]
    fn a_nonce_is_good_once() {
        let time = DeviceTime::new(Arc::new(SystemClock)).unwrap();
        let nonce = time.nonce();
        time.set(nonce, UtcMillis(1)).unwrap();
        assert!(time.set(nonce, UtcMillis(2)).is_err());
    }

    #[test]
    fn a_token_that_was_held_back_is_refused() {
        let time = DeviceTime::new(Arc::new(SystemClock)).unwrap();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        time.state().made = ago(119);
        time.set(time.nonce(), UtcMillis(1)).unwrap();
        time.state().made = ago(121);
        let old = time.nonce();
        assert!(time.set(old, UtcMillis(2)).is_err());
        assert_ne!(time.nonce(), old, "and is not good for later");
        let given = time.shown().unwrap().nonce;
        assert_eq!(time.shown().unwrap().nonce, given);
        time.state().made = ago(61);
        assert_ne!(time.shown().unwrap().nonce, given);
    }

    #[test]
    fn a_stopped_clock_stands_still() {
        let time = DeviceTime::new(Arc::new(SystemClock)).unwrap();
        for trusted in [false, true] {
            if trusted {
                time.stop(false);
                time.set(time.nonce(), UtcMillis(5_000)).unwrap();
            }
            time.stop(true);
            let at = time.now();
            let _ = Cancel::new().wait(Duration::from_millis(5));
            assert_eq!(time.now(), at);
        }
        time.stop(false);
        assert!(time.now() > UtcMillis(5_000));
    }
}
