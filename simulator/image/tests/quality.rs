//! The estimators of biotrust-imaging against the quality knob of the generators: several people, several captures.

#![allow(clippy::indexing_slicing)] // a wrong index fails the test

use biosim_image::Subject;
use biotrust_imaging::{Circle, Dpi, Gray, IrisGeometry, Rgb, quality};
use biotrust_model::{BioSubType, Purpose, Score};

const STEPS: u64 = 6;

/// Scores at each step of the knob, for every subject and capture.
fn ladder(score: impl Fn(&Subject, u64, f32) -> Score) -> Vec<Vec<f32>> {
    let subjects: Vec<Subject> = (11..15).map(|seed| Subject::new(seed, None)).collect();
    (0..STEPS)
        .map(|step| {
            let knob = step as f32 / (STEPS - 1) as f32;
            let captures = subjects.iter().flat_map(|s| (0..2).map(move |capture| (s, capture)));
            captures.map(|(subject, capture)| score(subject, capture, knob).value()).collect()
        })
        .collect()
}

fn assert_climbs(name: &str, ladder: &[Vec<f32>], bottom: f32, top: f32) {
    let means: Vec<f32> = ladder.iter().map(|step| step.iter().sum::<f32>() / step.len() as f32).collect();
    for pair in means.windows(2) {
        assert!(pair[1] > pair[0] + 2.0, "{name}: every step of the knob is a step of the score: {means:?}");
    }
    assert!(means[0] < bottom, "{name}: the worst is below {bottom}: {means:?}");
    assert!(means[means.len() - 1] > top, "{name}: the best is above {top}: {means:?}");
    // One capture that gets better scores better, all the way.
    for capture in 0..ladder[0].len() {
        let path: Vec<f32> = ladder.iter().map(|step| step[capture]).collect();
        for pair in path.windows(2) {
            assert!(pair[1] > pair[0] - 1.5, "{name}: capture {capture} climbs: {path:?}");
        }
    }
}

#[test]
fn fingers_climb() {
    let ladder = ladder(|subject, capture, knob| {
        let finger = BioSubType::ALL[(capture * 5) as usize % 10];
        quality::finger(&subject.finger(finger, capture, knob).unwrap(), Dpi::FINGER)
    });
    assert_climbs("finger", &ladder, 10.0, 75.0);
}

#[test]
fn irises_climb() {
    for purpose in [Purpose::Registration, Purpose::Auth] {
        let ladder = ladder(|subject, capture, knob| {
            let iris = subject.iris(BioSubType::EYES[capture as usize % 2], purpose, capture, knob).unwrap();
            quality::iris(&iris.image, &iris.geometry)
        });
        assert_climbs("iris", &ladder, 15.0, 75.0);
    }
}

#[test]
fn faces_climb() {
    for exception in [&[][..], &[BioSubType::RightLittleFinger]] {
        let ladder =
            ladder(|subject, capture, knob| quality::face(&subject.face(capture, knob, exception).unwrap()));
        assert_climbs("face", &ladder, 25.0, 75.0);
    }
}

/// Pixels without any structure.
fn static_noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(next).collect()
}

#[test]
fn what_is_no_finger_scores_nothing() {
    for level in [0, 128, 250, 255] {
        let blank = Gray::filled(400, 500, level).unwrap();
        assert_eq!(quality::finger(&blank, Dpi::FINGER), Score::MIN, "blank at {level}");
    }
    let noise = Gray::new(400, 500, static_noise(200_000)).unwrap();
    assert!(quality::finger(&noise, Dpi::FINGER).value() < 3.0);
    // Stripes, but four times as wide as ridges.
    let stripes = (0..200_000).map(|i| if (i % 400) / 18 % 2 == 0 { 40 } else { 220 }).collect();
    let score = quality::finger(&Gray::new(400, 500, stripes).unwrap(), Dpi::FINGER);
    assert!(score.value() < 40.0, "{score}");
    for (width, height) in [(1, 1), (7, 400), (33, 33)] {
        assert_eq!(quality::finger(&Gray::filled(width, height, 9).unwrap(), Dpi::FINGER), Score::MIN);
    }
}

#[test]
fn density_is_taken_into_account() {
    let image = Subject::new(3, None).finger(BioSubType::LeftThumb, 0, 1.0).unwrap();
    let twice: Vec<u8> =
        (0..800 * 640).map(|i| image.pixels()[(i / 640 / 2) * 320 + (i % 640) / 2]).collect();
    let twice = Gray::new(640, 800, twice).unwrap();
    let right = quality::finger(&image, Dpi::FINGER).value();
    let same = quality::finger(&twice, Dpi::new(1000).unwrap()).value();
    let wrong = quality::finger(&twice, Dpi::FINGER).value();
    assert!((right - same).abs() < 10.0, "{right} {same}");
    assert!(wrong < right - 20.0, "{right} {wrong}");
}

#[test]
fn what_is_no_eye_scores_nothing() {
    let geometry = IrisGeometry {
        pupil: Circle { x: 185.0, y: 140.0, radius: 45.0 },
        limbus: Circle { x: 185.0, y: 140.0, radius: 120.0 },
    };
    for level in [0, 128, 255] {
        let blank = Gray::filled(370, 280, level).unwrap();
        assert_eq!(quality::iris(&blank, &geometry), Score::MIN, "blank at {level}");
    }
    let noise = Gray::new(370, 280, static_noise(370 * 280)).unwrap();
    assert!(quality::iris(&noise, &geometry).value() < 12.0);
    let eye = Subject::new(4, None).iris(BioSubType::Left, Purpose::Registration, 0, 1.0).unwrap();
    let good = quality::iris(&eye.image, &eye.geometry).value();
    // Boundaries that are not there, an eye half out of the picture, nonsense.
    let mut moved = eye.geometry;
    moved.pupil.x += 60.0;
    moved.limbus.x += 60.0;
    assert!(quality::iris(&eye.image, &moved).value() < good / 2.0);
    for radius in [0.0, -3.0, f32::NAN, f32::INFINITY] {
        let nonsense = IrisGeometry { pupil: Circle { radius, ..eye.geometry.pupil }, ..eye.geometry };
        assert_eq!(quality::iris(&eye.image, &nonsense), Score::MIN, "{radius}");
    }
}

#[test]
fn what_is_no_face_scores_nothing() {
    for level in [0, 128, 245, 255] {
        let blank = Rgb::filled(480, 640, level).unwrap();
        assert_eq!(quality::face(&blank), Score::MIN, "blank at {level}");
    }
    let noise = Rgb::new(480, 640, static_noise(480 * 640 * 3)).unwrap();
    assert!(quality::face(&noise).value() < 20.0, "{}", quality::face(&noise));
    for (width, height) in [(1, 1), (2, 900), (9, 3)] {
        assert_eq!(quality::face(&Rgb::filled(width, height, 9).unwrap()), Score::MIN);
    }
}
