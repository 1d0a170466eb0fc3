//! Signed device info.

use biotrust_model::{Env, Purpose, SPEC_VERSION, time::UtcMillis};
use biotrust_sbi::answer::DeviceDescription;
use serde::Deserialize;

use super::payload::message;
use super::{DigitalIdFault, DigitalIdSigner, Member, Moment, SignedFault, Signers, signed};
use crate::AppraisedL1;

/// What device info must say.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedInfo<'a> {
    /// The device.
    pub device: &'a AppraisedL1,
    /// Who signs the digital ID inside.
    pub digital_id_signer: DigitalIdSigner,
    /// The device as discovery describes it: clients drop a device that tells two stories.
    pub description: &'a DeviceDescription,
    /// When.
    pub moment: Moment,
}

/// Why device info cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoFault {
    /// Its JWS.
    #[error("device info {0}")]
    Signed(#[from] SignedFault),
    /// Its members.
    #[error("device info is not readable: {0}")]
    Payload(String),
    /// The digital ID inside.
    #[error("the digital ID in device info {0}")]
    DigitalId(#[from] DigitalIdFault),
    /// A member that says something else than was asked for.
    #[error("{0} of device info is not what was asked for")]
    Mismatch(Member),
}

/// The members that are used by clients; a provider may add its own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    device_status: String,
    device_id: String,
    firmware: String,
    certification: String,
    service_version: String,
    device_sub_id: Vec<String>,
    callback_id: String,
    digital_id: String,
    device_code: String,
    env: String,
    purpose: String,
    spec_version: Vec<String>,
}

/// Verifies device info that an L1 device signed. Returns the time that its digital ID bears.
///
/// # Errors
/// The first thing that is not as expected.
pub fn verify_device_info(compact: &str, expected: &ExpectedInfo<'_>) -> Result<UtcMillis, InfoFault> {
    let signers =
        Signers { device: expected.device, digital_id: expected.digital_id_signer, moment: expected.moment };
    signers.in_force()?;
    let parsed = signed::open(compact, &[expected.device.certificate()])?;
    let info: Info =
        serde_json::from_slice(&parsed.payload).map_err(|error| InfoFault::Payload(message(&error)))?;
    compare(&info, expected)?;
    Ok(signers.check_digital_id(&info.digital_id)?)
}

fn compare(info: &Info, expected: &ExpectedInfo<'_>) -> Result<(), InfoFault> {
    let described = expected.description;
    let sub_ids = described.sub_ids.iter().map(ToString::to_string);
    let members = [
        (Member::DeviceStatus, info.device_status == described.status.as_str()),
        (Member::DeviceId, info.device_id == described.device_id.as_str()),
        (Member::Firmware, info.firmware == described.firmware),
        (Member::Certification, info.certification == described.level.as_str()),
        (Member::ServiceVersion, info.service_version == described.service_version),
        (Member::DeviceSubId, info.device_sub_id.iter().cloned().eq(sub_ids)),
        (Member::CallbackId, info.callback_id == described.callback_id),
        (Member::DeviceCode, info.device_code == expected.device.identity().serial_no),
        (Member::Env, info.env == described.env.map_or("None", Env::as_str)),
        (Member::Purpose, info.purpose == described.purpose.map_or("", Purpose::as_str)),
        (Member::SpecVersion, info.spec_version == [SPEC_VERSION]),
    ];
    match members.into_iter().find(|(_, same)| !same) {
        Some((member, _)) => Err(InfoFault::Mismatch(member)),
        None => Ok(()),
    }
}
