//! How every answer looks: JSON in UTF-8 with its exact length, not cached, and the connection closed after it.
//!
//! Requests that reach an operation are answered with status 200 and the operation's own envelope, whatever happened:
//! clients look at the envelope only, and the tool kit's page takes any other status for a lost connection. Other
//! statuses are left for requests that never became an operation.

use axum::body::{Body, Bytes};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use biotrust_model::{Language, Problem, ProblemKind};
use biotrust_sbi::error::ErrorObject;

/// Charset spelled out: without it the desktop client reads ISO-8859-1.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
pub(super) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A finished body with status 200.
pub(super) fn ok(body: impl Into<Bytes>) -> Response {
    json(StatusCode::OK, body.into())
}

/// `{"error":{...}}` with a status of HTTP's own.
pub(super) fn refusal(status: StatusCode, problem: &Problem, language: Language) -> Response {
    json(status, error_body(problem, language).into())
}

/// 405 with the methods that would have done.
pub(super) fn wrong_method(allowed: &str, language: Language) -> Response {
    let problem = Problem::about(ProblemKind::NoSuchOperation, allowed);
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &problem, language);
    allow(response.headers_mut(), allowed);
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    with_head(status, Body::empty())
}

/// Adds `Allow`.
pub(super) fn allow(headers: &mut HeaderMap, methods: &str) {
    if let Ok(value) = HeaderValue::from_str(methods) {
        headers.insert(ALLOW, value);
    }
}

/// `{"error":{"errorCode":"...","errorInfo":"..."}}`
pub(super) fn error_body(problem: &Problem, language: Language) -> String {
    format!("{{\"error\":{}}}", ErrorObject::of(Some(problem), language).to_json())
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = with_head(status, Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn with_head(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(CONNECTION, CLOSE);
    response
}

/// A whole answer as bytes, for a request that never got as far as hyper's service.
pub(super) fn raw(status: StatusCode, problem: &Problem, language: Language) -> Vec<u8> {
    let body = error_body(problem, language);
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: no-store\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        status.as_u16(),
        body.len()
    )
    .into_bytes()
}
