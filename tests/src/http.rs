//! HTTP by hand over a raw socket: any verb, any framing, any speed, and what came back byte for byte.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a reply may take unless a test says otherwise; longer than any capture of the tests.
const PATIENCE: Duration = Duration::from_secs(45);

/// How the body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length` when there is a body, nothing when there is none.
    Length,
    /// `Transfer-Encoding: chunked` in chunks of this size.
    Chunked(usize),
    /// No framing header at all.
    Nothing,
}

/// A request, as raw as needed.
#[derive(Debug, Clone)]
pub struct Request {
    verb: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    framing: Framing,
    host: Option<String>,
    segment: usize,
}

impl Request {
    /// A request without body; `Host: 127.0.0.1:PORT` is added when it is sent.
    #[must_use]
    pub fn new(verb: &str, target: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
            framing: Framing::Length,
            host: None,
            segment: usize::MAX,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets a JSON body (and no Content-Type).
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body(body.to_string())
    }

    /// Sets how the body is delimited.
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Replaces the Host header; "" leaves it out.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Sends in segments of this many bytes, each a write of its own.
    #[must_use]
    pub const fn segments_of(mut self, bytes: usize) -> Self {
        self.segment = bytes;
        self
    }

    /// The bytes that go over the wire.
    #[must_use]
    pub fn to_bytes(&self, port: u16) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.verb, self.target);
        match self.host.as_deref() {
            Some("") => {}
            Some(host) => head.push_str(&format!("Host: {host}\r\n")),
            None => head.push_str(&format!("Host: 127.0.0.1:{port}\r\n")),
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.as_deref().unwrap_or_default();
        let mut framed = Vec::new();
        match (self.framing, &self.body) {
            (Framing::Length, Some(body)) => {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                framed.extend_from_slice(body);
            }
            (Framing::Chunked(size), _) => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                for chunk in body.chunks(size.max(1)) {
                    framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    framed.extend_from_slice(chunk);
                    framed.extend_from_slice(b"\r\n");
                }
                framed.extend_from_slice(b"0\r\n\r\n");
            }
            _ => framed.extend_from_slice(body),
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(framed);
        bytes
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// "HTTP/1.1" or "HTTP/1.0".
    pub version: String,
    /// Headers in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// From the end of sending to the end of the reply.
    pub took: Duration,
}

impl Reply {
    /// First value of a header, by name without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in the body of {}: {:?}", self.status, self.text()))
    }

    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `biometrics[0].error.errorCode`, or "" where there is none.
    #[must_use]
    pub fn error_code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["biometrics"][0]["error"]["errorCode"].as_str().unwrap_or_default().to_owned()
    }
}

/// A connection to the service.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    port: u16,
    buffered: Vec<u8>,
}

impl Connection {
    /// Connects to 127.0.0.1.
    ///
    /// # Errors
    /// Of the socket.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, port, buffered: Vec::new() })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Of the socket.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        for segment in request.to_bytes(self.port).chunks(request.segment) {
            self.stream.write_all(segment)?;
        }
        Ok(())
    }

    /// Ends the sending direction.
    ///
    /// # Errors
    /// Of the socket.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads one reply: by its framing, or to the end of the connection.
    ///
    /// # Errors
    /// Of the socket; `UnexpectedEof` when the connection ends within a reply; `InvalidData` when it is no HTTP.
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        let start = Instant::now();
        let mut reply = self.read_head()?;
        let chunked =
            reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = reply.header("content-length").map(str::parse::<usize>);
        reply.body = match length {
            _ if chunked => self.read_chunks()?,
            Some(length) => {
                let length = length.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
                self.read_exactly(length)?
            }
            None if matches!(reply.status, 204 | 304) => Vec::new(),
            None => self.read_to_end()?,
        };
        reply.took = start.elapsed();
        Ok(reply)
    }

    /// Reads the head of a reply only.
    ///
    /// # Errors
    /// As [`Self::read_reply`].
    pub fn read_head(&mut self) -> io::Result<Reply> {
        let start = Instant::now();
        let end = loop {
            if let Some(at) = find(&self.buffered, b"\r\n\r\n") {
                break at;
            }
            self.fill()?;
        };
        let rest = self.buffered.split_off(end + 4);
        let head = std::mem::replace(&mut self.buffered, rest);
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let head = std::str::from_utf8(&head).map_err(|_| bad("the head is no UTF-8"))?;
        let mut lines = head.trim_end().split("\r\n");
        let mut status_line = lines.next().unwrap_or_default().split(' ');
        let version = status_line.next().unwrap_or_default().to_owned();
        let status =
            status_line.next().and_then(|code| code.parse().ok()).ok_or_else(|| bad("no status code"))?;
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without colon"))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()?;
        Ok(Reply { status, version, headers, body: Vec::new(), took: start.elapsed() })
    }

    /// Reads whatever comes next, at least one byte.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffered.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffered))
    }

    /// Whether the peer has closed, waiting up to `within` for it. Bytes on the way count as open.
    ///
    /// # Panics
    /// When the timeout cannot be set.
    #[must_use]
    pub fn closed_within(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a timeout");
        let mut byte = [0];
        let closed = match self.stream.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => false,
            Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        closed
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a reply")),
            n => {
                self.buffered.extend_from_slice(&buffer[..n]);
                Ok(())
            }
        }
    }

    fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffered.len() < length {
            self.fill()?;
        }
        let rest = self.buffered.split_off(length);
        Ok(std::mem::replace(&mut self.buffered, rest))
    }

    fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.buffered));
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.buffered, b"\r\n") {
                    Some(at) => break at,
                    None => self.fill()?,
                }
            };
            let line = self.read_exactly(end + 2)?;
            let size =
                std::str::from_utf8(&line).ok().and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
            let size =
                size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a chunk without size"))?;
            let chunk = self.read_exactly(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

/// Sends one request on a connection of its own and reads the reply.
///
/// # Errors
/// Of the socket.
pub fn try_call(port: u16, request: &Request) -> io::Result<Reply> {
    let mut connection = Connection::open(port)?;
    connection.send(request)?;
    connection.read_reply()
}

/// [`try_call`] where the service must answer.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn call(port: u16, request: &Request) -> Reply {
    try_call(port, request).unwrap_or_else(|e| panic!("{} {}: {e}", request.verb, request.target))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
