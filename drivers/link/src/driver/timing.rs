//! How the time of a capture is shared between the device and the line.
//!
//! A fast line takes no time that matters. On a UART an image takes seconds, and they count for whoever waits: so the
//! device is told to finish earlier by as much as its answer will take. Pure.

use std::time::Duration;

use biotrust_driver_api::CaptureJob;
use biotrust_model::Purpose;

/// A device may take this much longer than it was told: to compute, and to send what it has.
const GRACE: Duration = Duration::from_millis(1500);
/// Bytes of an answer for each part: a lossless image as a signed block, and an encrypted lossy one.
const REGISTRATION: u32 = 256 * 1024;
const AUTHENTICATION: u32 = 48 * 1024;
/// Bits on the line for each byte: start, eight, stop.
const BITS: u32 = 10;

/// Times of one capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    /// What the device is told: answer within this time.
    pub(super) finish_within: Duration,
    /// How long the host waits.
    pub(super) wait: Duration,
}

impl Timing {
    /// For `job` on a line of `baud`, where that is known. However slow the line, the device gets a quarter of the time
    /// to see something.
    pub(super) fn of(job: &CaptureJob, baud: Option<u32>) -> Self {
        let whole = job.finish_within;
        let transfer = baud.map_or(Duration::ZERO, |baud| transfer(job, baud));
        let finish_within = whole.saturating_sub(transfer).max(whole / 4);
        Self { finish_within, wait: finish_within + transfer + GRACE }
    }
}

/// How long the answer to `job` takes at `baud`, which is not zero.
fn transfer(job: &CaptureJob, baud: u32) -> Duration {
    let parts = u32::try_from(job.parts.len().max(1)).unwrap_or(u32::MAX);
    let bytes = match job.purpose {
        Purpose::Registration => REGISTRATION,
        Purpose::Auth => AUTHENTICATION,
    };
    Duration::from_secs((bytes * BITS).into()).saturating_mul(parts) / baud.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use biotrust_model::BioSubType;

    #[test]
    fn a_slow_line_takes_its_time_from_the_device_and_not_from_the_client() {
        let job = |purpose| CaptureJob {
            purpose,
            ..testing::capture_job(&BioSubType::LEFT_SLAP, Duration::from_secs(10))
        };
        let times = |purpose, baud| {
            let timing = Timing::of(&job(purpose), baud);
            [timing.finish_within, timing.wait].map(|time| time.as_millis())
        };
        assert_eq!(times(Purpose::Registration, None), [10_000, 11_500], "USB");
        // 4 x 262,144 x 10 / 3,000,000 = 3.495 s
        assert_eq!(times(Purpose::Registration, Some(3_000_000)), [6_504, 11_500]);
        // 4 x 49,152 x 10 / 921,600 = 2.133 s
        assert_eq!(times(Purpose::Auth, Some(921_600)), [7_866, 11_500]);
        // 91 s: nobody will wait so long, but it is not for this line to say.
        assert_eq!(times(Purpose::Registration, Some(115_200)), [2_500, 95_022]);
    }
}
