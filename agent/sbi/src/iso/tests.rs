//! Known records byte for byte, each rule broken once, and anything at all.

use biotrust_model::Score;
use biotrust_model::time::UtcMillis;
use proptest::prelude::*;

use super::jp2::{Colour, Jp2Error};
use super::*;
use crate::known_answers::{self, section, table, text};

const NIST: Quality = Quality { score: 60, vendor: 0x000f, algorithm: 0x000f };

/// 2024-05-17 09:41:27.123, the moment of every known record.
const MOMENT: UtcMillis = UtcMillis(1_715_938_887_123);

fn details(technology: u8, quality: Quality) -> Details {
    let device = CaptureDevice { technology, vendor: 0, device_type: 0 };
    Details { captured_at: Some(MOMENT), device, quality: vec![quality] }
}

fn finger<'a>(purpose: Purpose, position: BioSubType, image: &'a [u8]) -> FingerImage<'a> {
    FingerImage {
        purpose,
        position,
        impression: Impression::Plain,
        dpi: 500,
        details: details(1, NIST),
        image,
    }
}

fn iris<'a>(purpose: Purpose, eye: BioSubType, image: &'a [u8]) -> IrisImage<'a> {
    let quality = Quality { score: 80, vendor: 0, algorithm: 0 };
    IrisImage { purpose, eye, details: details(1, quality), range: 0, image }
}

fn face<'a>(purpose: Purpose, image: &'a [u8]) -> FaceImage<'a> {
    FaceImage { purpose, details: details(6, Quality { score: 40, vendor: 1, algorithm: 1 }), image }
}

/// A record written by us with the values of the known one.
fn written(name: &str) -> Vec<u8> {
    let entry = &section("iso")[name];
    let image = known_answers::image(&text(&entry["image"]));
    let purpose = text(&entry["purpose"]).parse().unwrap();
    match name {
        "finger_registration_left_index" => finger(purpose, BioSubType::LeftIndexFinger, &image).encode(),
        "finger_auth_unknown" => finger(purpose, BioSubType::Unknown, &image).encode(),
        "finger_auth_right_thumb" => finger(purpose, BioSubType::RightThumb, &image).encode(),
        "iris_registration_left" => iris(purpose, BioSubType::Left, &image).encode(),
        "iris_auth_right" => iris(purpose, BioSubType::Right, &image).encode(),
        "face_registration" | "face_auth" => face(purpose, &image).encode(),
        other => panic!("{other}"),
    }
    .unwrap()
}

fn modality_of(name: &str) -> Modality {
    Modality::ALL.iter().copied().find(|m| name.starts_with(&m.as_str().to_lowercase())).unwrap()
}

#[test]
fn known_records() {
    for (name, entry) in table("iso") {
        let record = known_answers::record(name);
        assert_eq!(hex::encode_upper(crate::hash_chain::sha256(&record)), text(&entry["sha256"]), "{name}");
        assert!(written(name) == record, "{name}: ours differs");

        let purpose: Purpose = text(&entry["purpose"]).parse().unwrap();
        let parsed = validate(&record, modality_of(name), purpose).unwrap();
        assert_eq!(parsed.image(), known_answers::image(&text(&entry["image"])), "{name}");
        assert_eq!(parsed.details().captured_at, Some(MOMENT), "{name}");
        let other = if purpose == Purpose::Auth { Purpose::Registration } else { Purpose::Auth };
        assert!(parsed.require(other).is_err(), "{name} does not pass for {other}");
        for modality in Modality::ALL.iter().filter(|modality| **modality != modality_of(name)) {
            assert_eq!(parse(&record, *modality).unwrap_err().rule, Rule::FormatIdentifier, "{name}");
        }
    }
    assert_eq!(table("iso").len(), 7);
}

#[test]
fn known_images() {
    for (name, entry) in table("images") {
        let image = known_answers::image(name);
        assert_eq!(hex::encode_upper(crate::hash_chain::sha256(&image)), text(&entry["sha256"]), "{name}");
        let info = jp2::inspect(&image).unwrap();
        let grey = !name.starts_with('a');
        assert_eq!(info.reversible, name.ends_with("ll"), "{name}");
        assert_eq!((info.components, info.bit_depth), (if grey { 1 } else { 3 }, 8), "{name}");
        assert_eq!(info.colour, if grey { Colour::Grey } else { Colour::Srgb }, "{name}");
        assert_eq!(info.dpi, name.starts_with('f').then_some((500, 500)), "{name}");
        let size = match name.as_bytes()[0] {
            b'f' => (64, 96),
            b'i' => (80, 60),
            _ => (48, 64),
        };
        assert_eq!((info.width, info.height), size, "{name}");
    }
    assert_eq!(table("images").len(), 6);
}

