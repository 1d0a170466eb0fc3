//! Key files in a directory that belongs to this user alone, for FTMs that keep their keys (or what a chip wrapped) there.
//!
//! Every change is one atomic step (the rename or removal of one file) made durable by a sync of the directory: a crash
//! leaves the state before or after it, and at worst a file `*.tmp` or `*.gone` that the next start finishes off. A key
//! that is replaced or removed is overwritten before its file goes; on file systems that write new blocks instead
//! (journals of data, copy on write, flash) the old ones may stay, so a file alone must never be all of a secret.
//! All operations go through the opened directory, so that nobody can put another one in its place in between.
//!
//! What is in the files is none of this module's business. Blocks on the disk.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use biotrust_model::evidence::KeySlot;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::FtmError;

/// Longest file that can be a key; an RSA-2048 key is about 1,220 bytes.
const MAX_FILE: u64 = 8192;

/// Name of the file that holds the key in `slot`.
fn key_file(name: &str, slot: KeySlot) -> String {
    match slot {
        KeySlot::Current => format!("{name}.current.key"),
        KeySlot::Next => format!("{name}.next.key"),
    }
}

/// How the file of a key that is on its way out is called.
const GONE: &str = ".gone";

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub struct KeyFiles {
    directory: OwnedFd,
    path: PathBuf,
}

impl KeyFiles {
    /// Opens `path` for this process alone, making it where there is none, and finishes what a crash interrupted.
    ///
    /// # Errors
    /// `Unusable` when others than this user may enter it, with the command that mends it; `Failed` when it cannot be
    /// made or opened, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, FtmError> {
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
        let files = Self { directory, path: path.to_owned() };
        files.finish().map_err(|e| failed(e.to_string()))?;
        Ok(files)
    }

    /// What the file of the key in `slot` holds, where there is one.
    ///
    /// # Errors
    /// `Unusable` where others may read or write it, or it is no file of a key's size.
    pub fn read(&self, name: &str, slot: KeySlot) -> Result<Option<Zeroizing<Vec<u8>>>, FtmError> {
        self.read_file(name, &key_file(name, slot))
    }

    /// What a file of the directory holds, where there is one; `name` is for errors.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_file(&self, name: &str, file: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FtmError> {
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
    ///
    /// # Errors
    /// When the disk fails; then nothing has changed.
    pub fn write(&self, name: &str, slot: KeySlot, key: &[u8]) -> Result<(), FtmError> {
        self.write_file(&key_file(name, slot), key)
    }

    /// Replaces a file of the directory, or makes it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_file(&self, file: &str, content: &[u8]) -> Result<(), FtmError> {
        let temporary = format!("{file}.tmp");
        let write = || -> io::Result<()> {
            remove_file(&self.directory, &temporary)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&self.directory, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
            let mut key = std::fs::File::from(fd);
            io::Write::write_all(&mut key, content)?;
            key.sync_all()?;
            self.put(&temporary, file)
        };
        write().map_err(|e| {
            // Where this fails as well, the next start removes it.
            let _ = remove_file(&self.directory, &temporary);
            self.failed("writing a key", &e)
        })
    }

    /// Makes the next key the current one, in one step; the old one is gone.
    ///
    /// # Errors
    /// `NoKey` where there is no next key.
    pub fn promote(&self, name: &str) -> Result<(), FtmError> {
        self.put(&key_file(name, KeySlot::Next), &key_file(name, KeySlot::Current)).map_err(|e| {
            match e.kind() {
                io::ErrorKind::NotFound => FtmError::NoKey(name.to_owned()),
                _ => self.failed("changing to the next key", &e),
            }
        })
    }

    /// Makes the file `file` the key in `slot`, in one step.
    ///
    /// # Errors
    /// When there is no such file, or the disk fails.
    pub fn adopt(&self, file: &str, name: &str, slot: KeySlot) -> Result<(), FtmError> {
        self.put(file, &key_file(name, slot)).map_err(|e| self.failed("taking a key", &e))
    }

    /// Removes both keys, durably one after the other. The next one first: a crash in between leaves a device that
    /// works, and a call to repeat.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove(&self, name: &str) -> Result<(), FtmError> {
        let mut slots = [KeySlot::Next, KeySlot::Current].into_iter();
        slots.try_for_each(|slot| self.remove_file(&key_file(name, slot)))
    }

    /// Removes a file that may not be there, durably: it is gone at once, and then overwritten.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove_file(&self, file: &str) -> Result<(), FtmError> {
        let gone = format!("{file}{GONE}");
        let remove = || match rustix::fs::renameat(&self.directory, file, &self.directory, &gone) {
            Ok(()) => {
                rustix::fs::fsync(&self.directory)?;
                self.wipe(&gone)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
        remove().map_err(|e: io::Error| self.failed("removing a key", &e))
    }

    /// Every device key there is.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn keys(&self) -> Result<Vec<(String, KeySlot)>, FtmError> {
        let slot_of = |file: &str| {
            let current = file.strip_suffix(".current.key").map(|name| (name.to_owned(), KeySlot::Current));
            current.or_else(|| Some((file.strip_suffix(".next.key")?.to_owned(), KeySlot::Next)))
        };
        let files = self.files().map_err(|e| self.failed("listing keys", &e))?;
        Ok(files.iter().filter_map(|file| slot_of(file)).collect())
    }

    /// Puts a file in the place of another, in one step, and overwrites what was there.
    fn put(&self, from: &str, to: &str) -> io::Result<()> {
        let gone = format!("{to}{GONE}");
        remove_file(&self.directory, &gone)?;
        // A second name for what is replaced, to find it by afterwards.
        let replaces = match rustix::fs::linkat(&self.directory, to, &self.directory, &gone, AtFlags::empty())
        {
            Ok(()) => true,
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(errno.into()),
        };
        if let Err(errno) = rustix::fs::renameat(&self.directory, from, &self.directory, to) {
            remove_file(&self.directory, &gone)?;
            return Err(errno.into());
        }
        rustix::fs::fsync(&self.directory)?;
        if replaces { self.wipe(&gone) } else { Ok(()) }
    }

    /// Overwrites and removes a file, unless it is still a key under its other name (a crash before it was replaced).
    fn wipe(&self, file: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // What cannot be opened for writing is no key that we wrote; it goes without.
        if let Ok(fd) = rustix::fs::openat(&self.directory, file, flags, Mode::empty()) {
            let stat = rustix::fs::fstat(&fd)?;
            let length = usize::try_from(stat.st_size).unwrap_or(0).min(MAX_FILE as usize);
            if stat.st_nlink == 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let mut key = std::fs::File::from(fd);
                io::Write::write_all(&mut key, &vec![0; length])?;
                key.sync_all()?;
            }
        }
        remove_file(&self.directory, file)?;
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    /// Removes what a crash left half written, and what it left half removed.
    fn finish(&self) -> io::Result<()> {
        for file in self.files()? {
            if file.ends_with(".tmp") || file.ends_with(GONE) {
                self.wipe(&file)?;
            }
        }
        Ok(())
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

/// Refuses names that cannot be names of files: a name is of a small alphabet, `[A-Za-z0-9_-]{1,64}`.
///
/// # Errors
/// `Unusable`, with the rule.
pub fn checked_name(name: &str) -> Result<(), FtmError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let name = name.chars().take(64).flat_map(char::escape_default).collect();
    Err(FtmError::Unusable { name, why: "a name is 1 to 64 letters, digits, `-` or `_`".into() })
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
