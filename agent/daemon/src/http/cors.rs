//! What browsers ask before they let a page call us, and the headers by which the page may read the answer.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use biotrust_model::{Language, ProblemKind};

use super::answer;
use super::caller::Caller;
use super::verb::{Verb, list};

/// Asked by Chromium of the years before the Local Network Access prompt, and by web views of that age.
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// The one header that clients set.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("content-type");

/// Answers OPTIONS on `path`: what this caller may do there.
pub(super) fn preflight(path: &str, headers: &HeaderMap, caller: &Caller, language: Language) -> Response {
    let allowed = list(Verb::on(path).filter(|verb| caller.may(*verb)));
    if allowed.is_empty() {
        return answer::refusal(StatusCode::FORBIDDEN, &ProblemKind::OriginNotAllowed.into(), language);
    }
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    let answered = response.headers_mut();
    answer::allow(answered, &format!("OPTIONS, {allowed}"));
    if let (Caller::Page { .. }, Ok(methods)) = (caller, HeaderValue::from_str(&allowed)) {
        answered.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        answered.insert(ACCESS_CONTROL_ALLOW_HEADERS, CONTENT_TYPE);
        answered.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if headers.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
            answered.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
    }
    response
}

/// Lets a page that we know read the answer, errors included; a stranger gets no such header.
pub(super) fn sign(headers: &mut HeaderMap, caller: &Caller) {
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if let Caller::Page { origin, .. } = caller {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}
