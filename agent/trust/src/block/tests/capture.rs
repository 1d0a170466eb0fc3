//! Captures.

use biotrust_certs::{Authority, Validity};
use biotrust_model::{BioSubType, DeviceSubType, Env, Modality, Purpose};
use biotrust_sbi::digital_id::DigitalIdError;
use biotrust_sbi::hash_chain;
use biotrust_sbi::iso::Rule;
use biotrust_sbi::jws::JwsError;

use super::draft::{DOMAIN_URI, Delivered, Draft, THUMBPRINT, TRANSACTION, deliver, record};
use super::*;
use crate::workshop::{CHIP_KEY, DEVICE_KEY, MONTH, PKI, certificate};

const INDEX: BioSubType = BioSubType::LeftIndexFinger;
const MIDDLE: BioSubType = BioSubType::LeftMiddleFinger;

fn expected<'a>(parts: &'a [Option<BioSubType>], kind: Kind<'a>) -> ExpectedCapture<'a> {
    ExpectedCapture {
        device: &DEVICE,
        digital_id_signer: DigitalIdSigner::Chip,
        kind,
        env: Env::Staging,
        transaction_id: TRANSACTION,
        requested_score: "60",
        service_version: "0.1.0",
        parts,
        exceptions: &[BioSubType::LeftRingFinger],
        moment: MOMENT,
    }
}

const REGISTRATION: Kind<'static> =
    Kind::Registration { previous_hash: hash_chain::EMPTY, append_chip: true };
const AUTH: Kind<'static> = Kind::Auth { domain_uri: DOMAIN_URI, thumbprint: THUMBPRINT };

fn judge(delivered: &[Delivered], expected: &ExpectedCapture<'_>) -> Result<Vec<Verified>, CaptureFault> {
    let blocks: Vec<Block<'_>> = delivered.iter().map(Delivered::block).collect();
    verify_capture(&blocks, expected)
}

/// A capture of one finger with one thing changed in the block: what is the verdict?
fn one(draft: Draft, change: impl FnOnce(&mut Delivered)) -> Result<(), BlockFault> {
    let kind = match draft.purpose {
        Purpose::Registration => REGISTRATION,
        Purpose::Auth => AUTH,
    };
    let mut delivered = deliver(&[draft]);
    change(&mut delivered[0]);
    fault(judge(&delivered, &expected(&[Some(INDEX)], kind)))
}

fn fault<T>(verdict: Result<T, CaptureFault>) -> Result<(), BlockFault> {
    match verdict {
        Ok(_) => Ok(()),
        Err(CaptureFault::Block { fault, .. }) => Err(fault),
        Err(other) => panic!("{other}"),
    }
}

fn registration(change: impl FnOnce(&mut Draft)) -> Result<(), BlockFault> {
    one(Draft::registration(INDEX).with(change), |_| ())
}

fn auth(change: impl FnOnce(&mut Draft)) -> Result<(), BlockFault> {
    one(Draft::auth(INDEX).with(change), |_| ())
}

/// A registration block whose payload text is edited; the edit must change something.
fn edited(edit: fn(&str) -> String) -> Result<(), BlockFault> {
    registration(|draft| draft.edit = Some(edit))
}

#[test]
fn good_captures_pass_and_give_their_hashes() {
    let fingers = [INDEX, MIDDLE];
    let parts = fingers.map(Some);
    let delivered = deliver(&fingers.map(Draft::registration));
    let verified = judge(&delivered, &expected(&parts, REGISTRATION)).unwrap();
    let hashes: Vec<String> = verified.iter().map(|block| hash_chain::to_hex(&block.hash)).collect();
    assert_eq!(hashes, delivered.iter().map(|block| block.hash.clone()).collect::<Vec<_>>());
    assert_eq!(verified[0].quality.value(), 71.5);

    let delivered = deliver(&fingers.map(Draft::auth));
    assert_eq!(judge(&delivered, &expected(&parts, AUTH)).unwrap().len(), 2);
}

