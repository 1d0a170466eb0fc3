//! One request line in, one answer line out.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_attest::Challenge;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{About, Care, ControlError, ControlErrorKind, FtmChallenge, WaitFor};

/// Longest time that a `wait` may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Status {},
    Wait {
        #[serde(flatten)]
        condition: WaitFor,
        timeout_ms: u64,
    },
    EnrolBegin {
        serial: String,
    },
    EnrolFinish {
        serial: String,
        chain: Vec<String>,
    },
    DestroyKey {
        serial: String,
    },
    Rotate {
        serial: String,
    },
    Evidence {
        serial: String,
        #[serde(default)]
        challenge: Option<Challenge>,
    },
    Forget {
        serial: String,
    },
    Deregister {
        serial: String,
    },
    Time {
        serial: String,
    },
    UpdateBegin {
        serial: String,
        manifest: String,
    },
    UpdateData {
        update: u64,
        data: String,
    },
    UpdateFinish {
        update: u64,
    },
    RecordBegin {
        device: String,
    },
    RecordData {
        recording: u64,
        offset: usize,
    },
    RecordEnd {
        recording: u64,
    },
    FtmStatus {},
    #[serde(rename = "ftm_request")]
    FtmIdentity {
        #[serde(flatten)]
        challenge: FtmChallenge,
    },
    FtmActivate {
        credential: String,
        secret: String,
    },
    FtmInstall {
        identity: Vec<String>,
        attestation: Vec<String>,
    },
}

/// Every `op`, for whoever sends another.
const OPS: &str = "status, wait, enrol_begin, enrol_finish, destroy_key, rotate, evidence, forget, deregister, time, \
                   update_begin, update_data, update_finish, record_begin, record_data, record_end, ftm_status, ftm_request, \
                   ftm_activate or ftm_install";

/// Carries out the request in `line`; the answer ends with a line feed. Waiting ends with `given_up`, which says why;
/// what changes something is carried out to its end.
pub(super) async fn answer<S: Care>(
    line: &[u8],
    service: &S,
    about: &About,
    given_up: impl Future<Output = &'static str> + Send,
) -> String {
    let result = match serde_json::from_slice(line) {
        Ok(request) => carry_out(request, service, about, given_up).await,
        Err(error) => Err(ControlError::new(
            ControlErrorKind::BadRequest,
            format!("{error}; send one JSON object per line, with `op`: {OPS}"),
        )),
    };
    render(result)
}

/// The answer line.
pub(super) fn render(result: Result<Value, ControlError>) -> String {
    let answer = match result {
        Ok(result) => json!({ "ok": true, "result": result }),
        Err(error) => {
            json!({ "ok": false, "error": { "code": error.kind.as_str(), "message": error.message } })
        }
    };
    format!("{answer}\n")
}

async fn carry_out<S: Care>(
    request: Request,
    service: &S,
    about: &About,
    given_up: impl Future<Output = &'static str> + Send,
) -> Result<Value, ControlError> {
    match request {
        Request::Status {} => Ok(status(service.status(), about)),
        Request::Wait { condition, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms).min(LONGEST_WAIT);
            tokio::select! {
                biased;
                waited = service.wait(condition, timeout) => waited.map(|()| json!({})),
                why = given_up => Err(ControlError::new(ControlErrorKind::Refused, why)),
            }
        }
        Request::EnrolBegin { serial } => {
            tracing::info!(?serial, "enrolment begins");
            let csr = service.enrol_begin(&serial).await?;
            Ok(json!({ "csr": STANDARD.encode(csr) }))
        }
        Request::EnrolFinish { serial, chain } => {
            let sha256 = service.enrol_finish(&serial, list("chain", &chain)?).await?;
            tracing::info!(?serial, certificate = %sha256, "enrolled");
            Ok(json!({ "certificate_sha256": sha256 }))
        }
        Request::DestroyKey { serial } => {
            service.destroy_key(&serial).await?;
            tracing::warn!(?serial, "device key destroyed");
            Ok(json!({}))
        }
        Request::Rotate { serial } => service.rotate(&serial).await,
        Request::Evidence { serial, challenge: None } => service.evidence(&serial),
        Request::Evidence { serial, challenge: Some(challenge) } => {
            service.fresh_evidence(&serial, challenge).await
        }
        Request::Forget { serial } => {
            tracing::warn!(?serial, "a device is to be forgotten");
            service.forget(&serial).await
        }
        Request::Deregister { serial } => {
            tracing::warn!(?serial, "de-registration by hand");
            service.deregister(&serial).await
        }
        Request::Time { serial } => service.time(&serial).await,
        Request::UpdateBegin { serial, manifest } => service.update_begin(&serial, manifest).await,
        Request::UpdateData { update, data } => service.update_data(update, bytes("data", &data)?),
        Request::UpdateFinish { update } => service.update_finish(update).await,
        Request::RecordBegin { device } => service.record_begin(&device),
        Request::RecordData { recording, offset } => service.record_data(recording, offset),
        Request::RecordEnd { recording } => service.record_end(recording),
        Request::FtmStatus {} => service.ftm_status().await,
        Request::FtmIdentity { challenge } => service.ftm_request(challenge).await,
        Request::FtmActivate { credential, secret } => {
            service.ftm_activate(bytes("credential", &credential)?, bytes("secret", &secret)?).await
        }
        Request::FtmInstall { identity, attestation } => {
            service.ftm_install(list("identity", &identity)?, list("attestation", &attestation)?).await
        }
    }
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, ControlError> {
    STANDARD.decode(text).map_err(|error| {
        ControlError::new(ControlErrorKind::BadRequest, format!("{name} is not base64: {error}"))
    })
}

fn list(name: &str, texts: &[String]) -> Result<Vec<Vec<u8>>, ControlError> {
    texts.iter().enumerate().map(|(index, text)| bytes(&format!("{name}[{index}]"), text)).collect()
}

/// The daemon's own facts, then what the fleet says.
fn status(fleet: Value, about: &About) -> Value {
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "sbi": { "url": about.url, "port": about.port },
        "state_dir": about.state_directory,
    });
    if let (Value::Object(status), Value::Object(fleet)) = (&mut status, fleet) {
        status.extend(fleet);
    }
    status
}
