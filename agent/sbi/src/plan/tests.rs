//! The cases of the compliance kit by number, what real clients ask for, and the invariants of every plan.

use biotrust_model::{BioSubType as Part, Score};
use proptest::prelude::*;

use super::*;

fn bio(modality: Modality, sub_id: u8, count: u8, sub_types: &[Part], exceptions: &[Part]) -> BioRequest {
    BioRequest {
        modality,
        count,
        sub_types: sub_types.to_vec(),
        exceptions: exceptions.to_vec(),
        requested_score: Score::MIN,
        requested_score_text: "0".into(),
        device_id: "BT0123456789".into(),
        sub_id: SubId(sub_id),
        previous_hash: crate::hash_chain::EMPTY,
    }
}

fn shorthand(text: &str) -> Vec<Part> {
    let part = |word: &str| match word {
        "L" => Part::Left,
        "R" => Part::Right,
        "U" => Part::Unknown,
        "LI" => Part::LeftIndexFinger,
        "LM" => Part::LeftMiddleFinger,
        "LR" => Part::LeftRingFinger,
        "LL" => Part::LeftLittleFinger,
        "LT" => Part::LeftThumb,
        "RI" => Part::RightIndexFinger,
        "RM" => Part::RightMiddleFinger,
        "RR" => Part::RightRingFinger,
        "RL" => Part::RightLittleFinger,
        "RT" => Part::RightThumb,
        other => panic!("{other}"),
    };
    text.split_whitespace().map(part).collect()
}

const SLAP: (Modality, DeviceSubType) = (Modality::Finger, DeviceSubType::Slap);
const EYES: (Modality, DeviceSubType) = (Modality::Iris, DeviceSubType::Double);
const FACE: (Modality, DeviceSubType) = (Modality::Face, DeviceSubType::FullFace);
const FINGER: (Modality, DeviceSubType) = (Modality::Finger, DeviceSubType::Single);
const EYE: (Modality, DeviceSubType) = (Modality::Iris, DeviceSubType::Single);

/// Expected parts ("-" is a face), or "109".
fn check(
    case: &str,
    (modality, device): (Modality, DeviceSubType),
    purpose: Purpose,
    (sub_id, count, sub_types, exceptions): (u8, u8, &str, &str),
    expected: &str,
) {
    let bio = bio(modality, sub_id, count, &shorthand(sub_types), &shorthand(exceptions));
    let plan = segments(&bio, device, purpose);
    match expected {
        "109" => assert_eq!(plan, Err(ProblemKind::CountNotSupported.into()), "{case}"),
        "503" => assert_eq!(plan.map_err(|p| p.kind), Err(ProblemKind::AttributeInvalid), "{case}"),
        "502" => assert_eq!(plan.map_err(|p| p.kind), Err(ProblemKind::AttributeMissing), "{case}"),
        "-" => assert_eq!(plan.unwrap().parts, vec![None], "{case}"),
        parts => assert_eq!(plan, Ok(Plan::of(shorthand(parts))), "{case}"),
    }
}

#[test]
fn compliance_kit_registration() {
    let r = Purpose::Registration;
    for (case, device, request, expected) in [
        ("1002", SLAP, (1, 4, "LI LM LR LL", ""), "LI LM LR LL"),
        ("1003", SLAP, (1, 3, "LI LM LL", "LR"), "LI LM LL"),
        ("1004", SLAP, (2, 4, "RI RM RR RL", ""), "RI RM RR RL"),
        ("1005", SLAP, (2, 2, "RR RL", "RI RM"), "RR RL"),
        ("1006", SLAP, (3, 2, "RT LT", ""), "RT LT"),
        ("1007", SLAP, (3, 1, "RT", "LT"), "RT"),
        ("1008", SLAP, (3, 0, "", "RT LT"), "109"),
        ("1009", EYES, (3, 2, "L R", ""), "L R"),
        ("1010", EYES, (3, 1, "R", "L"), "R"),
        ("1011", EYES, (3, 0, "", "L R"), "109"),
        ("1012", FACE, (0, 1, "", ""), "-"),
        ("1013", FACE, (0, 1, "", "LL"), "-"),
        ("1033", SLAP, (1, 5, "", ""), "109"),
        ("1034", SLAP, (2, 5, "", ""), "109"),
        ("1035", SLAP, (3, 3, "", ""), "109"),
        ("1036", EYES, (1, 2, "", ""), "109"),
        ("1037", EYES, (2, 2, "", ""), "109"),
        ("1038", EYES, (3, 3, "", ""), "109"),
        ("1039", FACE, (0, 2, "", ""), "109"),
        ("1197", SLAP, (1, 4, "", ""), "LI LM LR LL"),
        ("1198", EYES, (3, 2, "", ""), "L R"),
        ("1199", FACE, (0, 1, "", ""), "-"),
        // What the kit lacks.
        ("desktop: null sub-types, one exception", SLAP, (1, 3, "", "LR"), "LI LM LL"),
        ("desktop: exceptions of other parts do not count", SLAP, (1, 4, "", "RT L"), "LI LM LR LL"),
        ("count still counts the excepted finger", SLAP, (1, 4, "LI LM LR LL", "LR"), "109"),
        (
            "an excepted finger that is asked for is not captured",
            SLAP,
            (1, 3, "LI LM LR LL", "LR"),
            "LI LM LL",
        ),
        ("fewer than the slap", SLAP, (1, 1, "LM", ""), "LM"),
        ("all excepted with a count", SLAP, (3, 2, "", "RT LT"), "109"),
        ("none", FACE, (0, 0, "", ""), "109"),
        ("a finger of the other hand", SLAP, (1, 1, "RI", ""), "503"),
        ("UNKNOWN in a registration", SLAP, (1, 1, "U", ""), "503"),
        ("the same finger twice", SLAP, (1, 2, "LI LI", ""), "503"),
        ("slap without a sub-id", SLAP, (0, 4, "", ""), "503"),
        ("no such sub-id", SLAP, (4, 4, "", ""), "503"),
        ("a face has no sub-id", FACE, (1, 1, "", ""), "503"),
        ("single finger, named", FINGER, (0, 1, "RT", ""), "RT"),
        ("single finger, not named", FINGER, (0, 1, "", ""), "502"),
        ("a slap from a single finger", FINGER, (1, 4, "", ""), "503"),
        ("single eye by sub-id", EYE, (2, 1, "", ""), "R"),
        ("both eyes at once from a single eye", EYE, (3, 2, "", ""), "503"),
        ("touchless slap", (Modality::Finger, DeviceSubType::Touchless), (2, 4, "", ""), "RI RM RR RL"),
        ("a finger of an iris scanner", (Modality::Finger, DeviceSubType::Double), (1, 4, "", ""), "503"),
    ] {
        check(case, device, r, request, expected);
    }
}

