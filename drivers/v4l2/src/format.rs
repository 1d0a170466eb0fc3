//! Which of the formats that a camera offers is taken.

use biotrust_driver_api::{FourCc, VideoFormat};
use biotrust_model::Purpose;

use crate::frame::LONGEST;

/// What a camera is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// Faces, in colour.
    Face,
    /// Irises, in near infrared.
    Iris,
}

impl Sees {
    /// Fewest rows of a frame. Faces: 1080 for a registration, 720 for an authentication (MOSIP's image specification).
    /// Irises: an iris of 210 pixels with its margins.
    #[must_use]
    pub const fn fewest_rows(self, purpose: Purpose) -> u32 {
        match (self, purpose) {
            (Self::Face, Purpose::Registration) => 1080,
            (Self::Face, Purpose::Auth) => 720,
            (Self::Iris, _) => 400,
        }
    }

    /// Pixel formats, the best first. A face is shown as the camera's own JPEG; an iris must not have been compressed, where
    /// there is a choice.
    const fn formats(self) -> &'static [FourCc] {
        match self {
            Self::Face => &[FourCc::MJPG, FourCc::YUYV],
            Self::Iris => &[FourCc::GREY, FourCc::YUYV, FourCc::MJPG],
        }
    }
}

/// What is wanted most: larger frames cost time and bring nothing.
const BEST: (u32, u32) = (1920, 1080);

/// The format to ask for; `None` when none of those will do.
#[must_use]
pub fn choose(offered: &[VideoFormat], sees: Sees, purpose: Purpose) -> Option<VideoFormat> {
    let fits = |one: &&VideoFormat| {
        one.height >= sees.fewest_rows(purpose)
            && one.width.max(one.height) <= LONGEST
            && one.width.is_multiple_of(2)
            && one.width >= one.height / 2
    };
    // Up to the best as large as can be, beyond it as small as can be.
    let rank = |one: &&VideoFormat| {
        let (area, best) = (u64::from(one.width) * u64::from(one.height), u64::from(BEST.0 * BEST.1));
        if area <= best { (1, area) } else { (0, u64::MAX - area) }
    };
    sees.formats().iter().find_map(|pixels| {
        offered.iter().filter(|one| one.pixels == *pixels).filter(fits).max_by_key(rank).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(list: &[(FourCc, u32, u32)]) -> Vec<VideoFormat> {
        list.iter()
            .map(|(pixels, width, height)| VideoFormat {
                pixels: *pixels,
                width: *width,
                height: *height,
                stride: 0,
            })
            .collect()
    }

    fn chosen(list: &[(FourCc, u32, u32)], sees: Sees, purpose: Purpose) -> Option<(FourCc, u32, u32)> {
        choose(&offers(list), sees, purpose).map(|one| (one.pixels, one.width, one.height))
    }

    const WEBCAM: [(FourCc, u32, u32); 6] = [
        (FourCc::YUYV, 1920, 1080),
        (FourCc::YUYV, 640, 480),
        (FourCc::MJPG, 3840, 2160),
        (FourCc::MJPG, 1920, 1080),
        (FourCc::MJPG, 1280, 720),
        (FourCc::GREY, 640, 480),
    ];

    #[test]
    fn a_face_is_a_full_hd_jpeg() {
        let best = Some((FourCc::MJPG, 1920, 1080));
        assert_eq!(chosen(&WEBCAM, Sees::Face, Purpose::Auth), best);
        assert_eq!(chosen(&WEBCAM, Sees::Face, Purpose::Registration), best);
    }

    #[test]
    fn the_next_best_is_taken() {
        let auth = |list: &[_]| chosen(list, Sees::Face, Purpose::Auth);
        assert_eq!(auth(&WEBCAM[4..]), Some((FourCc::MJPG, 1280, 720)));
        assert_eq!(auth(&WEBCAM[..2]), Some((FourCc::YUYV, 1920, 1080)));
        assert_eq!(auth(&WEBCAM[2..3]), Some((FourCc::MJPG, 3840, 2160)), "larger, where there is no other");
    }

    #[test]
    fn what_is_too_small_or_without_colour_is_no_face() {
        assert_eq!(chosen(&WEBCAM[4..], Sees::Face, Purpose::Registration), None);
        assert_eq!(chosen(&[(FourCc::MJPG, 640, 480)], Sees::Face, Purpose::Auth), None);
        assert_eq!(chosen(&[(FourCc::GREY, 1920, 1080)], Sees::Face, Purpose::Auth), None);
        assert_eq!(chosen(&[(FourCc::MJPG, 7680, 4320)], Sees::Face, Purpose::Auth), None);
        assert_eq!(chosen(&[], Sees::Face, Purpose::Auth), None);
    }

    #[test]
    fn an_iris_is_not_compressed_where_there_is_a_choice() {
        let iris = |list: &[_]| chosen(list, Sees::Iris, Purpose::Registration);
        assert_eq!(iris(&WEBCAM), Some((FourCc::GREY, 640, 480)));
        assert_eq!(iris(&WEBCAM[..5]), Some((FourCc::YUYV, 1920, 1080)));
        assert_eq!(iris(&WEBCAM[2..5]), Some((FourCc::MJPG, 1920, 1080)));
    }
}
