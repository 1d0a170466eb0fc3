//! `[encryption]`: the certificates that authentication captures are encrypted for, from files or from the authentication
//! server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::value;
use super::value::HttpsUrl;

/// `[encryption]`. A `domainUri` has one source: a file or a URL.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Encryption {
    /// PEM file for every `domainUri` that has none of its own. Watched.
    #[serde(deserialize_with = "value::some_file")]
    pub certificate: Option<PathBuf>,
    /// PEM files by `domainUri`. Watched.
    #[serde(deserialize_with = "value::files_by_name")]
    pub domains: BTreeMap<String, PathBuf>,
    /// PEM files of the adopter's authorities; where there are some, a certificate must lead to one of them.
    #[serde(deserialize_with = "value::files")]
    pub anchors: Vec<PathBuf>,
    /// Fetched from the authentication server.
    pub fetch: Option<Fetch>,
}

/// `[encryption.fetch]`: certificates that are fetched over HTTPS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Where the certificate is for every `domainUri` that has none of its own.
    #[serde(default)]
    pub url: Option<HttpsUrl>,
    /// Where it is, by `domainUri`.
    #[serde(default)]
    pub domains: BTreeMap<String, HttpsUrl>,
    /// PEM files of the authorities under which the servers' TLS certificates are believed.
    #[serde(deserialize_with = "value::files")]
    pub anchors: Vec<PathBuf>,
    /// Where to log in for a token; without it none is sent.
    #[serde(default)]
    pub token: Option<Token>,
    /// How often it is looked for a new one.
    #[serde(
        default = "hourly",
        rename = "interval_s",
        deserialize_with = "value::seconds::<10, 604_800, _>"
    )]
    pub interval: Duration,
}

/// `[encryption.fetch.token]`: the login that `getCertificate` asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The authentication manager's `clientidsecretkey`.
    pub url: HttpsUrl,
    /// Client.
    pub client_id: String,
    /// File with the client's secret and nothing else: secrets are never in the configuration.
    #[serde(deserialize_with = "value::file")]
    pub secret_file: PathBuf,
    /// Application that the client belongs to.
    #[serde(default = "regproc")]
    pub app_id: String,
}

const fn hourly() -> Duration {
    Duration::from_secs(3600)
}

fn regproc() -> String {
    String::from("regproc")
}
