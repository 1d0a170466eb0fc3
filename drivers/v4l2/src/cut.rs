//! Cuts the part out of a frame that is captured.

use biotrust_imaging::{Circle, Gray, ImageError, IrisGeometry, Rect, Rgb};

/// Format of a portrait: 35 x 45 mm (MOSIP's image specification).
const PORTRAIT: (u32, u32) = (35, 45);
/// Margins of a cropped iris (kind K3 of ISO/IEC 19794-6) in radii: beside it, and above and below.
const IRIS: (f32, f32) = (0.6, 0.2);

/// The portrait in the middle of a frame, as large as can be.
///
/// # Errors
/// Not for a frame of at least 35 x 45 pixels.
pub fn portrait(frame: &Rgb) -> Result<Rgb, ImageError> {
    let (width, height) = (frame.width(), frame.height());
    let narrow = height * PORTRAIT.0 / PORTRAIT.1;
    let part = if narrow <= width { (narrow, height) } else { (width, width * PORTRAIT.1 / PORTRAIT.0) };
    // Without a copy of the frame where it is a portrait already there is none to be made either.
    frame.crop(Rect { x: (width - part.0) / 2, y: (height - part.1) / 2, width: part.0, height: part.1 })
}

/// The iris with its margins, and where it is in what was cut; `None` when it is too near to an edge of the frame.
#[must_use]
pub fn iris(frame: &Gray, geometry: &IrisGeometry) -> Option<(Gray, IrisGeometry)> {
    let Circle { x, y, radius } = geometry.limbus;
    let (across, down) = (radius * (1.0 + IRIS.0), radius * (1.0 + IRIS.1));
    let (left, top) = ((x - across).floor(), (y - down).floor());
    if ![left, top, radius].iter().all(|length| length.is_finite() && *length >= 0.0) {
        return None;
    }
    let rect = Rect {
        x: left as u32,
        y: top as u32,
        width: (2.0 * across).ceil() as u32,
        height: (2.0 * down).ceil() as u32,
    };
    let moved = |circle: Circle| Circle { x: circle.x - left, y: circle.y - top, ..circle };
    let part = frame.crop(rect).ok()?;
    Some((part, IrisGeometry { pupil: moved(geometry.pupil), limbus: moved(geometry.limbus) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portrait_is_the_middle_of_a_frame() {
        for ((width, height), part) in [
            ((1920, 1080), (840, 1080)),
            ((1280, 720), (560, 720)),
            ((720, 1280), (720, 925)),
            ((35, 45), (35, 45)),
        ] {
            let mut frame = Rgb::filled(width, height, 9).unwrap();
            let middle = (height / 2 * width + width / 2) as usize * 3;
            frame.pixels_mut()[middle] = 200;
            let cut = portrait(&frame).unwrap();
            assert_eq!((cut.width(), cut.height()), part);
            let spot = cut.pixels().iter().position(|byte| *byte == 200).unwrap() as u32 / 3;
            assert!((spot % part.0).abs_diff(part.0 / 2) <= 1 && (spot / part.0).abs_diff(part.1 / 2) <= 1);
        }
    }

    #[test]
    fn an_iris_keeps_its_margins_or_is_not_cut() {
        let frame = Gray::filled(640, 480, 100).unwrap();
        let at = |x: f32| {
            let limbus = Circle { x, y: 240.0, radius: 110.0 };
            IrisGeometry { pupil: Circle { radius: 40.0, ..limbus }, limbus }
        };
        let (part, geometry) = iris(&frame, &at(320.0)).unwrap();
        assert_eq!((part.width(), part.height()), (352, 264));
        assert!((geometry.limbus.x - 176.0).abs() < 1.0 && (geometry.limbus.y - 132.0).abs() < 1.0);
        assert!(iris(&frame, &at(170.0)).is_none(), "too far left");
        assert!(iris(&frame, &at(470.0)).is_none(), "too far right");
        assert!(iris(&frame, &at(f32::NAN)).is_none());
    }
}
