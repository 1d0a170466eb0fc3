use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use biotrust_certs::{Authority, DeviceStore, Order, TestPki, TestSigner, Validity};
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::{DeviceSubType, Modality};
use biotrust_sbi::digital_id::DigitalId;

use super::*;
use crate::message::{Refusal, RequestBody};
use crate::{Nonce, Sha256};

const NOW: UtcMillis = UtcMillis(1_795_525_200_123);

struct Rig {
    store: DeviceStore,
    organisation: String,
    /// A key with a device certificate of the right provider.
    device: TestSigner,
    server: TestSigner,
    /// Management signer of another provider, equally trusted.
    wrong_provider: TestSigner,
    /// Management signer of the right name, trusted by nobody.
    stranger: TestSigner,
    firmware: TestSigner,
    bare: RsaKeyPair,
    bare_spki: Vec<u8>,
}

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    let pki = TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap();
    let signer = |by, purpose| pki.signer_by(by, purpose, UtcMillis(NOW.0 - 86_400_000)).unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let bare_spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
    let mut device = signer(Authority::DeviceProvider, SignerPurpose::Management);
    let spki = Certificate::parse(&device.chain[0]).unwrap().spki_der().to_vec();
    let subject = vec!["CN=SN0123456789".to_owned()];
    let validity = Validity::starting(NOW, std::time::Duration::from_secs(86_400));
    device.chain = pki.issue(&Order::leaf(Authority::DeviceProvider, &spki, subject, validity)).unwrap();
    Rig {
        store: pki.store().unwrap(),
        organisation: pki.organisation(biotrust_certs::Domain::Device).to_owned(),
        device,
        server: signer(Authority::DeviceProvider, SignerPurpose::Management),
        wrong_provider: signer(Authority::OtherProvider, SignerPurpose::Management),
        stranger: signer(Authority::Stranger, SignerPurpose::Management),
        firmware: signer(Authority::DeviceProvider, SignerPurpose::Firmware),
        bare: RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(),
        bare_spki,
    }
});

fn digital_id(serial: &str) -> DigitalId {
    let identity = DeviceIdentity {
        serial_no: serial.to_owned(),
        make: "Example".to_owned(),
        model: "E1".to_owned(),
        modality: Modality::Face,
        device_sub_type: DeviceSubType::FullFace,
        device_provider: "Example Devices Ltd".to_owned(),
        device_provider_id: "example".to_owned(),
    };
    DigitalId::at(identity, NOW)
}

fn signed_id(serial: &str, signer: &TestSigner) -> Presented {
    let unsigned = digital_id(serial).prepare(&signer.chain);
    let signature = signer.sign_rs256(unsigned.signing_input());
    Presented::Signed(unsigned.attach(&signature))
}

fn request(digital_id: Presented) -> Request {
    Request {
        id: MessageId([3; 16]),
        at: NOW,
        serial: "SN0123456789".to_owned(),
        digital_id,
        body: RequestBody::Challenge { purpose: EvidencePurpose::DeviceKey },
    }
}

fn by(signer: &TestSigner, request: &Request) -> String {
    let unsigned = prepare_request(request, &Signer::Chain(&signer.chain)).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    unsigned.attach(&signature)
}

fn by_bare(request: &Request) -> String {
    let unsigned = prepare_request(request, &Signer::Key(&RIG.bare_spki)).unwrap();
    let mut signature = vec![0; RIG.bare.public_modulus_len()];
    RIG.bare.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), unsigned.signing_input(), &mut signature).unwrap();
    unsigned.attach(&signature)
}

#[test]
fn a_request_of_a_certified_key_and_of_a_bare_one() {
    let good = request(signed_id("SN0123456789", &RIG.device));
    let received = open_request(&by(&RIG.device, &good)).unwrap();
    assert_eq!(received.request, good);
    assert_eq!(received.identity.serial_no, "SN0123456789");
    assert!(matches!(&received.sender, Sender::Certified(c) if c.der() == RIG.device.chain[0]));

    let plain = request(Presented::plain(&digital_id("SN0123456789")));
    let received = open_request(&by_bare(&plain)).unwrap();
    assert_eq!(received.sender, Sender::Bare(RIG.bare_spki.clone()));
}

