//! Packages that are unpacked into a directory of ours instead of being installed: a kernel that this machine shall not
//! boot, and an emulator that would drive out packages of somebody else.
//!
//! apt verifies what it downloads; nothing here needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::needs;
use crate::step::{self, Failure, say};

/// Where things of the distribution are kept between checkouts: `~/.cache/biotrust/rig`.
pub(super) fn cache() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .ok_or_else(|| Failure::new("neither XDG_CACHE_HOME nor HOME says where to keep a kernel"))?;
    let cache = base.join("biotrust/rig");
    std::fs::create_dir_all(&cache)
        .map_err(|e| Failure::new(format!("cannot make {}: {e}", cache.display())))?;
    Ok(cache)
}

/// The directory `name` of the cache; where it is not there, `make` fills it. Several may do so at once: the first wins.
pub(super) fn cached(
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let cache = cache()?;
    let place = cache.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    let stage = cache.join(format!(".{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&stage);
    std::fs::create_dir_all(&stage)
        .map_err(|e| Failure::new(format!("cannot make {}: {e}", stage.display())))?;
    let made = make(&stage).and_then(|()| match std::fs::rename(&stage, &place) {
        Err(_) if place.is_dir() => Ok(()),
        result => result.map_err(|e| Failure::new(format!("cannot make {}: {e}", place.display()))),
    });
    let _ = std::fs::remove_dir_all(&stage);
    made.map(|()| place)
}

/// What `command` prints.
pub(super) fn output(command: &mut Command) -> Result<String, Failure> {
    let shown = step::show(command);
    let output = command.output().map_err(|e| Failure::new(format!("cannot run {shown}: {e}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{shown}: {} ({})", why.trim(), output.status)))
}

/// Runs `ask`; where it fails, once more with new package lists: a fresh machine has none, an old one has yesterday's.
pub(super) fn with_lists<T>(ask: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
    ask().or_else(|failure| {
        say(format_args!("{failure}: trying again with new package lists"));
        needs::update_lists()?;
        ask()
    })
}

/// Downloads `packages` and unpacks them into `root`, which is empty.
pub(super) fn unpack(packages: &[String], root: &Path) -> Result<(), Failure> {
    let downloads = root.join(".deb");
    std::fs::create_dir_all(&downloads)
        .map_err(|e| Failure::new(format!("cannot make {}: {e}", downloads.display())))?;
    let mut download = Command::new("apt-get");
    // The user that apt downloads as may not write here, which is no matter: signatures are checked all the same.
    download.current_dir(&downloads).args(["download", "--quiet", "--option", "APT::Sandbox::User=root"]);
    step::run("download", download.args(packages))?;
    for file in files(&downloads)? {
        step::run("unpack", Command::new("dpkg-deb").arg("--extract").arg(&file).arg(root))?;
    }
    let _ = std::fs::remove_dir_all(&downloads);
    Ok(())
}

/// The entries of a directory.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory)
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", directory.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}
