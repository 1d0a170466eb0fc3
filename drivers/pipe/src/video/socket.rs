//! A camera whose frames come over a Unix socket: for virtual cameras, where the kernel has no V4L2 node to offer.
//!
//! Each frame is `length (u32, little endian) | JPEG`. The size in pixels is that of the first frame. A source that
//! announces a frame of more than 8 MiB, or one that is no JPEG, is not followed further.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use biotrust_driver_api::{FourCc, PipeError, PipeErrorKind, VideoFormat, VideoFrame, VideoPort};
use biotrust_model::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::jpeg;
use crate::fd::after;
use crate::node;

/// Longest frame in bytes.
pub const LARGEST: usize = 8 * 1024 * 1024;
/// For the first frame, which tells the size.
const FIRST: Duration = Duration::from_secs(2);

/// Connects to the camera at the socket `path`.
///
/// # Errors
/// `Gone` when nobody listens there, `PermissionDenied`, `Os`.
pub fn connect(path: &Path) -> Result<Box<dyn VideoPort>, PipeError> {
    let refused = |error: std::io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED) | None => node::refused(path, Errno::NOENT),
        Some(errno) => node::refused(path, errno),
    };
    let stream = UnixStream::connect(path).map_err(refused)?;
    stream.set_nonblocking(true).map_err(refused)?;
    Ok(Box::new(SocketCamera {
        stream,
        name: path.display().to_string(),
        received: Vec::new(),
        newest: None,
        sequence: 0,
        size: None,
    }))
}

struct SocketCamera {
    stream: UnixStream,
    name: String,
    /// Bytes of frames that are not whole yet.
    received: Vec<u8>,
    newest: Option<Vec<u8>>,
    sequence: u64,
    size: Option<(u32, u32)>,
}

impl SocketCamera {
    fn error(&self, kind: PipeErrorKind, doing: &str) -> PipeError {
        PipeError { kind, os: None, doing: format!("{doing} {}", self.name) }
    }

    /// Takes what has arrived; the newest whole frame is kept.
    fn receive(&mut self) -> Result<(), PipeError> {
        const DOING: &str = "reading a frame of";
        let mut buffer = [0; 64 * 1024];
        // More than a socket holds; a source that never pauses must not hold this loop.
        for _ in 0..16 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(self.error(PipeErrorKind::Gone, DOING)),
                Ok(length) => {
                    self.received.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    self.take_frames()?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = match error.kind() {
                        std::io::ErrorKind::ConnectionReset => PipeErrorKind::Gone,
                        _ => PipeErrorKind::Os,
                    };
                    return Err(PipeError { os: error.raw_os_error(), ..self.error(kind, DOING) });
                }
            }
        }
        Ok(())
    }

    fn take_frames(&mut self) -> Result<(), PipeError> {
        let mut rest = self.received.as_slice();
        let mut newest = None;
        while let Some((head, after)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
            if length > LARGEST {
                return Err(self.error(PipeErrorKind::Os, "reading a frame of more than 8 MiB from"));
            }
            let Some((frame, after)) = after.split_at_checked(length) else { break };
            let size = jpeg::size(frame);
            if size.is_none() {
                return Err(self.error(PipeErrorKind::Os, "reading a frame that is no JPEG from"));
            }
            self.size = self.size.or(size);
            self.sequence += 1;
            newest = Some(frame.to_vec());
            rest = after;
        }
        let used = self.received.len() - rest.len();
        self.received.drain(..used);
        self.newest = newest.or_else(|| self.newest.take());
        Ok(())
    }

    /// Waits for a frame.
    fn frame(&mut self, timeout: Duration) -> Result<(), PipeError> {
        const DOING: &str = "waiting for a frame of";
        let deadline = after(timeout);
        loop {
            self.receive()?;
            if self.newest.is_some() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.error(PipeErrorKind::TimedOut, DOING));
            }
            let mut set = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut set, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    let os = Some(errno.raw_os_error());
                    return Err(PipeError { os, ..self.error(PipeErrorKind::Os, DOING) });
                }
            }
        }
    }
}

impl VideoPort for SocketCamera {
    fn name(&self) -> &str {
        &self.name
    }

    fn formats(&mut self) -> Result<Vec<VideoFormat>, PipeError> {
        if self.size.is_none() {
            self.frame(FIRST)?;
        }
        let offered = |(width, height)| VideoFormat { pixels: FourCc::MJPG, width, height, stride: 0 };
        Ok(self.size.map(offered).into_iter().collect())
    }

    fn start(&mut self, _: VideoFormat, _: u8) -> Result<VideoFormat, PipeError> {
        let offered = self.formats()?.into_iter().next();
        // What was sent before is old.
        self.receive()?;
        self.newest = None;
        offered.ok_or_else(|| self.error(PipeErrorKind::Os, "starting the stream of"))
    }

    fn next(&mut self, timeout: Duration) -> Result<VideoFrame, PipeError> {
        self.frame(timeout)?;
        let bytes = self.newest.take().unwrap_or_default();
        Ok(VideoFrame { sequence: self.sequence, bytes: Secret::new(bytes) })
    }

    fn stop(&mut self) -> Result<(), PipeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    fn pair() -> (tempfile::TempDir, UnixStream, Box<dyn VideoPort>) {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("camera")).unwrap();
        let port = connect(&home.path().join("camera")).unwrap();
        (home, listener.accept().unwrap().0, port)
    }

    /// A JPEG as far as anybody looks here, with a number at its end.
    fn frame(number: u8) -> Vec<u8> {
        [&[0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0x01, 0xe0, 0x02, 0x80, 1, 0][..], &[number]].concat()
    }

    fn send(source: &mut UnixStream, frame: &[u8]) {
        source.write_all(&u32::try_from(frame.len()).unwrap().to_le_bytes()).unwrap();
        source.write_all(frame).unwrap();
    }

    #[test]
    fn the_newest_whole_frame_is_given() {
        let (_home, mut source, mut port) = pair();
        send(&mut source, &frame(0));
        let format = port.formats().unwrap()[0];
        assert_eq!((format.pixels, format.width, format.height), (FourCc::MJPG, 640, 480));
        assert_eq!(port.start(format, 15).unwrap(), format);
        assert_eq!(port.next(SHORT).err().unwrap().kind, PipeErrorKind::TimedOut, "what came before is old");
        for number in 1..=3 {
            send(&mut source, &frame(number));
        }
        source.write_all(&[14, 0, 0, 0, 0xff]).unwrap();
        let newest = port.next(LONG).unwrap();
        assert_eq!((newest.sequence, newest.bytes.expose().last()), (4, Some(&3)));
        assert_eq!(port.next(SHORT).err().unwrap().kind, PipeErrorKind::TimedOut, "half a frame is none");
        source.write_all(&frame(9)[1..]).unwrap();
        assert_eq!(port.next(LONG).unwrap().bytes.expose().last(), Some(&9));
        drop(source);
        assert_eq!(port.next(LONG).err().unwrap().kind, PipeErrorKind::Gone);
    }

    #[test]
    fn what_is_too_long_or_no_jpeg_is_refused() {
        let (_home, mut source, mut port) = pair();
        source.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(port.next(LONG).err().unwrap().to_string().contains("8 MiB"));
        let (_home, mut source, mut port) = pair();
        send(&mut source, b"GIF89a");
        assert!(port.next(LONG).err().unwrap().to_string().contains("no JPEG"));
        let nobody = tempfile::tempdir().unwrap();
        assert_eq!(connect(&nobody.path().join("camera")).err().unwrap().kind, PipeErrorKind::Gone);
    }
}
