//! What must not work, each with the check that stops it, and a control that shows that only the attack was wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests

mod common;

use std::time::{Duration, Instant};

use biotrust_attest::signed::Signer;
use biotrust_attest::testing::{OWNER, PublicForge};
use biotrust_certs::{Authority, Domain, SignerPurpose, Validity};
use biotrust_mgmt::envelope::{self, Asked, EnvelopeError, Server};
use biotrust_mgmt::message::{Presented, ReplyBody, Request, RequestBody};
use biotrust_mgmt::{Bytes, MAX_MESSAGE, Sha256};
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::{Clock, UtcMillis};
use biotrust_sbi::digital_id::DigitalId;
use common::{Kind, Rig, TestDevice, WORLD, client, device_key, refusal, reply_payload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Asks for a challenge for device keys.
async fn challenged(rig: &Rig, device: &mut TestDevice) -> biotrust_attest::Challenge {
    device.make_key();
    device.challenge(rig, EvidencePurpose::DeviceKey).await
}

/// The check that stops this evidence; the same device then registers with good evidence.
async fn stopped_by(rig: &Rig, device: &mut TestDevice, evidence: String) -> String {
    let check = device.apply(rig, evidence).await.unwrap_err().check;
    assert_eq!(rig.last_event(device.serial()).await, ("register".to_owned(), Some(check.clone())));
    assert!(rig.store().await.keys_of(device.serial()).await.unwrap().is_empty(), "nothing was issued");
    check
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_taken_once_and_in_its_time() {
    let rig = Rig::start().await;
    let device = TestDevice::l1(&rig);
    let ask = |at: UtcMillis| {
        let body = RequestBody::Challenge { purpose: EvidencePurpose::DeviceKey };
        let request = Request { at, ..device.request(body) };
        let compact = device.sign(&request);
        (request, compact)
    };
    let now = rig.clock.now();
    let (request, compact) = ask(now);
    assert!(matches!(rig.ask(&request, compact.clone()).await, ReplyBody::Challenge { .. }));
    assert_eq!(refusal(rig.ask(&request, compact).await).check, "fresh", "replayed");
    for minutes in [-6, 6] {
        let (request, compact) = ask(UtcMillis(now.0 + minutes * 60_000));
        assert_eq!(refusal(rig.ask(&request, compact).await).check, "fresh", "{minutes} minutes");
    }
    let (request, compact) = ask(UtcMillis(now.0 - 4 * 60_000));
    assert!(matches!(rig.ask(&request, compact).await, ReplyBody::Challenge { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_good_once_for_one_device_one_key_and_one_purpose() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    let challenge = challenged(&rig, &mut device).await;
    let evidence = device.evidence(&challenge);
    device.apply(&rig, evidence.clone()).await.unwrap();
    device.make_key();
    assert_eq!(device.apply(&rig, evidence).await.unwrap_err().check, "challenge", "used before");

    let other_purpose = device.challenge(&rig, EvidencePurpose::State).await;
    let evidence = device.evidence(&other_purpose);
    assert_eq!(device.apply(&rig, evidence).await.unwrap_err().check, "challenge", "other purpose");

    let invented = biotrust_attest::Challenge::new(
        [1; 32],
        rig.organisation.clone(),
        EvidencePurpose::DeviceKey,
        rig.clock.now(),
    );
    let evidence = device.evidence(&invented);
    assert_eq!(device.apply(&rig, evidence).await.unwrap_err().check, "challenge", "never given out");

    let mut other = TestDevice::new(&rig, Kind::Chip { other: true }, "SN0000000009");
    let theirs = challenged(&rig, &mut other).await;
    let evidence = device.evidence(&theirs);
    assert_eq!(device.apply(&rig, evidence).await.unwrap_err().check, "challenge", "another device's");

    let late = device.challenge(&rig, EvidencePurpose::DeviceKey).await;
    rig.clock.shift(Duration::from_secs(62));
    let evidence = device.evidence(&late);
    assert_eq!(device.apply(&rig, evidence).await.unwrap_err().check, "challenge", "too old");

    device.enrol(&rig).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_must_be_of_this_key_this_chip_and_this_firmware() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);

    // The request is for a key of somebody else than the evidence speaks for.
    let challenge = challenged(&rig, &mut device).await;
    let evidence = device.evidence(&challenge);
    let mine = device.next.replace(3);
    assert_eq!(stopped_by(&rig, &mut device, evidence).await, "device-key");
    device.next = mine;

    // A TPMS_ATTEST by the unrestricted identity key.
    let challenge = device.challenge(&rig, EvidencePurpose::DeviceKey).await;
    let mut forge = device.forge(&challenge);
    forge.attestation = (&WORLD.chip, WORLD.chip_chain.clone());
    forge.attestation_public = PublicForge::of(&WORLD.chip, forge.identity.attributes);
    assert_eq!(stopped_by(&rig, &mut device, forge.evidence()).await, "chip-model");

    // A key that anybody could have brought into the TPM.
    let challenge = device.challenge(&rig, EvidencePurpose::DeviceKey).await;
    let mut forge = device.forge(&challenge);
    forge.attest.hierarchy = OWNER;
    let check = stopped_by(&rig, &mut device, forge.evidence()).await;
    assert!(["chip-model", "device-key"].contains(&check.as_str()), "{check}");

    // Firmware that the adopter does not know.
    let challenge = device.challenge(&rig, EvidencePurpose::DeviceKey).await;
    let mut forge = device.forge(&challenge);
    forge.pcrs = vec![(0, [9; 32]), (7, [7; 32])];
    assert_eq!(stopped_by(&rig, &mut device, forge.evidence()).await, "measurements");

    // Evidence of one chip in a message of another: a relay.
    let mut relay = TestDevice::new(&rig, Kind::Chip { other: true }, "SN0000000009");
    let challenge = challenged(&rig, &mut relay).await;
    let victim = TestDevice { next: relay.next, identity: relay.identity.clone(), ..TestDevice::l1(&rig) };
    let evidence = victim.evidence(&challenge);
    assert_eq!(stopped_by(&rig, &mut relay, evidence).await, "identity");

    device.enrol(&rig).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_certificate_must_be_well_formed() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    for (csr, why) in [
        (device_key(0).csr("SN9999999999"), "another serial number"),
        (vec![0x30, 0x00], "no request"),
        (
            {
                let mut csr = device_key(0).csr("SN0000000001");
                let last = csr.len() - 1;
                csr[last] ^= 1;
                csr
            },
            "a broken signature",
        ),
    ] {
        let challenge = challenged(&rig, &mut device).await;
        let evidence = device.evidence(&challenge);
        let reply = device.say(&rig, RequestBody::Register { evidence, csr: Bytes(csr) }).await;
        assert_eq!(refusal(reply).check, "csr", "{why}");
    }
    device.enrol(&rig).await.unwrap();
    // The same key again is no rotation.
    let (place, _) = device.current.clone().unwrap();
    device.next = Some(place);
    let challenge = device.challenge(&rig, EvidencePurpose::DeviceKey).await;
    let evidence = device.evidence(&challenge);
    assert_eq!(device.apply(&rig, evidence).await.unwrap_err().check, "key-reuse");
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_refused_with_the_reason() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    device.enrol(&rig).await.unwrap();

    let mut second_chip = TestDevice::new(&rig, Kind::Chip { other: true }, "SN0000000001");
    let refused = second_chip.enrol(&rig).await.unwrap_err();
    assert_eq!((refused.check.as_str(), refused.retry_s), ("clone", None));
    assert!(refused.text.contains("another chip"), "{refused:?}");

    let mut second_serial = TestDevice::new(&rig, Kind::Chip { other: false }, "SN0000000002");
    let refused = second_serial.enrol(&rig).await.unwrap_err();
    assert_eq!(refused.check, "clone");
    assert!(refused.text.contains("SN0000000001"), "{refused:?}");

    // A software device that calls itself by the number of a chip.
    let mut software = TestDevice::l0(&rig, "SN0000000001");
    assert_eq!(software.enrol(&rig).await.unwrap_err().check, "clone");
    let trail = rig.store().await.events(None, 100).await.unwrap();
    assert_eq!(trail.iter().filter(|event| event.check.as_deref() == Some("clone")).count(), 3);

    // The other chip is good under a number of its own.
    TestDevice::new(&rig, Kind::Chip { other: true }, "SN0000000003").enrol(&rig).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_chips_that_take_one_number_at_the_same_moment_one_gets_it() {
    let rig = Rig::start().await;
    let mut a = TestDevice::l1(&rig);
    let mut b = TestDevice::new(&rig, Kind::Chip { other: true }, "SN0000000001");
    let (for_a, for_b) = (challenged(&rig, &mut a).await, challenged(&rig, &mut b).await);
    let (by_a, by_b) = (a.evidence(&for_a), b.evidence(&for_b));
    let (a, b) = tokio::join!(a.apply(&rig, by_a), b.apply(&rig, by_b));
    let refused = match (a, b) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.check, "clone");
    assert_eq!(rig.store().await.keys_of("SN0000000001").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_must_be_the_devices_own() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    device.enrol(&rig).await.unwrap();
    let poll = || RequestBody::Poll(device.report());

    // By the device key, although there is a chip.
    let (place, chain) = device.current.clone().unwrap();
    let by_device_key = TestDevice {
        kind: Kind::Software,
        identity: device.identity.clone(),
        current: Some((place, chain)),
        next: None,
        clock: rig.clock.clone(),
    };
    assert_eq!(refusal(by_device_key.say(&rig, poll()).await).check, "sender");

    // By a certificate of the provider that is no device's.
    let signer = WORLD.pki.signer(SignerPurpose::Firmware, WORLD.now).unwrap();
    let mut request = device.request(poll());
    let id = DigitalId::at(device.identity.clone(), rig.clock.now()).prepare(&signer.chain);
    let signature = signer.sign_rs256(id.signing_input());
    request.digital_id = Presented::Signed(id.attach(&signature));
    let unsigned = envelope::prepare_request(&request, &Signer::Chain(&signer.chain)).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    assert_eq!(refusal(rig.ask(&request, unsigned.attach(&signature)).await).check, "chip-path");

    // By a chip that nobody trusts.
    let now = rig.clock.now();
    let day = Validity::starting(UtcMillis(now.0 - 3_600_000), Duration::from_secs(86_400));
    let stranger = WORLD.chip_chain_by(Authority::Stranger, &WORLD.chip, day);
    let mut request = device.request(poll());
    let id = DigitalId::at(device.identity.clone(), now).prepare(&stranger);
    let signature = WORLD.chip.sign(id.signing_input());
    request.digital_id = Presented::Signed(id.attach(&signature));
    let compact = WORLD.chip.document(envelope::REQUEST_TYPE, &Signer::Chain(&stranger), &request.payload());
    assert_eq!(refusal(rig.ask(&request, compact).await).check, "chip-path");

    // By a bare key, for what only a registered device may say.
    let bare = TestDevice { next: Some(3), ..TestDevice::l0(&rig, "SN0000000007") };
    assert_eq!(refusal(bare.say(&rig, poll()).await).check, "sender");
    let gone = RequestBody::Deregistered { destroyed_spki_sha256: device.spki() };
    assert_eq!(refusal(bare.say(&rig, gone).await).check, "sender");

    // By a device of another provider.
    let mut other = TestDevice::l1(&rig);
    other.identity.device_provider = "Other Devices Ltd".to_owned();
    assert_eq!(refusal(other.say(&rig, poll()).await).check, "provider");

    // About a key of another device.
    let theirs = RequestBody::Deregistered { destroyed_spki_sha256: Sha256::of(device_key(3).spki()) };
    assert_eq!(refusal(device.say(&rig, theirs).await).check, "key");

    assert!(matches!(device.say(&rig, poll()).await, ReplyBody::Commands { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_gets_no_reply() {
    let rig = Rig::start().await;
    let device = TestDevice::l1(&rig);
    let good = device.request(RequestBody::Challenge { purpose: EvidencePurpose::DeviceKey });
    let payload = good.payload();
    let signed = |payload: &str| {
        WORLD.chip.document(envelope::REQUEST_TYPE, &Signer::Chain(&WORLD.chip_chain), payload)
    };
    let capture = payload.replace(r#""kind":"challenge""#, r#""kind":"capture""#);
    assert_ne!(capture, payload);
    let (status, text) = rig.post(signed(&capture)).await;
    assert_eq!(status, 400);
    assert!(text.contains("no message of kind"), "{text}");
    let biometric = payload.replace(r#""purpose":"devkey""#, r#""purpose":"devkey","bioValue":"AAAA""#);
    assert_ne!(biometric, payload);
    assert_eq!(rig.post(signed(&biometric)).await.0, 400);
    for garbage in ["", "a.b.c", "{}", "\u{1F600}"] {
        assert_eq!(rig.post(garbage).await.0, 400, "{garbage:?}");
    }
    assert_eq!(rig.post(vec![0xFF; 10]).await.0, 400);
    assert_eq!(rig.post("a".repeat(MAX_MESSAGE)).await.0, 400, "as long as a message may be");
    assert_eq!(rig.post("a".repeat(MAX_MESSAGE + 1)).await.0, 413);
    let get = rig.client.get(rig.url("/v1/message")).send().await.unwrap();
    assert_eq!(get.status(), 405);
    for path in ["/", "/v1/capture", "/v1/image/none", "/v1/image/..%2f..%2fmgmt.toml"] {
        assert_eq!(rig.client.get(rig.url(path)).send().await.unwrap().status(), 404, "{path}");
    }
    assert!(
        rig.store().await.events(None, 10).await.unwrap().is_empty(),
        "nobody fills the trail without a key"
    );
    assert!(matches!(rig.ask(&good, signed(&payload)).await, ReplyBody::Challenge { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_knows_the_right_server() {
    let rig = Rig::start().await;
    // TLS: a server whose certificate is under another anchor is not spoken to.
    let strangers = client(&WORLD.pki.anchors_pem(Domain::Ftm));
    let error = strangers.get(rig.url("/")).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    // ... nor one with a good certificate for another name.
    let url = rig.url("/").replace("localhost", "127.0.0.2");
    assert!(rig.client.get(url).send().await.is_err());
    assert!(rig.client.get(rig.url("/").replace("localhost", "127.0.0.1")).send().await.is_ok());

    // A management server with a good certificate, of the wrong provider.
    let device = TestDevice::l1(&rig);
    let request = device.request(RequestBody::Poll(device.report()));
    let now = rig.clock.now();
    let order = ReplyBody::Commands {
        commands: vec![biotrust_mgmt::message::Command::Deregister {}],
        next_poll_s: 60,
    };
    let payload = reply_payload(&request, order, now);
    let open = |by: Authority| {
        let signer = WORLD.pki.signer_by(by, SignerPurpose::Management, UtcMillis(now.0 - 60_000)).unwrap();
        let unsigned =
            biotrust_attest::signed::prepare(envelope::REPLY_TYPE, &Signer::Chain(&signer.chain), &payload)
                .unwrap();
        let signature = signer.sign_rs256(unsigned.signing_input());
        let server = Server { store: &rig.anchors, organisation: &rig.organisation };
        envelope::open_reply(&unsigned.attach(&signature), &Asked::of(&request), &server, Some(now))
    };
    assert!(open(Authority::DeviceProvider).is_ok());
    assert!(matches!(open(Authority::OtherProvider), Err(EnvelopeError::Signed(_))));
}

/// A key is made in a moment; what such keys send fills nothing, and holds no device up.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_repeaters_do_not_flood_the_audit_trail() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    device.enrol(&rig).await.unwrap();
    let stranger = TestDevice::l0(&rig, "SN6666666666");
    let body = || RequestBody::Poll(stranger.report());
    let (mut answered, mut turned_away) = (0, 0);
    for _ in 0..400 {
        match rig.post(stranger.sign(&stranger.request(body()))).await {
            (200, _) => answered += 1,
            (429, text) => {
                assert!(text.contains("unknown devices"), "{text}");
                turned_away += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(answered >= 290 && turned_away >= 50, "{answered}, {turned_away}");
    let store = rig.store().await;
    let of = async |serial: &str| store.events(Some(serial), 10_000).await.unwrap().len();
    assert_eq!(of("SN6666666666").await, answered);

    // A registered device behind the same address is served, and its repetitions are answered but not all written down.
    let before = of(device.serial()).await;
    let poll = device.request(RequestBody::Poll(device.report()));
    let compact = device.sign(&poll);
    assert!(matches!(rig.ask(&poll, compact.clone()).await, ReplyBody::Commands { .. }));
    for _ in 0..100 {
        assert_eq!(refusal(rig.ask(&poll, compact.clone()).await).check, "fresh");
    }
    assert!(of(device.serial()).await - before < 60, "{}", of(device.serial()).await - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_refused() {
    let rig = Rig::start().await;
    // A ClientHello without the extension by which TLS 1.3 is offered.
    let suites = [0xC0, 0x2F, 0xC0, 0x30];
    let mut extensions = vec![0x00, 0x0A, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1D]; // groups: x25519
    extensions.extend([0x00, 0x0D, 0x00, 0x06, 0x00, 0x04, 0x04, 0x01, 0x08, 0x04]); // signature algorithms
    let mut hello = vec![0x03, 0x03];
    hello.extend([0x5A; 32]);
    hello.push(0);
    hello.extend([0, u8::try_from(suites.len()).unwrap()]);
    hello.extend(suites);
    hello.extend([1, 0]);
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[0x16, 0x03, 0x01, 0, length + 4, 0x01, 0, 0, length][..], &hello].concat();
    let mut stream = TcpStream::connect(rig.running.address).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 70], "alert: protocol_version");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_nobody_up_and_are_put_out() {
    let rig = Rig::start().await;
    let start = Instant::now();
    let mut idle = Vec::new();
    for n in 0..50 {
        let mut stream = TcpStream::connect(rig.running.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap(); // half a hello
        }
        idle.push(stream);
    }
    let mut device = TestDevice::l1(&rig);
    device.enrol(&rig).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(8), "the others are served meanwhile");
    // A body that never ends is given up too.
    let never = tokio_stream_of_nothing();
    let answer = rig.client.post(rig.url(biotrust_mgmt::PATH)).body(never).send().await.unwrap();
    assert_eq!(answer.status(), 408);
    for mut stream in idle {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(Duration::from_secs(15), stream.read(&mut byte)).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "put out");
    }
    assert!(start.elapsed() < Duration::from_secs(30));
    device.enrol(&rig).await.unwrap();
}

/// A body that says nothing and does not end.
fn tokio_stream_of_nothing() -> reqwest::Body {
    reqwest::Body::wrap(Silence)
}

struct Silence;

impl hyper::body::Body for Silence {
    type Data = hyper::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<hyper::body::Bytes>, std::io::Error>>> {
        std::task::Poll::Pending
    }
}
