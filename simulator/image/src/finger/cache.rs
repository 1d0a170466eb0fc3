//! Grown fingers on disk, so that a simulator starts in no time. Only ever an optimisation: whatever is wrong with a file or
//! with the directory, the finger is grown again and comes out the same.
//!
//! Blocks for one small file. A file is written under a name of its own and renamed, so readers never see half of one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::master::Master;

/// Changes with every change of what a seed looks like.
pub(crate) const GENERATOR_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"biosim-F";

/// What a master depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) seed: u64,
    /// Position of ISO/IEC 19794-4, 1 to 10.
    pub(crate) position: u8,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Key {
    fn file_name(&self) -> String {
        let Self { seed, position, width, height } = self;
        format!("finger-{seed:016x}-{position:02}-{width}x{height}-v{GENERATOR_VERSION}.ridges")
    }

    /// Goes in front of the ridges, so that a renamed file is found out.
    fn head(&self) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&GENERATOR_VERSION.to_be_bytes());
        head.extend_from_slice(&self.seed.to_be_bytes());
        head.push(self.position);
        head.extend_from_slice(&self.width.to_be_bytes());
        head.extend_from_slice(&self.height.to_be_bytes());
        head
    }
}

/// Reads a master; `None` where there is none, or none in good order.
pub(crate) fn load(directory: &Path, key: Key) -> Option<Master> {
    let file = std::fs::read(directory.join(key.file_name())).ok()?;
    let (body, sum) = file.split_last_chunk::<8>()?;
    if *sum != checksum(body).to_be_bytes() {
        return None;
    }
    let ridges = body.strip_prefix(key.head().as_slice())?;
    let (width, height) = (key.width as usize, key.height as usize);
    let ridges: Vec<i8> = ridges.iter().map(|byte| *byte as i8).collect();
    (ridges.len() == width * height).then_some(Master { width, height, ridges })
}

/// Writes a master.
///
/// # Errors
/// Whatever the file system says; nothing is left behind then.
pub(crate) fn store(directory: &Path, key: Key, master: &Master) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut file = key.head();
    file.extend(master.ridges.iter().map(|ridge| *ridge as u8));
    file.extend_from_slice(&checksum(&file).to_be_bytes());

    let draft = directory.join(draft_name(&key));
    let written = std::fs::File::create_new(&draft)
        .and_then(|mut out| out.write_all(&file))
        .and_then(|()| std::fs::rename(&draft, directory.join(key.file_name())));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

/// A name that no other thread or process uses.
fn draft_name(key: &Key) -> PathBuf {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(".{}.{}.{count}", key.file_name(), std::process::id()).into()
}

/// FNV-1a, 64 bits: finds accidents, not attackers.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const KEY: Key = Key { seed: 5, position: 2, width: 48, height: 56 };

    fn master() -> Master {
        Master::grow(48, 56, &mut Random::new(*b"test    ", &[5]))
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("made/on/demand");
        assert!(load(&below, KEY).is_none());
        store(&below, KEY, &master()).unwrap();
        assert!(load(&below, KEY).unwrap().ridges == master().ridges);
        store(&below, KEY, &master()).unwrap(); // again, over the old one
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1, "no drafts are left");
    }

    #[test]
    fn files_that_are_not_in_order_are_not_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(KEY.file_name());
        store(directory.path(), KEY, &master()).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[100] ^= 1;
        for bad in [flipped, good[..good.len() - 1].to_vec(), vec![], vec![0; 8]] {
            std::fs::write(&path, bad).unwrap();
            assert!(load(directory.path(), KEY).is_none());
        }
        // In good order, but another finger's.
        let other = Key { position: 3, ..KEY };
        std::fs::write(directory.path().join(other.file_name()), good).unwrap();
        assert!(load(directory.path(), other).is_none());
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(store(&file.path().join("below a file"), KEY, &master()).is_err());
    }
}
