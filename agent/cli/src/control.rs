//! The daemon's control socket, from the asking side: one JSON object a line, one line back.
//!
//! Trust: whoever answers may open the socket's directory, which is the daemon's own. The answer is still bounded in
//! size and time. Blocks for [`LIMIT`] at most.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::within::within;

/// Where the packaged daemon listens.
pub(crate) const DEFAULT_SOCKET: &str = "/run/biotrust/control.sock";

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// Who is at the other end of the socket, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

/// Why the daemon did not tell.
#[derive(Debug)]
pub(crate) enum ControlError {
    /// Nothing at this path.
    NoSocket(PathBuf),
    /// The socket is there, and we may not open it.
    NotPermitted(PathBuf),
    /// The socket is left over: nobody listens.
    NobodyListens(PathBuf),
    /// Nothing came back in time.
    Silent(PathBuf),
    /// Something else went wrong on the way.
    Broken(PathBuf, std::io::Error),
    /// What came back is no answer of ours.
    NotOurs(PathBuf, String),
    /// The daemon refused.
    Refused { code: String, message: String },
}

impl ControlError {
    /// A word for programs; of a refusal the daemon's own.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::NoSocket(_) => "no_socket",
            Self::NotPermitted(_) => "not_permitted",
            Self::NobodyListens(_) => "nobody_listens",
            Self::Silent(_) => "silent",
            Self::Broken(..) => "broken",
            Self::NotOurs(..) => "not_ours",
            Self::Refused { code, .. } => code,
        }
    }

    /// What to do about it.
    pub(crate) fn next(&self) -> &'static str {
        match self {
            Self::NoSocket(_) => {
                "Start the service (systemctl start biotrustd). If it listens elsewhere, name its socket with --control \
                 or BIOTRUST_CONTROL."
            }
            Self::NotPermitted(_) => {
                "Ask as root (sudo biotrust ...), or join the group that may (usermod -aG biotrust USER) and log in again."
            }
            Self::NobodyListens(_) => {
                "The service has ended without removing its socket: see journalctl -u biotrustd, then start it \
                 (systemctl start biotrustd)."
            }
            Self::Silent(_) => {
                "The service hangs: keep its log (journalctl -u biotrustd) for a report, then restart it \
                 (systemctl restart biotrustd)."
            }
            Self::Broken(..) => "See journalctl -u biotrustd.",
            Self::NotOurs(..) => {
                "Check that --control names the socket of biotrustd, of the same version as this program."
            }
            Self::Refused { code, .. } => match code.as_bytes() {
                b"no_such_device" => "See `biotrust device list` for the devices that are connected.",
                b"refused" => "Do what the sentence says; `biotrust status` tells more about the device.",
                b"timeout" => "See `biotrust status` for how far it is.",
                b"internal" => "See journalctl -u biotrustd.",
                b"busy" => "Close other programs that talk to biotrustd, and try again.",
                _ => "Check that biotrustd and this program have the same version.",
            },
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket(path) => {
                write!(f, "biotrustd is not running: there is no socket {}", path.display())
            }
            Self::NotPermitted(path) => write!(f, "this user may not open the socket {}", path.display()),
            Self::NobodyListens(path) => {
                write!(f, "biotrustd is not running: nobody listens on {}", path.display())
            }
            Self::Silent(path) => {
                write!(f, "biotrustd did not answer on {} in time", path.display())
            }
            Self::Broken(path, error) => {
                write!(f, "talking to biotrustd on {} failed: {error}", path.display())
            }
            Self::NotOurs(path, what) => {
                write!(f, "{} does not answer like biotrustd: {what}", path.display())
            }
            Self::Refused { code, message } => {
                write!(f, "biotrustd refused: {} ({})", crate::text::plain(message), crate::text::plain(code))
            }
        }
    }
}

/// Has something done that may take up to `limit`.
pub(crate) fn order(socket: &Path, order: Value, limit: Duration) -> Result<Value, ControlError> {
    ask(socket, order, limit).map(|(result, _)| result)
}

/// Asks for the daemon's status.
pub(crate) fn status(socket: &Path) -> Result<(Value, Peer), ControlError> {
    ask(socket, json!({ "op": "status" }), LIMIT)
}

fn ask(socket: &Path, question: Value, limit: Duration) -> Result<(Value, Peer), ControlError> {
    let path = socket.to_owned();
    // Connecting has no timeout of its own when the queue of the listener is full.
    let (line, peer) = within(limit, move || exchange(&path, &question))
        .ok_or_else(|| ControlError::Silent(socket.to_owned()))?
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => ControlError::NoSocket(socket.to_owned()),
            ErrorKind::PermissionDenied => ControlError::NotPermitted(socket.to_owned()),
            ErrorKind::ConnectionRefused => ControlError::NobodyListens(socket.to_owned()),
            _ => ControlError::Broken(socket.to_owned(), error),
        })?;
    read(&line)
        .map_err(|what| ControlError::NotOurs(socket.to_owned(), what))?
        .map(|result| (result, peer))
        .map_err(|(code, message)| ControlError::Refused { code, message })
}

/// One line there, one line back.
fn exchange(socket: &Path, question: &Value) -> std::io::Result<(Vec<u8>, Peer)> {
    let mut stream = UnixStream::connect(socket)?;
    let owner = rustix::net::sockopt::socket_peercred(&stream)?;
    let peer = Peer { pid: owner.pid.as_raw_nonzero().get(), uid: owner.uid.as_raw() };
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut line)?;
    Ok((line, peer))
}

/// The `result` of an answer, or its error's code and message. The outer error says why it is no answer at all.
fn read(line: &[u8]) -> Result<Result<Value, (String, String)>, String> {
    if line.last() != Some(&b'\n') {
        return Err(format!("the answer breaks off after {} bytes", line.len()));
    }
    let mut answer: Value = serde_json::from_slice(line).map_err(|e| format!("no JSON ({e})"))?;
    let word =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    match (answer.get("ok").and_then(Value::as_bool), answer.get("error")) {
        (Some(true), _) => answer
            .get_mut("result")
            .map(|result| Ok(result.take()))
            .ok_or_else(|| "an answer without a result".to_owned()),
        (Some(false), Some(error)) => Ok(Err((word(error, "code"), word(error, "message")))),
        _ => Err("neither a result nor an error".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(read(b"{\"ok\":true,\"result\":{\"pid\":1}}\n"), Ok(Ok(json!({ "pid": 1 }))));
        assert_eq!(
            read(b"{\"ok\":false,\"error\":{\"code\":\"timeout\",\"message\":\"m\"}}\n"),
            Ok(Err(("timeout".into(), "m".into())))
        );
        for bad in [
            &b""[..],
            b"{\"ok\":true,\"result\":{}}",
            b"HTTP/1.1 400 Bad Request\n",
            b"{}\n",
            b"{\"ok\":true}\n",
        ] {
            assert!(read(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_listener_that_never_answers_is_left_after_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = ask(&socket, json!({ "op": "status" }), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.code(), "silent");
    }
}