#[test]
fn writers_refuse_what_cannot_be() {
    let (lossless, lossy, rgb) =
        (known_answers::image("f_ll"), known_answers::image("f_ly"), known_answers::image("a_ll"));
    let rule = |result: Result<Vec<u8>, Violation>| result.unwrap_err().rule;
    let index = BioSubType::LeftIndexFinger;
    assert_eq!(rule(finger(Purpose::Registration, index, &lossy).encode()), Rule::Compression);
    assert_eq!(rule(finger(Purpose::Auth, index, &lossless).encode()), Rule::Compression);
    assert_eq!(
        rule(finger(Purpose::Registration, BioSubType::Unknown, &lossless).encode()),
        Rule::FingerPosition
    );
    assert_eq!(
        rule(finger(Purpose::Registration, BioSubType::Left, &lossless).encode()),
        Rule::FingerPosition
    );
    assert_eq!(rule(finger(Purpose::Registration, index, &rgb).encode()), Rule::BitDepth);
    assert_eq!(rule(finger(Purpose::Registration, index, b"not an image").encode()), Rule::Image);
    let dpi = |dpi| FingerImage { dpi, ..finger(Purpose::Registration, index, &lossless) };
    assert_eq!(rule(dpi(489).encode()), Rule::CaptureResolution);
    assert!(dpi(1010).encode().is_ok());
    let many = Details { quality: vec![NIST; 256], ..details(1, NIST) };
    let many = FingerImage { details: many, ..finger(Purpose::Registration, index, &lossless) };
    assert_eq!(rule(many.encode()), Rule::Quality);
    assert_eq!(rule(iris(Purpose::Registration, index, &lossless).encode()), Rule::EyeLabel);
    assert_eq!(rule(iris(Purpose::Auth, BioSubType::Left, &lossless).encode()), Rule::Compression);
    assert_eq!(rule(face(Purpose::Registration, &lossless).encode()), Rule::ColourSpace);
    assert_eq!(rule(face(Purpose::Auth, &rgb).encode()), Rule::Compression);
}

#[test]
fn own_quality_is_never_labelled_nist() {
    let quality = Quality::estimated(Score::clamped(70.4));
    assert_eq!(quality, Quality { score: 70, vendor: 0, algorithm: Quality::OWN_ALGORITHM });
    assert_ne!((quality.vendor, quality.algorithm), (NIST.vendor, NIST.algorithm));
}

/// Overwrites bytes of a known record and names the rule that breaks.
fn broken(name: &str, at: usize, bytes: &[u8]) -> Result<(), Rule> {
    let mut record = known_answers::record(name);
    record[at..at + bytes.len()].copy_from_slice(bytes);
    let purpose = text(&section("iso")[name]["purpose"]).parse().unwrap();
    validate(&record, modality_of(name), purpose).map(|_| ()).map_err(|violation| violation.rule)
}

