//! The host's clock since boot, and the name of this run.

use std::io;

use biotrust_mgmt::time::{Boot, SinceBoot};
use rustix::time::{ClockId, clock_gettime};

use super::Uptime;

/// `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostUptime;

impl Uptime for HostUptime {
    fn now(&self) -> SinceBoot {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or_default();
        SinceBoot(seconds.saturating_mul(1000).saturating_add(millis))
    }
}

/// This run of the host; `reset_count` is that of its TPM, where there is one.
///
/// # Errors
/// When the kernel does not tell its boot id.
pub fn this_boot(reset_count: Option<u32>) -> io::Result<Boot> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(Boot { id: id.trim().to_owned(), reset_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_since_boot_runs_and_the_run_has_one_name() {
        let before = HostUptime.now();
        std::thread::park_timeout(std::time::Duration::from_millis(5));
        assert!(HostUptime.now() > before);
        let boot = this_boot(None).unwrap();
        assert_eq!(boot, this_boot(None).unwrap());
        assert_eq!(boot.id.len(), 36, "{}", boot.id);
    }
}
