//! Accepts connections, as many as allowed, and ends them all when the daemon stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use biotrust_model::{Language, ProblemKind};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::caller::Policy;
use super::peer::Peer;
use super::service::Service;
use super::{answer, connection, routes};
use crate::config::{Config, Limits, Origins};

/// How long requests under way may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections over the limit that are refused in full at one time; yet others get no time to read their refusal.
const REFUSALS: usize = 64;
/// How long a connection over the limit may take to read its refusal.
const REFUSAL_LINGER: Duration = Duration::from_millis(500);

/// What the configuration says to this module.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pages that may call.
    pub origins: Origins,
    /// What one peer may use up.
    pub limits: Limits,
    /// Language of `errorInfo`.
    pub language: Language,
    /// Give a capture without `transactionId` one of ours.
    pub allow_null_transaction_id: bool,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            origins: config.origins.clone(),
            limits: config.limits.clone(),
            language: config.sbi.language,
            allow_null_transaction_id: config.sbi.allow_null_transaction_id,
        }
    }
}

/// What every request needs, whoever serves it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) limits: Limits,
    pub(super) language: Language,
    pub(super) allow_null_transaction_id: bool,
    pub(super) stop: CancellationToken,
    /// Counts requests, for the log.
    pub(super) requests: AtomicU64,
}

/// Serves until `stop`; then accepts nothing more, ends previews, answers captures with `ShuttingDown`, and returns
/// when all is answered, after two seconds at most.
///
/// # Errors
/// When the listener has no address.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    settings: Settings,
    stop: CancellationToken,
) -> io::Result<()> {
    let Settings { origins, limits, language, allow_null_transaction_id } = settings;
    let places = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let full: Arc<[u8]> =
        answer::raw(StatusCode::SERVICE_UNAVAILABLE, &ProblemKind::TooManyConnections.into(), language)
            .into();
    let shared = Arc::new(Shared {
        policy: Policy::new(listener.local_addr()?.port(), &origins),
        limits,
        language,
        allow_null_transaction_id,
        stop: stop.clone(),
        requests: AtomicU64::new(1),
    });
    let router = routes::router(Arc::clone(&shared), service);

    let mut tasks = JoinSet::new();
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => break,
            // finished ones have nothing to tell, but take up room until they are joined
            Some(_) = tasks.join_next() => continue,
            socket = accept(&listener) => socket,
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let (shared, router) = (Arc::clone(&shared), router.clone());
            tasks.spawn(async move {
                connection::run(&shared, router, socket).await;
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            let full = Arc::clone(&full);
            tasks.spawn(async move {
                let peer = Peer::new(socket);
                peer.send(&full).await;
                peer.linger(REFUSAL_LINGER).await;
                drop(place);
            });
        } else {
            let _ = socket.try_write(&full);
        }
    }
    drop(listener);
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(connections = tasks.len(), "cut off: not answered in time while stopping");
    }
    Ok(())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let _ = socket.set_nodelay(true);
                return socket;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