/// Offset, bytes, and the rule they break. Every field that has a rule is in here, for every kind of record.
type Breakage = (usize, &'static [u8], Rule);

#[test]
fn every_rule_of_a_finger_record_is_enforced() {
    use Rule::*;
    let cases: [Breakage; 39] = [
        (0, b"X", FormatIdentifier),
        (4, b"030", Version),
        (8, &[1], RecordLength),
        (12, &[0, 2], Representations),
        (14, &[2], CertificationFlag),
        (15, &[0], PartsPresent),
        (16, &[1], RepresentationLength),
        (20, &[0xff, 0xff], CaptureTime),
        (22, &[0], CaptureTime),
        (22, &[13], CaptureTime),
        (23, &[32], CaptureTime),
        (22, &[2, 30], CaptureTime),
        (24, &[24], CaptureTime),
        (25, &[60], CaptureTime),
        (26, &[60], CaptureTime),
        (27, &[3, 0xe8], CaptureTime),
        (24, &[0xff], CaptureTime),
        (29, &[0x15], DeviceTechnology),
        (30, &[0, 1], DeviceType),
        (32, &[0, 1], DeviceType),
        (35, &[101], Quality),
        (40, &[11], FingerPosition),
        (40, &[0], FingerPosition),
        (41, &[16], RepresentationNumber),
        (42, &[0], ScaleUnits),
        (42, &[3], ScaleUnits),
        (43, &[1, 0xe9], CaptureResolution),
        (45, &[3, 0xf3], CaptureResolution),
        (47, &[1, 0xe9], ImageResolution),
        (49, &[1, 0xf5], ImageResolution),
        (51, &[16], BitDepth),
        (52, &[4], Compression),
        (52, &[0], Compression),
        (53, &[16], Impression),
        (53, &[0x19], Impression),
        (54, &[0, 65], Dimensions),
        (56, &[0, 95], Dimensions),
        (58, &[1], Complete),
        (62, &[1], Image),
    ];
    for (at, bytes, rule) in cases {
        assert_eq!(broken("finger_registration_left_index", at, bytes), Err(rule), "byte {at} = {bytes:?}");
    }
    for (at, bytes) in [
        (20, &[0xff; 9][..]),
        (20, &[0xff; 4]),
        (24, &[0xff; 5]),
        (29, &[0x14]),
        (30, &[0, 9, 0, 9]),
        (35, &[255]),
        (40, &[1]),
        (42, &[2]),
        (53, &[0x1d]),
    ] {
        assert_eq!(
            broken("finger_registration_left_index", at, bytes),
            Ok(()),
            "control: byte {at} = {bytes:?}"
        );
    }
    assert_eq!(broken("finger_auth_right_thumb", 40, &[0]), Ok(()), "unknown is fine for an authentication");
}

#[test]
fn every_rule_of_an_iris_record_is_enforced() {
    use Rule::*;
    let cases: [Breakage; 23] = [
        (0, b"F", FormatIdentifier),
        (4, b"030", Version),
        (8, &[1], RecordLength),
        (12, &[0, 0], Representations),
        (14, &[1], CertificationFlag),
        (15, &[0], PartsPresent),
        (16, &[1], RepresentationLength),
        (22, &[13], CaptureTime),
        (29, &[2], DeviceTechnology),
        (31, &[1], DeviceType),
        (35, &[200], Quality),
        (40, &[0, 2], RepresentationNumber),
        (42, &[3], EyeLabel),
        (42, &[0], EyeLabel),
        (43, &[2], ImageType),
        (43, &[7], ImageType),
        (44, &[0x0e], ImageFormat),
        (45, &[0x43], Orientation),
        (45, &[0x80], Compression),
        (46, &[0, 81], Dimensions),
        (50, &[1], BitDepth),
        (69, &[1], Complete),
        (73, &[1], Image),
    ];
    for (at, bytes, rule) in cases {
        assert_eq!(broken("iris_registration_left", at, bytes), Err(rule), "byte {at} = {bytes:?}");
    }
    for (at, bytes) in [(29, &[1][..]), (42, &[1]), (45, &[0x4a]), (51, &[1, 2, 3, 4]), (57, &[9; 12])] {
        assert_eq!(broken("iris_registration_left", at, bytes), Ok(()), "control: byte {at} = {bytes:?}");
    }
    assert_eq!(broken("iris_auth_right", 42, &[0]), Ok(()));
    assert_eq!(broken("iris_auth_right", 43, &[3]), Err(ImageType));
}

#[test]
fn every_rule_of_a_face_record_is_enforced() {
    use Rule::*;
    let cases: [Breakage; 24] = [
        (0, b"F\0", FormatIdentifier),
        (4, b"020", Version),
        (8, &[1], RecordLength),
        (12, &[1, 1], Representations),
        (14, &[1], CertificationFlag),
        (15, &[0, 1], TemporalSemantics),
        (17, &[1], RepresentationLength),
        (23, &[13], CaptureTime),
        (30, &[7], DeviceTechnology),
        (32, &[1], DeviceType),
        (36, &[101], Quality),
        (41, &[0xff, 0xff], Complete),
        (43, &[3], Gender),
        (44, &[8], EyeColour),
        (45, &[8], HairColour),
        (47, &[0, 0, 0x12], FeatureMask),
        (58, &[4], ImageType),
        (59, &[1], Compression),
        (59, &[0], Compression),
        (60, &[0, 1], Dimensions),
        (64, &[8], SamplingLevel),
        (68, &[2], ColourSpace),
        (69, &[1], Complete),
        (73, &[1], Image),
    ];
    for (at, bytes, rule) in cases {
        assert_eq!(broken("face_registration", at, bytes), Err(rule), "byte {at} = {bytes:?}");
    }
    for (at, bytes) in
        [(30, &[0x80][..]), (43, &[2, 7, 7, 180]), (47, &[0, 0, 0x11]), (58, &[0x82]), (68, &[0])]
    {
        assert_eq!(broken("face_registration", at, bytes), Ok(()), "control: byte {at} = {bytes:?}");
    }
}

/// Sets both lengths of a record, so that only what it holds is wrong.
fn with_lengths(mut record: Vec<u8>, header: usize) -> Vec<u8> {
    let total = u32::try_from(record.len()).unwrap();
    record[8..12].copy_from_slice(&total.to_be_bytes());
    let representation = total - u32::try_from(header).unwrap();
    record[header..header + 4].copy_from_slice(&representation.to_be_bytes());
    record
}

#[test]
fn nothing_may_follow_but_extended_data_of_a_finger() {
    let append = |name: &str, tail: &[u8]| {
        let header = if name.starts_with("face") { 17 } else { 16 };
        let record = with_lengths([known_answers::record(name), tail.to_vec()].concat(), header);
        parse(&record, modality_of(name)).map(|_| ()).map_err(|violation| violation.rule)
    };
    assert_eq!(append("iris_registration_left", &[0]), Err(Rule::RecordLength));
    assert_eq!(append("face_registration", &[0]), Err(Rule::RecordLength));
    let finger = |tail: &[u8]| append("finger_registration_left_index", tail);
    assert_eq!(finger(&[0, 3, 0, 6, b'h', b'i']), Ok(()), "a comment");
    assert_eq!(finger(&[0, 1, 0, 4, 0, 3, 0, 4]), Ok(()), "two blocks");
    assert_eq!(finger(&[0, 0, 0, 4]), Err(Rule::ExtendedData));
    assert_eq!(finger(&[0, 3, 0, 3]), Err(Rule::ExtendedData));
    assert_eq!(finger(&[0, 3, 0, 7, b'h', b'i']), Err(Rule::Complete));
    assert_eq!(finger(&[0]), Err(Rule::Complete));
}

#[test]
fn finger_certification_and_landmarks_are_read_over() {
    let certified = |scheme: u8| {
        let mut record = known_answers::record("finger_auth_unknown");
        record[14] = 1;
        record.splice(40..40, [1, 0, 9, scheme]);
        parse(&with_lengths(record, 16), Modality::Finger).map(|_| ()).map_err(|violation| violation.rule)
    };
    assert_eq!((certified(3), certified(4)), (Ok(()), Err(Rule::CertificationScheme)));
    let mut record = known_answers::record("face_auth");
    record[42] = 2;
    record.splice(58..58, [7; 16]);
    assert!(parse(&with_lengths(record, 17), Modality::Face).is_ok());
}

#[test]
fn wsq_is_for_the_authentication_of_fingers() {
    let mut wsq = vec![0xff, 0xa0, 0xff, 0xa2, 0, 8, 0, 255, 1, 0x90, 1, 0x2c];
    wsq.extend([0; 40]);
    let record = finger(Purpose::Auth, BioSubType::RightThumb, &wsq).encode().unwrap();
    let parsed = validate(&record, Modality::Finger, Purpose::Auth).unwrap();
    assert_eq!(parsed.image_info(), &ImageInfo::Wsq { width: 300, height: 400 });
    assert_eq!((record[52], parsed.image()), (2, wsq.as_slice()));
    let rule = |result: Result<Vec<u8>, Violation>| result.unwrap_err().rule;
    assert_eq!(rule(finger(Purpose::Registration, BioSubType::RightThumb, &wsq).encode()), Rule::Compression);
    assert_eq!(rule(iris(Purpose::Auth, BioSubType::Left, &wsq).encode()), Rule::Image);
    assert_eq!(rule(face(Purpose::Auth, &wsq).encode()), Rule::ColourSpace);
    assert_eq!(parsed.advice(Purpose::Auth), [Advice::CompressionRatio(2307)]);
}

#[test]
fn advice_is_given_without_refusing() {
    let good = known_answers::record("finger_auth_unknown");
    assert_eq!(parse(&good, Modality::Finger).unwrap().advice(Purpose::Auth), []);
    let mut image = known_answers::image("f_ly");
    let res = image.windows(4).position(|window| window == b"resc").unwrap();
    image[res + 4] = 0x10;
    image[res + 8] = 0x10;
    let record = finger(Purpose::Auth, BioSubType::RightThumb, &image).encode().unwrap();
    let advice = parse(&record, Modality::Finger).unwrap().advice(Purpose::Auth);
    assert!(matches!(advice[..], [Advice::Density(Some((x, y)))] if x == y && x < 490), "{advice:?}");
}

#[test]
fn debug_tells_no_image() {
    let record = known_answers::record("face_auth");
    assert!(format!("{:?}", parse(&record, Modality::Face).unwrap()).len() < 250);
}

/// A box of a JP2 file.
fn jp2_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap().to_be_bytes();
    [&length[..], kind, content].concat()
}

