//! Device info.

use biotrust_model::{DeviceId, DeviceStatus, Env, Level, Purpose, SubId};
use biotrust_sbi::answer::{DeviceDescription, device_info_payload};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::jws::JwsError;

use super::*;
use crate::workshop::{CHIP_KEY, DEVICE_KEY, sign};

fn description() -> DeviceDescription {
    DeviceDescription {
        device_id: DeviceId::new("BT0123456789").unwrap(),
        identity: identity(),
        level: Level::L1,
        purpose: Some(Purpose::Registration),
        status: DeviceStatus::Ready,
        sub_ids: [1, 2, 3].map(SubId).to_vec(),
        service_version: "0.1.0".to_owned(),
        firmware: "1.2.3".to_owned(),
        env: Some(Env::Staging),
        callback_id: "http://127.0.0.1:4501/".to_owned(),
    }
}

fn digital_id(at: UtcMillis) -> String {
    sign(&CHIP_KEY, &chip_chain()[..1], &DigitalId::at(identity(), at).to_json())
}

fn judge(compact: &str) -> Result<UtcMillis, InfoFault> {
    let description = description();
    verify_device_info(
        compact,
        &ExpectedInfo {
            device: &DEVICE,
            digital_id_signer: DigitalIdSigner::Chip,
            description: &description,
            moment: MOMENT,
        },
    )
}

fn signed(payload: &str) -> String {
    sign(&DEVICE_KEY, &device_chain()[..1], payload)
}

fn good_payload() -> String {
    device_info_payload(&description(), &digital_id(seconds(-3)))
}

#[test]
fn good_device_info_passes() {
    assert_eq!(judge(&signed(&good_payload())), Ok(seconds(-3)));
    let more = good_payload().replacen('{', "{\"vendorInfo\":{\"x\":1},", 1);
    assert!(judge(&signed(&more)).is_ok(), "a provider may add members here");
}

#[test]
fn signatures() {
    let payload = good_payload();
    let wrong_key = sign(&CHIP_KEY, &device_chain()[..1], &payload);
    assert_eq!(judge(&wrong_key), Err(SignedFault::Signature(JwsError::Signature).into()));
    let wrong_certificate = sign(&CHIP_KEY, &chip_chain()[..1], &payload);
    assert_eq!(judge(&wrong_certificate), Err(SignedFault::Signer.into()));
    let chain = sign(&DEVICE_KEY, &device_chain(), &payload);
    assert_eq!(judge(&chain), Err(SignedFault::Certificates { expected: 1, found: 2 }.into()));
    assert_eq!(judge("unsigned"), Err(SignedFault::Form(JwsError::Parts(1)).into()));
}

#[test]
fn digital_ids() {
    let with = |digital_id: &str| judge(&signed(&device_info_payload(&description(), digital_id)));
    let unsigned = with(&DigitalId::at(identity(), NOW).unsigned());
    assert_eq!(unsigned, Err(DigitalIdFault::from(SignedFault::Form(JwsError::Parts(1))).into()));
    let old = with(&digital_id(seconds(-11)));
    assert_eq!(old, Err(DigitalIdFault::from(TimeFault::Skew { seconds: -11 }).into()));
    let mut somebody = identity();
    somebody.serial_no = "SLP000000000002".to_owned();
    let other = sign(&CHIP_KEY, &chip_chain()[..1], &DigitalId::at(somebody, NOW).to_json());
    assert_eq!(with(&other), Err(DigitalIdFault::Identity.into()));
    let by_device = sign(&DEVICE_KEY, &device_chain()[..1], &DigitalId::at(identity(), NOW).to_json());
    assert_eq!(with(&by_device), Err(DigitalIdFault::from(SignedFault::Signer).into()));
}

#[test]
fn members_must_tell_the_same_story_as_discovery() {
    let edits: [(Member, &str, &str); 11] = [
        (Member::DeviceStatus, "\"Ready\"", "\"Busy\""),
        (Member::DeviceId, "BT0123456789", "BT0123456780"),
        (Member::Firmware, "1.2.3", "1.2.4"),
        (Member::Certification, "\"L1\"", "\"L0\""),
        (Member::ServiceVersion, "0.1.0", "0.1.1"),
        (Member::DeviceSubId, "[\"1\",\"2\",\"3\"]", "[\"1\",\"2\"]"),
        (Member::CallbackId, "4501/", "4502/"),
        (Member::DeviceCode, "\"deviceCode\":\"SLP", "\"deviceCode\":\"XLP"),
        (Member::Env, "\"Staging\"", "\"Production\""),
        (Member::Purpose, "\"Registration\"", "\"Auth\""),
        (Member::SpecVersion, "[\"0.9.5\"]", "[\"0.9.5\",\"1.0\"]"),
    ];
    for (member, from, to) in edits {
        let payload = good_payload();
        let changed = payload.replace(from, to);
        assert_ne!(payload, changed, "{member}");
        assert_eq!(judge(&signed(&changed)), Err(InfoFault::Mismatch(member)));
    }
}

#[test]
fn unreadable() {
    let missing = good_payload().replace("\"firmware\":\"1.2.3\",", "");
    let error = judge(&signed(&missing)).unwrap_err().to_string();
    assert!(error.starts_with("device info is not readable: missing field `firmware`"), "{error}");
    let not_json = judge(&signed("nonsense"));
    assert!(matches!(not_json, Err(InfoFault::Payload(_))), "{not_json:?}");
}
