//! Clients: one connection a request, as the real ones do it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::rig::Device;

/// Verb, path and body of a request.
#[derive(Clone, Copy)]
pub(crate) struct Request(&'static str, &'static str, &'static str);

/// Discovery of everything.
pub(crate) const DISCOVERY: Request = Request("MOSIPDISC", "/device", r#"{"type":"Biometric Device"}"#);
/// Device info.
pub(crate) const INFO: Request = Request("MOSIPDINFO", "/info", "");

/// Sorted times of requests.
#[derive(Default)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
    /// Requests without a whole 200 answer.
    pub(crate) errors: usize,
    /// Size of one answer.
    pub(crate) answer_bytes: usize,
}

impl Latencies {
    /// The time that `percent` of the requests did not exceed.
    pub(crate) fn at(&self, percent: usize) -> Duration {
        let index = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(index).copied().unwrap_or(Duration::MAX)
    }

    /// How many requests were answered.
    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }
}

fn head(port: u16, verb: &str, path: &str, body: &str) -> String {
    format!(
        "{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends bytes, reads to the end. The buffer is the caller's, so that a load test measures the server.
fn exchange(port: u16, request: &[u8], answer: &mut Vec<u8>) -> std::io::Result<()> {
    answer.clear();
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    connection.write_all(request)?;
    connection.read_to_end(answer).map(drop)
}

fn is_whole(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"]")
}

/// One request after the other.
pub(crate) fn serial(port: u16, request: Request, count: usize) -> Result<Latencies> {
    let bytes = head(port, request.0, request.1, request.2);
    let mut found = Latencies::default();
    let mut answer = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        exchange(port, bytes.as_bytes(), &mut answer)?;
        if !is_whole(&answer) {
            bail!("{} was not answered", request.0);
        }
        found.sorted.push(started.elapsed());
    }
    found.sorted.sort();
    Ok(found)
}

/// `clients` threads, each one request after the other, for `span`.
pub(crate) fn latencies(port: u16, request: Request, clients: usize, span: Duration) -> Result<Latencies> {
    let start = Arc::new(Barrier::new(clients));
    let threads: Vec<JoinHandle<Latencies>> = (0..clients)
        .map(|_| {
            let start = Arc::clone(&start);
            std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
                let bytes = head(port, request.0, request.1, request.2);
                let mut found = Latencies::default();
                let mut answer = Vec::with_capacity(64 * 1024);
                start.wait();
                let end = Instant::now() + span;
                while Instant::now() < end {
                    let started = Instant::now();
                    let sent = exchange(port, bytes.as_bytes(), &mut answer);
                    if sent.is_ok() && is_whole(&answer) {
                        found.sorted.push(started.elapsed());
                        found.answer_bytes = answer.len();
                    } else {
                        found.errors += 1;
                    }
                }
                found
            })
        })
        .collect::<std::io::Result<_>>()?;
    let mut all = Latencies::default();
    for thread in threads {
        let one = thread.join().ok().context("a client thread failed")?;
        all.sorted.extend(one.sorted);
        all.errors += one.errors;
        all.answer_bytes = all.answer_bytes.max(one.answer_bytes);
    }
    all.sorted.sort();
    Ok(all)
}

/// Median of connect, one byte there and back, close: what loopback itself costs.
pub(crate) fn connect_floor() -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || {
        for connection in listener.incoming().take(501).flatten() {
            let mut connection = connection;
            let mut byte = [0];
            let _ = connection.read(&mut byte).and_then(|_| connection.write(&byte));
        }
    });
    let mut times = Vec::new();
    let mut answer = Vec::new();
    for _ in 0..501 {
        let started = Instant::now();
        exchange(port, b"x", &mut answer)?;
        times.push(started.elapsed());
    }
    let _ = server.join();
    times.sort();
    Ok(times[250])
}

/// Answers a second of a server that does nothing but read a request and send `length` bytes, under the same clients.
pub(crate) fn echo_rate(length: usize, span: Duration) -> Result<f64> {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0")?);
    let port = listener.local_addr()?.port();
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.resize(length.saturating_sub(1), b' ');
    answer.push(b']');
    let answer = Arc::new(answer);
    let stop = Arc::new(AtomicBool::new(false));
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let (listener, answer, stop) = (Arc::clone(&listener), Arc::clone(&answer), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut request = [0; 1024];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((mut connection, _)) = listener.accept() {
                        let _ = connection.read(&mut request);
                        let _ = connection.write_all(&answer);
                    }
                }
            })
        })
        .collect();
    let found = latencies(port, INFO, 100, span)?;
    stop.store(true, Ordering::Relaxed);
    for _ in &servers {
        let _ = TcpStream::connect(("127.0.0.1", port));
    }
    for server in servers {
        let _ = server.join();
    }
    Ok(found.len() as f64 / span.as_secs_f64())
}

/// One request; the body of its answer.
pub(crate) fn post(port: u16, verb: &str, path: &str, body: &str) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    exchange(port, head(port, verb, path, body).as_bytes(), &mut answer)?;
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").context("no HTTP answer")?;
    Ok(answer.split_off(at + 4))
}

/// A capture on each of `devices` at once, several times over.
pub(crate) fn captures(port: u16, devices: &[(Device, &'static str, String)]) -> Result<()> {
    for _ in 0..3 {
        let threads: Vec<_> = devices
            .iter()
            .map(|(_, verb, body)| {
                let (verb, body) = (*verb, body.clone());
                std::thread::spawn(move || post(port, verb, "/capture", &body))
            })
            .collect();
        for thread in threads {
            let body = thread.join().ok().context("a client thread failed")??;
            let text = String::from_utf8_lossy(&body);
            if !text.contains(r#""errorCode":"0""#) {
                bail!(
                    "a capture failed: {}",
                    text.chars().rev().take(200).collect::<String>().chars().rev().collect::<String>()
                );
            }
        }
    }
    Ok(())
}

/// A live preview that is read and counted.
pub(crate) struct Stream {
    frames: Arc<AtomicU64>,
    connection: TcpStream,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    pub(crate) fn open(port: u16, device: &str, sub_id: u8) -> Result<Self> {
        let body = format!(r#"{{"deviceId":"{device}","deviceSubId":"{sub_id}","timeout":"120000"}}"#);
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.write_all(head(port, "STREAM", "/stream", &body).as_bytes())?;
        let frames = Arc::new(AtomicU64::new(0));
        let (count, mut read) = (Arc::clone(&frames), connection.try_clone()?);
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(length) = read.read(&mut buffer) {
                if length == 0 {
                    return;
                }
                let parts =
                    buffer.get(..length).unwrap_or_default().windows(15).filter(|w| *w == b"Content-Length:");
                count.fetch_add(parts.count() as u64, Ordering::Relaxed);
            }
        });
        Ok(Self { frames, connection, reader: Some(reader) })
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn wait_for_frame(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        while self.frames() == 0 {
            if Instant::now() > end {
                bail!("no preview frame within 5 s");
            }
            super::rig::pause(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
