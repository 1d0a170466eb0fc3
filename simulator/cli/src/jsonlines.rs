//! Calls over a Unix socket: one JSON object a line, one line back. The daemon and biosim both speak this.
//!
//! Blocks for as long as the caller's patience lasts, never longer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest line that is read, in bytes.
pub(crate) const LONGEST_LINE: u64 = 4 << 20;

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody answers there.
    #[error("cannot reach {socket}: {source}; is the program running, and is this its control socket?")]
    Unreachable {
        /// Path of the socket.
        socket: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The other end gave no answer, or none that can be understood.
    #[error("no usable answer from {socket}: {why}")]
    Garbled {
        /// Path of the socket.
        socket: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It answered with an error.
    #[error("{message} ({code})")]
    Refused {
        /// Stable code.
        code: String,
        /// For people.
        message: String,
    },
}

/// An answer on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ReplyError>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReplyError {
    code: String,
    message: String,
}

impl Reply {
    /// It was done; `result` tells more.
    pub(crate) const fn done(result: Value) -> Self {
        Self { ok: true, result: Some(result), error: None }
    }

    /// It was not done.
    pub(crate) fn refused(code: &str, message: impl Into<String>) -> Self {
        let error = ReplyError { code: code.to_owned(), message: message.into() };
        Self { ok: false, result: None, error: Some(error) }
    }

    /// The result, or the error as one of ours.
    fn into_result(self) -> Result<Value, CallError> {
        match self.error {
            Some(error) => Err(CallError::Refused { code: error.code, message: error.message }),
            None if self.ok => Ok(self.result.unwrap_or_else(|| json!({}))),
            None => Err(CallError::Refused {
                code: "internal".into(),
                message: "refused without a reason".into(),
            }),
        }
    }
}

/// Sends `request` to `socket` and waits for the answer, `patience` at most.
pub(crate) fn call(socket: &Path, request: &impl Serialize, patience: Duration) -> Result<Value, CallError> {
    let garbled = |why: String| CallError::Garbled { socket: socket.to_owned(), why };
    let unreachable = |source| CallError::Unreachable { socket: socket.to_owned(), source };
    let mut line = serde_json::to_string(request).map_err(|e| garbled(e.to_string()))?;
    line.push('\n');

    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_write_timeout(Some(patience)).map_err(unreachable)?;
    stream.set_read_timeout(Some(patience)).map_err(unreachable)?;
    stream.write_all(line.as_bytes()).map_err(unreachable)?;

    let mut answer = String::new();
    let mut reader = std::io::Read::take(BufReader::new(stream), LONGEST_LINE);
    reader.read_line(&mut answer).map_err(|e| garbled(e.to_string()))?;
    if answer.is_empty() {
        return Err(garbled("it closed the connection".into()));
    }
    let reply: Reply = serde_json::from_str(&answer).map_err(|e| garbled(e.to_string()))?;
    reply.into_result()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answer_with(line: &'static str) -> Result<Value, CallError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            request
        });
        let result = call(&path, &json!({"op": "status"}), Duration::from_secs(5));
        assert_eq!(server.join().unwrap(), "{\"op\":\"status\"}\n");
        result
    }

    #[test]
    fn results_and_errors_come_through() {
        assert_eq!(answer_with("{\"ok\":true,\"result\":{\"a\":1}}\n").unwrap(), json!({"a": 1}));
        let refused =
            answer_with("{\"ok\":false,\"error\":{\"code\":\"timeout\",\"message\":\"still Busy\"}}\n");
        assert_eq!(refused.unwrap_err().to_string(), "still Busy (timeout)");
        assert!(matches!(answer_with(""), Err(CallError::Garbled { .. })));
        assert!(matches!(answer_with("hello\n"), Err(CallError::Garbled { .. })));
    }

    #[test]
    fn nobody_there_is_said_with_the_path() {
        let error = call(Path::new("/nowhere/s"), &json!({}), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("/nowhere/s"), "{error}");
    }
}
