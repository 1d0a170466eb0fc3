//! Making a frame: draw the subject, find the fingers on the platen, score each piece, draw the picture.

use std::sync::Arc;

use biosim_image::FINGER_DPI;
use biotrust_imaging::jp2::{Codec, Dpi};
use biotrust_imaging::preview::{self, Marks, Segment, Settings};
use biotrust_imaging::{Gray, Rect, quality, segment};
use biotrust_model::{BioSubType, Modality, Purpose, Score};

use super::frame::{Frame, Picture, Piece, Pixels, average};
use super::{StudioError, View};
use crate::calibration::CalibratedSubject;
use crate::kind::Kind;
use crate::scene::Presented;

/// Compression of authentication images; 15:1 is the limit of the back ends.
const AUTH_CODEC: Codec = Codec::Lossy { ratio: 12 };
/// Pieces that are shown side by side at most.
const SIDE_BY_SIDE: usize = 4;

/// All that decides how a frame is made.
pub(super) struct Maker<'a> {
    pub(super) kind: Kind,
    pub(super) purpose: Purpose,
    pub(super) subject: &'a CalibratedSubject,
    pub(super) quality: u8,
    pub(super) take: u64,
    /// For the mark in the picture.
    pub(super) wanted: Option<Score>,
    pub(super) give_up: &'a dyn Fn() -> bool,
}

impl Maker<'_> {
    /// The frame; `None` when it was given up.
    pub(super) fn make(&self, view: &View, shown: &[Presented]) -> Result<Option<Frame>, StudioError> {
        match self.kind.modality() {
            Modality::Face => self.face(view).map(Some),
            Modality::Iris => self.eyes(view, shown),
            Modality::Finger if self.kind.has_platen() => self.platen(view, shown),
            Modality::Finger => self.fingers(view, shown),
        }
    }

    const fn codec(&self) -> Codec {
        match self.purpose {
            Purpose::Registration => Codec::Lossless,
            Purpose::Auth => AUTH_CODEC,
        }
    }

    fn finger_piece(&self, part: BioSubType, image: Gray) -> Piece {
        let score = quality::finger(&image, Dpi::FINGER);
        Piece::gray(part, image, FINGER_DPI, score, self.codec())
    }

    /// One finger after the other on a small sensor.
    fn fingers(&self, view: &View, shown: &[Presented]) -> Result<Option<Frame>, StudioError> {
        let mut pieces = Vec::with_capacity(shown.len());
        for part in shown {
            if (self.give_up)() {
                return Ok(None);
            }
            let image = self.subject.finger(part.real, self.take, self.quality)?;
            pieces.push(self.finger_piece(part.asked, image));
        }
        self.side_by_side(view, pieces, |_| None).map(Some)
    }

    /// Whole hands on a platen: each piece is what segmentation finds there.
    fn platen(&self, view: &View, shown: &[Presented]) -> Result<Option<Frame>, StudioError> {
        let mut pieces: Vec<Piece> = Vec::with_capacity(shown.len());
        let mut picture = None;
        for hand in [&BioSubType::LEFT_SLAP[..], &BioSubType::RIGHT_SLAP, &BioSubType::THUMBS] {
            let on_it: Vec<Presented> =
                shown.iter().copied().filter(|part| hand.contains(&part.real)).collect();
            if on_it.is_empty() {
                continue;
            }
            if (self.give_up)() {
                return Ok(None);
            }
            let reals: Vec<BioSubType> = on_it.iter().map(|part| part.real).collect();
            let slap = self.subject.slap(&reals, self.take, self.quality)?;
            let boxes = segment::fingers(&slap.image, Dpi::FINGER);
            let mut found = Vec::with_capacity(boxes.len());
            // A scanner knows which hand it has been shown and counts from the left; a wrong count is no capture.
            if boxes.len() == slap.fingers.len() {
                for ((real, _), rect) in slap.fingers.iter().zip(&boxes) {
                    if let Some(part) = on_it.iter().find(|part| part.real == *real) {
                        found.push(self.finger_piece(part.asked, slap.image.crop(*rect)?));
                    }
                }
            }
            if picture.is_none() {
                let scores = found.iter().map(|piece| Some(piece.score)).chain(std::iter::repeat(None));
                let segments: Vec<Segment> = boxes
                    .iter()
                    .zip(scores)
                    .map(|(rect, quality)| Segment { rect: *rect, quality })
                    .collect();
                picture = Some(self.picture(&slap.image, &segments, average(&found), view)?);
            }
            pieces.append(&mut found);
        }
        let picture = match picture {
            Some(picture) => picture,
            None => empty(self.kind, view)?,
        };
        let complete = pieces.len() == view.parts.len();
        let order = |piece: &Piece| shown.iter().position(|part| Some(part.asked) == piece.part);
        pieces.sort_by_key(order);
        Ok(Some(Frame::new(pieces, complete, picture)))
    }

    fn eyes(&self, view: &View, shown: &[Presented]) -> Result<Option<Frame>, StudioError> {
        let mut pieces = Vec::with_capacity(shown.len());
        let mut circles = Vec::with_capacity(shown.len());
        for part in shown {
            if (self.give_up)() {
                return Ok(None);
            }
            let eye = self.subject.iris(part.real, self.purpose, self.take, self.quality)?;
            let score = quality::iris(&eye.image, &eye.geometry);
            let limbus = eye.geometry.limbus;
            let mut piece = Piece::gray(part.asked, eye.image, 0, score, self.codec());
            piece.iris_geometry = Some([limbus.x, limbus.y, 2.0 * limbus.radius].map(|v| v.round() as u16));
            circles.push(Rect {
                x: (limbus.x - limbus.radius).max(0.0) as u32,
                y: (limbus.y - limbus.radius).max(0.0) as u32,
                width: (2.0 * limbus.radius) as u32,
                height: (2.0 * limbus.radius) as u32,
            });
            pieces.push(piece);
        }
        self.side_by_side(view, pieces, |index| circles.get(index).copied()).map(Some)
    }

    fn face(&self, view: &View) -> Result<Frame, StudioError> {
        let photo = self.subject.face(&view.exceptions, self.take, self.quality)?;
        let score = quality::face(&photo);
        let box_ = Segment { rect: middle(photo.width(), photo.height()), quality: Some(score) };
        let picture = self.picture(&photo, &[box_], Some(score), view)?;
        Ok(Frame::new(vec![Piece::rgb(photo, score, self.codec())], true, picture))
    }

    /// A frame whose picture shows its pieces beside each other, each with its box (the whole piece unless `box_in` says
    /// where).
    fn side_by_side(
        &self,
        view: &View,
        pieces: Vec<Piece>,
        box_in: impl Fn(usize) -> Option<Rect>,
    ) -> Result<Frame, StudioError> {
        let complete = pieces.len() == view.parts.len();
        let mut images = Vec::new();
        let mut segments = Vec::new();
        let mut left = 0;
        for (index, piece) in pieces.iter().enumerate().take(SIDE_BY_SIDE) {
            if let Pixels::Gray(image) = &piece.pixels {
                let rect = box_in(index).unwrap_or(image.bounds());
                segments
                    .push(Segment { rect: Rect { x: rect.x + left, ..rect }, quality: Some(piece.score) });
                left += image.width();
                images.push(image);
            }
        }
        let picture = match beside(&images)? {
            Some(whole) => self.picture(&whole, &segments, average(&pieces), view)?,
            None => empty(self.kind, view)?,
        };
        Ok(Frame::new(pieces, complete, picture))
    }

    fn picture<'b>(
        &self,
        image: impl Into<preview::Frame<'b>>,
        segments: &[Segment],
        score: Option<Score>,
        view: &View,
    ) -> Result<Picture, StudioError> {
        let wanted_parts = view.parts.len().max(1);
        let message = if segments.len() < wanted_parts.min(SIDE_BY_SIDE) { "INCOMPLETE" } else { "" };
        let marks = Marks { segments, quality: score, wanted: self.wanted, message };
        Ok(Picture { jpeg: Arc::from(preview::jpeg(image, &marks, settings(self.kind))?), score })
    }
}