#[test]
fn count() {
    let delivered = deliver(&[Draft::registration(INDEX)]);
    let parts = [Some(INDEX), Some(MIDDLE)];
    let verdict = judge(&delivered, &expected(&parts, REGISTRATION));
    assert_eq!(verdict, Err(CaptureFault::Count { expected: 2, found: 1 }));
    assert_eq!(judge(&[], &expected(&parts, AUTH)), Err(CaptureFault::Count { expected: 2, found: 0 }));
    assert_eq!(judge(&[], &expected(&[], AUTH)), Ok(vec![]));
}

#[test]
fn the_bad_block_is_named() {
    let drafts = [Draft::registration(INDEX), Draft::registration(MIDDLE).with(|d| d.key = &CHIP_KEY)];
    let verdict = judge(&deliver(&drafts), &expected(&[Some(INDEX), Some(MIDDLE)], REGISTRATION));
    let error = verdict.unwrap_err();
    assert_eq!(
        error.to_string(),
        "block 2 has a bad signature: the signature does not verify with the key of x5c[0]"
    );
}

#[test]
fn form() {
    let broken = one(Draft::registration(INDEX), |block| block.data = "a.b".to_owned());
    assert_eq!(broken, Err(SignedFault::Form(JwsError::Parts(2)).into()));
    let padded = one(Draft::registration(INDEX), |block| block.data.push('='));
    assert!(
        matches!(padded, Err(BlockFault::Signed(SignedFault::Form(JwsError::Encoding(_))))),
        "{padded:?}"
    );
}

#[test]
fn signature() {
    let wrong = Err(SignedFault::Signature(JwsError::Signature).into());
    assert_eq!(registration(|draft| draft.key = &CHIP_KEY), wrong);
    assert_eq!(auth(|draft| draft.key = &CHIP_KEY), wrong);
    let swapped = one(Draft::registration(INDEX), |block| {
        let other = deliver(&[Draft::registration(INDEX).with(|d| d.at = seconds(1))]);
        let payload = other[0].data.split('.').nth(1).unwrap().to_owned();
        let parts: Vec<&str> = block.data.split('.').collect();
        block.data = [parts[0], &payload, parts[2]].join(".");
    });
    assert_eq!(swapped, wrong, "another payload under the same signature");
}

#[test]
fn only_the_enrolled_certificate_counts() {
    let subject = [format!("O={}", identity().device_provider), "CN=SLP000000000001".to_owned()];
    let subject: Vec<&str> = subject.iter().map(String::as_str).collect();
    let valid = Validity::starting(NOW, MONTH);
    let other = certificate(Authority::DeviceProvider, &DEVICE_KEY, &subject, valid)[0].clone();
    assert!(PKI.store::<biotrust_certs::Device>().unwrap().verify(&other, NOW).is_ok(), "just as trusted");
    let verdict = registration(|draft| draft.x5c[0] = other);
    assert_eq!(verdict, Err(SignedFault::Signer.into()));
    let reversed = registration(|draft| draft.x5c.reverse());
    assert_eq!(reversed, Err(SignedFault::Signer.into()));
}

#[test]
fn the_list_of_certificates_is_the_one_that_back_ends_accept() {
    let list = |expected, found| Err(SignedFault::Certificates { expected, found }.into());
    assert_eq!(registration(|draft| draft.x5c.truncate(1)), list(2, 1));
    assert_eq!(registration(|draft| draft.x5c.push(chip_chain()[1].clone())), list(2, 3));
    assert_eq!(registration(|draft| draft.x5c[1] = chip_chain()[1].clone()), list(2, 2));
    assert_eq!(auth(|draft| draft.x5c.push(chip_chain()[0].clone())), list(1, 2));

    // Switched off, the appended certificate must not be there.
    let off = Kind::Registration { previous_hash: hash_chain::EMPTY, append_chip: false };
    let with = judge(&deliver(&[Draft::registration(INDEX)]), &expected(&[Some(INDEX)], off));
    assert_eq!(fault(with), list(1, 2));
    let without = deliver(&[Draft::registration(INDEX).with(|d| d.x5c.truncate(1))]);
    assert_eq!(fault(judge(&without, &expected(&[Some(INDEX)], off))), Ok(()));
}