#[test]
fn jp2_headers_in_other_shapes() {
    let image = known_answers::image("f_ll");
    let info = jp2::inspect(&image).unwrap();
    let at = image.windows(4).position(|window| window == b"jp2c").unwrap();
    let codestream = &image[at + 4..];
    let head = &image[..at - 4];

    let to_the_end = [head, &[0; 4], b"jp2c", codestream].concat();
    assert_eq!(jp2::inspect(&to_the_end), Ok(info));
    let long = u64::try_from(codestream.len() + 16).unwrap().to_be_bytes();
    let long_length = [head, &[0, 0, 0, 1], b"jp2c", &long, codestream].concat();
    assert_eq!(jp2::inspect(&long_length), Ok(info));
    assert_eq!(jp2::inspect(codestream), Err(Jp2Error::Signature), "a bare codestream");
    assert_eq!(jp2::inspect(head), Err(Jp2Error::Missing("codestream")));
    for length in [2u32, 7, u32::MAX] {
        let bad = [head, &length.to_be_bytes(), b"jp2c", codestream].concat();
        assert_eq!(jp2::inspect(&bad), Err(Jp2Error::Truncated), "{length}");
    }
    let no_header = [&jp2::SIGNATURE[..], &jp2_box(b"jp2c", codestream)].concat();
    assert!(matches!(jp2::inspect(&no_header), Err(Jp2Error::Missing(_))));

    let with_header = |content: &[u8]| {
        jp2::inspect(
            &[&jp2::SIGNATURE[..], &jp2_box(b"jp2h", content), &jp2_box(b"jp2c", codestream)].concat(),
        )
    };
    let colr = |content: &[u8]| with_header(&jp2_box(b"colr", content)).map(|info| info.colour);
    assert_eq!(with_header(&[]), Err(Jp2Error::Missing("colour box")));
    assert_eq!(colr(&[1, 0, 0, 0, 0, 0, 18]), Ok(Colour::Other(Some(18))));
    assert_eq!(colr(&[2, 0, 0, 1, 2, 3]), Ok(Colour::Other(None)));
    assert_eq!(colr(&[1, 0, 0, 0, 0]), Err(Jp2Error::Truncated));
    let density = |kind: &[u8; 4], content: &[u8]| {
        let res = jp2_box(b"res ", &jp2_box(kind, content));
        with_header(&[jp2_box(b"colr", &[1, 0, 0, 0, 0, 0, 17]), res].concat()).map(|info| info.dpi)
    };
    // 500 dpi are 19685 dots per metre; here 19685/1 and 1969/1 x 10^1, vertical first.
    assert_eq!(density(b"resd", &[0x4c, 0xe5, 0, 1, 0x07, 0xb1, 0, 1, 0, 1]), Ok(Some((500, 500))));
    assert_eq!(density(b"resc", &[0x4c, 0xe5, 0, 0, 0x4c, 0xe5, 0, 1, 0, 0]), Ok(None), "division by zero");
    assert_eq!(
        density(b"resc", &[0x4c, 0xe5, 0, 1, 0x4c, 0xe5, 0, 1, 127, 127]),
        Ok(None),
        "beyond any density"
    );
    assert_eq!(density(b"resc", &[0x4c]), Ok(None));
}

