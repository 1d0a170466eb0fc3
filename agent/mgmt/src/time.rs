//! The provider's time, bound to one run of the host.
//!
//! The only time that a device may trust comes from its management server. What is kept of it is an offset: the server's
//! UTC minus the host's clock since boot, which nobody can set. An offset holds within the boot that it was learned in,
//! and where there is a TPM, until that is reset. After that there is no time until the server has told it again.

use std::time::Duration;

use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

/// Longest way of a question for the time, there and back: half of it is how wrong the answer may be.
pub const MAX_ROUND_TRIP: Duration = Duration::from_secs(10);

/// How far the host's clock may be from trusted time before somebody should be told.
pub const SKEW_NOTICE: Duration = Duration::from_secs(30);

/// One run of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The kernel's random name for it (`/proc/sys/kernel/random/boot_id`).
    pub id: String,
    /// `resetCount` of the TPM, where there is one: it counts power cycles that a copied disk cannot hide.
    #[serde(default)]
    pub reset_count: Option<u32>,
}

/// A reading of the clock since boot (one that goes on while the host sleeps), in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SinceBoot(pub u64);

/// Why an answer of the server sets no clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLearned {
    /// The answer came before the question.
    #[error("the clock since boot ran backwards")]
    Backwards,
    /// The answer was too long under way.
    #[error("the server's time was {0} ms under way, too long to be exact; ask again")]
    TooSlow(u64),
}

/// Why there is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTime {
    /// The host has been restarted since.
    #[error("the host was restarted after the management server told the time; it is asked again")]
    OtherBoot,
    /// The TPM has been reset since, or is another.
    #[error("the TPM was reset after the management server told the time; it is asked again")]
    TpmReset,
    /// Longer ago than the policy allows.
    #[error("the management server told the time {0} days ago, too long; connect this host to it")]
    TooOld(u64),
    /// The clock since boot is behind the moment of learning.
    #[error("the clock since boot ran backwards")]
    Backwards,
}

/// What has to be added to the clock since boot to get UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// UTC minus the clock since boot, in milliseconds.
    millis: i64,
    /// The clock since boot when it was learned.
    learned_at: u64,
    /// How wrong it may be, in milliseconds: half the way of the question.
    uncertainty: u64,
    /// The run that it holds for.
    boot: Boot,
}

impl Offset {
    /// Learns from a verified time token: `utc` is the server's, asked for at `asked` and here at `received`.
    ///
    /// # Errors
    /// When the answer took longer than [`MAX_ROUND_TRIP`].
    pub fn learn(
        utc: UtcMillis,
        asked: SinceBoot,
        received: SinceBoot,
        boot: Boot,
    ) -> Result<Self, NotLearned> {
        let way = received.0.checked_sub(asked.0).ok_or(NotLearned::Backwards)?;
        if u128::from(way) > MAX_ROUND_TRIP.as_millis() {
            return Err(NotLearned::TooSlow(way));
        }
        let uncertainty = way.div_ceil(2);
        let middle = received.0 - way / 2;
        let millis = utc.0.saturating_sub(i64::try_from(middle).unwrap_or(i64::MAX));
        Ok(Self { millis, learned_at: received.0, uncertainty, boot })
    }

    /// The time now.
    ///
    /// # Errors
    /// When the offset does not hold any more, or is older than `max_age`.
    pub fn now(&self, clock: SinceBoot, boot: &Boot, max_age: Duration) -> Result<UtcMillis, NoTime> {
        if boot.id != self.boot.id {
            return Err(NoTime::OtherBoot);
        }
        if boot.reset_count != self.boot.reset_count {
            return Err(NoTime::TpmReset);
        }
        let age = clock.0.checked_sub(self.learned_at).ok_or(NoTime::Backwards)?;
        if u128::from(age) > max_age.as_millis() {
            return Err(NoTime::TooOld(age / 86_400_000));
        }
        Ok(UtcMillis(self.millis.saturating_add(i64::try_from(clock.0).unwrap_or(i64::MAX))))
    }

    /// How wrong it may be at the moment of learning, in milliseconds.
    #[must_use]
    pub const fn uncertainty(&self) -> u64 {
        self.uncertainty
    }