#[test]
fn alphabet() {
    // Of three tildes in a row one falls on digit 62 or 63, wherever the row begins.
    assert_eq!(edited(|json| json.replace("71.5", "~~~")), Err(SignedFault::Alphabet.into()));
    assert_eq!(edited(|json| json.replace("71.5", "\u{e9}")), Err(SignedFault::Alphabet.into()), "not ASCII");
}

#[test]
fn an_appraisal_that_has_run_out_covers_nothing() {
    let end = DEVICE.valid_until();
    let at_end = |now: UtcMillis| {
        let draft = Draft::registration(INDEX).with(|d| (d.at, d.identity_at) = (end, end));
        let parts = [Some(INDEX)];
        let moment = Moment { now, ..MOMENT };
        fault(judge(&deliver(&[draft]), &ExpectedCapture { moment, ..expected(&parts, REGISTRATION) }))
    };
    assert_eq!(at_end(end), Ok(()));
    assert_eq!(at_end(UtcMillis(end.0 + 1)), Err(SignedFault::Ended(end).into()));
}

#[test]
fn members() {
    let unreadable = |edit: fn(&str) -> String, what: &str| match edited(edit) {
        Err(BlockFault::Payload(text)) => assert!(text.contains(what), "{text}"),
        other => panic!("{other:?} instead of {what}"),
    };
    unreadable(|json| json.replacen('{', "{\"extra\":\"1\",", 1), "unknown field `extra`");
    unreadable(|json| json.replacen('{', "{\"env\":\"Staging\",", 1), "duplicate field `env`");
    unreadable(|json| json.replacen('{', "{\"domainUri\":\"\",", 1), "`domainUri` in a registration");
    unreadable(
        |json| json.replace("\"qualityScore\":\"71.5\"", "\"qualityScore\":71.5"),
        "expected a string",
    );
    unreadable(|json| json.replace("\"bioSubType\":\"Left IndexFinger\"", "\"bioSubType\":null"), "null");
    unreadable(|json| json.replace(",\"qualityScore\":\"71.5\"", ""), "missing field `qualityScore`");
    unreadable(|json| json.replace("\"env\":", ""), "expected");
    let no_uri =
        auth(|d| d.edit = Some(|json| json.replace(&format!("\"domainUri\":\"{DOMAIN_URI}\","), "")));
    assert_eq!(no_uri, Err(BlockFault::Payload("missing field `domainUri`".to_owned())));
}

#[test]
fn echoes() {
    let member = |edit: fn(&str) -> String| match auth(|d| d.edit = Some(edit)) {
        Err(BlockFault::Mismatch(member)) => member,
        other => panic!("{other:?}"),
    };
    assert_eq!(member(|json| json.replace(TRANSACTION, "A1B2C3D4E5")), Member::TransactionId);
    assert_eq!(member(|json| json.replace("\"Auth\"", "\"Registration\"")), Member::Purpose);
    assert_eq!(member(|json| json.replace("\"Staging\"", "\"Production\"")), Member::Env);
    assert_eq!(member(|json| json.replace("example.org\"", "example.org/\"")), Member::DomainUri);
    assert_eq!(member(|json| json.replace("\"Finger\"", "\"Iris\"")), Member::BioType);
    assert_eq!(
        member(|json| json.replace("\"deviceCode\":\"SLP", "\"deviceCode\":\"XLP")),
        Member::DeviceCode
    );
    assert_eq!(member(|json| json.replace("\"0.1.0\"", "\"0.2.0\"")), Member::DeviceServiceVersion);
    assert_eq!(
        member(|json| json.replace("\"requestedScore\":\"60\"", "\"requestedScore\":\"60.0\"")),
        Member::RequestedScore
    );
    assert_eq!(Member::DomainUri.to_string(), "domainUri");
}