/// Replaces bytes of the codestream, counted from its SIZ marker.
fn with_codestream(at: usize, bytes: &[u8]) -> Result<jp2::Jp2Info, Jp2Error> {
    let mut image = known_answers::image("a_ll");
    let siz = image.windows(4).position(|window| window == [0xff, 0x4f, 0xff, 0x51]).unwrap() + 2;
    image[siz + at..siz + at + bytes.len()].copy_from_slice(bytes);
    jp2::inspect(&image)
}

#[test]
fn jp2_codestreams_that_cannot_be() {
    assert!(with_codestream(0, &[0xff, 0x51]).is_ok(), "the control");
    assert_eq!(with_codestream(0, &[0xff, 0x52]), Err(Jp2Error::Invalid("start of its codestream")));
    assert_eq!(with_codestream(2, &[0, 1]), Err(Jp2Error::Truncated));
    assert_eq!(with_codestream(6, &[0, 0, 0, 0]), Err(Jp2Error::Invalid("size")));
    assert_eq!(
        with_codestream(14, &[0, 0, 0, 48]),
        Err(Jp2Error::Invalid("size")),
        "offset as large as the width"
    );
    assert_eq!(with_codestream(38, &[0, 0]), Err(Jp2Error::Invalid("number of components")));
    assert_eq!(with_codestream(38, &[0xff, 0xff]), Err(Jp2Error::Truncated));
    assert_eq!(with_codestream(40, &[0x87]), Err(Jp2Error::Invalid("component")), "signed");
    assert_eq!(with_codestream(41, &[2]), Err(Jp2Error::Invalid("component")), "subsampled");
    assert_eq!(with_codestream(43, &[9]), Err(Jp2Error::Invalid("mixture of component depths")));
    assert_eq!(with_codestream(49, &[0xff, 0x90]), Err(Jp2Error::Missing("coding style (COD)")));
    assert_eq!(with_codestream(49, &[0x12]), Err(Jp2Error::Invalid("marker")));
}

