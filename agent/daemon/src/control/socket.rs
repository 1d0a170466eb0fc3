//! The socket file: made so that it is never open to others, by one daemon at a time.
//!
//! Who may make it is settled by a lock on a file beside it (`PATH.lock`), which the kernel gives to one process and
//! takes back when that one ends, however it ends. The lock file itself stays: removing it would let two processes lock
//! two files of the same name.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};

/// Mode of the socket: our user and group.
const MODE: u32 = 0o660;
/// Mode of its directory when it has to be made.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode of the lock file.
const LOCK_MODE: u32 = 0o600;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon has it.
    #[error(
        "the control socket {} is in use by another daemon: stop it, or change `socket` in [control]", path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is a file of that name that is no socket.
    #[error("{} is there and is not a socket: move it away, or change `socket` in [control]", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot open the control socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The listening socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    claim: Claim,
}

/// Keeps every other daemon from the socket, as long as it lives.
#[derive(Debug, Clone)]
pub struct Claim {
    _lock: Arc<File>,
}

impl Socket {
    /// Opens the socket at `path`, with its directory. Needs the runtime.
    ///
    /// # Errors
    /// See [`SocketError`]; a socket that somebody else has is not touched then.
    pub fn open(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(failed)?;
        }
        let claim = Claim::take(path)?;
        remove_a_dead_one(path)?;
        let socket = bind(path).map_err(failed)?;
        let opened = inode(path).and_then(|inode| {
            let listener = listen(socket)?;
            Ok(Self { listener, path: path.to_owned(), inode, claim })
        });
        opened.map_err(|source| {
            let _ = std::fs::remove_file(path);
            failed(source)
        })
    }

    /// For whoever has more to put away than the socket before another daemon may begin.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // only if it is still ours: somebody may have put something else there
        if inode(&self.path).is_ok_and(|there| there == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Claim {
    fn take(path: &Path) -> Result<Self, SocketError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(LOCK_MODE);
        let lock = options.open(&name).map_err(|source| SocketError::Io { path: name.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(SocketError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(SocketError::Io { path: name, source }),
        }
    }
}

/// A socket at `path` with its final mode, whatever the umask is. Nobody can connect to it before [`listen`].
fn bind(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream_socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    match std::fs::set_permissions(path, Permissions::from_mode(MODE)) {
        Ok(()) => Ok(socket),
        Err(error) => {
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

fn listen(socket: OwnedFd) -> io::Result<UnixListener> {
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Tries to connect, without waiting where the queue of the other side is full.
fn knock(path: &Path) -> rustix::io::Result<()> {
    rustix::net::connect(&stream_socket()?, &SocketAddrUnix::new(path)?)
}

/// Makes room, unless what is there is no socket or somebody answers on it: another program, which knows no lock.
fn remove_a_dead_one(path: &Path) -> Result<(), SocketError> {
    let path_of = || path.to_owned();
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => Err(SocketError::NotASocket { path: path_of() }),
        Ok(_) => match knock(path) {
            // connected, or its queue is full: somebody is there
            Ok(()) | Err(Errno::AGAIN) => Err(SocketError::InUse { path: path_of() }),
            Err(Errno::CONNREFUSED) => {
                std::fs::remove_file(path).map_err(|source| SocketError::Io { path: path_of(), source })
            }
            Err(error) => Err(SocketError::Io { path: path_of(), source: error.into() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SocketError::Io { path: path_of(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_living_socket_is_left_alone_and_a_dead_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        let first = Socket::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(Socket::open(&path), Err(SocketError::InUse { .. })));
        UnixStream::connect(&path).await.unwrap();

        drop(first);
        assert!(!path.exists(), "the file goes with the socket");

        // what a killed daemon leaves behind: the file without a listener
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _second = Socket::open(&path).unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    /// Whatever the order in which their steps mix, one of those that start at once gets the socket, and keeps it.
    #[tokio::test]
    async fn of_many_that_start_at_once_one_gets_it() {
        const STARTERS: usize = 8;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        for round in 0..100 {
            if round % 2 == 1 {
                // what a killed daemon leaves behind
                drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            }
            let together = std::sync::Barrier::new(STARTERS);
            let runtime = tokio::runtime::Handle::current();
            let opened: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    let _inside = runtime.enter();
                    together.wait();
                    Socket::open(&path)
                };
                let starters: Vec<_> = (0..STARTERS).map(|_| scope.spawn(start)).collect();
                starters.into_iter().map(|starter| starter.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1, "round {round}: {won:?}");
            assert!(lost.iter().all(|lost| matches!(lost, Err(SocketError::InUse { .. }))), "{lost:?}");
            UnixStream::connect(&path).await.unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_can_connect_before_the_mode_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let bound = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let early = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = listen(bound).unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_knows_no_lock_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let stranger = UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::open(&path), Err(SocketError::InUse { .. })));
        UnixStream::connect(&path).await.unwrap();
        drop(stranger);
        Socket::open(&path).unwrap();
    }

    #[tokio::test]
    async fn a_claim_outlives_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = Socket::open(&path).unwrap();
        let claim = socket.claim();
        drop(socket);
        assert!(!path.exists());
        let error = Socket::open(&path).unwrap_err().to_string();
        assert!(error.contains("control.sock is in use by another daemon"), "{error}");
        drop(claim);
        Socket::open(&path).unwrap();
    }

    #[tokio::test]
    async fn only_its_own_file_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = Socket::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _stranger = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    /// The longest path that the configuration allows is one that the system takes.
    #[tokio::test]
    async fn the_longest_path_of_a_socket_will_do() {
        let directory = tempfile::tempdir().unwrap();
        let rest = 107 - directory.path().as_os_str().len() - 1;
        Socket::open(&directory.path().join("s".repeat(rest))).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::open(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
