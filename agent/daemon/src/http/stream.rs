//! STREAM: the live preview, in the one framing that the desktop client can both read and leave.
//!
//! The body ends with the connection. With chunks the client would have to drain it when it closes, and its window
//! hangs as long as the preview runs; so the status line says HTTP/1.0, where hyper sends neither chunks nor a length.
//! Each part goes out as one write with its line end after the image, because the client needs one byte more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Version};
use axum::response::Response;
use biotrust_driver_api::Frame;
use biotrust_model::Problem;
use biotrust_sbi::request::{StreamRequest, parse_stream};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::answer;
use super::peer::Peer;
use super::routes::App;
use super::service::{FrameStream, Service};

/// The boundary has two hyphens of its own, as clients have always seen it.
const MULTIPART: HeaderValue =
    HeaderValue::from_static("multipart/x-mixed-replace; boundary=--BoundaryString");
/// When a request has no timeout (spec section 9).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) async fn answer<S: Service>(app: &App<S>, peer: Arc<Peer>, request: Request) -> Response {
    match open(app, request).await {
        Ok((request, frames)) => {
            let timeout = request.timeout.unwrap_or(DEFAULT_TIMEOUT);
            tracing::info!(device = ?request.device_id, ?timeout, "preview begins");
            peer.keep_send_buffer_small();
            // the frames go out after this request's span has been left
            multipart(frames, end(peer, timeout, app.shared.stop.clone()).in_current_span())
        }
        Err(problem) => {
            tracing::info!(%problem, "no preview");
            answer::ok(biotrust_sbi::answer::stream_error(&problem, app.shared.language))
        }
    }
}

async fn open<S: Service>(app: &App<S>, request: Request) -> Result<(StreamRequest, FrameStream), Problem> {
    let request = parse_stream(&app.shared.body(request).await?)?;
    let frames = app.service.stream(&request)?;
    Ok((request, frames))
}

fn multipart(frames: FrameStream, end: impl Future<Output = ()> + Send + 'static) -> Response {
    let parts = frames.map(|frame| Ok::<_, Infallible>(part(&frame))).take_until(end);
    let mut response = Response::new(Body::from_stream(parts));
    *response.version_mut() = Version::HTTP_10;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, MULTIPART);
    headers.insert(CACHE_CONTROL, answer::NO_STORE);
    headers.insert(CONNECTION, answer::CLOSE);
    response
}

/// Returns when the preview has to end.
async fn end(peer: Arc<Peer>, timeout: Duration, stop: CancellationToken) {
    let reason = tokio::select! {
        () = peer.gone() => "the client has gone",
        () = tokio::time::sleep(timeout) => "its time is over",
        () = stop.cancelled() => "the daemon stops",
    };
    tracing::info!(reason, "preview ends");
}

/// One frame on the wire. `Content-Length` must be spelled like this and must not be the first thing in the part.
fn part(frame: &Frame) -> Bytes {
    let head = format!(
        "--BoundaryString\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        frame.jpeg.len()
    );
    let mut part = Vec::with_capacity(head.len() + frame.jpeg.len() + 4);
    part.extend_from_slice(head.as_bytes());
    part.extend_from_slice(&frame.jpeg);
    part.extend_from_slice(b"\r\n\r\n");
    part.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_head_image_and_line_ends() {
        let frame = Frame { sequence: 1, jpeg: vec![0xff, 0xd8, 1, 2].into(), score: None };
        let expected = b"--BoundaryString\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\n\xff\xd8\x01\x02\r\n\r\n";
        assert_eq!(part(&frame).as_ref(), expected);
    }
}