/// The picture of a sensor with nobody in front of it, with what to do.
pub(super) fn empty(kind: Kind, view: &View) -> Result<Picture, StudioError> {
    let (width, height, grey) = match kind.modality() {
        Modality::Finger if kind.has_platen() => (640, 400, 236),
        Modality::Finger => (320, 400, 236),
        Modality::Iris => (640, 320, 40),
        Modality::Face => (480, 640, 200),
    };
    let image = Gray::filled(width, height, grey)?;
    let marks = Marks { message: view.prompt(kind.modality()), ..Marks::default() };
    Ok(Picture { jpeg: Arc::from(preview::jpeg(&image, &marks, settings(kind))?), score: None })
}

/// Size and quality of previews: some 10 to 30 KB each.
const fn settings(kind: Kind) -> Settings {
    match kind.modality() {
        Modality::Finger | Modality::Face => Settings { longest_side: 640, jpeg_quality: 70 },
        // Two eyes beside each other are low.
        Modality::Iris => Settings { longest_side: 800, jpeg_quality: 70 },
    }
}

/// The middle of a portrait, where a face is expected; beside it there may be hands.
const fn middle(width: u32, height: u32) -> Rect {
    let face = height * 5 / 8;
    Rect { x: width.saturating_sub(face) / 2, y: height / 16, width: face, height: height * 3 / 4 }
}

/// Images beside each other on black; `None` where there are none.
fn beside(images: &[&Gray]) -> Result<Option<Gray>, StudioError> {
    let Some(height) = images.iter().map(|image| image.height()).max() else { return Ok(None) };
    let width = images.iter().map(|image| image.width()).sum();
    let mut whole = Gray::filled(width, height, 0)?;
    let mut rows: Vec<_> = images.iter().map(|image| image.rows()).collect();
    for target in whole.rows_mut() {
        let mut rest = target;
        for (image, rows) in images.iter().zip(&mut rows) {
            let Some((place, after)) = rest.split_at_mut_checked(image.width() as usize) else { break };
            if let Some(row) = rows.next() {
                place.copy_from_slice(row);
            }
            rest = after;
        }
    }
    Ok(Some(whole))
}
