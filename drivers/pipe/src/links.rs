//! A directory of serial links that come and go: each `NAME.tty` in it is a symbolic link to a tty.
//!
//! This is how virtual devices are plugged in and out. Each change that inotify tells of makes the watcher read the
//! directory again and report the difference, so that no order of events, and no overflow of their queue, can make
//! it lose count. A link that was replaced is reported as vanished and appeared.
//!
//! It blocks on a thread of its own. It trusts whoever may write to the directory.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use inotify::{EventMask, Inotify, WatchMask};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

/// What happened in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A link is there: open `path`.
    Appeared {
        /// Its name without `.tty`.
        name: String,
        /// The link itself.
        path: PathBuf,
    },
    /// The link is gone.
    Vanished {
        /// Its name without `.tty`.
        name: String,
    },
    /// All links that were there at the start have been reported. Comes once.
    Scanned,
    /// The directory itself is gone or unreadable; all links have been reported as vanished, and nothing follows.
    Lost(String),
}

/// The directory cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {}: {source}; it must be a directory that this service may read", path.display())]
pub struct WatchError {
    path: PathBuf,
    source: io::Error,
}

/// Watches a directory until it is dropped.
pub struct LinkWatcher {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl LinkWatcher {
    /// Starts to watch `directory`. `sink` is called on the watcher's thread, first for the links that are there.
    ///
    /// # Errors
    /// When the directory is missing or unreadable, or the system has no inotify instance left.
    pub fn start(directory: &Path, sink: impl FnMut(LinkEvent) + Send + 'static) -> Result<Self, WatchError> {
        let failed = |source| WatchError { path: directory.to_owned(), source };
        let inotify = Inotify::init().map_err(failed)?;
        let changes = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        let end = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        inotify.watches().add(directory, changes | end).map_err(failed)?;
        // After the watch, so that nothing falls between the two.
        let mut links = Links { directory: directory.to_owned(), known: BTreeMap::new(), sink };
        list(directory).map_err(failed)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let stopped = stop.try_clone().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("serial-links".into())
            .spawn(move || links.watch(inotify, &stopped))
            .map_err(failed)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for LinkWatcher {
    fn drop(&mut self) {
        // Writing 1 to an eventfd that holds 0 does not block or fail.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// Tells a link from another one of the same name: device, inode, and when it was made.
type Identity = (u64, u64, i64, i64);

fn list(directory: &Path) -> io::Result<BTreeMap<String, Identity>> {
    let mut links = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|n| n.strip_suffix(".tty")).filter(|n| !n.is_empty()) else {
            continue;
        };
        // Of the link, not of what it points to. It may be gone again already.
        if let Ok(meta) = entry.metadata() {
            links.insert(name.to_owned(), (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()));
        }
    }
    Ok(links)
}

struct Links<S> {
    directory: PathBuf,
    known: BTreeMap<String, Identity>,
    sink: S,
}

impl<S: FnMut(LinkEvent)> Links<S> {
    fn watch(&mut self, mut inotify: Inotify, stop: &OwnedFd) {
        let mut outcome = self.compare();
        if outcome.is_ok() {
            (self.sink)(LinkEvent::Scanned);
        }
        while outcome.is_ok() {
            match wait(&inotify, stop) {
                Ok(true) => return,
                Ok(false) => outcome = drain(&mut inotify).and_then(|()| self.compare()),
                Err(error) => outcome = Err(error),
            }
        }
        if let Err(error) = outcome {
            for name in std::mem::take(&mut self.known).into_keys() {
                (self.sink)(LinkEvent::Vanished { name });
            }
            (self.sink)(LinkEvent::Lost(format!("{}: {error}", self.directory.display())));
        }
    }

    /// Reads the directory and reports what changed.
    fn compare(&mut self) -> io::Result<()> {
        let now = list(&self.directory)?;
        let before = std::mem::replace(&mut self.known, now);
        for name in before.iter().filter(|(name, id)| self.known.get(*name) != Some(id)).map(|(name, _)| name)
        {
            (self.sink)(LinkEvent::Vanished { name: name.clone() });
        }
        for name in self.known.iter().filter(|(name, id)| before.get(*name) != Some(id)).map(|(name, _)| name)
        {
            let path = self.directory.join(format!("{name}.tty"));
            (self.sink)(LinkEvent::Appeared { name: name.clone(), path });
        }
        Ok(())
    }
}

/// Sleeps until there is something to read (`false`) or the watcher is to stop (`true`).
fn wait(inotify: &Inotify, stop: &OwnedFd) -> io::Result<bool> {
    let mut set =
        [PollFd::new(stop, PollFlags::IN), PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut set, None) {
            Ok(_) => return Ok(set.first().is_some_and(|stop| !stop.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes the events off the queue: that there were some is all that matters, unless they tell that the watch is over.
fn drain(inotify: &mut Inotify) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let over = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
    let mut events = match inotify.read_events(&mut buffer) {
        Ok(events) => events,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    if events.any(|event| event.mask.intersects(over)) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the directory was deleted or moved"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn watch(directory: &Path) -> (LinkWatcher, Receiver<LinkEvent>) {
        let (send, events) = channel();
        let watcher = LinkWatcher::start(directory, move |event| drop(send.send(event))).unwrap();
        (watcher, events)
    }

    fn next(events: &Receiver<LinkEvent>) -> LinkEvent {
        events.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    fn appeared(directory: &Path, name: &str) -> LinkEvent {
        LinkEvent::Appeared { name: name.into(), path: directory.join(format!("{name}.tty")) }
    }

    fn vanished(name: &str) -> LinkEvent {
        LinkEvent::Vanished { name: name.into() }
    }

    /// As the simulator does it: the link is complete when it gets its name.
    fn plug(directory: &Path, name: &str, target: &str) {
        let temporary = directory.join(format!("{name}.tmp"));
        symlink(target, &temporary).unwrap();
        std::fs::rename(temporary, directory.join(format!("{name}.tty"))).unwrap();
    }

    #[test]
    fn links_that_are_there_come_before_the_marker_and_later_ones_after() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        plug(dir, "b", "/dev/pts/1");
        plug(dir, "a", "/dev/pts/2");
        std::fs::write(dir.join("notes.txt"), "").unwrap();
        std::fs::write(dir.join(".tty"), "").unwrap();
        let (_watcher, events) = watch(dir);
        assert_eq!([next(&events), next(&events)], [appeared(dir, "a"), appeared(dir, "b")]);
        assert_eq!(next(&events), LinkEvent::Scanned);

        plug(dir, "c", "/dev/pts/3");
        assert_eq!(next(&events), appeared(dir, "c"));
        std::fs::remove_file(dir.join("a.tty")).unwrap();
        assert_eq!(next(&events), vanished("a"));
        std::fs::rename(dir.join("b.tty"), dir.join("d.tty")).unwrap();
        assert_eq!([next(&events), next(&events)], [vanished("b"), appeared(dir, "d")]);
    }

    #[test]
    fn a_link_that_is_replaced_is_a_new_one() {
        let home = tempfile::tempdir().unwrap();
        plug(home.path(), "a", "/dev/pts/1");
        let (_watcher, events) = watch(home.path());
        assert_eq!([next(&events), next(&events)], [appeared(home.path(), "a"), LinkEvent::Scanned]);
        plug(home.path(), "a", "/dev/pts/1");
        assert_eq!([next(&events), next(&events)], [vanished("a"), appeared(home.path(), "a")]);
    }

    #[test]
    fn many_changes_at_once_add_up() {
        let home = tempfile::tempdir().unwrap();
        let (watcher, events) = watch(home.path());
        for round in 0..50 {
            for name in 0..20 {
                plug(home.path(), &format!("n{name}"), "/dev/null");
                if round < 49 || name % 2 == 0 {
                    std::fs::remove_file(home.path().join(format!("n{name}.tty"))).unwrap();
                }
            }
        }
        // The marker tells that the watcher has seen everything before it.
        plug(home.path(), "zz", "/dev/null");
        let mut there = std::collections::BTreeSet::new();
        loop {
            match next(&events) {
                LinkEvent::Appeared { name, .. } if name == "zz" => break,
                LinkEvent::Appeared { name, .. } => assert!(there.insert(name), "appeared twice"),
                LinkEvent::Vanished { name } => assert!(there.remove(&name), "vanished twice"),
                LinkEvent::Scanned => {}
                LinkEvent::Lost(why) => panic!("{why}"),
            }
        }
        drop(watcher);
        let expected: std::collections::BTreeSet<String> =
            (0..20).filter(|n| n % 2 == 1).map(|n| format!("n{n}")).collect();
        assert_eq!(there, expected);
    }

    #[test]
    fn a_missing_directory_is_a_clear_error() {
        let home = tempfile::tempdir().unwrap();
        let missing = home.path().join("missing");
        let error = LinkWatcher::start(&missing, |_| {}).err().unwrap().to_string();
        assert!(error.contains("missing") && error.contains("must be a directory"), "{error}");
        std::fs::write(&missing, "").unwrap();
        assert!(LinkWatcher::start(&missing, |_| {}).is_err(), "a file is not a directory");
    }

    #[test]
    fn a_directory_that_is_deleted_takes_its_links_along() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("links");
        std::fs::create_dir(&dir).unwrap();
        plug(&dir, "a", "/dev/null");
        let (_watcher, events) = watch(&dir);
        assert_eq!([next(&events), next(&events)], [appeared(&dir, "a"), LinkEvent::Scanned]);
        std::fs::rename(&dir, home.path().join("elsewhere")).unwrap();
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(next(&events), vanished("a"));
        assert!(matches!(next(&events), LinkEvent::Lost(_)));
        assert!(
            events.recv_timeout(Duration::from_secs(10)).is_err(),
            "nothing follows: the sink is dropped"
        );
    }

    #[test]
    fn dropping_stops_the_thread() {
        let home = tempfile::tempdir().unwrap();
        let (watcher, events) = watch(home.path());
        drop(watcher);
        assert_eq!(events.iter().filter(|e| *e != LinkEvent::Scanned).count(), 0);
    }
}
