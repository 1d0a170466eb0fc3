//! A person who does not exist: ten fingers, two eyes and a face from one seed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use biotrust_imaging::{Gray, ImageError, Rgb};
use biotrust_model::{BioSubType, Purpose};

use crate::face;
use crate::finger::cache::{self, Key};
use crate::finger::master::Master;
use crate::finger::slap::{self, Slap};
use crate::finger::{self, FINGER_HEIGHT, FINGER_WIDTH};
use crate::iris::{Eye, IrisImage};
use crate::random::Random;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// A finger was asked for, and this is none.
    #[error("{0} is not a finger")]
    NotAFinger(BioSubType),
    /// An eye was asked for, and this is none.
    #[error("{0} is not an eye")]
    NotAnEye(BioSubType),
    /// The fingers of a slap must be different ones of one hand, or thumbs.
    #[error("these fingers cannot be on one platen: {0:?}")]
    NotASlap(Vec<BioSubType>),
    /// The image cannot be.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// One subject. Shared between threads; each finger grows once, when it is first asked for (about 0.1 s).
///
/// The same seed, capture number and quality give the same image on every machine.
pub struct Subject {
    seed: u64,
    cache: Option<PathBuf>,
    /// By position of ISO/IEC 19794-4, less one.
    masters: [OnceLock<Master>; 10],
    /// Right, left.
    eyes: [OnceLock<Eye>; 2],
    /// The picture drawn last, and what was missing in it: captures come in rows of the same.
    picture: Mutex<Option<(Vec<BioSubType>, Arc<Rgb>)>>,
}

impl Subject {
    /// The subject of a seed. `cache` is a directory for grown fingers; it is made when it is needed, and whatever goes wrong
    /// with it costs time only.
    #[must_use]
    pub fn new(seed: u64, cache: Option<PathBuf>) -> Self {
        Self { seed, cache, masters: Default::default(), eyes: Default::default(), picture: Mutex::default() }
    }

    /// One capture of one finger: 320 x 400 pixels at 500 dpi. `quality` goes from 0 (useless) to 1 (as good as it gets).
    ///
    /// # Errors
    /// [`SubjectError::NotAFinger`].
    pub fn finger(&self, finger: BioSubType, capture_no: u64, quality: f32) -> Result<Gray, SubjectError> {
        let mut random = self.random(*b"touch   ", finger, capture_no);
        self.touch(finger, 0.0, quality, &mut random)
    }

    /// One capture of a hand's fingers, or of thumbs, on a platen of 1600 x 1000 pixels at 500 dpi. `fingers` are those that
    /// are there, in any order; the others leave their place empty.
    ///
    /// # Errors
    /// [`SubjectError::NotASlap`] where they do not belong on one platen or there are none.
    pub fn slap(&self, fingers: &[BioSubType], capture_no: u64, quality: f32) -> Result<Slap, SubjectError> {
        let refuse = || SubjectError::NotASlap(fingers.to_vec());
        let slots = fingers.first().and_then(|first| slap::slots(*first)).ok_or_else(refuse)?;
        let present: Vec<_> = slots.iter().filter(|slot| fingers.contains(&slot.finger)).collect();
        if present.len() != fingers.len() {
            return Err(refuse()); // another hand's, or twice the same
        }
        let mut random = Random::new(*b"slap    ", &[self.seed, capture_no]);
        let mut image = slap::platen(&mut random)?;
        let mut placed = Vec::with_capacity(present.len());
        for slot in present {
            let mut random = self.random(*b"slapped ", slot.finger, capture_no);
            let print = self.touch(slot.finger, slot.lean, quality, &mut random)?;
            if let Some(rect) = slap::lay(&mut image, &print, *slot, &mut random) {
                placed.push((slot.finger, rect));
            }
        }
        Ok(Slap { image, fingers: placed })
    }

    /// One capture of one eye, cropped for registration or cropped and masked for authentication.
    ///
    /// # Errors
    /// [`SubjectError::NotAnEye`].
    pub fn iris(
        &self,
        eye: BioSubType,
        purpose: Purpose,
        capture_no: u64,
        quality: f32,
    ) -> Result<IrisImage, SubjectError> {
        let place = match eye {
            BioSubType::Right => self.eyes.first(),
            BioSubType::Left => self.eyes.last(),
            _ => None,
        };
        let place = place.ok_or(SubjectError::NotAnEye(eye))?;
        let texture = place.get_or_init(|| Eye::new(&mut self.random(*b"iris    ", eye, 0)));
        let mut random = self.random(*b"look    ", eye, capture_no);
        Ok(texture.capture(purpose, knob(quality), &mut random)?)
    }

    /// One photo of the face: 480 x 640 pixels, 24-bit sRGB, white background. Where parts are missing (`exception`) it is the
    /// exception photo instead: 960 x 640 pixels, both palms beside the face, without the missing fingers; missing eyes are
    /// shut.
    ///
    /// # Errors
    /// [`SubjectError::Image`]; not for any arguments.
    pub fn face(&self, capture_no: u64, quality: f32, exception: &[BioSubType]) -> Result<Rgb, SubjectError> {
        let picture = self.picture(exception)?;
        let mut random = Random::new(*b"photo   ", &[self.seed, capture_no]);
        Ok(face::shoot(&picture, knob(quality), &mut random)?)
    }

    fn picture(&self, exception: &[BioSubType]) -> Result<Arc<Rgb>, SubjectError> {
        let mut missing = exception.to_vec();
        missing.sort_unstable();
        missing.dedup();
        let mut drawn = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        match &*drawn {
            Some((of, picture)) if *of == missing => Ok(Arc::clone(picture)),
            _ => {
                let picture = Arc::new(face::picture(self.seed, &missing)?);
                *drawn = Some((missing, Arc::clone(&picture)));
                Ok(picture)
            }
        }
    }

    fn touch(
        &self,
        finger: BioSubType,
        lean: f32,
        quality: f32,
        random: &mut Random,
    ) -> Result<Gray, SubjectError> {
        let master = self.master(finger).ok_or(SubjectError::NotAFinger(finger))?;
        Ok(finger::capture(master, finger, lean, knob(quality), random)?)
    }

    fn master(&self, finger: BioSubType) -> Option<&Master> {
        let position = finger.finger_position()?;
        let place = self.masters.get(usize::from(position.checked_sub(1)?))?;
        Some(place.get_or_init(|| {
            let key = Key { seed: self.seed, position, width: FINGER_WIDTH, height: FINGER_HEIGHT };
            let kept = self.cache.as_deref().and_then(|directory| cache::load(directory, key));
            kept.unwrap_or_else(|| {
                let master = finger::grow(self.seed, position);
                if let Some(directory) = &self.cache {
                    // Without a cache it is slower the next time, that is all.
                    let _ = cache::store(directory, key, &master);
                }
                master
            })
        }))
    }

    fn random(&self, domain: [u8; 8], part: BioSubType, capture_no: u64) -> Random {
        let part = part.finger_position().or(part.eye_label()).unwrap_or(0);
        Random::new(domain, &[self.seed, u64::from(part), capture_no])
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subject(seed {:#x})", self.seed)
    }
}

/// A quality that is one: what is not a number counts as useless.
fn knob(quality: f32) -> f32 {
    if quality.is_nan() { 0.0 } else { quality.clamp(0.0, 1.0) }
}