#[test]
fn every_prefix_of_a_record_is_incomplete() {
    for name in ["finger_auth_unknown", "iris_auth_right", "face_auth"] {
        let record = known_answers::record(name);
        for end in 0..record.len() {
            assert!(parse(&record[..end], modality_of(name)).is_err(), "{name} up to {end}");
        }
        let header = if name.starts_with("face") { 17 } else { 16 };
        for end in header + 4..record.len() {
            let cut = with_lengths(record[..end].to_vec(), header);
            assert!(parse(&cut, modality_of(name)).is_err(), "{name} up to {end}, lengths set");
        }
    }
}

fn any_name() -> impl Strategy<Value = &'static str> {
    let names: Vec<&str> = table("iso").keys().map(String::as_str).collect();
    proptest::sample::select(names)
}

proptest! {
    #[test]
    fn never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for modality in Modality::ALL {
            let _ = parse(&bytes, *modality);
        }
        let _ = jp2::inspect(&bytes);
        let _ = jp2::inspect(&[&jp2::SIGNATURE[..], &bytes].concat());
        let _ = wsq::inspect(&[&wsq::SOI[..], &bytes].concat());
    }

    #[test]
    fn never_panics_on_changed_records(
        name in any_name(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        // The headers are where the decisions are.
        in_header in prop::collection::vec((0..260usize, any::<u8>()), 0..4),
    ) {
        let mut record = known_answers::record(name);
        for (at, value) in changes {
            let at = at.index(record.len());
            record[at] = value;
        }
        for (at, value) in in_header {
            record[at] = value;
        }
        for purpose in Purpose::ALL {
            if let Ok(parsed) = validate(&record, modality_of(name), *purpose) {
                let (width, height) = parsed.image_info().size();
                prop_assert!(width > 0 && height > 0 && u16::try_from(width.max(height)).is_ok());
                let _ = parsed.advice(*purpose);
            }
        }
    }

    #[test]
    fn fingers_round_trip(
        position in proptest::sample::select(BioSubType::ALL), purpose in proptest::sample::select(Purpose::ALL),
        dpi in 490..=1010u16, millis in 0..4_000_000_000_000i64, score in 0..=100u8,
        technology in 0..=0x14u8, vendor in 1..=u16::MAX, device_type in 1..=u16::MAX,
    ) {
        let image = known_answers::image(if purpose == Purpose::Auth { "f_ly" } else { "f_ll" });
        let details = Details {
            captured_at: Some(UtcMillis(millis)),
            device: CaptureDevice { technology, vendor, device_type },
            quality: vec![Quality { score, vendor: 0, algorithm: 1 }, Quality { score: 255, vendor, algorithm: 0 }],
        };
        let request = FingerImage { dpi, details: details.clone(), ..finger(purpose, position, &image) };
        let named = position.finger_position().is_some_and(|code| code > 0 || purpose == Purpose::Auth);
        match request.encode() {
            Ok(record) => {
                prop_assert!(named);
                let parsed = validate(&record, Modality::Finger, purpose).unwrap();
                prop_assert_eq!((parsed.details(), parsed.part(), parsed.image()), (&details, Some(position), &image[..]));
            }
            Err(violation) => prop_assert!(!named && violation.rule == Rule::FingerPosition),
        }
    }
}
