//! The subject as its users see it: the same every time, on every thread, with and without its cache; fit for the encoders.

#![allow(clippy::unwrap_used)] // helpers of tests fail like tests

use biosim_image::{EXCEPTION_HEIGHT, EXCEPTION_WIDTH, FACE_HEIGHT, FACE_WIDTH, Subject, SubjectError};
use biotrust_imaging::Dpi;
use biotrust_imaging::jp2::{Codec, encode_gray, encode_rgb};
use biotrust_model::{BioSubType, Purpose};

const FINGER: BioSubType = BioSubType::LeftMiddleFinger;

fn pixels(subject: &Subject) -> Vec<u8> {
    subject.finger(FINGER, 3, 0.9).unwrap().pixels().to_vec()
}

#[test]
fn a_seed_is_a_person() {
    let (one, two, again) = (Subject::new(1, None), Subject::new(2, None), Subject::new(1, None));
    assert!(pixels(&one) == pixels(&again));
    assert!(pixels(&one) != pixels(&two), "another person");
    let other = one.finger(BioSubType::RightMiddleFinger, 3, 0.9).unwrap();
    assert!(other.pixels() != pixels(&one), "another finger");
    let later = one.finger(FINGER, 4, 0.9).unwrap();
    assert!(later.pixels() != pixels(&one), "another capture");
    let iris = |s: &Subject, eye| s.iris(eye, Purpose::Auth, 1, 0.9).unwrap().image.pixels().to_vec();
    assert!(iris(&one, BioSubType::Left) == iris(&again, BioSubType::Left));
    assert!(iris(&one, BioSubType::Left) != iris(&one, BioSubType::Right));
    let face = |s: &Subject| s.face(1, 0.9, &[]).unwrap().pixels().to_vec();
    assert!(face(&one) == face(&again) && face(&one) != face(&two));
}

#[test]
fn threads_share_a_subject() {
    let alone = pixels(&Subject::new(5, None));
    let subject = Subject::new(5, None);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| pixels(&subject))).collect();
        for thread in threads {
            assert!(thread.join().unwrap() == alone);
        }
    });
}

#[test]
fn the_cache_changes_nothing_but_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("fingers");
    let fresh = pixels(&Subject::new(6, None));
    assert!(pixels(&Subject::new(6, Some(cache.clone()))) == fresh, "while it is filled");
    let files: Vec<_> = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "only the finger that was asked for");
    let stored = std::fs::read(&files[0]).unwrap();
    assert!(pixels(&Subject::new(6, Some(cache.clone()))) == fresh, "from it");

    // A finger that is really read from there: another one's ridges would show.
    let mut corrupt = stored.clone();
    corrupt[5000] ^= 0x55;
    std::fs::write(&files[0], &corrupt).unwrap();
    assert!(pixels(&Subject::new(6, Some(cache))) == fresh, "a corrupt file is grown again");
    assert!(std::fs::read(&files[0]).unwrap() == stored, "and replaced");

    let impossible = tempfile::NamedTempFile::new().unwrap();
    assert!(pixels(&Subject::new(6, Some(impossible.path().join("x")))) == fresh, "a cache that cannot be");
}

#[test]
fn wrong_parts_are_errors_and_odd_knobs_are_not() {
    let subject = Subject::new(7, None);
    for part in [BioSubType::Left, BioSubType::Unknown] {
        assert!(matches!(subject.finger(part, 0, 1.0), Err(SubjectError::NotAFinger(p)) if p == part));
    }
    for part in [FINGER, BioSubType::Unknown] {
        let refused = subject.iris(part, Purpose::Auth, 0, 1.0);
        assert!(matches!(refused, Err(SubjectError::NotAnEye(p)) if p == part));
    }
    let at = |knob| subject.finger(FINGER, 0, knob).unwrap().pixels().to_vec();
    assert!(at(f32::NAN) == at(0.0) && at(-7.0) == at(0.0) && at(9.0) == at(1.0) && at(0.0) != at(1.0));
}

#[test]
fn images_have_the_shapes_that_are_asked_for() {
    let subject = Subject::new(8, None);
    let finger = subject.finger(FINGER, 0, 1.0).unwrap();
    // 0.5 x 0.65 inches at least.
    assert!(finger.width() >= 250 && finger.height() >= 325);
    let face = subject.face(0, 1.0, &[]).unwrap();
    assert_eq!((face.width(), face.height()), (FACE_WIDTH, FACE_HEIGHT));
    let photo = subject.face(0, 1.0, &[BioSubType::LeftThumb]).unwrap();
    assert_eq!((photo.width(), photo.height()), (EXCEPTION_WIDTH, EXCEPTION_HEIGHT));
    assert_eq!(EXCEPTION_WIDTH * 40, EXCEPTION_HEIGHT * 60, "60 x 40 mm");
    // White all along the top.
    assert!(face.rows().take(8).flatten().all(|value| *value > 225));
}

#[test]
fn missing_fingers_are_missing_in_the_exception_photo() {
    let subject = Subject::new(9, None);
    let skin = |missing: &[BioSubType], right_half: bool| {
        let photo = subject.face(0, 1.0, missing).unwrap();
        let side = if right_half { 700..960 } else { 0..260 };
        photo.rows().map(|row| side.clone().filter(|x| row[x * 3 + 2] < 200).count()).sum::<usize>()
    };
    let one = [BioSubType::LeftThumb];
    let two = [BioSubType::LeftThumb, BioSubType::LeftIndexFinger];
    let other = [BioSubType::RightThumb];
    assert!(skin(&two, true) + 500 < skin(&one, true), "a left finger less, on the right of the picture");
    assert_eq!(skin(&two, false), skin(&one, false), "nothing changes on the other side");
    assert!(skin(&other, false) + 500 < skin(&one, false), "a right finger less, on the left");
}

#[test]
fn every_quality_survives_authentication_encoding() {
    let lossy = Codec::Lossy { ratio: 15 };
    for seed in 31..34 {
        let subject = Subject::new(seed, None);
        for knob in [0.0, 0.5, 1.0] {
            let finger = subject.finger(FINGER, 1, knob).unwrap();
            let file = encode_gray(&finger, lossy, Some(Dpi::FINGER)).unwrap();
            assert!(finger.pixels().len() / file.len() <= 15);
            let iris = subject.iris(BioSubType::Right, Purpose::Auth, 1, knob).unwrap().image;
            let file = encode_gray(&iris, lossy, None).unwrap();
            assert!(iris.pixels().len() / file.len() <= 15);
            assert!(file.len() >= 3584, "3.5 KB at least: {}", file.len());
            let face = subject.face(1, knob, &[]).unwrap();
            let file = encode_rgb(&face, lossy, None).unwrap();
            assert!(face.pixels().len() / file.len() <= 15);
        }
    }
}
