//! One request line in, one answer line out.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{About, ControlError, ControlErrorKind, Service, WaitFor};

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
}

/// Carries out the request in `line`; the answer ends with a line feed. Waiting ends with `given_up`, which says why;
/// what changes something is carried out to its end.
pub(super) async fn answer<S: Service>(
    line: &[u8],
    service: &S,
    about: &About,
    given_up: impl Future<Output = &'static str> + Send,
) -> String {
    let result = match serde_json::from_slice(line) {
        Ok(request) => carry_out(request, service, about, given_up).await,
        Err(error) => Err(ControlError::new(
            ControlErrorKind::BadRequest,
            format!(
                "{error}; send one JSON object per line, with `op`: status, wait, enrol_begin, enrol_finish or destroy_key"
            ),
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

async fn carry_out<S: Service>(
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
            let chain = chain.iter().enumerate().map(|(index, text)| certificate(index, text));
            let chain = chain.collect::<Result<_, _>>()?;
            let sha256 = service.enrol_finish(&serial, chain).await?;
            tracing::info!(?serial, certificate = %sha256, "enrolled");
            Ok(json!({ "certificate_sha256": sha256 }))
        }
        Request::DestroyKey { serial } => {
            service.destroy_key(&serial).await?;
            tracing::warn!(?serial, "device key destroyed");
            Ok(json!({}))
        }
    }
}

fn certificate(index: usize, text: &str) -> Result<Vec<u8>, ControlError> {
    STANDARD.decode(text).map_err(|error| {
        ControlError::new(ControlErrorKind::BadRequest, format!("chain[{index}] is not base64: {error}"))
    })
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
