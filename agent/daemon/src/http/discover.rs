//! MOSIPDISC: which devices are there.

use axum::extract::Request;
use axum::response::Response;
use biotrust_sbi::request::parse_discover;

use super::answer;
use super::caller::Caller;
use super::routes::App;
use super::service::Service;

pub(super) async fn answer<S: Service>(app: &App<S>, caller: &Caller, request: Request) -> Response {
    match app.shared.body(request).await.and_then(|body| parse_discover(&body)) {
        Ok(request) => answer::ok(app.service.discovery(request.modality, caller.is_developer())),
        Err(problem) => {
            tracing::info!(%problem, "discovery refused");
            answer::ok(biotrust_sbi::answer::discovery_error(&problem, app.shared.language))
        }
    }
}