#[test]
fn parts() {
    let asked =
        |asked: BioSubType, draft: Draft| fault(judge(&deliver(&[draft]), &expected(&[Some(asked)], AUTH)));
    assert_eq!(asked(INDEX, Draft::auth(MIDDLE)), Err(BlockFault::Part));
    assert_eq!(
        asked(BioSubType::LeftRingFinger, Draft::auth(BioSubType::LeftRingFinger)),
        Err(BlockFault::Excepted)
    );
    assert_eq!(asked(INDEX, Draft::auth(INDEX).with(|d| d.part = None)), Err(BlockFault::Part), "not a face");
    let word = Draft::auth(INDEX)
        .with(|d| d.edit = Some(|json| json.replace("Left IndexFinger", "left IndexFinger")));
    assert_eq!(asked(INDEX, word), Err(BlockFault::Part), "no word of the vocabulary");

    // Whichever finger is presented: named or not, but none that is an exception, and no eye.
    assert_eq!(asked(BioSubType::Unknown, Draft::auth(BioSubType::Unknown)), Ok(()));
    assert_eq!(asked(BioSubType::Unknown, Draft::auth(MIDDLE)), Ok(()));
    assert_eq!(
        asked(BioSubType::Unknown, Draft::auth(BioSubType::LeftRingFinger)),
        Err(BlockFault::Excepted)
    );
    assert_eq!(asked(BioSubType::Unknown, Draft::auth(BioSubType::Left)), Err(BlockFault::Part));
    assert_eq!(asked(INDEX, Draft::auth(BioSubType::Unknown)), Err(BlockFault::Part));

    let any = [Some(BioSubType::Unknown); 2];
    let both =
        |second| fault(judge(&deliver(&[Draft::auth(INDEX), Draft::auth(second)]), &expected(&any, AUTH)));
    assert_eq!(both(MIDDLE), Ok(()));
    assert_eq!(both(INDEX), Err(BlockFault::Repeated));
    let unknown = [Draft::auth(BioSubType::Unknown), Draft::auth(BioSubType::Unknown)];
    assert_eq!(fault(judge(&deliver(&unknown), &expected(&any, AUTH))), Ok(()), "unnamed ones may repeat");
}

#[test]
fn a_face_has_no_part() {
    let mut claims = identity();
    (claims.modality, claims.device_sub_type) = (Modality::Face, DeviceSubType::FullFace);
    let camera = appraise_l1(&claims, &device_chain(), &chip_chain(), &device_store(), &ftm_store(), NOW);
    let camera = camera.into_device().unwrap();
    let face = Draft::auth(INDEX).with(|d| (d.modality, d.identity, d.part) = (Modality::Face, claims, None));
    let judge_face = |draft: &Draft, asked: Option<BioSubType>| {
        let parts = [asked];
        let of_camera = ExpectedCapture { device: &camera, ..expected(&parts, AUTH) };
        fault(judge(&deliver(std::slice::from_ref(draft)), &of_camera))
    };
    assert_eq!(judge_face(&face, None), Ok(()));
    let named = face.clone().with(|d| {
        d.edit = Some(|json| json.replacen("\"purpose\"", "\"bioSubType\":\"UNKNOWN\",\"purpose\"", 1));
    });
    assert_eq!(judge_face(&named, None), Err(BlockFault::Part), "every form of it is refused somewhere");
    assert_eq!(judge_face(&face, Some(BioSubType::Unknown)), Err(BlockFault::Part));

    let no_part = judge(&deliver(&[Draft::auth(INDEX).with(|d| d.part = None)]), &expected(&[None], AUTH));
    assert_eq!(fault(no_part), Err(BlockFault::Part), "a finger scanner delivers no face");
}

