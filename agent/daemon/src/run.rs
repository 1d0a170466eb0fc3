//! The life of the daemon: control socket, port, devices, ready file; then requests, until a signal; then the end. A
//! service that ends by itself is the end as well, with an error: whoever started us can start us again, and nobody is
//! left with half a daemon.
//!
//! The control socket comes first, because it tells whether a daemon with this configuration runs already; without it
//! a second one would quietly take the next port, and clients would see every device twice.

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::control::{self, About};
use crate::http;
use crate::port::{self, PortError};

/// How long devices that are connected already may take before the daemon calls itself ready without them.
const FIRST_SCAN: Duration = Duration::from_secs(10);
/// How long requests and orders that are under way may take once the daemon stops. HTTP needs two seconds at most.
const DRAIN: Duration = Duration::from_secs(3);
/// How long devices may take to be closed.
const CLOSING: Duration = Duration::from_secs(1);

/// `EX_USAGE`: the configuration cannot be used.
pub const EXIT_CONFIG: u8 = 64;
/// `EX_UNAVAILABLE`: there is no port.
pub const EXIT_PORT: u8 = 69;

/// The devices, as a whole.
pub trait Devices: http::Service + control::Care {
    /// Waits until the devices that were connected at the start have been tried, or `limit` is over.
    fn first_scan(&self, limit: Duration) -> impl Future<Output = ()> + Send;

    /// Ends previews and captures, and begins to close all devices.
    fn stop(&self);

    /// Waits until all devices are closed, or `limit` is over.
    fn closed(&self, limit: Duration) -> impl Future<Output = ()> + Send;
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
    let mut services = Services::new();
    let serving = http::serve(listener, Arc::clone(&devices), config.into(), stop.clone());
    services.spawn(async { ("the HTTP service", serving.await) });
    let orders =
        control::serve(socket, Arc::clone(&devices), about, control::Limits::default(), stop.clone());
    services.spawn(async {
        orders.await;
        ("the control socket", Ok(()))
    });
    tracing::info!(%url, control = %config.control.socket.display(), "serving");

    let outcome = live(&mut services, until_signal(config, ready_file, &url, &*devices, &mut signals)).await;
    stop.cancel();
    devices.stop();
    let (drained, ()) = tokio::join!(drain(&mut services), devices.closed(CLOSING));
    if let Some(file) = ready_file {
        let _ = std::fs::remove_file(file);
    }
    tracing::info!("stopped");
    Ok(outcome.and(drained)?)
}

/// The tasks that serve, each with its name and how it ended.
type Services = JoinSet<(&'static str, std::io::Result<()>)>;

/// Until `end`; or until a service ends by itself, which is always an error.
async fn live(services: &mut Services, end: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        ended = end => ended,
        Some(service) = services.join_next() => {
            let error = match broken(service) {
                Ok(name) => anyhow!("{name} has ended by itself"),
                Err(error) => error,
            };
            tracing::error!(error = format!("{error:#}"), "stopping");
            Err(error)
        }
    }
}

/// Waits for services that have been told to stop.
async fn drain(services: &mut Services) -> anyhow::Result<()> {
    let all = async {
        while let Some(service) = services.join_next().await {
            broken(service)?;
        }
        Ok(())
    };
    timeout(DRAIN, all).await.unwrap_or_else(|_| {
        tracing::warn!("cut off: orders were still being carried out");
        Ok(())
    })
}

/// What was wrong with a service that has ended; its name where nothing was.
fn broken(service: Result<(&'static str, std::io::Result<()>), JoinError>) -> anyhow::Result<&'static str> {
    let (name, ended) = service.context("a service broke down")?;
    ended.with_context(|| format!("{name} broke down"))?;
    Ok(name)
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// How a life ends in which nothing happens but what `services` do.
    async fn life(mut services: Services) -> String {
        let lived = timeout(Duration::from_secs(5), live(&mut services, pending())).await;
        format!("{:#}", lived.expect("somebody notices").unwrap_err())
    }

    #[tokio::test]
    async fn a_service_that_ends_by_itself_ends_the_daemon_with_an_error() {
        let beside = || {
            let mut services = Services::new();
            services.spawn(pending());
            services
        };
        let mut services = beside();
        services.spawn(async { ("the control socket", Ok(())) });
        assert_eq!(life(services).await, "the control socket has ended by itself");

        let mut services = beside();
        services.spawn(async { ("the HTTP service", Err(std::io::ErrorKind::AddrNotAvailable.into())) });
        let error = life(services).await;
        assert!(error.starts_with("the HTTP service broke down: "), "{error}");

        let mut services = beside();
        services.spawn(async { panic!("for a test") });
        let error = life(services).await;
        assert!(error.starts_with("a service broke down: ") && error.contains("for a test"), "{error}");
    }

    #[tokio::test]
    async fn the_end_is_no_error() {
        let mut services = Services::new();
        services.spawn(pending());
        live(&mut services, async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn a_service_that_breaks_while_it_stops_is_an_error_too() {
        let mut services = Services::new();
        services.spawn(async { ("the HTTP service", Ok(())) });
        services.spawn(async { panic!("for a test") });
        assert!(drain(&mut services).await.is_err());
        assert!(drain(&mut services).await.is_ok(), "nothing is left");
    }
}
