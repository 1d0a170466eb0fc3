//! The desktop client's stream reader, byte for byte: it knows nothing of multipart. sbi-clients 2.7.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::http::Connection;

/// A frame as the client gets it.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The image: 0xFF and the N-1 bytes after it.
    pub jpeg: Vec<u8>,
    /// When it was complete, including the one byte behind it.
    pub at: Instant,
}

/// Reads frames from an open STREAM reply.
pub struct DesktopReader<'a> {
    connection: &'a mut Connection,
    bytes: VecDeque<u8>,
}

impl<'a> DesktopReader<'a> {
    /// Reads from the body of a reply whose head has been read.
    #[must_use]
    pub const fn new(connection: &'a mut Connection) -> Self {
        Self { connection, bytes: VecDeque::new() }
    }

    fn byte(&mut self) -> io::Result<u8> {
        loop {
            if let Some(byte) = self.bytes.pop_front() {
                return Ok(byte);
            }
            self.bytes.extend(self.connection.read_some()?);
        }
    }

    /// The next frame, by the client's four steps.
    ///
    /// # Errors
    /// Of the socket; `InvalidData` where the client throws.
    pub fn next_frame(&mut self) -> io::Result<Frame> {
        const NAME: &[u8] = b"Content-Length:";
        // 1. Case-sensitive, and never at the very first byte.
        let mut seen = Vec::new();
        while seen.len() <= NAME.len() || !seen.ends_with(NAME) {
            seen.push(self.byte()?);
        }
        // 2. Digits up to CR or LF; only spaces are taken away.
        let mut digits = String::new();
        loop {
            match self.byte()? {
                b'\r' | b'\n' => break,
                b' ' => {}
                digit => digits.push(char::from(digit)),
            }
        }
        let length: usize = digits.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("NumberFormatException: {digits:?}"))
        })?;
        // 3. The next 0xFF begins the image.
        while self.byte()? != 0xff {}
        // 4. N bytes more after it: one past the image.
        let mut jpeg = vec![0xff];
        for _ in 0..length {
            jpeg.push(self.byte()?);
        }
        jpeg.pop();
        Ok(Frame { jpeg, at: Instant::now() })
    }
}

/// Whether these bytes are one whole baseline JPEG without an embedded second start of image.
///
/// # Errors
/// What is wrong.
pub fn check_jpeg(jpeg: &[u8]) -> Result<(), String> {
    if !jpeg.starts_with(&[0xff, 0xd8]) || !jpeg.ends_with(&[0xff, 0xd9]) {
        return Err("not from SOI to EOI".to_owned());
    }
    if jpeg.windows(2).skip(1).any(|pair| pair == [0xff, 0xd8]) {
        return Err("a second FF D8: the tool kit's reader starts over there".to_owned());
    }
    if !jpeg.windows(2).any(|pair| pair == [0xff, 0xc0]) {
        return Err("no baseline start of frame".to_owned());
    }
    Ok(())
}

/// Reads frames for `time` and answers them.
///
/// # Errors
/// Of the socket.
pub fn frames_for(connection: &mut Connection, time: Duration) -> io::Result<Vec<Frame>> {
    let end = Instant::now() + time;
    let mut reader = DesktopReader::new(connection);
    let mut frames = Vec::new();
    while Instant::now() < end {
        frames.push(reader.next_frame()?);
    }
    Ok(frames)
}
