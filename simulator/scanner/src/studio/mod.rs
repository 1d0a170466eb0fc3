//! Where a device's images are made: of the subject in the scene, at the quality of the moment, scored by the
//! estimators, with the picture for the preview.
//!
//! A frame is made once and kept for as long as nothing changes, so that a preview of a settled finger costs nothing.
//! Making one takes tens of milliseconds of CPU; only one is made at a time for a device. All images are synthetic, and
//! are treated as if they were not: wiped when dropped, never printed.

mod frame;
mod make;
#[cfg(test)]
mod tests;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use biosim_image::SubjectError;
use biotrust_driver_api::ImageCodec;
use biotrust_imaging::ImageError;
use biotrust_imaging::jp2::Jp2Error;
use biotrust_imaging::preview::PreviewError;
use biotrust_model::{BioSubType, Purpose, Score};

pub(crate) use frame::{Frame, Picture};
pub(crate) use view::View;

use crate::calibration::CalibratedSubject;
use crate::kind::Kind;
use crate::scene::{Presented, Scene};

/// Frames that are kept: more than a whole climb of the quality curve.
const KEPT_FRAMES: usize = 12;
/// Ways to lay down a finger; then they repeat.
const TAKES: u64 = 8;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StudioError {
    /// The subject could not be drawn.
    #[error("drawing the subject: {0}")]
    Subject(#[from] SubjectError),
    /// The image could not be encoded.
    #[error("encoding an image: {0}")]
    Jp2(#[from] Jp2Error),
    /// The preview could not be encoded.
    #[error("encoding a preview: {0}")]
    Preview(#[from] PreviewError),
    /// A part of an image could not be taken.
    #[error("cutting an image: {0}")]
    Image(#[from] ImageError),
}

/// A look at the subject.
pub(crate) struct Look<'a> {
    /// What at.
    pub(crate) view: &'a View,
    /// In which scene.
    pub(crate) scene: &'a Scene,
    /// Score that the images shall have, about, 0..=100.
    pub(crate) quality: u8,
    /// Counts how often fingers were laid down; another time gives another image.
    pub(crate) take: u64,
    /// Score that a capture wants, for the mark in the picture.
    pub(crate) wanted: Option<Score>,
}

/// Everything that decides how the images of a frame look.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    /// Fingers or eyes that are presented.
    shown: Vec<Presented>,
    /// Beside a face: what the exception photo is about.
    exceptions: Vec<BioSubType>,
    quality: u8,
    take: u64,
}

/// The image side of one device.
pub(crate) struct Studio {
    kind: Kind,
    purpose: Purpose,
    subject: Arc<CalibratedSubject>,
    /// Newest last.
    shelf: Mutex<Vec<(Key, Arc<Frame>)>>,
    empty: Mutex<Vec<(View, Picture)>>,
    /// Held while a frame is being made.
    making: Mutex<()>,
}

impl Studio {
    pub(crate) fn new(kind: Kind, purpose: Purpose, subject: Arc<CalibratedSubject>) -> Self {
        Self {
            kind,
            purpose,
            subject,
            shelf: Mutex::default(),
            empty: Mutex::default(),
            making: Mutex::default(),
        }
    }

    /// Codec of the images.
    pub(crate) const fn codec(&self) -> ImageCodec {
        match self.purpose {
            Purpose::Registration => ImageCodec::Jpeg2000Lossless,
            Purpose::Auth => ImageCodec::Jpeg2000Lossy,
        }
    }

    /// The frame that a look gives; `None` when `give_up` says so on the way.
    pub(crate) fn frame(
        &self,
        look: &Look<'_>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<Frame>>, StudioError> {
        let _making = lock(&self.making);
        self.kept_or_made(self.key(look), look, give_up)
    }

    /// The picture of the same for the preview; `None` when it is not there yet and cannot be made now.
    pub(crate) fn picture_unless_busy(&self, look: &Look<'_>) -> Option<Picture> {
        if let Some(picture) = self.kept_picture(look) {
            return Some(picture);
        }
        let key = self.key(look);
        let _making = match self.making.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let made = self.kept_or_made(key, look, &|| false);
        made.ok().flatten().map(|frame| frame.picture().clone())
    }

    /// The picture of a look that has been had before.
    pub(crate) fn kept_picture(&self, look: &Look<'_>) -> Option<Picture> {
        self.kept(&self.key(look)).map(|frame| frame.picture().clone())
    }

    /// The picture that says what to present.
    pub(crate) fn empty(&self, view: &View) -> Option<Picture> {
        let mut empty = lock(&self.empty);
        if let Some((_, picture)) = empty.iter().find(|(kept, _)| kept == view) {
            return Some(picture.clone());
        }
        let picture = make::empty(self.kind, view).ok()?;
        if empty.len() >= KEPT_FRAMES {
            empty.remove(0);
        }
        empty.push((view.clone(), picture.clone()));
        Some(picture)
    }

    fn key(&self, look: &Look<'_>) -> Key {
        let View { parts, exceptions, .. } = look.view;
        let shown = look.scene.present(self.kind.modality(), parts, exceptions);
        let exceptions = if parts.is_empty() { exceptions.clone() } else { Vec::new() };
        Key { shown, exceptions, quality: look.quality, take: look.take % TAKES }
    }

    fn kept(&self, key: &Key) -> Option<Arc<Frame>> {
        lock(&self.shelf).iter().find(|(kept, _)| kept == key).map(|(_, frame)| Arc::clone(frame))
    }

    fn kept_or_made(
        &self,
        key: Key,
        look: &Look<'_>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<Frame>>, StudioError> {
        if let Some(frame) = self.kept(&key) {
            return Ok(Some(frame));
        }
        let maker = make::Maker {
            kind: self.kind,
            purpose: self.purpose,
            subject: &self.subject,
            quality: look.quality,
            take: key.take,
            wanted: look.wanted,
            give_up,
        };
        let Some(frame) = maker.make(look.view, &key.shown)? else { return Ok(None) };
        let frame = Arc::new(frame);
        let mut shelf = lock(&self.shelf);
        if shelf.len() >= KEPT_FRAMES {
            shelf.remove(0);
        }
        shelf.push((key, Arc::clone(&frame)));
        Ok(Some(frame))
    }
}

/// What is kept is complete, whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
