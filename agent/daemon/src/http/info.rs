//! MOSIPDINFO: signed device info. The request has no body that would mean anything, so none is waited for.

use axum::response::Response;

use super::answer;
use super::caller::Caller;
use super::routes::App;
use super::service::Service;

pub(super) async fn answer<S: Service>(app: &App<S>, caller: &Caller) -> Response {
    answer::ok(app.service.info(caller.is_developer()).await)
}
