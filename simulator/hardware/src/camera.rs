//! A camera whose frames go over a Unix socket: `length (u32, little endian) | JPEG`, as often as a webcam sends them.
//!
//! It stands for a V4L2 camera where the kernel has none to offer. One thread serves one host at a time; a host that does
//! not read costs frames and no memory. What it shows is a picture that is given to it: a face, an eye, or the wall.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use biotrust_driver_api::Cancel;
use biotrust_imaging::preview::{self, Frame, Marks, Settings};
use biotrust_imaging::{Gray, Rgb};

/// From one frame to the next.
const PERIOD: Duration = Duration::from_millis(66);
/// From one look at what has changed to the next.
const GLANCE: Duration = Duration::from_millis(10);
/// The wall behind a face, and the skin around an eye.
const WALL: u8 = 244;
const SKIN: u8 = 150;
/// Pixels over which an eye fades into the skin around it.
const FADE: u32 = 12;

/// What is wrong with the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Each frame is cut in the middle, its length with it.
    Truncated,
    /// Each frame says that it has 65,535 by 65,535 pixels.
    GiantPicture,
    /// Each frame says that it has more than a gigabyte.
    GiantFrame,
    /// Each frame is something else than a JPEG.
    Garbage,
    /// No frames come.
    Silent,
    /// Half a frame comes, and nothing more.
    Half,
    /// One frame comes in two seconds.
    Slow,
    /// It hangs up in the middle of a frame, each time.
    HangsUp,
}

impl Fault {
    /// All of them with their names.
    pub const ALL: &[(&str, Self)] = &[
        ("truncated", Self::Truncated),
        ("giant-picture", Self::GiantPicture),
        ("giant-frame", Self::GiantFrame),
        ("garbage", Self::Garbage),
        ("silent", Self::Silent),
        ("half", Self::Half),
        ("slow", Self::Slow),
        ("hangs-up", Self::HangsUp),
    ];
}

/// A name that is no fault's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a camera has no fault {name:?}; there are {}", names())]
pub struct UnknownFault {
    /// The name.
    pub name: String,
}

fn names() -> String {
    Fault::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl std::str::FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, fault)| *fault).ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}

/// A camera at a socket. It is unplugged when it is dropped.
pub struct Camera {
    path: PathBuf,
    size: (u32, u32),
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: Cancel,
    scene: Mutex<Scene>,
}

#[derive(Default)]
struct Scene {
    jpeg: Arc<Vec<u8>>,
    fault: Option<Fault>,
    sent: u64,
}

impl Shared {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        // A scene is never left half-written.
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Camera {
    /// Plugs a camera in whose frames have this width and height; it shows the wall. A socket that a dead camera has left
    /// at `path` is replaced.
    ///
    /// # Errors
    /// When there can be no socket there, or no thread.
    pub fn start(path: &Path, size: (u32, u32)) -> io::Result<Self> {
        if UnixStream::connect(path).is_err() {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared { stop: Cancel::new(), scene: Mutex::default() });
        let mut camera = Self { path: path.to_owned(), size, shared, thread: None };
        camera.show_nothing()?;
        let shared = Arc::clone(&camera.shared);
        camera.thread =
            Some(std::thread::Builder::new().name("camera".into()).spawn(move || serve(&listener, &shared))?);
        Ok(camera)
    }

    /// Shows a face: a photo before a wall, in the middle of the frame and as high as it, at its own scale where it fits.
    ///
    /// # Errors
    /// When a photo is larger than the frame.
    pub fn show_face(&self, photo: &Rgb) -> io::Result<()> {
        let (width, height) = self.size;
        let factor = (height / photo.height()).max(1);
        let rows = photo.rows().flat_map(|row| std::iter::repeat_n(row, factor as usize));
        let mut frame = Rgb::filled(width, height, WALL).map_err(io::Error::other)?;
        let (left, top) = self.corner(photo.width() * factor, photo.height() * factor)?;
        for (target, row) in frame.rows_mut().skip(top as usize).zip(rows) {
            let wide =
                row.as_chunks::<3>().0.iter().flat_map(|rgb| std::iter::repeat_n(rgb, factor as usize));
            for (pixel, rgb) in target.as_chunks_mut::<3>().0.iter_mut().skip(left as usize).zip(wide) {
                *pixel = *rgb;
            }
        }
        self.show((&frame).into())
    }

    /// Shows an eye in near infrared, in the middle of the frame, with skin around it.
    ///
    /// # Errors
    /// When the eye is larger than the frame.
    pub fn show_eye(&self, eye: &Gray) -> io::Result<()> {
        let mut frame = Gray::filled(self.size.0, self.size.1, SKIN).map_err(io::Error::other)?;
        let (left, top) = self.corner(eye.width(), eye.height())?;
        for ((y, row), target) in (0u32..).zip(eye.rows()).zip(frame.rows_mut().skip(top as usize)) {
            for ((x, grey), pixel) in (0u32..).zip(row).zip(target.iter_mut().skip(left as usize)) {
                let edge = x.min(eye.width() - 1 - x).min(y).min(eye.height() - 1 - y).min(FADE);
                let mixed = u32::from(*grey) * edge + u32::from(SKIN) * (FADE - edge);
                *pixel = (mixed / FADE) as u8;
            }
        }
        self.show((&frame).into())
    }

    /// Shows the wall.
    ///
    /// # Errors
    /// When there can be no frame of this size.
    pub fn show_nothing(&self) -> io::Result<()> {
        let wall = Rgb::filled(self.size.0, self.size.1, WALL).map_err(io::Error::other)?;
        self.show((&wall).into())
    }

    /// Makes it misbehave, or behave again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.scene().fault = fault;
    }

