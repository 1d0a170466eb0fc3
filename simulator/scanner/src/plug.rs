//! The visible end of a cable: a symbolic link `SERIAL.tty` in the folder that the daemon watches.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A link that is there; it disappears with this value.
#[derive(Debug)]
pub(crate) struct Plug {
    link: PathBuf,
    target: PathBuf,
}

impl Plug {
    /// Makes `directory/NAME.tty` point to `target` in one step, replacing a link that an earlier run left behind.
    pub(crate) fn insert(directory: &Path, name: &str, target: &Path) -> io::Result<Self> {
        let link = directory.join(format!("{name}.tty"));
        let temporary = directory.join(format!(".{name}.{}", std::process::id()));
        if let Err(error) = std::fs::remove_file(&temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        symlink(target, &temporary)?;
        if let Err(error) = std::fs::rename(&temporary, &link) {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(Self { link, target: target.to_owned() })
    }
}

impl Drop for Plug {
    /// Removes the link, unless somebody has put another one in its place.
    fn drop(&mut self) {
        if std::fs::read_link(&self.link).is_ok_and(|target| target == self.target) {
            let _ = std::fs::remove_file(&self.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_comes_and_goes_with_the_plug() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("BSM1.tty");
        symlink("/gone", &link).unwrap();
        let plug = Plug::insert(dir.path(), "BSM1", Path::new("/dev/pts/7")).unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("/dev/pts/7"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(plug);
        assert!(std::fs::symlink_metadata(&link).is_err());
    }

    #[test]
    fn a_link_of_somebody_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let plug = Plug::insert(dir.path(), "BSM1", Path::new("/dev/pts/7")).unwrap();
        let other = Plug::insert(dir.path(), "BSM1", Path::new("/dev/pts/8")).unwrap();
        drop(plug);
        assert!(std::fs::symlink_metadata(dir.path().join("BSM1.tty")).is_ok());
        drop(other);
    }
}
