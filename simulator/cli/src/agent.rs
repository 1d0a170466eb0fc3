//! The daemon, as seen through its control socket.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::jsonlines::{self, CallError};

/// For calls that only look or sign.
const PATIENCE: Duration = Duration::from_secs(20);

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

    fn call(&self, request: &Value, patience: Duration) -> Result<Value, CallError> {
        jsonlines::call(&self.socket, request, patience)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, value: Value) -> Result<T, CallError> {
        serde_json::from_value(value).map_err(|e| self.garbled(e.to_string()))
    }

    fn garbled(&self, why: String) -> CallError {
        CallError::Garbled { socket: self.socket.clone(), why }
    }
}
