//! Is there room for the state? The daemon commits before it acts, so a full disk stops it.

use std::path::Path;

use super::Finding;

const NAME: &str = "disk";

/// Below this the daemon cannot be relied on to write.
const FAIL: u64 = 50 << 20;
/// Below this somebody should look before it gets there.
const WARN: u64 = 500 << 20;

pub(super) fn check(dir: &Path) -> Finding {
    match rustix::fs::statvfs(dir) {
        Ok(fs) => judge(dir, fs.f_bavail.saturating_mul(fs.f_frsize), fs.f_files > 0 && fs.f_favail == 0),
        Err(error) => {
            Finding::skip(NAME, format!("the file system of {} cannot be read: {error}", dir.display()))
        }
    }
}

fn judge(dir: &Path, free: u64, no_inodes: bool) -> Finding {
    let dir = dir.display();
    let text = format!("{} MiB free for {dir}", free >> 20);
    let next = format!("Free some room (see df -h {dir}, journalctl --vacuum-size=200M).");
    match free {
        _ if no_inodes => Finding::fail(NAME, format!("no more files can be made for {dir}"), next),
        ..FAIL => Finding::fail(NAME, text, next),
        FAIL..WARN => Finding::warn(NAME, text, next),
        _ => Finding::ok(NAME, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn limits() {
        let dir = Path::new("/x");
        for (free, verdict) in
            [(0, Verdict::Fail), (FAIL - 1, Verdict::Fail), (FAIL, Verdict::Warn), (WARN, Verdict::Ok)]
        {
            assert_eq!(judge(dir, free, false).verdict, verdict, "{free}");
        }
        assert_eq!(judge(dir, u64::MAX, true).verdict, Verdict::Fail);
        assert_eq!(check(Path::new("/nonexistent")).verdict, Verdict::Skip);
    }
}
