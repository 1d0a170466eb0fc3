//! A frame: what a capture would deliver, and the picture of it.

use std::sync::{Arc, OnceLock};

use biotrust_imaging::jp2::{self, Codec, Dpi};
use biotrust_imaging::{Gray, Rgb};
use biotrust_model::{BioSubType, Score, Secret};

use super::StudioError;

/// For the preview.
#[derive(Clone)]
pub(crate) struct Picture {
    /// A complete JPEG with marks.
    pub(crate) jpeg: Arc<[u8]>,
    /// Score of what is in view, where something is.
    pub(crate) score: Option<Score>,
}

/// Grey or colour.
pub(super) enum Pixels {
    Gray(Gray),
    Rgb(Rgb),
}

/// One finger, eye or face.
pub(crate) struct Piece {
    /// As it was asked for; `None` for a face.
    pub(crate) part: Option<BioSubType>,
    /// Pixels.
    pub(crate) width: u16,
    /// Pixels.
    pub(crate) height: u16,
    /// Pixels per inch; 0 where it has no meaning.
    pub(crate) dpi: u16,
    /// By the estimator, of this very image.
    pub(crate) score: Score,
    /// Iris: centre x, centre y, diameter.
    pub(crate) iris_geometry: Option<[u16; 3]>,
    pub(super) pixels: Pixels,
    pub(super) codec: Codec,
    encoded: OnceLock<Secret>,
}

impl Piece {
    pub(super) fn gray(part: BioSubType, image: Gray, dpi: u16, score: Score, codec: Codec) -> Self {
        let (width, height) = (image.width(), image.height());
        Self::new(Some(part), Pixels::Gray(image), [width, height], dpi, score, codec)
    }

    pub(super) fn rgb(image: Rgb, score: Score, codec: Codec) -> Self {
        let (width, height) = (image.width(), image.height());
        Self::new(None, Pixels::Rgb(image), [width, height], 0, score, codec)
    }

    fn new(
        part: Option<BioSubType>,
        pixels: Pixels,
        size: [u32; 2],
        dpi: u16,
        score: Score,
        codec: Codec,
    ) -> Self {
        // The imaging crate makes no image with longer sides.
        let [width, height] = size.map(|side| u16::try_from(side).unwrap_or(u16::MAX));
        Self { part, width, height, dpi, score, iris_geometry: None, pixels, codec, encoded: OnceLock::new() }
    }

    /// The image as a JP2 file; encoded when it is first asked for (tens of milliseconds).
    pub(crate) fn jp2(&self) -> Result<&[u8], StudioError> {
        if self.encoded.get().is_none() {
            let file = match &self.pixels {
                Pixels::Gray(image) => jp2::encode_gray(image, self.codec, Dpi::new(self.dpi))?,
                Pixels::Rgb(image) => jp2::encode_rgb(image, self.codec, None)?,
            };
            // Whoever comes second has made the same file.
            let _ = self.encoded.set(Secret::new(file));
        }
        Ok(self.encoded.get().map(Secret::expose).unwrap_or_default())
    }
}

/// What the sensor gives at one moment.
pub(crate) struct Frame {
    pieces: Vec<Piece>,
    complete: bool,
    picture: Picture,
}

impl Frame {
    /// `complete` tells whether everything that was asked for is there.
    pub(super) const fn new(pieces: Vec<Piece>, complete: bool, picture: Picture) -> Self {
        Self { pieces, complete, picture }
    }

    /// In the order that was asked for.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Average score of the pieces; `None` unless all are there.
    pub(crate) fn average(&self) -> Option<Score> {
        if self.complete { average(&self.pieces) } else { None }
    }

    /// For the preview.
    pub(crate) const fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Bytes of all images; an estimate as long as they are not encoded.
    pub(crate) fn size(&self) -> usize {
        let of = |piece: &Piece| match (piece.encoded.get(), &piece.pixels) {
            (Some(file), _) => file.len(),
            (None, Pixels::Gray(image)) => image.pixels().len() / 2,
            (None, Pixels::Rgb(image)) => image.pixels().len() / 2,
        };
        self.pieces.iter().map(of).sum()
    }

    /// Encodes all pieces, so that the answer need not.
    pub(crate) fn encode(&self) -> Result<(), StudioError> {
        self.pieces.iter().try_for_each(|piece| piece.jp2().map(drop))
    }
}

/// Average score; `None` where there is nothing.
pub(super) fn average(pieces: &[Piece]) -> Option<Score> {
    let sum: f32 = pieces.iter().map(|piece| piece.score.value()).sum();
    (!pieces.is_empty()).then(|| Score::clamped(sum / pieces.len() as f32))
}
