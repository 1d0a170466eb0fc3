//! Cameras, by way of V4L2 and shared memory; and [`socket`], a camera whose frames come over a Unix socket.
//!
//! Frames are copied out of the shared memory at once, so that a slow reader costs frames and nothing else: what is older
//! than the newest is thrown away. Calls that talk to the camera (`start`, `stop`) last as long as the kernel waits for it,
//! five seconds at most. Nothing in a frame is looked at here.

mod jpeg;
mod kernel;
pub mod socket;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use biotrust_driver_api::{FourCc, PipeError, PipeErrorKind, VideoFormat, VideoFrame, VideoPort};
use biotrust_model::Secret;
use kernel::{Filled, Mapping, Size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::node;

/// Buffers that the camera fills in turn.
const BUFFERS: u32 = 4;
/// Formats and sizes that are asked for: a driver that goes on for ever is stopped here.
const MANY: u32 = 256;
/// Sizes that are offered of a camera that takes any within a range.
const USUAL: [(u32, u32); 6] = [(1920, 1080), (1280, 960), (1280, 720), (800, 600), (640, 480), (320, 240)];

/// Opens the camera whose node is `path`.
///
/// # Errors
/// `PermissionDenied` that says what to do; `Gone`; `InUse`; `Os` when it is no camera that streams.
pub fn open(path: &Path) -> Result<Box<dyn VideoPort>, PipeError> {
    Camera::open(path).map(|port| Box::new(port) as Box<dyn VideoPort>)
}

/// An open camera.
pub struct Camera {
    node: OwnedFd,
    name: String,
    stream: Option<Stream>,
}

/// What is there while it streams.
struct Stream {
    buffers: Vec<Mapping>,
    last: Option<u32>,
    sequence: u64,
}

impl Stream {
    /// The camera's 32-bit count as one that does not wrap.
    fn count(&mut self, sequence: u32) -> u64 {
        let step = self.last.map_or(0, |last| u64::from(sequence.wrapping_sub(last)));
        self.last = Some(sequence);
        self.sequence += step;
        self.sequence
    }
}

impl Camera {
    /// As [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path) -> Result<Self, PipeError> {
        const CAN_CAPTURE: u32 = 0x0000_0001;
        const CAN_STREAM: u32 = 0x0400_0000;
        let node = node::open(path, OFlags::NONBLOCK)?;
        let camera = Self { node, name: path.display().to_string(), stream: None };
        let can = kernel::capabilities(&camera.node).map_err(|errno| match errno {
            Errno::NOTTY | Errno::INVAL => {
                camera.error(PipeErrorKind::Os, "opening, which is no V4L2 device,")
            }
            errno => camera.failed(errno, "opening"),
        })?;
        if can & CAN_CAPTURE == 0 || can & CAN_STREAM == 0 {
            return Err(
                camera.error(PipeErrorKind::Os, "opening, which does not capture in one plane and stream,")
            );
        }
        Ok(camera)
    }

    fn error(&self, kind: PipeErrorKind, doing: &str) -> PipeError {
        PipeError { kind, os: None, doing: format!("{doing} {}", self.name) }
    }

    fn failed(&self, errno: Errno, doing: &str) -> PipeError {
        let kind = match errno {
            // Of a camera that is there, this is a frame that failed.
            Errno::IO if kernel::capabilities(&self.node).is_ok() => PipeErrorKind::Os,
            errno => node::kind_of(errno),
        };
        PipeError { os: Some(errno.raw_os_error()), ..self.error(kind, doing) }
    }

    /// Waits until a buffer is filled, or the camera has failed.
    fn wait(&self, deadline: Instant) -> Result<(), PipeError> {
        const DOING: &str = "waiting for a frame of";
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut set = [PollFd::new(&self.node, PollFlags::IN)];
            match poll(&mut set, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) if kernel::capabilities(&self.node) == Err(Errno::NODEV) => {
                    return Err(self.error(PipeErrorKind::Gone, DOING));
                }
                Ok(0) => return Err(self.error(PipeErrorKind::TimedOut, DOING)),
                // An error comes back from the dequeue that follows.
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(errno, DOING)),
            }
        }
    }

    /// Takes the filled buffers, gives the newest good frame, and the buffers back.
    fn newest(&mut self) -> Result<Option<VideoFrame>, PipeError> {
        const DOING: &str = "reading a frame of";
        let mut newest: Option<Filled> = None;
        let mut others = Vec::new();
        // As many as there are buffers: a camera that is faster than this loop must not hold it.
        for _ in 0..BUFFERS {
            let Some(filled) = kernel::dequeue(&self.node).map_err(|errno| self.failed(errno, DOING))? else {
                break;
            };
            if filled.spoilt || filled.used == 0 {
                others.push(filled.index);
            } else {
                others.extend(newest.replace(filled).map(|older| older.index));
            }
        }
        let frame = newest.and_then(|filled| {
            others.push(filled.index);
            let stream = self.stream.as_mut()?;
            let bytes = stream.buffers.get(usize::try_from(filled.index).ok()?)?.copy(filled.used);
            Some(VideoFrame { sequence: stream.count(filled.sequence), bytes: Secret::new(bytes) })
        });
        for index in others {
            kernel::queue(&self.node, index).map_err(|errno| self.failed(errno, DOING))?;
        }
        Ok(frame)
    }

    fn sizes(&self, pixels: [u8; 4]) -> Result<Vec<(u32, u32)>, Errno> {
        let mut sizes = Vec::new();
        for index in 0..MANY {
            match kernel::frame_size(&self.node, pixels, index)? {
                None => break,
                Some(Size::Discrete(width, height)) => sizes.push((width, height)),
                // A range is all there is.
                Some(Size::Range { width, height }) => {
                    let inside = |(w, h): &(u32, u32)| {
                        (width.0..=width.1).contains(w) && (height.0..=height.1).contains(h)
                    };
                    sizes.extend(USUAL.into_iter().filter(inside));
                    sizes.push((width.1, height.1));
                    break;
                }
            }
        }
        Ok(sizes)
    }

    fn begin(&mut self, wanted: VideoFormat, fps: u8) -> Result<VideoFormat, Errno> {
        let set = kernel::set_format(&self.node, wanted.pixels.0, wanted.width, wanted.height)?;
        // Not every camera has a choice of speed.
        let _ = kernel::set_rate(&self.node, fps);
        let count = kernel::request_buffers(&self.node, BUFFERS)?;
        let buffers: Vec<_> =
            (0..count.min(MANY)).map(|index| Mapping::new(&self.node, index)).collect::<Result<_, _>>()?;
        for (index, _) in (0u32..).zip(&buffers) {
            kernel::queue(&self.node, index)?;
        }
        // From here on `stop` undoes what was begun.
        self.stream = Some(Stream { buffers, last: None, sequence: 0 });
        kernel::stream_on(&self.node)?;
        let pixels = FourCc(set.pixels);
        let stride = if pixels == FourCc::MJPG { 0 } else { set.bytes_per_line };
        Ok(VideoFormat { pixels, width: set.width, height: set.height, stride })
    }
}

