//! The authentication server's certificate over HTTPS: a login where there is one, then `getCertificate`.
//!
//! Facts: MOSIP's authentication manager answers `clientidsecretkey` with the token in a cookie called `Authorization`,
//! and resource servers read it from there only; business errors come with status 200 and a list `errors`, whose code
//! may be null.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use biotrust_mgmt::Stamp;
use biotrust_model::Secret;
use biotrust_model::time::{Clock, UtcMillis};
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::check::read;
use crate::config;
use crate::https::{Https, HttpsError, Limits};

/// Longest answer that is read: a chain of certificates takes some 10 KiB.
const LONGEST: usize = 256 * 1024;
/// Shortest pause between two fetches.
const SHORTEST: Duration = Duration::from_secs(10);

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error("the secret {file} cannot be used: {why}")]
    Secret { file: String, why: String },
    #[error("no login at {url}: {why}; check client_id, secret_file and app_id in [encryption.fetch.token]")]
    Login { url: String, why: String },
    #[error("refused: {0}; the client may lack the role that getCertificate asks for")]
    Refused(String),
    #[error("the answer holds no certificate: {0}")]
    Answer(String),
}

/// Fetches certificates.
pub(super) struct Fetcher {
    https: Https,
    targets: Vec<(String, Url)>,
    login: Option<config::Token>,
    interval: Duration,
    /// The token of the last login: a cookie that is never printed.
    token: Mutex<Option<HeaderValue>>,
}

/// MOSIP's envelope.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    response: Option<Certificate>,
    #[serde(default)]
    errors: Option<Vec<Fault>>,
}

