//! The daemon, as seen through its control socket.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use biotrust_attest::Challenge;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::jsonlines::{self, CallError};

/// For calls that only look or sign.
const PATIENCE: Duration = Duration::from_secs(20);
/// For a new certificate; the daemon itself gives up earlier.
const ROTATES_WITHIN: Duration = Duration::from_secs(100);

/// The control socket of a running daemon.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    socket: PathBuf,
}

/// What the daemon knows of a device, as far as biosim cares.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentDevice {
    /// Serial number; `None` for a line without a device.
    #[serde(default)]
    pub(crate) serial: Option<String>,
    /// `deviceId` on the wire.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// `deviceStatus` on the wire.
    #[serde(default)]
    pub(crate) status: Option<String>,
    /// Why it is not Ready.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// Why it is not in the answers.
    #[serde(default)]
    pub(crate) left_out: Option<String>,
    /// What is wrong with it.
    #[serde(default)]
    pub(crate) problem: Option<AgentProblem>,
    /// Its certificate, where it has one.
    #[serde(default)]
    pub(crate) certificate: Option<AgentCertificate>,
    /// The checks of its last appraisal.
    #[serde(default)]
    pub(crate) checks: Vec<AgentCheck>,
    /// How it stands with the management server, where there is one.
    #[serde(default)]
    pub(crate) management: Option<AgentManagement>,
}

/// A certificate as the daemon shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentCertificate {
    /// SHA-256, hex.
    pub(crate) sha256: String,
}

/// A check as the daemon shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentCheck {
    /// Which.
    pub(crate) name: String,
    /// Whether the device may be used for all it says.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) text: String,
}

/// How a device stands with its management server.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentManagement {
    /// Why the server certifies nothing.
    #[serde(default)]
    pub(crate) refusal: Option<AgentRefusal>,
}

/// A refusal of the management server.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentRefusal {
    /// The check that failed.
    pub(crate) check: String,
    /// What was found.
    pub(crate) text: String,
}

impl AgentDevice {
    /// The check that keeps it from being used, and what was found: by the daemon, or else by the management server.
    pub(crate) fn failed_check(&self) -> Option<(&str, &str)> {
        let own = self.checks.iter().find(|check| !check.ok);
        let own = own.map(|check| (check.name.as_str(), check.text.as_str()));
        let refusal = self.management.as_ref().and_then(|management| management.refusal.as_ref());
        own.or_else(|| refusal.map(|refusal| (refusal.check.as_str(), refusal.text.as_str())))
    }
}

/// What time it is, as the daemon knows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentTime {
    /// Of the host.
    pub(crate) host: HostTime,
    /// Of the device, where it has a clock of its own.
    #[serde(default)]
    pub(crate) device: Option<DeviceTime>,
}

/// The host's time.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HostTime {
    /// Whether it can be believed.
    pub(crate) trusted: bool,
    /// Since when the server has told it, in seconds.
    #[serde(default)]
    pub(crate) age_s: Option<u64>,
    /// By how much the host's own clock is off.
    #[serde(default)]
    pub(crate) skew_ms: Option<i64>,
}

/// The time in a device.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DeviceTime {
    /// How far it is off; `None` where nobody has told it the time since its start.
    #[serde(default)]
    pub(crate) skew_ms: Option<i64>,
}

/// A problem as the daemon shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentProblem {
    /// SBI error code.
    pub(crate) code: String,
}

/// What must hold at once for a device.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Condition<'a> {
    /// Plugged in or not.
    pub(crate) present: Option<bool>,
    /// `deviceStatus`.
    pub(crate) status: Option<&'a str>,
    /// Of its certificate, hex.
    pub(crate) certificate_sha256: Option<&'a str>,
}

impl Agent {
    /// The daemon behind `socket`.
    pub(crate) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// All devices that the daemon knows.
    pub(crate) fn devices(&self) -> Result<Vec<AgentDevice>, CallError> {
        let status = self.call(&json!({"op": "status"}), PATIENCE)?;
        self.read(status.get("devices").cloned().unwrap_or_default())
    }