#[test]
fn digital_ids() {
    let digital_id = |change: fn(&mut Draft)| match registration(change) {
        Err(BlockFault::DigitalId(fault)) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        digital_id(|d| d.identity_key = &DEVICE_KEY),
        SignedFault::Signature(JwsError::Signature).into()
    );
    assert_eq!(
        digital_id(|d| (d.identity_key, d.identity_x5c) = (&DEVICE_KEY, device_chain()[..1].to_vec())),
        SignedFault::Signer.into(),
        "signed with the device key although the chip was to sign"
    );
    assert_eq!(
        digital_id(|d| d.identity_x5c.push(chip_chain()[1].clone())),
        SignedFault::Certificates { expected: 1, found: 2 }.into()
    );
    let changes: [fn(&mut Draft); 7] = [
        |d| d.identity.serial_no.push('0'),
        |d| d.identity.make = "EXAMPLE".to_owned(),
        |d| d.identity.model.push('x'),
        |d| d.identity.device_sub_type = DeviceSubType::Single,
        |d| (d.identity.modality, d.identity.device_sub_type) = (Modality::Iris, DeviceSubType::Double),
        |d| d.identity.device_provider.push('x'),
        |d| d.identity.device_provider_id.push('x'),
    ];
    for change in changes {
        assert_eq!(digital_id(change), DigitalIdFault::Identity);
    }
    assert_eq!(digital_id(|d| d.identity_at = seconds(-11)), TimeFault::Skew { seconds: -11 }.into());
    assert_eq!(
        digital_id(|d| d.edit_identity = Some(|json| json.replace("00:00:00Z", "00:00:00.000Z"))),
        DigitalIdError::DateTime.into()
    );
    let ninth = digital_id(|d| d.edit_identity = Some(|json| json.replacen('{', "{\"dp\":\"x\",", 1)));
    assert!(matches!(ninth, DigitalIdFault::Content(DigitalIdError::Members(_))), "{ninth}");
}

#[test]
fn the_device_key_signs_digital_ids_where_that_is_switched_on() {
    let parts = [Some(INDEX)];
    let switched =
        ExpectedCapture { digital_id_signer: DigitalIdSigner::Device, ..expected(&parts, REGISTRATION) };
    let by_device = Draft::registration(INDEX).with(|d| {
        (d.identity_key, d.identity_x5c) = (&DEVICE_KEY, device_chain()[..1].to_vec());
        d.x5c.truncate(1); // nothing of the chip to repeat
    });
    assert_eq!(fault(judge(&deliver(&[by_device]), &switched)), Ok(()));
    let by_chip = Draft::registration(INDEX).with(|d| d.x5c.truncate(1));
    let signer = Err(BlockFault::DigitalId(SignedFault::Signer.into()));
    assert_eq!(fault(judge(&deliver(&[by_chip]), &switched)), signer);

    // An authentication is the chip's, whatever is switched on: the back end trusts nothing else.
    let switched = ExpectedCapture { digital_id_signer: DigitalIdSigner::Device, ..expected(&parts, AUTH) };
    assert_eq!(fault(judge(&deliver(&[Draft::auth(INDEX)]), &switched)), Ok(()));
    let by_device = Draft::auth(INDEX)
        .with(|d| (d.identity_key, d.identity_x5c) = (&DEVICE_KEY, device_chain()[..1].to_vec()));
    assert_eq!(fault(judge(&deliver(&[by_device]), &switched)), signer);
}