    /// Frames that were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.scene().sent
    }

    /// Where a picture of this size begins that is in the middle of the frame.
    fn corner(&self, width: u32, height: u32) -> io::Result<(u32, u32)> {
        let (free_x, free_y) = (self.size.0.checked_sub(width), self.size.1.checked_sub(height));
        let (Some(x), Some(y)) = (free_x, free_y) else {
            let why = format!("a picture of {width} x {height} does not fit into frames of {:?}", self.size);
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        };
        Ok((x / 2, y / 2))
    }

    fn show(&self, frame: Frame<'_>) -> io::Result<()> {
        let settings = Settings { longest_side: self.size.0.max(self.size.1), jpeg_quality: 93 };
        let jpeg = preview::jpeg(frame, &Marks::default(), settings).map_err(io::Error::other)?;
        self.shared.scene().jpeg = Arc::new(jpeg);
        Ok(())
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(listener: &UnixListener, shared: &Shared) {
    while !shared.stop.wait(GLANCE) {
        if let Ok((host, _)) = listener.accept() {
            // Whatever ends it, the next host is welcome.
            let _ = stream(&host, shared);
        }
    }
}

/// Sends frames until the host goes or the camera is unplugged.
fn stream(host: &UnixStream, shared: &Shared) -> io::Result<()> {
    host.set_nonblocking(false)?;
    host.set_write_timeout(Some(GLANCE))?;
    loop {
        let (jpeg, fault) = {
            let scene = shared.scene();
            (Arc::clone(&scene.jpeg), scene.fault)
        };
        match fault {
            Some(Fault::Silent) => {}
            Some(Fault::Half) => {
                send(host, &half(&framed(&jpeg)), shared)?;
                while shared.scene().fault == Some(Fault::Half) {
                    if shared.stop.wait(GLANCE) {
                        return Ok(());
                    }
                }
                // The host is out of step by now.
                return Ok(());
            }
            Some(Fault::HangsUp) => return send(host, &half(&framed(&jpeg)), shared),
            fault => {
                send(host, &spoilt(&jpeg, fault), shared)?;
                shared.scene().sent += 1;
            }
        }
        let pause = if fault == Some(Fault::Slow) { 30 * PERIOD } else { PERIOD };
        if shared.stop.wait(pause) {
            return Ok(());
        }
    }
}

/// A frame as it goes over the socket.
fn framed(jpeg: &[u8]) -> Vec<u8> {
    let length = u32::try_from(jpeg.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], jpeg].concat()
}