impl VideoPort for Camera {
    fn name(&self) -> &str {
        &self.name
    }

    fn formats(&mut self) -> Result<Vec<VideoFormat>, PipeError> {
        const DOING: &str = "asking for the formats of";
        let mut formats = Vec::new();
        for index in 0..MANY {
            let pixels =
                kernel::pixel_format(&self.node, index).map_err(|errno| self.failed(errno, DOING))?;
            let Some(pixels) = pixels else { break };
            let mut sizes = self.sizes(pixels).map_err(|errno| self.failed(errno, DOING))?;
            sizes.sort_unstable_by_key(|(width, height)| {
                std::cmp::Reverse((u64::from(*width) * u64::from(*height), *width))
            });
            sizes.dedup();
            formats.extend(sizes.into_iter().map(|(width, height)| VideoFormat {
                pixels: FourCc(pixels),
                width,
                height,
                stride: 0,
            }));
        }
        Ok(formats)
    }

    fn start(&mut self, format: VideoFormat, fps: u8) -> Result<VideoFormat, PipeError> {
        self.stop()?;
        self.begin(format, fps).map_err(|errno| {
            let error = self.failed(errno, "starting the stream of");
            let _ = self.stop();
            // Buffers that were not all mapped are no stream yet; while the kernel has them no format can be set.
            let _ = kernel::request_buffers(&self.node, 0);
            error
        })
    }

    fn next(&mut self, timeout: Duration) -> Result<VideoFrame, PipeError> {
        if self.stream.is_none() {
            return Err(self.error(PipeErrorKind::Os, "reading a frame, before the start of the stream, of"));
        }
        let deadline = crate::fd::after(timeout);
        loop {
            self.wait(deadline)?;
            if let Some(frame) = self.newest()? {
                return Ok(frame);
            }
            if Instant::now() >= deadline {
                return Err(self.error(PipeErrorKind::TimedOut, "waiting for a good frame of"));
            }
        }
    }

    fn stop(&mut self) -> Result<(), PipeError> {
        if self.stream.take().is_none() {
            return Ok(());
        }
        // The mappings are gone by now, so that the kernel takes its buffers back.
        kernel::stream_off(&self.node)
            .and_then(|()| kernel::request_buffers(&self.node, 0))
            .map(drop)
            .map_err(|errno| self.failed(errno, "ending the stream of"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_camera_is_refused_with_the_reason() {
        let error = open(Path::new("/dev/null")).err().unwrap();
        assert_eq!(error.kind, PipeErrorKind::Os);
        assert!(error.to_string().contains("no V4L2 device, /dev/null"), "{error}");
    }

    #[test]
    fn the_count_of_frames_goes_on_where_32_bits_end() {
        let mut stream = Stream { buffers: Vec::new(), last: None, sequence: 0 };
        assert_eq!(stream.count(u32::MAX - 1), 0);
        assert_eq!(stream.count(u32::MAX), 1);
        assert_eq!(stream.count(1), 3);
    }
}
