//! The localiser on irises whose boundaries are known to the pixel, and on pictures without one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use biosim_image::Subject;
use biotrust_imaging::{Circle, Gray, IrisGeometry, Rgb, iris};
use biotrust_model::{BioSubType, Purpose};

/// The eye in the frame of a camera: skin around it, its edges faded so that no edge is a boundary.
fn frame(subject: u64, eye: BioSubType, capture: u64, quality: f32) -> (Gray, IrisGeometry) {
    let seen = Subject::new(subject, None).iris(eye, Purpose::Registration, capture, quality).unwrap();
    let (width, height) = (seen.image.width() as usize, seen.image.height() as usize);
    let (left, top) = (90 + 7 * (capture as usize % 20), 60 + 5 * (capture as usize % 20));
    let mut pixels = vec![150u8; 640 * 480];
    for (y, row) in seen.image.rows().enumerate() {
        for (x, grey) in row.iter().enumerate() {
            let edge = x.min(width - 1 - x).min(y).min(height - 1 - y).min(12) as f32 / 12.0;
            pixels[(top + y) * 640 + left + x] = (150.0 + (f32::from(*grey) - 150.0) * edge) as u8;
        }
    }
    let moved = |circle: Circle| Circle { x: circle.x + left as f32, y: circle.y + top as f32, ..circle };
    let IrisGeometry { pupil, limbus } = seen.geometry;
    (Gray::new(640, 480, pixels).unwrap(), IrisGeometry { pupil: moved(pupil), limbus: moved(limbus) })
}

/// Largest of the errors of centre and radius, in radii of the iris.
fn error(found: &IrisGeometry, real: &IrisGeometry) -> f32 {
    let off = |a: Circle, b: Circle| (a.x - b.x).hypot(a.y - b.y).max((a.radius - b.radius).abs());
    off(found.pupil, real.pupil).max(off(found.limbus, real.limbus)) / real.limbus.radius
}

fn frames(quality: f32) -> impl Iterator<Item = (Gray, IrisGeometry)> {
    (0..40).map(move |at| frame(100 + at / 2, BioSubType::EYES[at as usize % 2], at, quality))
}

#[test]
fn good_eyes_are_found_exactly() {
    for quality in [1.0, 0.8] {
        let mut errors: Vec<f32> = Vec::new();
        for (image, real) in frames(quality) {
            errors.extend(iris::locate(&image).map(|found| error(&found, &real)));
        }
        errors.sort_unstable_by(f32::total_cmp);
        println!(
            "quality {quality}: {} of 40 found, median {:?}, worst {:?}",
            errors.len(),
            errors.get(20),
            errors.last()
        );
        assert!(errors.len() >= 38, "{} of 40 at quality {quality}", errors.len());
        assert!(errors.iter().all(|error| *error < 0.06), "{errors:?}");
    }
}

#[test]
fn poor_eyes_are_found_or_not_but_not_somewhere_else() {
    for quality in [0.6, 0.4, 0.2, 0.0] {
        let mut wrong = 0;
        let mut found = 0;
        for (image, real) in frames(quality) {
            if let Some(geometry) = iris::locate(&image) {
                found += 1;
                wrong += usize::from(error(&geometry, &real) > 0.15);
            }
        }
        println!("quality {quality}: {found} of 40 found, {wrong} wrong");
        assert!(wrong <= 1, "{wrong} of {found} at quality {quality}");
    }
}

/// The longest searches are those that find nothing.
#[test]
fn no_frame_takes_long() {
    let noise = |dark: u32| -> Vec<u8> {
        let random =
            |at: u32| at.wrapping_mul(0x9e37_79b9).rotate_left(13).wrapping_mul(0x85eb_ca6b).to_be_bytes()[0];
        (0..1920 * 1080u32)
            .map(|at| random(at / 7) / if random(at / 49) as u32 % 10 < dark { 9 } else { 1 })
            .collect()
    };
    for dark in [0, 3, 6, 9] {
        let image = Gray::new(1920, 1080, noise(dark)).unwrap();
        let start = std::time::Instant::now();
        let found = iris::locate(&image);
        println!("{dark} tenths dark: {:?}", start.elapsed());
        assert!(found.is_none());
        // Some 50 ms on a machine that has nothing else to do.
        assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

fn grey(image: &Rgb) -> Gray {
    let pixels = image.pixels().chunks_exact(3).map(|rgb| rgb[1]).collect();
    Gray::new(image.width(), image.height(), pixels).unwrap()
}

#[test]
fn fingers_faces_and_parts_of_eyes_are_no_irises() {
    let subject = Subject::new(7, None);
    for finger in BioSubType::LEFT_SLAP {
        assert!(iris::locate(&subject.finger(finger, 1, 1.0).unwrap()).is_none(), "{finger}");
    }
    let face = grey(&subject.face(1, 1.0, &[]).unwrap());
    // A face has eyes, so something may be found in it: but then it is an eye, of a size that no record takes.
    assert!(iris::locate(&face).is_none_or(|found| found.limbus.radius < 40.0));
    for (image, real) in frames(1.0).take(6) {
        let half = biotrust_imaging::Rect {
            x: real.limbus.x as u32,
            y: 0,
            width: 640 - real.limbus.x as u32,
            height: 480,
        };
        assert!(iris::locate(&image.crop(half).unwrap()).is_none(), "half an eye");
    }
}
