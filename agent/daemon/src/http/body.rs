//! Reads a request's body: whatever its framing and type, within a size and a time, in memory that grows with what has
//! arrived and not with what was announced.

use std::time::Duration;

use axum::body::{Body, Bytes};
use biotrust_model::{Problem, ProblemKind};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

/// The body did not come in as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge { limit: usize },
    TooSlow { within: Duration },
    Broken,
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let about = match error {
            BodyError::TooLarge { limit } => format!("the body has more than {limit} bytes"),
            BodyError::TooSlow { within } => {
                format!("the body did not arrive within {} seconds", within.as_secs_f32())
            }
            BodyError::Broken => String::from("the body is incomplete"),
        };
        Self::about(ProblemKind::MalformedRequest, about)
    }
}

/// The whole body; empty where the request has none.
pub(super) async fn read(body: Body, limit: usize, within: Duration) -> Result<Bytes, BodyError> {
    // refuse an announced length at once, before "100 Continue" invites it
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge { limit });
    }
    match tokio::time::timeout(within, collect(body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TooSlow { within }),
    }
}

/// One buffer, not a list of segments: a body of one-byte chunks must not cost more than any other.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
