//! The server of the control socket: a thread that accepts, and a thread for each connection.
//!
//! Trusts whoever may open the socket, which is the user that started biosim and nobody else. A request may take as long as
//! its effect needs; others are served meanwhile.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::Request;
use crate::jsonlines::{LONGEST_LINE, Reply};

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Does what is asked and tells when its effect holds.
    fn handle(&self, request: Request) -> Reply;
}

/// A running server; the socket disappears with it.
pub(crate) struct Server {
    path: PathBuf,
}

impl Server {
    /// Listens on `path`, for this user only.
    pub(crate) fn start(path: &Path, handler: Arc<dyn Handler>) -> anyhow::Result<Self> {
        let listener = bind(path)?;
        let server = Self { path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("protecting {}", path.display()))?;
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let handler = Arc::clone(&handler);
                // Without a thread for it the connection is closed, which its client understands.
                let _ = std::thread::Builder::new()
                    .name("control client".to_owned())
                    .spawn(move || serve(&stream, &*handler));
            }
        })?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds; a socket file that nobody listens on is left over and replaced.
fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                bail!("another program serves {}; choose another --control", path.display());
            }
            std::fs::remove_file(path).with_context(|| format!("removing the stale {}", path.display()))?;
            UnixListener::bind(path)
        }
        other => other,
    }
    .with_context(|| format!("cannot listen on {}", path.display()))
}

/// Answers line after line until the client closes.
fn serve(stream: &UnixStream, handler: &dyn Handler) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        match reader.by_ref().take(LONGEST_LINE).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let reply = match serde_json::from_str(&line) {
            Ok(request) => handler.handle(request),
            Err(error) => Reply::refused("bad_request", format!("not a request: {error}")),
        };
        let Ok(mut answer) = serde_json::to_vec(&reply) else { return };
        answer.push(b'\n');
        let mut writer = stream;
        if writer.write_all(&answer).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonlines::{CallError, call};
    use serde_json::json;
    use std::time::Duration;

    struct Echo;

    impl Handler for Echo {
        fn handle(&self, request: Request) -> Reply {
            match request {
                Request::Quality { value } => Reply::done(json!({ "quality": value })),
                _ => Reply::refused("unsupported", "only quality"),
            }
        }
    }

    #[test]
    fn answers_requests_and_refuses_nonsense() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let server = Server::start(&path, Arc::new(Echo)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let patience = Duration::from_secs(5);
        assert_eq!(call(&path, &Request::Quality { value: 7 }, patience).unwrap(), json!({"quality": 7}));
        let error = call(&path, &json!({"op": "dance"}), patience).unwrap_err();
        assert!(matches!(error, CallError::Refused { code, .. } if code == "bad_request"));
        assert!(Server::start(&path, Arc::new(Echo)).is_err(), "a socket in use is not taken over");
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Server::start(&path, Arc::new(Echo)).unwrap();
    }
}