fn half(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..bytes.len() / 2).unwrap_or(bytes).to_vec()
}

fn spoilt(jpeg: &[u8], fault: Option<Fault>) -> Vec<u8> {
    match fault {
        Some(Fault::Truncated) => framed(&half(jpeg)),
        Some(Fault::Garbage) => framed(&(0..jpeg.len()).map(|at| (at * 37) as u8).collect::<Vec<_>>()),
        Some(Fault::GiantFrame) => [&0x4000_0000u32.to_le_bytes()[..], jpeg].concat(),
        Some(Fault::GiantPicture) => {
            let mut giant = jpeg.to_vec();
            // Height and width stand 5 bytes behind the marker of the frame header.
            if let Some(at) = jpeg.array_windows().position(|pair| *pair == [0xff, 0xc0])
                && let Some(size) = giant.get_mut(at + 5..at + 9)
            {
                size.fill(0xff);
            }
            framed(&giant)
        }
        _ => framed(jpeg),
    }
}

/// Sends all of it, however slowly the host takes it, unless the camera is unplugged.
fn send(mut host: &UnixStream, bytes: &[u8], shared: &Shared) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        if shared.stop.is_cancelled() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        match host.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn camera() -> (tempfile::TempDir, PathBuf, Camera) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("camera.sock");
        let camera = Camera::start(&path, (320, 240)).unwrap();
        (directory, path, camera)
    }

    fn next(stream: &mut UnixStream) -> Vec<u8> {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut jpeg = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut jpeg).unwrap();
        jpeg
    }

    #[test]
    fn frames_come_one_after_the_other_to_one_host_after_the_other() {
        let (_directory, path, camera) = camera();
        for _ in 0..2 {
            let mut host = UnixStream::connect(&path).unwrap();
            for _ in 0..3 {
                let jpeg = next(&mut host);
                assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]));
            }
        }
        assert!(camera.sent() >= 5, "the last one is counted once all of it has been sent, which may be now");
    }

    #[test]
    fn faults_show_and_go() {
        let (_directory, path, camera) = camera();
        let mut host = UnixStream::connect(&path).unwrap();
        let whole = next(&mut host);
        camera.set_fault(Some(Fault::Truncated));
        let cut = std::iter::repeat_with(|| next(&mut host)).take(5).last().unwrap();
        assert_eq!(cut.len(), whole.len() / 2);
        camera.set_fault(Some(Fault::HangsUp));
        let mut rest = Vec::new();
        host.read_to_end(&mut rest).unwrap();
        camera.set_fault(None);
        assert_eq!(next(&mut UnixStream::connect(&path).unwrap()), whole);
    }

    #[test]
    fn a_picture_that_does_not_fit_is_refused_and_one_that_does_is_shown() {
        let (_directory, path, camera) = camera();
        assert!(camera.show_face(&Rgb::filled(480, 640, 9).unwrap()).is_err());
        let wall = next(&mut UnixStream::connect(&path).unwrap());
        camera.show_face(&Rgb::filled(90, 120, 9).unwrap()).unwrap();
        let face = next(&mut UnixStream::connect(&path).unwrap());
        camera.show_eye(&Gray::filled(90, 120, 9).unwrap()).unwrap();
        let eye = next(&mut UnixStream::connect(&path).unwrap());
        assert!(wall != face && face != eye);
    }

    #[test]
    fn a_host_that_does_not_read_holds_nothing() {
        let (_directory, path, camera) = camera();
        let _host = UnixStream::connect(&path).unwrap();
        let start = std::time::Instant::now();
        drop(camera);
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_was_left_is_replaced_and_one_in_use_is_not() {
        let (directory, path, camera) = camera();
        assert!(Camera::start(&path, (320, 240)).is_err());
        drop(camera);
        let left = directory.path().join("left.sock");
        drop(UnixListener::bind(&left).unwrap());
        assert!(Camera::start(&left, (320, 240)).is_ok());
    }

    #[test]
    fn faults_have_names() {
        for (name, fault) in Fault::ALL {
            assert_eq!(name.parse(), Ok(*fault));
        }
        assert!("sleepy".parse::<Fault>().is_err());
    }
}
