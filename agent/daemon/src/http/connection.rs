//! One connection, one request: head within its limits, answer, orderly close. Whatever a peer sends, it is answered.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use biotrust_model::{Problem, ProblemKind};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::answer;
use super::peer::{Peer, PeerIo};
use super::server::Shared;

/// How long the peer may take to close its side after its answer.
const LINGER: Duration = Duration::from_secs(2);

/// Serves the connection until it is closed.
pub(super) async fn run(shared: &Shared, router: Router, socket: TcpStream) {
    let peer = Arc::new(Peer::new(socket));
    let io = TokioIo::new(PeerIo::new(Arc::clone(&peer), &shared.limits));
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        peer.set_served();
        request.extensions_mut().insert(Arc::clone(&peer));
        let (peer, router) = (Arc::clone(&peer), router.clone());
        async move {
            let response = router.oneshot(request).await?;
            // a preview has no length, and ends in its own time
            if response.body().size_hint().exact().is_some() {
                peer.set_answering();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        // the peer's leaving is for the operation to notice: a capture ends, a quick answer is still sent
        .half_close(true)
        .title_case_headers(true)
        .max_buf_size(shared.limits.head_bytes)
        .header_read_timeout(None)
        .serve_connection(io, service);
    let refusal = tokio::select! {
        ended = connection => match ended {
            Ok(()) => None,
            Err(error) => {
                // a peer that hangs up is no fault: the desktop client does so after every probe
                tracing::debug!(%error, "connection ended");
                (!peer.is_served()).then(|| unreadable(&error, shared))
            }
        },
        () = too_late(&peer, shared.limits.header) => Some((
            StatusCode::REQUEST_TIMEOUT,
            Problem::about(ProblemKind::NoSuchOperation, "the head of the request did not arrive in time"),
        )),
        () = stopping(&peer, shared) => {
            Some((StatusCode::SERVICE_UNAVAILABLE, ProblemKind::ShuttingDown.into()))
        }
    };
    if let Some((status, problem)) = refusal {
        tracing::debug!(status = status.as_u16(), %problem, "refused before it was a request");
        peer.send(&answer::raw(status, &problem, shared.language)).await;
    }
    peer.linger(LINGER).await;
}

/// What to say to a head that is none.
fn unreadable(error: &hyper::Error, shared: &Shared) -> (StatusCode, Problem) {
    let (status, about) = match error.is_parse_too_large() {
        true => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!(
                "the head of the request has more than {} bytes or 100 headers",
                shared.limits.head_bytes
            ),
        ),
        false => (StatusCode::BAD_REQUEST, String::from("this is not a request of HTTP/1.1")),
    };
    (status, Problem::about(ProblemKind::NoSuchOperation, about))
}

/// Returns when `time` is over and the head is still not complete.
async fn too_late(peer: &Peer, time: Duration) {
    tokio::time::sleep(time).await;
    if peer.is_served() {
        pending::<()>().await;
    }
}

/// Returns when the daemon stops and this connection has no request that could be answered.
async fn stopping(peer: &Peer, shared: &Shared) {
    shared.stop.cancelled().await;
    if peer.is_served() {
        pending::<()>().await;
    }
}