#[test]
fn timestamps() {
    assert_eq!(registration(|d| d.at = seconds(11)), Err(TimeFault::Skew { seconds: 11 }.into()));
    assert_eq!(edited(|json| json.replace("00:00:00Z", "00:00:00.0Z")), Err(TimeFault::Form.into()));

    let order = |first: (i64, i64), second: (i64, i64)| {
        let drafts = [(INDEX, first), (MIDDLE, second)].map(|(part, (at, identity_at))| {
            Draft::auth(part).with(|d| (d.at, d.identity_at) = (seconds(at), seconds(identity_at)))
        });
        fault(judge(&deliver(&drafts), &expected(&[Some(INDEX), Some(MIDDLE)], AUTH)))
    };
    assert_eq!(order((-2, -2), (-1, -1)), Ok(()));
    assert_eq!(order((-2, -2), (-2, -2)), Ok(()));
    assert_eq!(order((-1, -2), (-2, -2)), Err(BlockFault::TimeOrder));
    assert_eq!(order((-2, -1), (-2, -2)), Err(BlockFault::TimeOrder));
}

#[test]
fn quality_scores() {
    for bad in ["", "x", "-1", "100.1", "1e1", "70.", ".5", "+7", "NaN", "inf", "000000000"] {
        let parsed = super::super::capture::quality(bad);
        assert_eq!(parsed, None, "{bad:?}");
    }
    for good in ["0", "70", "70.5", "100", "100.0"] {
        assert!(super::super::capture::quality(good).is_some(), "{good:?}");
    }
    assert_eq!(edited(|json| json.replace("71.5", "101")), Err(BlockFault::Quality));
}

#[test]
fn values() {
    assert_eq!(edited(|json| json.replace("\"bioValue\":\"", "\"bioValue\":\"=")), Err(BlockFault::BioValue));
    assert_eq!(auth(|d| d.value.clear()), Err(BlockFault::BioValue));

    // What the registration packet does: cut the value out after the first `bioValue`, and put it back.
    let spaced = edited(|json| json.replace("\"bioValue\":", "\"bioValue\": "));
    assert_eq!(spaced, Err(BlockFault::BioValueCut));
    let escaped = edited(|json| json.replace("\"bioValue\":\"R", "\"bioValue\":\"\\u0052"));
    assert_eq!(escaped, Err(BlockFault::BioValueCut), "another spelling of the same value");
    let parts = [Some(INDEX)];
    let named = ExpectedCapture { service_version: "bioValue", ..expected(&parts, REGISTRATION) };
    let draft =
        Draft::registration(INDEX).with(|d| d.edit = Some(|json| json.replace("\"0.1.0\"", "\"bioValue\"")));
    assert_eq!(fault(judge(&deliver(&[draft]), &named)), Err(BlockFault::BioValueCut));
}

#[test]
fn records() {
    let rule = |verdict: Result<(), BlockFault>| match verdict {
        Err(BlockFault::Record(violation)) => violation.rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(registration(|d| d.value.truncate(40))), Rule::RecordLength);
    assert_eq!(rule(registration(|d| d.value[1] = b'X')), Rule::FormatIdentifier);
    assert_eq!(registration(|d| d.value = record(MIDDLE)), Err(BlockFault::RecordPart));
}

#[test]
fn hashes() {
    let hash = |change: fn(&mut String)| one(Draft::registration(INDEX), |block| change(&mut block.hash));
    assert_eq!(hash(|h| *h = h.to_lowercase()), Err(BlockFault::HashForm));
    assert_eq!(hash(|h| h.truncate(62)), Err(BlockFault::HashForm));
    assert_eq!(hash(String::clear), Err(BlockFault::HashForm), "no hash starts no chain here");
    assert_eq!(hash(|h| *h = hash_chain::to_hex(&hash_chain::EMPTY)), Err(BlockFault::Hash));
    assert_eq!(one(Draft::auth(INDEX), |b| b.hash.insert(0, '0')), Err(BlockFault::HashForm));

    let drafts = [INDEX, MIDDLE].map(Draft::registration);
    let parts = [Some(INDEX), Some(MIDDLE)];
    let elsewhere = Kind::Registration { previous_hash: [7; 32], append_chip: true };
    assert_eq!(fault(judge(&deliver(&drafts), &expected(&parts, elsewhere))), Err(BlockFault::Hash));
    let mut second_alone = deliver(&drafts);
    second_alone[1].hash = hash_chain::to_hex(&hash_chain::next(&hash_chain::EMPTY, &drafts[1].value));
    let verdict = judge(&second_alone, &expected(&parts, REGISTRATION));
    assert_eq!(verdict, Err(CaptureFault::Block { position: 2, fault: BlockFault::Hash }));
}

