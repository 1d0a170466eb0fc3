//! From a request's head to its operation: `Host`, path and method, `Origin`, in this order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::any;
use axum::{Router, http::header};
use biotrust_model::{Problem, ProblemKind, Purpose};
use tracing::Instrument as _;

use super::caller::Caller;
use super::peer::Peer;
use super::server::Shared;
use super::service::Service;
use super::verb::{Verb, list};
use super::{answer, body, capture, cors, discover, info, stream};

/// Characters of a refused name that go into the log.
const SHOWN: usize = 128;

/// State of the handlers.
pub(super) struct App<S> {
    pub(super) shared: Arc<Shared>,
    pub(super) service: Arc<S>,
}

impl<S> Clone for App<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), service: Arc::clone(&self.service) }
    }
}

/// axum knows no methods but the usual ones, so every path takes any method and looks it up.
pub(super) fn router<S: Service>(shared: Arc<Shared>, service: Arc<S>) -> Router {
    let mut paths = Verb::ALL.map(Verb::path).to_vec();
    paths.dedup();
    paths
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(operation::<S>)))
        .fallback(no_such_path::<S>)
        .layer(from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(App { shared, service })
}

/// Checks the host, names the caller, and lets a page that we know read whatever the answer is.
async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let caller = shared.policy.caller(request.headers());
    let span = tracing::info_span!(
        "request",
        id = shared.requests.fetch_add(1, Ordering::Relaxed),
        verb = name(&request),
        origin = caller.name()
    );
    async move {
        if !shared.policy.knows_host(request.headers(), request.uri()) {
            tracing::info!(host = shown(&request, &header::HOST), "refused: the request is for another host");
            let problem = ProblemKind::OriginNotAllowed.into();
            return answer::refusal(StatusCode::FORBIDDEN, &problem, shared.language);
        }
        request.extensions_mut().insert(caller.clone());
        let mut response = next.run(request).await;
        cors::sign(response.headers_mut(), &caller);
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await
}

async fn no_such_path<S: Service>(State(app): State<App<S>>) -> Response {
    answer::refusal(StatusCode::NOT_FOUND, &ProblemKind::NoSuchOperation.into(), app.shared.language)
}

/// A request for a path that we have.
async fn operation<S: Service>(
    State(app): State<App<S>>,
    Extension(peer): Extension<Arc<Peer>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let language = app.shared.language;
    let path = request.uri().path();
    if request.method() == Method::OPTIONS {
        return cors::preflight(path, request.headers(), &caller, language);
    }
    let Some(verb) = Verb::find(request.method(), path) else {
        return answer::wrong_method(&format!("OPTIONS, {}", list(Verb::on(path))), language);
    };
    if !caller.may(verb) {
        tracing::info!(
            page = shown(&request, &header::ORIGIN),
            "refused: [origins] does not let this page do this"
        );
        return answer::refusal(StatusCode::FORBIDDEN, &ProblemKind::OriginNotAllowed.into(), language);
    }
    match verb {
        Verb::Discover => discover::answer(&app, &caller, request).await,
        Verb::Info => info::answer(&app, &caller).await,
        Verb::Capture => capture::answer(&app, &peer, Purpose::Auth, request).await,
        Verb::RCapture => capture::answer(&app, &peer, Purpose::Registration, request).await,
        Verb::Stream => stream::answer(&app, peer, request).await,
    }
}

impl Shared {
    /// The body, unless something is wrong with it or the daemon stops.
    pub(super) async fn body(&self, request: Request) -> Result<Bytes, Problem> {
        tokio::select! {
            read = body::read(request.into_body(), self.limits.body_bytes, self.limits.idle) => Ok(read?),
            () = self.stop.cancelled() => Err(ProblemKind::ShuttingDown.into()),
        }
    }
}

/// For the log: the operation, and nothing of what a stranger may have written there.
fn name(request: &Request) -> &'static str {
    match Verb::find(request.method(), request.uri().path()) {
        Some(verb) => verb.method(),
        None if request.method() == Method::OPTIONS => "OPTIONS",
        None => "other",
    }
}

/// For the log: a header of a request that is refused, so that it can be told which line of the configuration is missing.
fn shown(request: &Request, header: &header::HeaderName) -> String {
    let value = request.headers().get(header).map(|value| value.as_bytes()).unwrap_or_default();
    value.escape_ascii().map(char::from).take(SHOWN).collect()
}
