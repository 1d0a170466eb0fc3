//! Slaps: what is composed is what the segmenter of biotrust-imaging finds.

use biosim_image::{PLATEN_HEIGHT, PLATEN_WIDTH, Slap, Subject, SubjectError};
use biotrust_imaging::{Dpi, Rect, segment};
use biotrust_model::BioSubType;

/// Intersection over union.
fn agreement(a: Rect, b: Rect) -> f32 {
    let area = |r: Rect| u64::from(r.width) * u64::from(r.height);
    let common = a.overlap(b);
    common as f32 / (area(a) + area(b) - common) as f32
}

fn assert_found(slap: &Slap, expected: &[BioSubType]) {
    let placed: Vec<BioSubType> = slap.fingers.iter().map(|(finger, _)| *finger).collect();
    assert_eq!(placed, expected);
    let found = segment::fingers(&slap.image, Dpi::FINGER);
    assert_eq!(found.len(), expected.len(), "{found:?} for {:?}", slap.fingers);
    for (rect, (finger, truth)) in found.iter().zip(&slap.fingers) {
        assert!(agreement(*rect, *truth) > 0.8, "{finger}: {rect:?} for {truth:?}");
    }
}

#[test]
fn every_set_of_fingers_is_found_from_left_to_right() {
    let subject = Subject::new(21, None);
    // For the eye of the scanner a left hand begins with the little finger.
    let mut left = BioSubType::LEFT_SLAP;
    left.reverse();
    for (hand, shown) in
        [(&left[..], "left"), (&BioSubType::RIGHT_SLAP, "right"), (&BioSubType::THUMBS, "thumbs")]
    {
        for set in 1u32..1 << hand.len() {
            let present: Vec<BioSubType> = hand
                .iter()
                .enumerate()
                .filter(|(i, _)| set >> i & 1 == 1)
                .map(|(_, finger)| *finger)
                .collect();
            let slap = subject.slap(&present, u64::from(set), 1.0).unwrap_or_else(|e| panic!("{shown}: {e}"));
            assert_eq!((slap.image.width(), slap.image.height()), (PLATEN_WIDTH, PLATEN_HEIGHT));
            assert_found(&slap, &present);
        }
    }
}

#[test]
fn poor_prints_are_found_too() {
    for seed in 22..25 {
        let subject = Subject::new(seed, None);
        for quality in [0.3, 0.5, 0.8] {
            let slap = subject.slap(&BioSubType::RIGHT_SLAP, 1, quality).unwrap();
            assert_found(&slap, &BioSubType::RIGHT_SLAP);
        }
    }
}

#[test]
fn fingers_that_do_not_belong_together_are_refused() {
    let subject = Subject::new(1, None);
    for wrong in [
        &[][..],
        &[BioSubType::Left],
        &[BioSubType::Unknown],
        &[BioSubType::LeftThumb, BioSubType::LeftIndexFinger],
        &[BioSubType::LeftIndexFinger, BioSubType::RightIndexFinger],
        &[BioSubType::LeftIndexFinger, BioSubType::LeftIndexFinger],
    ] {
        let refused = subject.slap(wrong, 0, 1.0);
        assert!(matches!(&refused, Err(SubjectError::NotASlap(named)) if named == wrong), "{wrong:?}");
    }
}
