//! Synthetic fingerprints, irises and faces, deterministic from a seed.
//!
//! [`Subject`] is the way in. Everything that can be seen here is computed; no picture of any person, no trained model and
//! no data set went into it. The pictures are for exercising devices and back ends, not for judging matchers. Methods and
//! measurements stand in `docs/developers/imaging.md`.
//!
//! Determinism: integer random numbers, `libm` instead of the platform's functions, no order that depends on a hash, no
//! reassociated arithmetic. The only I/O is the optional cache of grown fingers.

mod face;
mod finger;
#[cfg(test)]
mod golden;
mod iris;
mod noise;
mod random;
mod subject;

pub use face::{EXCEPTION_HEIGHT, EXCEPTION_WIDTH, FACE_HEIGHT, FACE_WIDTH};
pub use finger::slap::{PLATEN_HEIGHT, PLATEN_WIDTH, Slap};
pub use finger::{FINGER_DPI, FINGER_HEIGHT, FINGER_WIDTH};
pub use iris::IrisImage;
pub use subject::{Subject, SubjectError};