    /// One device.
    pub(crate) fn device(&self, serial: &str) -> Result<Option<AgentDevice>, CallError> {
        Ok(self.devices()?.into_iter().find(|device| device.serial.as_deref() == Some(serial)))
    }

    /// Returns when `condition` holds for `serial`.
    pub(crate) fn wait(
        &self,
        serial: &str,
        condition: Condition<'_>,
        patience: Duration,
    ) -> Result<(), CallError> {
        let mut request = json!({"op": "wait", "serial": serial, "timeout_ms": patience.as_millis()});
        if let Some(members) = request.as_object_mut() {
            let Condition { present, status, certificate_sha256 } = condition;
            members.extend(present.map(|v| ("present".to_owned(), json!(v))));
            members.extend(status.map(|v| ("status".to_owned(), json!(v))));
            members.extend(certificate_sha256.map(|v| ("certificate_sha256".to_owned(), json!(v))));
        }
        self.call(&request, patience + Duration::from_secs(5)).map(drop)
    }

    /// Makes the daemon prepare a new key for `serial`; gives the PKCS#10 request, DER.
    pub(crate) fn enrol_begin(&self, serial: &str) -> Result<Vec<u8>, CallError> {
        let answer = self.call(&json!({"op": "enrol_begin", "serial": serial}), PATIENCE)?;
        let text = answer.get("csr").and_then(Value::as_str).unwrap_or_default();
        BASE64.decode(text).map_err(|e| self.garbled(format!("csr: {e}")))
    }

    /// Hands the daemon the chain for the key that it prepared, leaf first, DER; gives the SHA-256 of the leaf, hex.
    pub(crate) fn enrol_finish(&self, serial: &str, chain: &[Vec<u8>]) -> Result<String, CallError> {
        let chain: Vec<String> = chain.iter().map(|der| BASE64.encode(der)).collect();
        let answer = self.call(&json!({"op": "enrol_finish", "serial": serial, "chain": chain}), PATIENCE)?;
        self.read(answer.get("certificate_sha256").cloned().unwrap_or_default())
    }

    /// Has a new key of `serial` certified by the management server; gives the SHA-256 of the certificate, hex.
    pub(crate) fn rotate(&self, serial: &str) -> Result<String, CallError> {
        let answer = self.call(&json!({"op": "rotate", "serial": serial}), ROTATES_WITHIN)?;
        self.read(answer.get("certificate_sha256").cloned().unwrap_or_default())
    }

    /// Evidence of `serial` that answers `challenge`, a compact JWS.
    pub(crate) fn evidence(&self, serial: &str, challenge: &Challenge) -> Result<String, CallError> {
        let request = json!({"op": "evidence", "serial": serial, "challenge": challenge});
        let answer = self.call(&request, PATIENCE)?;
        self.read(answer.get("evidence").cloned().unwrap_or_default())
    }

    /// What time it is, for the host and in the device `serial`.
    pub(crate) fn time(&self, serial: &str) -> Result<AgentTime, CallError> {
        let answer = self.call(&json!({"op": "time", "serial": serial}), PATIENCE)?;
        self.read(answer)
    }

    /// Makes the daemon take the next device `serial` as it comes, whatever chip an earlier one had.
    pub(crate) fn forget(&self, serial: &str) -> Result<(), CallError> {
        self.call(&json!({"op": "forget", "serial": serial}), PATIENCE).map(drop)
    }

    fn call(&self, request: &Value, patience: Duration) -> Result<Value, CallError> {
        jsonlines::call(&self.socket, request, patience).map_err(|error| match error {
            // Every request of ours is well formed; one that is not understood is newer than the daemon.
            CallError::Refused { code, message } if code == "bad_request" => CallError::Refused {
                message: format!(
                    "this biotrustd does not know what biosim asks for, it may be older; build both from one source: \
                     {message}"
                ),
                code,
            },
            error => error,
        })
    }

    fn read<T: serde::de::DeserializeOwned>(&self, value: Value) -> Result<T, CallError> {
        serde_json::from_value(value).map_err(|e| self.garbled(e.to_string()))
    }

    fn garbled(&self, why: String) -> CallError {
        CallError::Garbled { socket: self.socket.clone(), why }
    }
}
