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

    /// Where an image is that the server has named by its path below the base URL; never anywhere else than on this server.
    pub(super) fn image(&self, path: &str) -> Result<Url, Failure> {
        if !path.starts_with('/') || path.starts_with("//") || path.contains(['\\', '#', '?']) {
            return Err(Failure::Distrusted(format!("{path:?} is no path of an image on this server")));
        }
        Ok(self.resource(path))
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

#[cfg(test)]
mod tests {
    use biotrust_certs::{Domain, TestPki};
    use biotrust_model::time::SystemClock;

    use super::*;

    #[test]
    fn messages_and_images_are_below_the_base_url_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let anchors = home.path().join("anchors.pem");
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap();
        std::fs::write(&anchors, pki.anchors_pem(Domain::Device)).unwrap();
        for (base, below) in [("https://a.example", ""), ("https://a.example:8443/mgmt/", ":8443/mgmt")] {
            let config = config::Management {
                url: Some(base.parse().unwrap()),
                anchors: vec![anchors.clone()],
                ..config::Management::default()
            };
            let server = Server::new(&config, Limits::default(), Arc::new(SystemClock)).unwrap().unwrap();
            assert_eq!(server.resource(PATH).as_str(), format!("https://a.example{below}/v1/message"));
            let image = server.image("/v1/image/1").unwrap();
            assert_eq!(image.as_str(), format!("https://a.example{below}/v1/image/1"));
            let climbing = server.image("/../../x").unwrap();
            assert_eq!(climbing.host_str(), Some("a.example"));
            for elsewhere in
                ["https://b.example/1", "//b.example/1", "/\\b.example/1", "v1/image/1", "", "/a?b", "/a#b"]
            {
                assert!(matches!(server.image(elsewhere), Err(Failure::Distrusted(_))), "{elsewhere:?}");
            }
        }
    }
}
