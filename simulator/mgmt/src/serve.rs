//! TLS 1.3 and HTTP around the service.
//!
//! Each connection is a task with deadlines: for the handshake, for the headers, for the body, for idling. A slow client
//! holds its own connection only; the number of connections is bounded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use biotrust_model::time::{Clock, SystemClock};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, KeyFiles};
use crate::keys;
use crate::service::{NoReply, Service};

/// Connections at once.
const MOST_CONNECTIONS: usize = 512;
/// For a handshake, for headers, and for a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what is under way when the server is stopped.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Files, keys or database.
    #[error(transparent)]
    Setup(#[from] anyhow::Error),
    /// The address.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Address of the configuration.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Certificate and key of the TLS server.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A server that runs. Dropping it stops the server.
pub struct Running {
    /// Where it listens; the port is known even if the configuration says 0.
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    service: Arc<Service>,
}

impl Running {
    /// Stops: no new connections, what is under way has five seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections were still open at the end");
        }
        self.service.store.close().await;
    }

    /// Waits until the server has ended, which it does when its token is cancelled.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts the server; it runs until `stop` is cancelled or the result is dropped.
///
/// # Errors
/// When a file, a key, the database or the address is not usable.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<Running, ServeError> {
    serve_at(config, stop, Arc::new(SystemClock)).await
}

/// As [`serve`], by another clock: for tests of time.
///
/// # Errors
/// As [`serve`].
pub async fn serve_at(
    config: Config,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
) -> Result<Running, ServeError> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(&config.tls)?));
    let service = Arc::new(Service::open(&config, clock).await?);
    let unusable = |error| ServeError::Listen { address: config.listen, error };
    let listener = TcpListener::bind(config.listen).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    let stop = stop.child_token();
    let tasks = TaskTracker::new();
    tasks.spawn(accept(listener, acceptor, router(Arc::clone(&service)), stop.clone(), tasks.clone()));
    tasks.close();
    tracing::info!(%address, "management server");
    Ok(Running { address, stop, tasks, service })
}

/// TLS 1.3 only: both ends are ours, so nothing older has to be spoken.
fn tls(files: &KeyFiles) -> Result<ServerConfig, ServeError> {
    let chain = keys::chain(&files.chain)?;
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    let key = keys::private_key(&files.key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().to_vec()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth() // clients sign every message
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route(biotrust_mgmt::PATH, post(message))
        .route("/v1/image/{id}", get(image))
        .with_state(service)
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection that was gone again: go on, not at full speed.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let router = router.clone().layer(Extension(peer.ip()));
        let (acceptor, stop) = (acceptor.clone(), stop.clone());
        tasks.spawn(async move {
            connection(stream, acceptor, router, stop).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else {
        return; // not TLS 1.3, or too slow
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection");
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(FAREWELL, connection).await;
        }
    }
}

/// `POST /v1/message`.
async fn message(
    State(service): State<Arc<Service>>,
    Extension(from): Extension<IpAddr>,
    request: Request,
) -> Response {
    let body = match tokio::time::timeout(PATIENCE, to_bytes(request.into_body(), biotrust_mgmt::MAX_MESSAGE))
        .await
    {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long, or was cut off");
        }
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the message did not come in time"),
    };
    let Ok(text) = std::str::from_utf8(&body) else {
        return problem(StatusCode::BAD_REQUEST, "not a compact JWS");
    };
    match service.answer(text.trim(), from).await {
        Ok(reply) => ([(header::CONTENT_TYPE, "application/jose")], reply).into_response(),
        Err(NoReply::NotAMessage(error)) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error @ NoReply::TooMany) => problem(StatusCode::TOO_MANY_REQUESTS, &error.to_string()),
        Err(NoReply::Internal(error)) => {
            tracing::error!("{error:#}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error; try again later")
        }
    }
}

/// `GET /v1/image/{id}`: no secret, for its manifest is signed; the id is not to be guessed all the same.
async fn image(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    match service.image(&id).await {
        Ok(Some(image)) => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from(image)).into_response()
        }
        Ok(None) => problem(StatusCode::NOT_FOUND, "there is no such image"),
        Err(error) => {
            tracing::error!("{error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error; try again later")
        }
    }
}

/// What is said without a signature: nobody acts on it but a person who reads it.
fn problem(status: StatusCode, text: &str) -> Response {
    let body = serde_json::json!({ "error": text }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
