//! CAPTURE and RCAPTURE: one capture, bound to the connection that asked for it.

use axum::body::Bytes;
use axum::extract::Request;
use axum::response::Response;
use biotrust_model::{Problem, ProblemKind, Purpose};
use biotrust_sbi::request::{ReadOptions, parse_capture};

use super::answer;
use super::peer::Peer;
use super::routes::App;
use super::service::Service;

pub(super) async fn answer<S: Service>(
    app: &App<S>,
    peer: &Peer,
    purpose: Purpose,
    request: Request,
) -> Response {
    match capture(app, peer, purpose, request).await {
        Ok(body) => answer::ok(body),
        Err(problem) => {
            tracing::info!(%problem, "no capture");
            answer::ok(biotrust_sbi::answer::capture_error(&problem, app.shared.language))
        }
    }
}

/// Drops the service's future, and cancels the capture by that, when the client is gone or the daemon stops.
async fn capture<S: Service>(
    app: &App<S>,
    peer: &Peer,
    purpose: Purpose,
    request: Request,
) -> Result<Bytes, Problem> {
    let body = app.shared.body(request).await?;
    let allowed = app.shared.allow_null_transaction_id;
    let options = ReadOptions { null_transaction_id: allowed.then(fresh_transaction_id).transpose()? };
    let request = parse_capture(purpose, &body, &options)?;
    drop(body);
    tracing::info!(device = ?request.bio.device_id, timeout = ?request.timeout, "capture begins");
    tokio::select! {
        finished = app.service.capture(request) => {
            let body = finished?;
            tracing::info!(bytes = body.len(), "captured");
            Ok(body)
        }
        () = peer.gone() => Err(Problem::about(ProblemKind::Cancelled, "the client has gone")),
        () = app.shared.stop.cancelled() => Err(ProblemKind::ShuttingDown.into()),
    }
}

/// For a client that sends none: 32 hex digits.
fn fresh_transaction_id() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Problem::about(ProblemKind::Internal, "no random numbers"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
