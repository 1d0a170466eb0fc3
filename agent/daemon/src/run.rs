//! The life of the daemon: control socket, port, devices, ready file; then requests, until a signal; then the end.
//!
//! The control socket comes first, because it tells whether a daemon with this configuration runs already; without it
//! a second one would quietly take the next port, and clients would see every device twice.

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::control::{self, About};
use crate::http;
use crate::port::{self, PortError};

/// How long devices that are connected already may take before the daemon calls itself ready without them.
const FIRST_SCAN: Duration = Duration::from_secs(10);
/// How long orders on the control socket may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);

/// `EX_USAGE`: the configuration cannot be used.
pub const EXIT_CONFIG: u8 = 64;
/// `EX_UNAVAILABLE`: there is no port.
pub const EXIT_PORT: u8 = 69;

/// The devices, as a whole.
pub trait Devices: http::Service + control::Service {
    /// Waits until the devices that were connected at the start have been tried, or `limit` is over.
    fn first_scan(&self, limit: Duration) -> impl Future<Output = ()> + Send;

    /// Ends previews and captures, and closes all devices.
    fn stop(&self);
}

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// For whoever started us.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Port(_) => EXIT_PORT.into(),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs until SIGTERM or SIGINT. `start` gets the base URL of the service and opens the devices.
///
/// # Errors
/// When something that is needed is not there; nothing is left behind then.
pub async fn run<D: Devices>(
    config: &Config,
    ready_file: Option<&Path>,
    start: impl FnOnce(&str) -> anyhow::Result<D>,
) -> Result<(), Failure> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let socket = control::Socket::open(&config.control.socket).context("no control socket")?;
    let _ours_until_the_end = socket.claim();
    let listener = port::claim(&config.sbi)?;
    let port = listener.local_addr().context("the port has no address")?.port();
    let url = port::base_url(port);
    let devices = Arc::new(start(&url)?);

    let stop = CancellationToken::new();
    let about = About { url: url.clone(), port, state_directory: config.state.directory.clone() };
    let serving = tokio::spawn(http::serve(listener, Arc::clone(&devices), config.into(), stop.clone()));
    let orders = tokio::spawn(control::serve(
        socket,
        Arc::clone(&devices),
        about,
        control::Limits::default(),
        stop.clone(),
    ));
    tracing::info!(%url, control = %config.control.socket.display(), "serving");

    let outcome = until_signal(config, ready_file, &url, &*devices, &mut signals).await;
    stop.cancel();
    devices.stop();
    let served = serving.await.context("the HTTP service broke down")?;
    let _ = tokio::time::timeout(DRAIN, orders).await;
    if let Some(file) = ready_file {
        let _ = std::fs::remove_file(file);
    }
    tracing::info!("stopped");
    outcome?;
    Ok(served.context("the HTTP service broke down")?)
}

async fn until_signal<D: Devices>(
    config: &Config,
    ready_file: Option<&Path>,
    url: &str,
    devices: &D,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    tokio::select! {
        () = devices.first_scan(FIRST_SCAN) => {}
        () = signals.next() => return Ok(()),
    }
    if let Some(file) = ready_file {
        write_ready_file(file, url, &config.control.socket)
            .with_context(|| format!("cannot write the ready file {}", file.display()))?;
    }
    signals.next().await;
    Ok(())
}

/// Complete or not there at all: whoever waits for it may read it as soon as it appears.
fn write_ready_file(file: &Path, url: &str, control: &Path) -> std::io::Result<()> {
    let ready = serde_json::json!({ "sbi": url, "pid": std::process::id(), "control": control });
    let mut unready = file.as_os_str().to_owned();
    unready.push(format!(".{}", std::process::id()));
    std::fs::write(&unready, format!("{ready}\n"))?;
    std::fs::rename(&unready, file)
}

/// The signals that end the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    }
}
