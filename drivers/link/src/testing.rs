//! What several test modules need: bodies with every member filled.

use std::sync::Arc;
use std::time::Duration;

use biotrust_driver_api::{
    AuthCapture, CaptureJob, Description, DigitalIdKey, Frame, ImageCodec, InfoJob, L1Keys, SelfReport,
    SignedBlock, StreamJob,
};
use biotrust_model::{
    BioSubType, DeviceIdentity, DeviceStatus, DeviceSubType, Env, Level, Modality, Purpose, Score, Secret,
    SubId,
};

use crate::message::{Captured, Event, Image, Jws, Request, Response};

pub(crate) fn description(level: Level) -> Description {
    Description {
        identity: DeviceIdentity {
            serial_no: "SN0000000001".into(),
            make: "Make".into(),
            model: "Mod\u{e8}le 1".into(),
            modality: Modality::Finger,
            device_sub_type: DeviceSubType::Slap,
            device_provider: "Provider".into(),
            device_provider_id: "P1".into(),
        },
        level,
        purpose: Purpose::Registration,
        firmware: "1.2.3".into(),
        sub_ids: vec![SubId(1), SubId(2), SubId(3)],
    }
}

pub(crate) fn capture_job(parts: &[BioSubType], finish_within: Duration) -> CaptureJob {
    CaptureJob {
        parts: parts.to_vec(),
        exceptions: vec![BioSubType::LeftRingFinger],
        sub_id: SubId(1),
        requested_score: Score::clamped(70.5),
        requested_score_text: "70.50".into(),
        finish_within,
        purpose: Purpose::Auth,
        auth: Some(AuthCapture { domain_uri: "https://domain.example/\u{fc}".into() }),
        transaction_id: "T-1".into(),
        env: Env::Staging,
        spec_version: "0.9.5".into(),
        service_version: "0.1.0".into(),
        previous_hash: [7; 32],
        append_chip_certificate: true,
        digital_id_key: DigitalIdKey::Device,
    }
}

pub(crate) fn image(part: Option<BioSubType>, bytes: usize) -> Image {
    Image {
        part,
        image: Secret::new((0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect()),
        codec: ImageCodec::Jpeg2000Lossless,
        width: 416,
        height: 560,
        dpi: 500,
        score: Score::clamped(71.25),
        age_ms: 40,
        iris_geometry: Some([1, 2, 3]),
    }
}

pub(crate) fn block(bytes: usize) -> SignedBlock {
    SignedBlock {
        data: Secret::new(vec![b'x'; bytes]),
        hash: "AB".repeat(32),
        session_key: Some("c2Vzc2lvbg".into()),
        thumbprint: None,
    }
}

pub(crate) fn report() -> SelfReport {
    SelfReport { status: DeviceStatus::NotReady, reason: "cover open".into() }
}

pub(crate) fn requests() -> Vec<Request> {
    let info = InfoJob {
        device_id: "BT0123456789".into(),
        status: DeviceStatus::Ready,
        env: Env::Developer,
        callback_id: "http://127.0.0.1:4501/".into(),
        service_version: "0.1.0".into(),
        digital_id_key: DigitalIdKey::Chip,
        level: Level::L0,
    };
    let mut registration = capture_job(&[], Duration::from_millis(1500));
    (registration.purpose, registration.auth) = (Purpose::Registration, None);
    vec![
        Request::Hello(crate::message::VERSION),
        Request::Status,
        Request::Keys,
        Request::SignedInfo(info),
        Request::InstallEncryptionCertificate {
            domain_uri: String::new(),
            chain: vec![vec![0x30; 900], vec![1]],
        },
        Request::StreamStart(StreamJob { sub_id: SubId(3), fps: 15 }),
        Request::StreamStop,
        Request::Capture(Box::new(capture_job(&BioSubType::LEFT_SLAP, Duration::from_secs(10)))),
        Request::Capture(Box::new(registration)),
        Request::CaptureCancel { request: 0xDEAD_BEEF },
    ]
}

pub(crate) fn responses() -> Vec<Response> {
    let captures = [
        Captured::Nothing,
        Captured::Images { images: vec![image(Some(BioSubType::Left), 3000), image(None, 0)], reached: true },
        Captured::Blocks { blocks: vec![block(5000), block(1)], reached: false },
    ];
    let mut responses = vec![
        Response::Hello(description(Level::L1)),
        Response::Status(report()),
        Response::Keys(L1Keys { device_chain: vec![], chip_chain: vec![vec![0x30; 700], vec![2; 3]] }),
        Response::SignedInfo(Jws("a.b.c".into())),
        Response::InstallEncryptionCertificate,
        Response::StreamStart,
        Response::StreamStop,
        Response::CaptureCancel,
    ];
    responses.extend(captures.map(Response::Capture));
    responses
}

pub(crate) fn frame(sequence: u64, bytes: usize) -> Frame {
    Frame { sequence, jpeg: Arc::from(vec![0xD8; bytes]), score: Some(Score::clamped(12.5)) }
}

pub(crate) fn events() -> Vec<Event> {
    let unscored = Frame { score: None, ..frame(u64::MAX, 1) };
    vec![Event::Frame(frame(1, 40_000)), Event::Frame(unscored), Event::Status(report()), Event::KeysChanged]
}
