//! The management server, from this side: where it is, how it is known, and what its answers are worth.
//!
//! Two proofs are asked of it, and neither stands in for the other: TLS 1.3 under the pinned anchors, and in every answer a
//! signature by a management signer of the device's own provider.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use biotrust_certs::DeviceStore;
use biotrust_mgmt::client::Failure;
use biotrust_mgmt::envelope::{self, Asked};
use biotrust_mgmt::message::ReplyBody;
use biotrust_mgmt::{MAX_MESSAGE, PATH};
use biotrust_model::time::{Clock, UtcMillis};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};

use crate::config;
use crate::https::{Https, HttpsError, Limits};

/// How to reach the server, and whom to take for it.
pub(super) struct Server {
    https: Https,
    base: Url,
    anchors: DeviceStore,
    organisation: Option<String>,
}

impl Server {
    /// Reads the anchors. Blocking. `None` where no server is configured.
    pub(super) fn new(
        config: &config::Management,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(url) = &config.url else { return Ok(None) };
        let anchors = DeviceStore::load(&config.anchors).context("[management] anchors")?;
        if !anchors.has_anchor() {
            return Err(anyhow!("[management] anchors: none of them is a self-signed root"));
        }
        let https = Https::new(&config.anchors, limits, clock).context("[management] anchors")?;
        let organisation = config.organisation.clone();
        Ok(Some(Self { https, base: url.url().clone(), anchors, organisation }))
    }

    /// Where it is, for people.
    pub(super) fn name(&self) -> &str {
        self.base.as_str()
    }

    pub(super) const fn https(&self) -> &Https {
        &self.https
    }

    pub(super) const fn anchors(&self) -> &DeviceStore {
        &self.anchors
    }

    /// Who must have signed for a device of `provider`.
    pub(super) fn organisation<'a>(&'a self, provider: &'a str) -> &'a str {
        self.organisation.as_deref().unwrap_or(provider)
    }

    /// Posts a signed message. What comes back is a verified reply to `asked`, or a failure. `now` is the trusted time.
    pub(super) async fn post(
        &self,
        message: String,
        asked: &Asked,
        provider: &str,
        now: Option<UtcMillis>,
    ) -> Result<ReplyBody, Failure> {
        let url = self.resource(PATH);
        let request = self.https.request(Method::POST, &url).header(CONTENT_TYPE, "application/jose");
        let answer = self.https.send(request.body(message), MAX_MESSAGE).await.map_err(failure)?;
        let reply = answer.text().map_err(failure)?;
        let server = envelope::Server { store: &self.anchors, organisation: self.organisation(provider) };
        envelope::open_reply(reply.trim_end(), asked, &server, now)
            .map_err(|error| Failure::Distrusted(error.to_string()))
    }

    /// Where an image is that the server has named by its path; never anywhere else than on this server.
    pub(super) fn image(&self, path: &str) -> Result<Url, Failure> {
        let elsewhere = || Failure::Distrusted(format!("{path:?} is no path of an image on this server"));
        if !path.starts_with('/') || path.starts_with("//") || path.contains(['\\', '#']) {
            return Err(elsewhere());
        }
        let url = self.base.join(path).map_err(|_| elsewhere())?;
        if url.origin() == self.base.origin() { Ok(url) } else { Err(elsewhere()) }
    }

    /// A path below that of the base URL.
    fn resource(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }
}

/// Whether to try again (nobody there, too busy) or to doubt (somebody else is).
pub(super) fn failure(error: HttpsError) -> Failure {
    let text = error.to_string();
    match error {
        HttpsError::NotTrusted { .. } | HttpsError::Answer { .. } => Failure::Distrusted(text),
        HttpsError::Unreachable { .. } | HttpsError::TimedOut { .. } | HttpsError::Status { .. } => {
            Failure::Unreachable(text)
        }
    }
}