    /// How long ago it was learned, where `clock` is of the same boot.
    #[must_use]
    pub const fn age(&self, clock: SinceBoot) -> Duration {
        Duration::from_millis(clock.0.saturating_sub(self.learned_at))
    }
}

/// How far the host's clock is ahead of trusted time, in milliseconds; negative where it is behind.
#[must_use]
pub const fn skew(host: UtcMillis, trusted: UtcMillis) -> i64 {
    host.since(trusted)
}

/// What to tell about a skew before it hurts a capture; `None` where it is small.
#[must_use]
pub fn skew_notice(skew: i64) -> Option<String> {
    let span = Duration::from_millis(skew.unsigned_abs());
    (span > SKEW_NOTICE).then(|| {
        let side = if skew > 0 { "ahead of" } else { "behind" };
        format!(
            "this host's clock is {} s {side} the provider's time; set up time synchronisation",
            span.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: UtcMillis = UtcMillis(1_795_525_200_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn boot() -> Boot {
        Boot { id: "1f".to_owned(), reset_count: Some(7) }
    }

    fn learned() -> Offset {
        Offset::learn(UTC, SinceBoot(1_000), SinceBoot(1_400), boot()).unwrap()
    }

    #[test]
    fn time_goes_on_from_the_middle_of_the_question() {
        let offset = learned();
        assert_eq!(offset.now(SinceBoot(1_400), &boot(), DAY), Ok(UtcMillis(UTC.0 + 200)));
        assert_eq!(offset.now(SinceBoot(61_200), &boot(), DAY), Ok(UtcMillis(UTC.0 + 60_000)));
        assert_eq!(offset.uncertainty(), 200);
    }

    #[test]
    fn an_offset_ends_with_its_boot() {
        let offset = learned();
        let other = Boot { id: "20".to_owned(), ..boot() };
        assert_eq!(offset.now(SinceBoot(9_000), &other, DAY), Err(NoTime::OtherBoot));
        for reset_count in [Some(8), None] {
            let reset = Boot { reset_count, ..boot() };
            assert_eq!(offset.now(SinceBoot(9_000), &reset, DAY), Err(NoTime::TpmReset));
        }
        assert_eq!(offset.now(SinceBoot(1_399), &boot(), DAY), Err(NoTime::Backwards));
        let late = SinceBoot(1_401 + 86_400_000);
        assert_eq!(offset.now(late, &boot(), DAY), Err(NoTime::TooOld(1)));
        assert!(offset.now(SinceBoot(late.0 - 1), &boot(), DAY).is_ok());
    }

    #[test]
    fn a_slow_answer_is_not_believed() {
        let slow = Offset::learn(UTC, SinceBoot(0), SinceBoot(10_001), boot());
        assert_eq!(slow, Err(NotLearned::TooSlow(10_001)));
        let backwards = Offset::learn(UTC, SinceBoot(5), SinceBoot(4), boot());
        assert_eq!(backwards, Err(NotLearned::Backwards));
    }

    #[test]
    fn an_offset_survives_on_disk_and_extremes_do_not_panic() {
        let offset = learned();
        let text = serde_json::to_string(&offset).unwrap();
        assert_eq!(serde_json::from_str::<Offset>(&text).unwrap(), offset);
        let wild = Offset::learn(UtcMillis(i64::MIN), SinceBoot(0), SinceBoot(u64::MAX), boot());
        assert!(wild.is_err());
        let far = Offset::learn(UtcMillis(i64::MAX), SinceBoot(1), SinceBoot(1), boot()).unwrap();
        assert!(far.now(SinceBoot(u64::MAX), &boot(), Duration::MAX).is_ok());
    }

    #[test]
    fn skew_is_told_before_it_hurts() {
        assert_eq!(skew(UtcMillis(UTC.0 - 5), UTC), -5);
        assert_eq!(skew_notice(30_000), None);
        assert!(skew_notice(31_000).unwrap().contains("31 s ahead of"));
        assert!(skew_notice(-90_000).unwrap().contains("90 s behind"));
        assert!(skew_notice(i64::MIN).is_some());
    }
}
