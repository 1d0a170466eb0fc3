//! What the host may have signed: every value of a request is checked for being what it claims to be.

use biotrust_driver_api::{CaptureJob, InfoJob};
use biotrust_model::{DeviceId, Purpose, SPEC_VERSION};

use super::FtmError;

/// Longest domain URI, in bytes.
const LONGEST_URI: usize = 1024;
/// Longest version, in bytes.
const LONGEST_VERSION: usize = 64;
/// Longest text of a score, in bytes.
const LONGEST_SCORE: usize = 16;

/// Device info.
pub(super) fn info(job: &InfoJob) -> Result<DeviceId, FtmError> {
    version(&job.service_version)?;
    let port = job.callback_id.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/'));
    if !port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()) {
        return Err(FtmError::Request("callbackId"));
    }
    DeviceId::new(&job.device_id).ok_or(FtmError::Request("deviceId"))
}

/// A capture.
pub(super) fn capture(job: &CaptureJob, made_for: Purpose) -> Result<(), FtmError> {
    if job.purpose != made_for || job.auth.is_some() != (job.purpose == Purpose::Auth) {
        return Err(FtmError::Request("purpose"));
    }
    if job.spec_version != SPEC_VERSION {
        return Err(FtmError::Request("specVersion"));
    }
    version(&job.service_version)?;
    let id = &job.transaction_id;
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !(4..=50).contains(&id.len()) || !id.bytes().all(alphabet) {
        return Err(FtmError::Request("transactionId"));
    }
    let score = &job.requested_score_text;
    if score.len() > LONGEST_SCORE || score.parse() != Ok(job.requested_score.value()) {
        return Err(FtmError::Request("requestedScore"));
    }
    job.auth.as_ref().map_or(Ok(()), |auth| domain_uri(&auth.domain_uri))
}

/// A domain URI: printable, of bounded length, perhaps empty.
pub(super) fn domain_uri(uri: &str) -> Result<(), FtmError> {
    if uri.len() > LONGEST_URI || uri.chars().any(char::is_control) {
        return Err(FtmError::Request("domainUri"));
    }
    Ok(())
}

fn version(text: &str) -> Result<(), FtmError> {
    let ok = (1..=LONGEST_VERSION).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if ok { Ok(()) } else { Err(FtmError::Request("serviceVersion")) }
}
