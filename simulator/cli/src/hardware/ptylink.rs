//! The link to the pseudo-terminal of a device that is plugged in.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A link `NAME.tty`; it disappears with this value.
pub(crate) struct PtyLink {
    path: PathBuf,
}

impl PtyLink {
    /// Makes the link, in one step; one that an earlier run has left behind is replaced.
    pub(crate) fn insert(folder: &Path, name: &str, target: &Path) -> anyhow::Result<Self> {
        let path = folder.join(format!("{name}.tty"));
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        let made = symlink(target, &temporary).and_then(|()| std::fs::rename(&temporary, &path));
        made.with_context(|| format!("making the link {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PtyLink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
