//! The live preview as the desktop client reads it: a byte scanner that knows nothing of multipart.
//!
//! Runs on a thread of its own while a capture is made, and tells afterwards what came.

use std::io::{BufRead as _, Read as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::http;

/// Largest frame that is believed, in bytes.
const LARGEST_FRAME: u64 = 8 << 20;

/// What came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Complete frames.
    pub(crate) frames: u32,
    /// From the request to the first complete frame.
    pub(crate) first_frame: Duration,
    /// From the first to the last frame.
    pub(crate) span: Duration,
}

impl Seen {
    /// Frames a second; zero with less than two frames.
    pub(crate) fn fps(&self) -> f64 {
        let span = self.span.as_secs_f64();
        if span > 0.0 { f64::from(self.frames.saturating_sub(1)) / span } else { 0.0 }
    }
}

/// A preview that is open.
pub(crate) struct Preview {
    socket: TcpStream,
    reader: JoinHandle<anyhow::Result<Seen>>,
}

impl Preview {
    /// Opens the preview and returns when its first frame is complete, as the desktop client does before it captures.
    pub(crate) fn open(port: u16, device_id: &str, sub_id: &str) -> anyhow::Result<Self> {
        let body = json!({"deviceId": device_id, "deviceSubId": sub_id, "timeout": "10000"}).to_string();
        let began = Instant::now();
        let opened = http::open(port, "STREAM", "/stream", &body, Duration::from_secs(10))?;
        if opened.status != 200 {
            bail!("STREAM was answered with HTTP status {}", opened.status);
        }
        let mut reader = opened.reader;
        let socket = reader.get_ref().try_clone().context("duplicating the socket")?;
        let (first, first_seen) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            frame(&mut reader)?;
            let first_frame = began.elapsed();
            let _ = first.send(());
            let (start, mut last, mut frames) = (Instant::now(), Instant::now(), 1);
            // Ends with an error when the socket is shut down by `close`.
            while frame(&mut reader).is_ok() {
                frames += 1;
                last = Instant::now();
            }
            Ok(Seen { frames, first_frame, span: last - start })
        });
        let preview = Self { socket, reader: thread };
        match first_seen.recv() {
            Ok(()) => Ok(preview),
            Err(_) => match preview.close() {
                Err(error) => Err(error.context("no frame came on the stream")),
                Ok(_) => bail!("no frame came on the stream"),
            },
        }
    }

    /// Closes the preview and tells what came.
    pub(crate) fn close(self) -> anyhow::Result<Seen> {
        let _ = self.socket.shutdown(Shutdown::Both);
        match self.reader.join() {
            Ok(result) => result,
            Err(_) => bail!("the thread that reads the stream has failed"),
        }
    }
}

/// Reads one frame: the text `Content-Length:`, a number, the next 0xFF, and that many bytes more (one past the image).
fn frame(reader: &mut impl std::io::BufRead) -> anyhow::Result<Vec<u8>> {
    let length = loop {
        let mut line = Vec::new();
        reader.by_ref().take(4096).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            bail!("the stream ended");
        }
        let line = String::from_utf8_lossy(&line);
        if let Some((_, number)) = line.split_once("Content-Length:") {
            break number.trim().parse::<u64>().with_context(|| format!("{line:?}"))?;
        }
    };
    if length > LARGEST_FRAME {
        bail!("a frame of {length} bytes is not believable");
    }
    let mut skipped = Vec::new();
    reader.by_ref().take(4096).read_until(0xff, &mut skipped)?;
    let mut jpeg = vec![0xff];
    let read = reader.by_ref().take(length).read_to_end(&mut jpeg)?;
    if read as u64 != length {
        bail!("the stream ended inside a frame");
    }
    jpeg.pop();
    if !jpeg.starts_with(&[0xff, 0xd8]) || !jpeg.ends_with(&[0xff, 0xd9]) {
        bail!("a frame is no complete JPEG");
    }
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(jpeg: &[u8]) -> Vec<u8> {
        let mut part =
            format!("--B\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len()).into_bytes();
        part.extend_from_slice(jpeg);
        part.extend_from_slice(b"\r\n");
        part
    }

    #[test]
    fn frames_are_found_one_after_the_other() {
        let jpegs: [&[u8]; 2] = [b"\xff\xd8one\xff\xd9", b"\xff\xd8\n\xff\x00two\xff\xd9"];
        let bytes = [part(jpegs[0]), part(jpegs[1])].concat();
        let mut reader = bytes.as_slice();
        for jpeg in jpegs {
            assert_eq!(frame(&mut reader).unwrap(), jpeg);
        }
        assert!(frame(&mut reader).is_err(), "the end is an error");
    }

    #[test]
    fn a_cut_or_wrong_frame_is_an_error() {
        let whole = part(b"\xff\xd8one\xff\xd9");
        assert!(frame(&mut &whole[..whole.len() - 3]).is_err());
        let lower = String::from_utf8_lossy(&whole).replace("Content-Length", "content-length");
        assert!(frame(&mut lower.as_bytes()).is_err(), "the desktop client wants the exact case");
        assert!(frame(&mut part(b"\xffno jpeg").as_slice()).is_err());
    }
}
