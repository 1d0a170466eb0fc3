//! The configuration: `biotrust.toml` and the drop-ins in `conf.d`, read once into types.
//!
//! Trust: whoever can write these files decides which anchors and web pages are trusted, so they belong to root.
//! Reading blocks (files, and a look at each file that is named); it happens before the runtime starts.
//!
//! Each file is checked on its own, so that a complaint names file, line and column; then the files are merged in
//! order. No secret is ever in here.

mod attestation;
mod devices;
mod encryption;
mod error;
mod load;
mod management;
mod origin;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use biotrust_driver_api::DigitalIdKey;
use biotrust_model::{Env, Language};
use serde::Deserialize;

pub use attestation::{Attestation, Ftm, FtmBackend, Metadata};
pub use devices::{Buses, Quirks, Serial, SerialPort, Vendor, VendorDriver, VendorStart};
pub use encryption::{Encryption, Fetch, Token};
pub use error::ConfigError;
pub use load::{Loaded, load};
pub use management::Management;
pub use origin::{BadOrigin, Origin};
pub use value::{FIRST_PORT, HttpsUrl, LAST_PORT, PortRange, ServedPurpose};

/// The whole configuration. Every member has a default; docs/users/configuration.md explains each of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The interface that clients see.
    pub sbi: Sbi,
    /// Web pages that may call it.
    pub origins: Origins,
    /// What one peer may use up.
    pub limits: Limits,
    /// Whom we believe.
    pub trust: Trust,
    /// The trust module of this host.
    pub ftm: Ftm,
    /// What devices must prove.
    pub attestation: Attestation,
    /// What is known of their models.
    pub metadata: Metadata,
    /// The management server of their provider.
    pub management: Management,
    /// Whom authentication captures are encrypted for.
    pub encryption: Encryption,
    /// Buses that are watched for devices.
    pub buses: Buses,
    /// What is known of device models.
    pub quirks: Quirks,
    /// Serial lines with devices.
    pub serial: Serial,
    /// Drivers of vendors.
    pub vendor: Vendor,
    /// What survives a restart.
    pub state: State,
    /// The socket for `biotrust` and the management server.
    pub control: Control,
    /// The log.
    pub log: Log,
}

/// `[sbi]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sbi {
    /// Ports to try, lowest first.
    pub ports: PortRange,
    /// Exactly this port instead (0: any free one).
    pub port: Option<u16>,
    /// Which devices are served: the desktop client mixes up registration and authentication devices of one kind.
    pub purpose: ServedPurpose,
    /// Environment that the devices are registered in.
    #[serde(deserialize_with = "value::environment")]
    pub environment: Env,
    /// Language of `errorInfo`.
    pub language: Language,
    /// Let L0 devices make authentication captures (tests only).
    pub allow_l0_auth: bool,
    /// Accept a `transactionId` that is null or absent.
    pub allow_null_transaction_id: bool,
    /// Who signs the digital ID of an L1 registration capture.
    #[serde(deserialize_with = "value::digital_id_key")]
    pub digital_id_key: DigitalIdKey,
    /// List the chip certificate as second `x5c` entry of L1 registration data.
    pub append_chip_certificate: bool,
    /// Time kept back from a request's timeout for signing and sending. Never nothing: the answer must not be late.
    #[serde(rename = "finish_margin_ms", deserialize_with = "value::millis::<50, 5_000, _>")]
    pub finish_margin: Duration,
    /// How long before a request's timeout its answer is due, for clients that give up at the timeout itself.
    #[serde(rename = "answer_early_ms", deserialize_with = "value::millis::<0, 2_000, _>")]
    pub answer_early: Duration,
    /// How long a signed device info is served again.
    #[serde(rename = "info_reuse_ms", deserialize_with = "value::millis::<0, 60_000, _>")]
    pub info_reuse: Duration,
    /// Answer every capture within this time, whatever its timeout says.
    #[serde(rename = "hard_ceiling_ms", deserialize_with = "value::some_millis::<1_000, 600_000, _>")]
    pub hard_ceiling: Option<Duration>,
}

impl Default for Sbi {
    fn default() -> Self {
        Self {
            ports: PortRange::default(),
            port: None,
            purpose: ServedPurpose::default(),
            environment: Env::Staging,
            language: Language::default(),
            allow_l0_auth: false,
            allow_null_transaction_id: false,
            digital_id_key: DigitalIdKey::default(),
            append_chip_certificate: true,
            finish_margin: Duration::from_millis(400),
            answer_early: Duration::ZERO,
            info_reuse: Duration::from_secs(5),
            hard_ceiling: None,
        }
    }
}

/// `[origins]`: exact origins of web pages, by what they may do. A page that is nowhere in here is refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origins {
    /// MOSIPDISC, MOSIPDINFO, CAPTURE.
    pub auth: Vec<Origin>,
    /// All but CAPTURE.
    pub registration: Vec<Origin>,
    /// Everything; shows devices of both purposes. For the compliance tool kit.
    pub developer: Vec<Origin>,
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Request line and headers, bytes.
    #[serde(deserialize_with = "value::bounded::<8_192, 1_048_576, _>")]
    pub head_bytes: usize,
    /// Request body, bytes.
    #[serde(deserialize_with = "value::bounded::<1_024, 262_144, _>")]
    pub body_bytes: usize,
    /// From accepting a connection to the end of its request head.
    #[serde(rename = "header_seconds", deserialize_with = "value::seconds::<1, 300, _>")]
    pub header: Duration,
    /// For a request's whole body to arrive; and how long a peer may take no byte of its answer.
    #[serde(rename = "idle_seconds", deserialize_with = "value::seconds::<1, 300, _>")]
    pub idle: Duration,
    /// For a peer to take the whole of an answer that is no preview, however steadily it reads.
    #[serde(rename = "answer_seconds", deserialize_with = "value::seconds::<1, 600, _>")]
    pub answer: Duration,
    /// Connections at one time.
    #[serde(deserialize_with = "value::bounded::<8, 65_536, _>")]
    pub connections: usize,
    /// Live previews of one device at one time.
    #[serde(deserialize_with = "value::bounded::<1, 64, _>")]
    pub streams_per_device: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            body_bytes: 256 * 1024,
            header: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            connections: 512,
            streams_per_device: 4,
        }
    }
}

/// `[trust]`: PEM files of anchors, one list per trust domain.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// Domain DEVICE: who may certify device keys.
    #[serde(deserialize_with = "value::files")]
    pub device_anchors: Vec<PathBuf>,
    /// Domain FTM: who may certify chip keys.
    #[serde(deserialize_with = "value::files")]
    pub ftm_anchors: Vec<PathBuf>,
}

/// `[state]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Where keys, certificates and records are kept; made when it is missing.
    #[serde(deserialize_with = "value::absolute")]
    pub directory: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        Self { directory: PathBuf::from("/var/lib/biotrust") }
    }
}

/// `[control]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Path of the Unix socket; its directory is made when it is missing.
    #[serde(deserialize_with = "value::socket_path")]
    pub socket: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/biotrust/control.sock") }
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged: a `tracing` filter such as `info` or `info,biotrust_daemon::http=debug`.
    #[serde(deserialize_with = "value::log_filter")]
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: String::from("info"), format: LogFormat::default() }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
