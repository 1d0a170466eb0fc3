//! A client that shows every byte: requests as text, answers as they came.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing in these tests may take longer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A request head and body under construction.
#[derive(Clone)]
pub struct Request {
    line: String,
    headers: Vec<String>,
    body: Option<Vec<u8>>,
}

/// A request with the usual `Host` and nothing else.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Request {
    Request {
        line: format!("{method} {path} HTTP/1.1"),
        headers: vec![format!("Host: {address}")],
        body: None,
    }
}

impl Request {
    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    pub fn without_host(mut self) -> Self {
        self.headers.retain(|line| !line.starts_with("Host:"));
        self
    }

    /// A body with its `Content-Length`.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = format!("Content-Length: {}", body.len());
        self.header(length).raw_body(body)
    }

    /// A body as it is, without a header for it.
    pub fn raw_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n{}\r\n\r\n", self.line, self.headers.join("\r\n")).into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it on a connection of its own and reads until the other side closes.
    pub async fn send(&self, address: SocketAddr) -> Answer {
        let mut socket = connect(address).await;
        socket.write_all(&self.bytes()).await.unwrap();
        read_answer(&mut socket).await
    }
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(address)).await.expect("connected in time").unwrap()
}

/// An answer, complete.
#[derive(Debug)]
pub struct Answer {
    /// As sent, such as `HTTP/1.1 200 OK`.
    pub status_line: String,
    pub status: u16,
    /// As sent, names included.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Splits what came; panics where it is no HTTP.
    pub fn parse(bytes: &[u8]) -> Self {
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        let end =
            bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {}", shown()));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap().to_owned();
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
        Self { status_line, status, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() }
    }

    /// The one value of a header, by its exact spelling; panics where there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice");
        value
    }

    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Everything that row R30 asks of an answer.
    pub fn check_shape(&self) {
        assert_eq!(self.header("Content-Type"), Some("application/json; charset=utf-8"), "{self:?}");
        assert_eq!(self.header("Content-Length"), Some(self.body.len().to_string().as_str()), "{self:?}");
        assert_eq!(self.header("Connection"), Some("close"), "{self:?}");
        assert_eq!(self.header("Cache-Control"), Some("no-store"), "{self:?}");
        assert!(!self.has("transfer-encoding"), "{self:?}");
        self.json();
    }

    /// The code in `{"error":{"errorCode":...}}`, and nothing else beside it.
    pub fn error_code(&self) -> String {
        self.check_shape();
        let json = self.json();
        let (object, error) = (json.as_object().unwrap(), json["error"].as_object().unwrap());
        assert_eq!((object.len(), error.len()), (1, 2), "{json}");
        assert!(!error["errorInfo"].as_str().unwrap().is_empty());
        error["errorCode"].as_str().unwrap().to_owned()
    }

    /// The code in the one entry of a capture answer that failed, which must look as row R22 wants it.
    pub fn capture_error_code(&self) -> String {
        self.check_shape();
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "only biometrics at the top: {json}");
        let [entry] = json["biometrics"].as_array().unwrap().as_slice() else { panic!("one entry: {json}") };
        assert_eq!(
            (&entry["specVersion"], &entry["data"], &entry["hash"]),
            (&"0.9.5".into(), &"".into(), &"".into())
        );
        assert!(!entry["error"]["errorInfo"].as_str().unwrap().is_empty());
        entry["error"]["errorCode"].as_str().unwrap().to_owned()
    }
}

/// Reads until the other side closes.
pub async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("the other side closes in time").unwrap();
    bytes
}

/// Reads until the other side closes.
pub async fn read_answer(socket: &mut TcpStream) -> Answer {
    Answer::parse(&read_to_end(socket).await)
}

/// Closes with a reset instead of an orderly end.
pub fn reset(socket: TcpStream) {
    socket.set_zero_linger().unwrap();
    drop(socket);
}
