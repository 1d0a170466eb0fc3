//! A service with a script, and the server around it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_daemon::config::{Limits, Origin, Origins, Sbi};
use biotrust_daemon::http::{FrameStream, Service, Settings, serve};
use biotrust_daemon::port::claim;
use biotrust_driver_api::Frame;
use biotrust_model::{Language, Modality, Problem, ProblemKind};
use biotrust_sbi::request::{CaptureRequest, StreamRequest};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a capture does.
#[derive(Clone)]
pub enum Capture {
    /// Answers at once.
    Answer(Bytes),
    /// Answers after a time.
    After(Duration, Bytes),
    /// Fails at once.
    Fail(Problem),
    /// Never ends by itself.
    Hang,
}

/// What has begun and ended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub captures: u64,
    /// Capture futures that have been dropped, finished or not.
    pub captures_dropped: u64,
    pub streams: u64,
    pub streams_dropped: u64,
}

/// The service.
pub struct Fake {
    pub capture: Mutex<Capture>,
    /// The last request that came through.
    pub request: Mutex<Option<CaptureRequest>>,
    pub info_delay: Mutex<Duration>,
    pub info: Mutex<Bytes>,
    /// Period and bytes of preview frames.
    pub frames: Mutex<(Duration, usize)>,
    pub stream_problem: Mutex<Option<Problem>>,
    /// Frames that HTTP has taken.
    pub frames_taken: Arc<AtomicU64>,
    pub counts: watch::Sender<Counts>,
}

/// A body whose length in bytes is not its length in characters.
pub const DISCOVERY: &str = r#"[{"fake":"d\u00e9couverte, literally: dé"}]"#;
/// An answer that cannot be mistaken for an error.
pub const CAPTURED: &str = r#"{"biometrics":[{"fake":true}]}"#;

impl Default for Fake {
    fn default() -> Self {
        Self {
            capture: Mutex::new(Capture::Answer(Bytes::from_static(CAPTURED.as_bytes()))),
            request: Mutex::default(),
            info_delay: Mutex::default(),
            info: Mutex::new(Bytes::from_static(b"[]")),
            frames: Mutex::new((Duration::from_millis(20), 20_000)),
            stream_problem: Mutex::default(),
            frames_taken: Arc::default(),
            counts: watch::Sender::default(),
        }
    }
}

/// Counts when it is dropped.
struct Dropped<F: Fn(&mut Counts)>(watch::Sender<Counts>, F);

impl<F: Fn(&mut Counts)> Drop for Dropped<F> {
    fn drop(&mut self) {
        self.0.send_modify(&self.1);
    }
}

impl Service for Fake {
    fn discovery(&self, modality: Option<Modality>, developer: bool) -> Bytes {
        match (modality, developer) {
            (None, false) => Bytes::from_static(DISCOVERY.as_bytes()),
            (modality, developer) => format!(r#"["{modality:?}",{developer}]"#).into(),
        }
    }

    async fn info(&self, developer: bool) -> Bytes {
        let delay = *self.info_delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        if developer { Bytes::from_static(b"[\"developer\"]") } else { self.info.lock().unwrap().clone() }
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Bytes, Problem> {
        *self.request.lock().unwrap() = Some(request);
        self.counts.send_modify(|counts| counts.captures += 1);
        let _dropped = Dropped(self.counts.clone(), |counts| counts.captures_dropped += 1);
        let script = self.capture.lock().unwrap().clone();
        match script {
            Capture::Answer(body) => Ok(body),
            Capture::After(time, body) => {
                tokio::time::sleep(time).await;
                Ok(body)
            }
            Capture::Fail(problem) => Err(problem),
            Capture::Hang => std::future::pending().await,
        }
    }

    fn stream(&self, _: &StreamRequest) -> Result<FrameStream, Problem> {
        if let Some(problem) = self.stream_problem.lock().unwrap().clone() {
            return Err(problem);
        }
        let (period, bytes) = *self.frames.lock().unwrap();
        self.counts.send_modify(|counts| counts.streams += 1);
        let dropped = Dropped(self.counts.clone(), |counts| counts.streams_dropped += 1);
        let taken = Arc::clone(&self.frames_taken);
        let state = (tokio::time::interval(period), dropped);
        Ok(Box::pin(futures_util::stream::unfold(state, move |(mut interval, dropped)| {
            let taken = Arc::clone(&taken);
            async move {
                interval.tick().await;
                let sequence = taken.fetch_add(1, Ordering::Relaxed) + 1;
                Some((Frame { sequence, jpeg: jpeg(sequence, bytes), score: None }, (interval, dropped)))
            }
        })))
    }
}

/// Something between the markers of a JPEG that tells which frame it is, and holds no other marker.
pub fn jpeg(sequence: u64, bytes: usize) -> Arc<[u8]> {
    let mut jpeg = vec![0xff, 0xd8];
    jpeg.extend_from_slice(&sequence.to_be_bytes().map(|byte| byte & 0x7f));
    jpeg.resize(bytes - 2, 0x20);
    jpeg.extend_from_slice(&[0xff, 0xd9]);
    jpeg.into()
}

/// A running server.
pub struct Rig {
    pub fake: Arc<Fake>,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub server: JoinHandle<std::io::Result<()>>,
}

/// Pages of the tests.
pub const AUTH_PAGE: &str = "https://login.example";
pub const REGISTRATION_PAGE: &str = "https://reg.example:8443";
pub const DEVELOPER_PAGE: &str = "https://ctk.example";

impl Rig {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let list = |text: &str| vec![Origin::parse(text).unwrap()];
        let mut settings = Settings {
            origins: Origins {
                auth: list(AUTH_PAGE),
                registration: list(REGISTRATION_PAGE),
                developer: list(DEVELOPER_PAGE),
            },
            limits: Limits::default(),
            language: Language::En,
            allow_null_transaction_id: false,
        };
        change(&mut settings);
        let listener = claim(&Sbi { port: Some(0), ..Sbi::default() }).unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Arc::new(Fake::default());
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Arc::clone(&fake), settings, stop.clone()));
        Self { fake, address, stop, server }
    }

    pub fn script(&self, capture: Capture) {
        *self.fake.capture.lock().unwrap() = capture;
    }

    pub fn fails_with(&self, kind: ProblemKind) {
        self.script(Capture::Fail(kind.into()));
    }

    /// Waits until the counts are as wanted; panics with the counts after five seconds.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Counts) -> bool) {
        let mut counts = self.fake.counts.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(5), counts.wait_for(wanted)).await.map(drop);
        assert!(waited.is_ok(), "{what}: {:?}", *self.fake.counts.borrow());
    }
}
