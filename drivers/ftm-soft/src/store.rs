//! Key files in a directory that belongs to this user alone.
//!
//! Every change is one atomic step (the rename or removal of one file) made durable by a sync of the directory: a crash
//! leaves the state before or after it, and at worst a file `*.tmp` that the next start removes. All operations go
//! through the opened directory, so that nobody can put another one in its place in between.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use biotrust_driver_api::FtmError;
use biotrust_model::evidence::KeySlot;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Longest file that can be a key; an RSA-2048 key is about 1,220 bytes.
const MAX_FILE: u64 = 8192;

/// Name of the file that holds the key in `slot`.
fn key_file(name: &str, slot: KeySlot) -> String {
    match slot {
        KeySlot::Current => format!("{name}.current.key"),
        KeySlot::Next => format!("{name}.next.key"),
    }
}

/// The directory, locked for as long as this lives.
pub(crate) struct Store {
    directory: OwnedFd,
    path: PathBuf,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, FtmError> {
        const OPENING: &str = "opening the directory of keys";
        let failed =
            |why: String| FtmError::Failed { doing: OPENING, why: format!("{}: {why}", path.display()) };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed(e.to_string()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.to_string()))?;
        let stat = rustix::fs::fstat(&directory).map_err(|e| failed(e.to_string()))?;
        if let Some(why) = exposed(&stat, path, 0o700) {
            return Err(FtmError::Unusable { name: path.display().to_string(), why });
        }
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
            Errno::WOULDBLOCK => {
                failed("another process uses these keys; is biotrustd running twice?".into())
            }
            other => failed(other.to_string()),
        })?;
        let store = Self { directory, path: path.to_owned() };
        store.remove_leftovers().map_err(|e| failed(e.to_string()))?;
        Ok(store)
    }

    /// What the file of the key in `slot` holds, where there is one.
    pub(crate) fn read(&self, name: &str, slot: KeySlot) -> Result<Option<Zeroizing<Vec<u8>>>, FtmError> {
        self.read_file(name, &key_file(name, slot))
    }

    /// What a file of the directory holds, where there is one; `name` is for errors.
    pub(crate) fn read_file(&self, name: &str, file: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FtmError> {
        let path = self.path.join(file);
        let unusable = |why: String| FtmError::Unusable { name: name.to_owned(), why };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.directory, file, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(unusable(format!("{}: {errno}", path.display()))),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| unusable(format!("{}: {e}", path.display())))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(unusable(format!("{} is not a file", path.display())));
        }
        if let Some(why) = exposed(&stat, &path, 0o600) {
            return Err(unusable(why));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let Some(size) = usize::try_from(size).ok().filter(|_| size <= MAX_FILE) else {
            return Err(unusable(format!("{} is too long to be a key", path.display())));
        };
        let mut content = Zeroizing::new(vec![0; size]);
        io::Read::read_exact(&mut std::fs::File::from(fd), &mut content)
            .map_err(|e| unusable(format!("{}: {e}", path.display())))?;
        Ok(Some(content))
    }

    /// Puts a key into `slot`, replacing what is there.
    pub(crate) fn write(&self, name: &str, slot: KeySlot, key: &[u8]) -> Result<(), FtmError> {
        self.write_file(&key_file(name, slot), key)
    }

    /// Replaces a file of the directory, or makes it.
    pub(crate) fn write_file(&self, file: &str, content: &[u8]) -> Result<(), FtmError> {
        let temporary = format!("{file}.tmp");
        let write = || -> io::Result<()> {
            remove_file(&self.directory, &temporary)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&self.directory, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
            let mut key = std::fs::File::from(fd);
            io::Write::write_all(&mut key, content)?;
            key.sync_all()?;
            rustix::fs::renameat(&self.directory, &temporary, &self.directory, file)?;
            Ok(rustix::fs::fsync(&self.directory)?)
        };
        write().map_err(|e| {
            // Where this fails as well, the next start removes it.
            let _ = remove_file(&self.directory, &temporary);
            self.failed("writing a key", &e)
        })
    }

    /// Makes the next key the current one, in one step.
    pub(crate) fn promote(&self, name: &str) -> Result<(), FtmError> {
        let (next, current) = (key_file(name, KeySlot::Next), key_file(name, KeySlot::Current));
        rustix::fs::renameat(&self.directory, &next, &self.directory, &current)
            .and_then(|()| rustix::fs::fsync(&self.directory))
            .map_err(|errno| match errno {
                Errno::NOENT => FtmError::NoKey(name.to_owned()),
                errno => self.failed("changing to the next key", &errno.into()),
            })
    }

    /// Removes both keys, durably one after the other. The next one first: a crash in between leaves a device that
    /// works, and a call to repeat.
    pub(crate) fn remove(&self, name: &str) -> Result<(), FtmError> {
        [KeySlot::Next, KeySlot::Current]
            .into_iter()
            .try_for_each(|slot| {
                remove_file(&self.directory, &key_file(name, slot))?;
                Ok(rustix::fs::fsync(&self.directory)?)
            })
            .map_err(|e: io::Error| self.failed("removing keys", &e))
    }

    /// Removes a file that is not a device key, durably.
    pub(crate) fn remove_file(&self, file: &str) -> Result<(), FtmError> {
        remove_file(&self.directory, file)
            .and_then(|()| Ok(rustix::fs::fsync(&self.directory)?))
            .map_err(|e| self.failed("removing a file", &e))
    }

    /// Every device key there is.
    pub(crate) fn keys(&self) -> Result<Vec<(String, KeySlot)>, FtmError> {
        let slot_of = |file: &str| {
            let current = file.strip_suffix(".current.key").map(|name| (name.to_owned(), KeySlot::Current));
            current.or_else(|| Some((file.strip_suffix(".next.key")?.to_owned(), KeySlot::Next)))
        };
        let files = self.files().map_err(|e| self.failed("listing keys", &e))?;
        Ok(files.iter().filter_map(|file| slot_of(file)).collect())
    }

    /// Removes what a crash left half written.
    fn remove_leftovers(&self) -> io::Result<()> {
        let files = self.files()?;
        let mut leftovers = files.iter().filter(|name| name.ends_with(".tmp"));
        leftovers.try_for_each(|name| remove_file(&self.directory, name))
    }

    fn files(&self) -> io::Result<Vec<String>> {
        Dir::read_from(&self.directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn failed(&self, doing: &'static str, error: &io::Error) -> FtmError {
        FtmError::Failed { doing, why: format!("{}: {error}", self.path.display()) }
    }
}

/// Removes a file that may not be there.
fn remove_file(directory: &OwnedFd, file: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, file, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Why somebody else could get at this file or directory, and the command that mends it.
fn exposed(stat: &Stat, path: &Path, wanted: u32) -> Option<String> {
    let (path, user) = (path.display(), rustix::process::geteuid().as_raw());
    if stat.st_uid != user {
        return Some(format!(
            "{path} belongs to user {}, not to {user}: if nobody has tampered with it, run `chown {user} {path}`",
            stat.st_uid
        ));
    }
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o777;
        return Some(format!(
            "{path} has mode {mode:03o}, so that others can get at the keys: run `chmod {wanted:o} {path}`"
        ));
    }
    None
}
