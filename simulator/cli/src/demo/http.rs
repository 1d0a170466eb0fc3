//! A tiny HTTP client with custom verbs, as the real clients are: raw TCP, one request a connection.
//!
//! Not a general client: it reads an answer with Content-Length or until the connection closes, which is all that the
//! device service sends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Longest answer that is read, in bytes.
const LONGEST_BODY: u64 = 64 << 20;
/// For connecting to a port of this host.
const CONNECT: Duration = Duration::from_secs(2);

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Body.
    pub(crate) body: Vec<u8>,
    /// From connecting to the last byte.
    pub(crate) took: Duration,
}

/// Sends one request to the service on `port` of this host and reads the whole answer within `patience`.
pub(crate) fn ask(
    port: u16,
    verb: &str,
    path: &str,
    body: &str,
    patience: Duration,
) -> anyhow::Result<Answer> {
    let began = Instant::now();
    let mut connection = open(port, verb, path, body, patience)?;
    let mut bytes = Vec::new();
    match connection.content_length {
        Some(length) if length > LONGEST_BODY => {
            bail!("{verb} {path}: an answer of {length} bytes is too long")
        }
        Some(length) => {
            let read =
                connection.reader.take(length).read_to_end(&mut bytes).context("reading the answer")?;
            if read as u64 != length {
                bail!("{verb} {path}: the connection closed after {read} of {length} bytes");
            }
        }
        None => {
            connection
                .reader
                .by_ref()
                .take(LONGEST_BODY)
                .read_to_end(&mut bytes)
                .context("reading the answer")?;
        }
    }
    Ok(Answer { status: connection.status, body: bytes, took: began.elapsed() })
}

/// A connection whose answer has begun.
pub(crate) struct Opened {
    /// HTTP status.
    pub(crate) status: u16,
    /// Value of Content-Length, where there is one.
    pub(crate) content_length: Option<u64>,
    /// Behind the head.
    pub(crate) reader: BufReader<TcpStream>,
}

/// Sends one request and reads the head of the answer; each read may last `patience`.
pub(crate) fn open(
    port: u16,
    verb: &str,
    path: &str,
    body: &str,
    patience: Duration,
) -> anyhow::Result<Opened> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream =
        TcpStream::connect_timeout(&address, CONNECT).with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // The content type is what the desktop client really sends.
    let head = format!(
        "{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: content-type; charset=UTF-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (&stream)
        .write_all(format!("{head}{body}").as_bytes())
        .with_context(|| format!("sending {verb} {path}"))?;

    let mut reader = BufReader::new(stream);
    let status_line =
        line(&mut reader).with_context(|| format!("waiting for the answer to {verb} {path}"))?;
    let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let Some(status) = status else { bail!("{verb} {path}: {status_line:?} is no HTTP status line") };
    let mut content_length = None;
    loop {
        let header =
            line(&mut reader).with_context(|| format!("reading the head of the answer to {verb} {path}"))?;
        if header.is_empty() {
            return Ok(Opened { status, content_length, reader });
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            content_length = Some(value.trim().parse().with_context(|| format!("{header:?}"))?);
        }
    }
}

/// The next line of a head, without its end.
fn line(reader: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut line = String::new();
    reader.by_ref().take(16 << 10).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.strip_suffix('\r').unwrap_or(line).to_owned()),
        None => bail!("the connection closed in the middle of the head"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn serve(answer: &'static [u8]) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        (port, server)
    }

    #[test]
    fn verbs_and_bodies_are_sent_as_they_are() {
        let (port, server) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]junk");
        let answer =
            ask(port, "MOSIPDISC", "/device", "{\"type\":\"Face\"}", Duration::from_secs(5)).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"[]"[..]));
        let request = server.join().unwrap();
        assert!(
            request.starts_with("MOSIPDISC /device HTTP/1.1\r\n")
                && request.ends_with("\r\n\r\n{\"type\":\"Face\"}")
        );
    }

    #[test]
    fn a_cut_answer_is_an_error_and_a_close_delimited_one_is_not() {
        let (port, _) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n[]");
        assert!(ask(port, "MOSIPDINFO", "/info", "", Duration::from_secs(5)).is_err());
        let (port, _) = serve(b"HTTP/1.0 200 OK\r\n\r\n[1]");
        assert_eq!(ask(port, "MOSIPDINFO", "/info", "", Duration::from_secs(5)).unwrap().body, b"[1]");
    }
}