#[test]
fn a_digital_id_must_be_the_senders_own() {
    let refused = |request: Request, bare: bool| {
        let compact = if bare { by_bare(&request) } else { by(&RIG.device, &request) };
        match open_request(&compact) {
            Err(EnvelopeError::DigitalId(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let other_signer = refused(request(signed_id("SN0123456789", &RIG.server)), false);
    assert_eq!(other_signer, PresentedError::OtherSigner);
    let other_serial = refused(request(signed_id("SN9999999999", &RIG.device)), false);
    assert!(matches!(other_serial, PresentedError::OtherSerial { .. }));
    let unsigned = refused(request(Presented::plain(&digital_id("SN0123456789"))), false);
    assert_eq!(unsigned, PresentedError::NotSigned);
    let borrowed = refused(request(signed_id("SN0123456789", &RIG.device)), true);
    assert_eq!(borrowed, PresentedError::OtherSigner);
    let Presented::Signed(jws) = signed_id("SN0123456789", &RIG.device) else { unreachable!() };
    let (head, _) = jws.rsplit_once('.').unwrap();
    let cut = refused(request(Presented::Signed(format!("{head}.{}", "A".repeat(342)))), false);
    assert!(matches!(cut, PresentedError::Signature(_)), "{cut}");
    let garbage = refused(request(Presented::Plain(serde_json::json!({"serialNo": "SN0123456789"}))), true);
    assert!(matches!(garbage, PresentedError::Members(_)));
}

#[test]
fn a_changed_request_is_refused() {
    let good = by(&RIG.device, &request(signed_id("SN0123456789", &RIG.device)));
    let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
    let other = Request { at: UtcMillis(NOW.0 + 1), ..request(signed_id("SN0123456789", &RIG.device)) };
    parts[1] = biotrust_sbi::base64url::encode(other.payload());
    let moved = parts.join(".");
    assert_eq!(open_request(&moved).unwrap_err(), EnvelopeError::Signed(SignedError::Signature));
    // A reply, evidence or a digital ID is no request, whoever signed it.
    let unsigned = signed::prepare("eat+jwt", &Signer::Chain(&RIG.device.chain), &other.payload()).unwrap();
    let signature = RIG.device.sign_rs256(unsigned.signing_input());
    let error = open_request(&unsigned.attach(&signature)).unwrap_err();
    assert!(matches!(error, EnvelopeError::Signed(SignedError::Unexpected { .. })), "{error}");
    let long = "a".repeat(MAX_MESSAGE + 1);
    assert!(matches!(open_request(&long), Err(EnvelopeError::Signed(SignedError::TooLong { .. }))));
}

#[test]
fn only_time_and_farewells_may_be_late() {
    let base = request(Presented::plain(&digital_id("SN0123456789")));
    let late = UtcMillis(NOW.0 + 300_001);
    assert!(matches!(judge_time(&base, late), Err(Stale::Old(_))));
    assert!(matches!(judge_time(&base, UtcMillis(NOW.0 - 300_001)), Err(Stale::Future(_))));
    let time = RequestBody::Time { nonce: Nonce([0; 32]), host_utc: Stamp(NOW) };
    assert_eq!(judge_time(&Request { body: time, ..base.clone() }, late), Ok(()));
    let farewell = RequestBody::Deregistered { destroyed_spki_sha256: Sha256([0; 32]) };
    assert_eq!(judge_time(&Request { body: farewell, ..base }, late), Ok(()));
}

fn reply(body: ReplyBody) -> Reply {
    let digital_id = Presented::plain(&digital_id("SN0123456789"));
    Reply { re: MessageId([3; 16]), at: NOW, digital_id, body }
}

fn reply_by(signer: &TestSigner, reply: &Reply) -> String {
    let unsigned = prepare_reply(reply, &signer.chain).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    unsigned.attach(&signature)
}

fn open(compact: &str, kind: RequestKind, now: Option<UtcMillis>) -> Result<ReplyBody, EnvelopeError> {
    let digital_id = Presented::plain(&digital_id("SN0123456789"));
    let asked = Asked { id: MessageId([3; 16]), kind, digital_id };
    open_reply(compact, &asked, &Server { store: &RIG.store, organisation: &RIG.organisation }, now)
}

#[test]
fn the_right_server_is_believed_and_nobody_else() {
    let ack = reply(ReplyBody::Ack {});
    let kind = RequestKind::Confirm;
    assert_eq!(open(&reply_by(&RIG.server, &ack), kind, Some(NOW)), Ok(ReplyBody::Ack {}));

    let refused = |signer| match open(&reply_by(signer, &ack), kind, Some(NOW)) {
        Err(EnvelopeError::Signed(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(refused(&RIG.wrong_provider), SignedError::Organisation { .. }),
        "trusted, and not ours"
    );
    assert!(matches!(refused(&RIG.stranger), SignedError::Untrusted(_)));
    assert!(matches!(refused(&RIG.firmware), SignedError::Purpose { .. }));
    assert!(matches!(refused(&RIG.device), SignedError::Purpose { .. }), "a device is no server");
}

#[test]
fn a_reply_must_answer_this_request_now() {
    let kind = RequestKind::Confirm;
    let at = |reply: &Reply, now| open(&reply_by(&RIG.server, reply), kind, now).unwrap_err();
    let ack = reply(ReplyBody::Ack {});
    let other = Reply { re: MessageId([4; 16]), ..ack.clone() };
    assert!(matches!(at(&other, Some(NOW)), EnvelopeError::OtherRequest { .. }));
    let other = Reply { digital_id: Presented::plain(&digital_id("SN9999999999")), ..ack.clone() };
    assert_eq!(at(&other, Some(NOW)), EnvelopeError::OtherDevice);
    assert!(matches!(at(&ack, Some(UtcMillis(NOW.0 + 300_001))), EnvelopeError::Stale(Stale::Old(_))));
    assert!(matches!(at(&ack, Some(UtcMillis(NOW.0 - 300_001))), EnvelopeError::Stale(Stale::Future(_))));
    assert!(matches!(
        at(&reply(ReplyBody::Commands { commands: Vec::new(), next_poll_s: 1 }), Some(NOW)),
        EnvelopeError::OutOfPlace { request: "confirm", reply: "commands" }
    ));
    let refusal =
        Refusal { check: "state".to_owned(), text: "no".to_owned(), next: "wait".to_owned(), retry_s: None };
    let refused = reply(ReplyBody::Refused(refusal));
    assert!(open(&reply_by(&RIG.server, &refused), kind, Some(NOW)).is_ok(), "anything may be refused");
}

#[test]
fn without_time_only_the_time_is_believed() {
    let ack = reply_by(&RIG.server, &reply(ReplyBody::Ack {}));
    assert_eq!(open(&ack, RequestKind::Confirm, None), Err(EnvelopeError::NoTime));
    let time = reply_by(&RIG.server, &reply(ReplyBody::Time { token: "t".to_owned() }));
    assert!(open(&time, RequestKind::Time, None).is_ok());
    let wrong = reply_by(&RIG.wrong_provider, &reply(ReplyBody::Time { token: "t".to_owned() }));
    assert!(matches!(open(&wrong, RequestKind::Time, None), Err(EnvelopeError::Signed(_))));
}