#[derive(Deserialize)]
struct Certificate {
    #[serde(default)]
    certificate: Option<String>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default, rename = "errorCode")]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl Fetcher {
    pub(super) fn new(config: &config::Fetch, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let default = config.url.iter().map(|url| (String::new(), url.url().clone()));
        let domains = config.domains.iter().map(|(domain, url)| (domain.clone(), url.url().clone()));
        Ok(Self {
            https: Https::new(&config.anchors, Limits::default(), clock).context("anchors")?,
            targets: default.chain(domains).collect(),
            login: config.token.clone(),
            interval: config.interval,
            token: Mutex::default(),
        })
    }

    /// `domainUri` and URL of each.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&str, &Url)> {
        self.targets.iter().map(|(domain, url)| (domain.as_str(), url))
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Fetches one, logging in again once where the token is not accepted any more.
    pub(super) async fn fetch(&self, url: &Url, now: UtcMillis) -> Result<Vec<Vec<u8>>, FetchError> {
        let mut token = self.token.lock().await;
        let had_one = token.is_some();
        match self.attempt(url, &mut token, now).await {
            Err(FetchError::Https(HttpsError::Status { status: 401, .. })) if had_one => {
                *token = None;
                self.attempt(url, &mut token, now).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        token: &mut Option<HeaderValue>,
        now: UtcMillis,
    ) -> Result<Vec<Vec<u8>>, FetchError> {
        if let (None, Some(login)) = (&token, &self.login) {
            *token = Some(self.log_in(login, now).await?);
        }
        let mut request = self.https.request(Method::GET, url);
        if let Some(token) = token {
            request = request.header(COOKIE, token.clone());
        }
        let text = self.https.send(request, LONGEST).await?.text()?;
        certificate(&text)
    }

    async fn log_in(&self, login: &config::Token, now: UtcMillis) -> Result<HeaderValue, FetchError> {
        let secret = secret(&login.secret_file).await?;
        let body = json!({
            "id": "biotrust",
            "version": "1.0",
            "requesttime": Stamp(now).to_string(),
            "metadata": {},
            "request": {
                "clientId": login.client_id,
                "secretKey": String::from_utf8_lossy(secret.expose()).trim(),
                "appId": login.app_id,
            },
        });
        let request = self.https.request(Method::POST, login.url.url()).json(&body);
        let answer = self.https.send(request, LONGEST).await?;
        let refused = |why: String| FetchError::Login { url: login.url.to_string(), why };
        match token_of(&answer.headers) {
            Some(token) => Ok(token),
            None => {
                let text = answer.text()?;
                let faults =
                    serde_json::from_str::<Envelope>(&text).ok().and_then(|envelope| envelope.errors);
                Err(refused(faults.as_deref().and_then(first).unwrap_or_else(|| "no token came back".into())))
            }
        }
    }
}

/// Secrets are never in the configuration, and not in memory for longer than a login.
async fn secret(file: &std::path::Path) -> Result<Secret, FetchError> {
    let unusable = |why: String| FetchError::Secret { file: file.display().to_string(), why };
    let about = tokio::fs::metadata(file).await.map_err(|error| unusable(error.to_string()))?;
    if about.mode() & 0o007 != 0 {
        return Err(unusable("others can read it: chmod 600 it, and replace the secret".to_owned()));
    }
    tokio::fs::read(file).await.map(Secret::new).map_err(|error| unusable(error.to_string()))
}

/// The token as the cookie to be sent: from a cookie, or else from the header.
fn token_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let cookies = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let from_cookie = cookies.filter_map(|cookie| cookie.strip_prefix("Authorization=")?.split(';').next());
    let from_header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = from_cookie.chain(from_header).find(|token| !token.is_empty())?;
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let mut cookie = HeaderValue::from_str(&format!("Authorization={token}")).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

/// The first error of a list, for people.
fn first(faults: &[Fault]) -> Option<String> {
    let fault = faults.first()?;
    let message: String = fault.message.as_deref().unwrap_or("(no message)").chars().take(200).collect();
    Some(match &fault.code {
        Some(code) => format!("{} ({message})", code.chars().take(40).collect::<String>()),
        None => message,
    })
}

/// Reads `getCertificate`'s answer.
fn certificate(text: &str) -> Result<Vec<Vec<u8>>, FetchError> {
    let envelope: Envelope =
        serde_json::from_str(text).map_err(|error| FetchError::Answer(error.to_string()))?;
    if let Some(fault) = envelope.errors.as_deref().and_then(first) {
        return Err(FetchError::Refused(fault));
    }
    let pem = envelope.response.and_then(|response| response.certificate);
    let pem = pem.ok_or_else(|| FetchError::Answer("response.certificate is not there".into()))?;
    read(pem.as_bytes()).map_err(FetchError::Answer)
}

/// How long to wait for the next fetch: the interval, less where a certificate ends soon or the last fetch failed.
pub(super) fn pause(interval: Duration, life_left: Option<Duration>, failures: u32) -> Duration {
    let usual = life_left.map_or(interval, |left| interval.min(left / 4)).max(SHORTEST);
    match failures {
        0 => usual,
        n => usual.min(SHORTEST.saturating_mul(1 << (n - 1).min(10))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_a_cookie_or_a_header() {
        let headers = |name, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_static("other=1; Path=/"));
            headers.append(name, HeaderValue::from_static(value));
            token_of(&headers).map(|value| value.to_str().unwrap().to_owned())
        };
        let expected = Some("Authorization=abc".to_owned());
        assert_eq!(headers(SET_COOKIE, "Authorization=abc; Path=/; HttpOnly"), expected);
        assert_eq!(headers(AUTHORIZATION, "Bearer abc"), expected);
        assert_eq!(headers(AUTHORIZATION, "abc"), expected);
        assert_eq!(headers(SET_COOKIE, "Authorization=; Max-Age=0"), None);
    }

    #[test]
    fn errors_come_with_status_200() {
        for (text, says) in [
            (
                r#"{"response":null,"errors":[{"errorCode":"KER-KMS-012","message":"not unique"}]}"#,
                "KER-KMS-012 (not unique)",
            ),
            (r#"{"errors":[{"errorCode":null,"message":"NullPointerException"}]}"#, "refused: NullPointer"),
            (r#"{"response":{"certificate":null},"errors":null}"#, "response.certificate is not there"),
            (r#"{"response":{"certificate":"nonsense"},"errors":[]}"#, "no certificate"),
            ("<html>", "holds no certificate"),
        ] {
            let error = certificate(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_and_failures_shorten_the_pause() {
        let hour = Duration::from_secs(3600);
        assert_eq!(pause(hour, None, 0), hour);
        assert_eq!(pause(hour, Some(hour * 100), 0), hour);
        assert_eq!(pause(hour, Some(hour), 0), hour / 4, "asked again well before its end");
        assert_eq!(pause(hour, Some(Duration::ZERO), 0), SHORTEST);
        assert_eq!(pause(hour, None, 1), SHORTEST);
        assert_eq!(pause(hour, None, 3), SHORTEST * 4);
        assert_eq!(pause(hour, None, u32::MAX), hour, "and never more than usual");
    }
}
