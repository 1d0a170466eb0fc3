//! `[management]`: the management server of the device provider.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::value;
use super::value::HttpsUrl;

/// `[management]`. Without a `url` devices are enrolled by hand, and their keys are never rotated.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Management {
    /// Base URL of the server.
    pub url: Option<HttpsUrl>,
    /// PEM files of the authorities under which the server's TLS certificate and its signatures are believed; nothing
    /// else is, whatever the system trusts.
    #[serde(deserialize_with = "value::files")]
    pub anchors: Vec<PathBuf>,
    /// Organisation (O) in the certificate that the server signs with. Absent: the provider that each device names.
    #[serde(deserialize_with = "value::some_name")]
    pub organisation: Option<String>,
    /// Longest time between two questions for commands; the server may want more of them.
    #[serde(rename = "poll_s", deserialize_with = "value::seconds::<1, 604_800, _>")]
    pub poll: Duration,
    /// How long devices are served while the server cannot be reached.
    #[serde(rename = "offline_days", deserialize_with = "value::days::<1, 365, _>")]
    pub offline: Duration,
    /// A device key is renewed when so much of its certificate's life is over.
    #[serde(deserialize_with = "value::bounded::<10, 95, _>")]
    pub renew_at_percent: usize,
    /// Serve no device before the server has told the time.
    pub require_time: bool,
}

impl Default for Management {
    fn default() -> Self {
        Self {
            url: None,
            anchors: Vec::new(),
            organisation: None,
            poll: Duration::from_secs(900),
            offline: Duration::from_secs(30 * 86_400),
            renew_at_percent: 80,
            require_time: false,
        }
    }
}