#[test]
fn a_registration_is_not_sealed() {
    let key = one(Draft::registration(INDEX), |block| block.session_key = Some(String::new()));
    assert_eq!(key, Err(BlockFault::Sealed));
    let thumbprint = one(Draft::registration(INDEX), |block| block.thumbprint = Some(THUMBPRINT.to_owned()));
    assert_eq!(thumbprint, Err(BlockFault::Sealed));
}

#[test]
fn an_authentication_is_sealed() {
    let changed = |change: fn(&mut Delivered)| one(Draft::auth(INDEX), change);
    assert_eq!(changed(|b| b.session_key = None), Err(BlockFault::SessionKey));
    assert_eq!(changed(|b| b.session_key = Some("AAAA".to_owned())), Err(BlockFault::SessionKey));
    assert_eq!(
        changed(|b| b.session_key = b.session_key.take().map(|k| k + "=")),
        Err(BlockFault::SessionKey)
    );
    assert_eq!(changed(|b| b.thumbprint = None), Err(BlockFault::Thumbprint));
    assert_eq!(changed(|b| b.thumbprint = Some(THUMBPRINT.to_lowercase())), Err(BlockFault::Thumbprint));
    assert_eq!(auth(|d| d.value = record(INDEX)), Err(BlockFault::NotEncrypted), "a record in the clear");
    assert_eq!(auth(|d| d.value.truncate(16)), Err(BlockFault::NotEncrypted), "nothing but a tag");

    let mut delivered = deliver(&[Draft::auth(INDEX), Draft::auth(MIDDLE)]);
    delivered[1].session_key = delivered[0].session_key.clone();
    let verdict = judge(&delivered, &expected(&[Some(INDEX), Some(MIDDLE)], AUTH));
    assert_eq!(fault(verdict), Err(BlockFault::SessionKeyRepeated));
}

/// Whatever is wrong with a block, its error shows nothing of the record.
#[test]
fn errors_quote_no_payload() {
    let value = biotrust_sbi::base64url::encode(record(INDEX));
    let bits: Vec<&str> = (0..value.len() - 12).step_by(12).map(|at| &value[at..at + 12]).collect();
    let edits: [fn(&str) -> String; 7] = [
        |json| {
            let (before, after) = json.split_once("\"bioValue\":").unwrap();
            let (value, rest) = after.split_once(',').unwrap();
            format!("{before}{value}:\"\",{rest}")
        },
        |json| {
            json.replace("\"bioValue\":\"", "\"bioValue\":[\"")
                .replace("\",\"transactionId", "\"],\"transactionId")
        },
        |json| json.replace("\"bioValue\":\"", "\"env\":\""),
        |json| json.replace("\"bioValue\":\"", "\"bioValue\":\"\\q"),
        |json| json.replace("\"env\":\"Staging\"", "\"env\":\"Production\""),
        |json| json.replace("\"bioValue\":\"", "\"bioValue\":"),
        |json| json.replace("71.5", "171.5"),
    ];
    for edit in edits {
        let error = edited(edit).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(bits.iter().all(|bit| !shown.contains(bit)), "{shown}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_delivered_makes_it_panic(data in ".{0,80}", hash in ".{0,70}", key in proptest::option::of(".{0,20}")) {
        let delivered = Delivered { data, hash, session_key: key.clone(), thumbprint: key };
        for kind in [REGISTRATION, AUTH] {
            proptest::prop_assert!(judge(std::slice::from_ref(&delivered), &expected(&[Some(INDEX)], kind)).is_err());
        }
    }
}
