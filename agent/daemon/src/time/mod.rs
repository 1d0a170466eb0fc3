//! Trusted time: what the management server told, carried on by the host's clock since boot, which nobody can set.
//!
//! [`TrustedClock`] is the clock of the whole daemon. Until the server has told the time in this run of the host it is the
//! host's own clock, but never behind a time that the server told before: a clock that was set back shows itself.
//! Nothing here blocks, and nothing here does I/O but reading two clocks.

mod host;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use biotrust_mgmt::time::{Boot, NotLearned, Offset, SinceBoot, skew, skew_notice};
use biotrust_model::time::{Clock, UtcMillis};
use serde::{Deserialize, Serialize};

pub use host::{HostUptime, this_boot};

/// The clock since boot: goes on while the host sleeps, starts anew with it, and cannot be set.
pub trait Uptime: Send + Sync {
    /// A reading.
    fn now(&self) -> SinceBoot;
}

/// What is kept of the server's time over a restart of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Holds in the run of the host that it was learned in.
    offset: Offset,
    /// The time that was told, in milliseconds since 1970: it has been at least that late ever since.
    utc_ms: i64,
}

/// What the daemon takes for the time.
pub struct TrustedClock {
    host: Arc<dyn Clock>,
    uptime: Arc<dyn Uptime>,
    boot: Boot,
    /// How long a time that was told is used.
    max_age: Duration,
    /// No device is served without it.
    required: bool,
    told: ArcSwapOption<Told>,
}

impl TrustedClock {
    /// Starts with what was told in an earlier run of the daemon.
    #[must_use]
    pub fn new(
        host: Arc<dyn Clock>,
        uptime: Arc<dyn Uptime>,
        boot: Boot,
        max_age: Duration,
        required: bool,
        told: Option<Told>,
    ) -> Self {
        Self { host, uptime, boot, max_age, required, told: ArcSwapOption::from_pointee(told) }
    }

    /// The host's own clock, right or wrong.
    #[must_use]
    pub fn host(&self) -> UtcMillis {
        self.host.now()
    }

    /// A reading for [`Self::measure`].
    #[must_use]
    pub fn uptime(&self) -> SinceBoot {
        self.uptime.now()
    }

    /// What a verified time token is worth that was asked for at `asked` and is here now. To be written down, then given
    /// to [`Self::adopt`].
    ///
    /// # Errors
    /// When it was too long under way.
    pub fn measure(&self, utc: UtcMillis, asked: SinceBoot) -> Result<Told, NotLearned> {
        let offset = Offset::learn(utc, asked, self.uptime.now(), self.boot.clone())?;
        Ok(Told { offset, utc_ms: utc.0 })
    }

    /// From now on this is the time.
    pub fn adopt(&self, told: Told) {
        self.told.store(Some(Arc::new(told)));
    }

    /// The server's time, or why there is none.
    ///
    /// # Errors
    /// Says since when or why not, for people.
    pub fn trusted(&self) -> Result<UtcMillis, String> {
        match self.told.load().as_deref() {
            Some(told) => told
                .offset
                .now(self.uptime.now(), &self.boot, self.max_age)
                .map_err(|error| error.to_string()),
            None => Err("the management server has not told the time yet".into()),
        }
    }

    /// How long ago the server told the time that is used.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let told = self.told.load_full()?;
        self.trusted().is_ok().then(|| told.offset.age(self.uptime.now()))
    }

    /// How far the host's own clock is ahead of trusted time, in milliseconds.
    #[must_use]
    pub fn skew(&self) -> Option<i64> {
        self.trusted().ok().map(|trusted| skew(self.host.now(), trusted))
    }

    /// Why no device can be used for want of time: Not Ready, error 110.
    #[must_use]
    pub fn hold(&self) -> Option<String> {
        let why = self.trusted().err()?;
        if self.required {
            return Some(format!("no trusted time: {why}"));
        }
        let floor = self.floor()?;
        let now = self.host.now();
        (now < floor).then(|| {
            format!(
                "the clock of this host says {}, but the management server has told {} before: set the clock, or \
                 connect the host to the server",
                now.to_wire(),
                floor.to_wire()
            )
        })
    }

    /// What somebody should know before it hurts a capture.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        self.hold().or_else(|| self.skew().and_then(skew_notice))
    }

    /// A time that is over for sure.
    fn floor(&self) -> Option<UtcMillis> {
        self.told.load().as_deref().map(|told| UtcMillis(told.utc_ms))
    }
}

impl Clock for TrustedClock {
    fn now(&self) -> UtcMillis {
        let host = || self.host.now().max(self.floor().unwrap_or(UtcMillis(i64::MIN)));
        self.trusted().unwrap_or_else(|_| host())
    }
}

#[cfg(test)]
mod tests;