#[test]
fn compliance_kit_authentication() {
    let ten = "LI LM LR LL LT RI RM RR RL RT";
    for (case, device, request, expected) in [
        ("1014", FACE, (0, 1, "", ""), "-"),
        ("1015", EYE, (0, 1, "U", ""), "U"),
        ("1016", EYE, (0, 1, "L", ""), "L"),
        ("1017", EYE, (0, 1, "R", ""), "R"),
        ("1018", FINGER, (0, 1, "U", ""), "U"),
        ("1019", FINGER, (0, 2, "U U", ""), "U U"),
        ("1020", FINGER, (0, 1, "LI", ""), "LI"),
        ("1021", FINGER, (0, 2, "LI LM", ""), "LI LM"),
        ("1030", FINGER, (0, 11, "", ""), "109"),
        ("1031", EYE, (0, 3, "", ""), "109"),
        ("1032", FACE, (0, 2, "", ""), "109"),
        ("1058", FINGER, (0, 10, ten, ""), ten),
        ("1059", EYE, (0, 2, "L R", ""), "L R"),
        // What the kit lacks.
        ("browser: count and sub-types from two settings", FINGER, (0, 2, "U", ""), "U U"),
        ("no list", FINGER, (0, 1, "", ""), "U"),
        ("none", FINGER, (0, 0, "", ""), "109"),
        ("none of a list", FINGER, (0, 0, "LI", ""), "109"),
        ("more named than counted", FINGER, (0, 1, "LI LM", ""), "109"),
        ("fewer named than counted", FINGER, (0, 2, "LI", ""), "109"),
        ("named and unknown", FINGER, (0, 2, "LI U", ""), "LI U"),
        ("the same finger twice", FINGER, (0, 2, "LI LI", ""), "503"),
        ("an eye of a finger scanner", FINGER, (0, 2, "LI L", ""), "503"),
        ("another sub-id", FINGER, (1, 1, "U", ""), "503"),
        ("browser: slap scanner with sub-id 0", SLAP, (0, 1, "U", ""), "U"),
        ("an excepted finger", FINGER, (0, 1, "LI", "LI"), "503"),
        ("a face of a finger scanner", (Modality::Face, DeviceSubType::Single), (0, 1, "", ""), "503"),
    ] {
        check(case, device, Purpose::Auth, request, expected);
    }
}

#[test]
fn exception_photo_is_a_registration_face_with_exceptions() {
    let photo = |purpose, exceptions: &str| {
        segments(&bio(Modality::Face, 0, 1, &[], &shorthand(exceptions)), DeviceSubType::FullFace, purpose)
            .unwrap()
            .exception_photo
    };
    assert!(photo(Purpose::Registration, "LI R"));
    assert!(!photo(Purpose::Registration, ""));
    assert!(!photo(Purpose::Auth, "LI"));
}

fn any_part() -> impl Strategy<Value = Part> {
    proptest::sample::select(Part::ALL)
}

proptest! {
    #[test]
    fn every_plan_is_what_was_asked_for(
        modality in proptest::sample::select(Modality::ALL), device in proptest::sample::select(DeviceSubType::ALL),
        purpose in proptest::sample::select(Purpose::ALL), sub_id in 0..5u8, count in 0..12u8,
        sub_types in prop::collection::vec(any_part(), 0..5), exceptions in prop::collection::vec(any_part().prop_filter("never an exception", |part| *part != Part::Unknown), 0..4),
    ) {
        let bio = bio(modality, sub_id, count, &sub_types, &exceptions);
        let Ok(plan) = segments(&bio, device, purpose) else { return Ok(()) };
        prop_assert_eq!(plan.parts.len(), usize::from(count));
        prop_assert!(!plan.parts.is_empty());
        for (index, part) in plan.parts.iter().enumerate() {
            let Some(part) = part else {
                prop_assert_eq!(modality, Modality::Face);
                continue;
            };
            prop_assert!(!exceptions.contains(part), "an excepted part is never captured");
            prop_assert!(part.modality().is_none_or(|of_part| of_part == modality));
            if purpose == Purpose::Registration {
                prop_assert!(*part != Part::Unknown);
                prop_assert!(sub_id == 0 || SubId(sub_id).parts(modality).contains(part));
            }
            let earlier = plan.parts.iter().take(index).any(|other| *other == Some(*part));
            prop_assert!(*part == Part::Unknown || !earlier);
        }
    }
}
