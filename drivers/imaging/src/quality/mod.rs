//! Quality of a capture, 0 to 100, from its pixels: estimators of our own.
//!
//! They follow the published ideas (ISO/IEC 29794-4, -5 and -6: what makes a print, a face, an iris usable) and are no
//! implementation of any named algorithm: vendor and algorithm id in a record's quality block are ours, never NIST's.
//! A good number here decides when a device may answer; it does not replace the back end's own check. Each estimator also
//! tells its aspects, so that an operator can be told what to change. Computation only, a few milliseconds.

mod face;
mod finger;
mod iris;

pub use face::{FaceAspects, face, face_aspects};
pub use finger::{FingerAspects, finger, finger_aspects};
pub(crate) use iris::grey_at;
pub use iris::{IrisAspects, iris, iris_aspects};

/// 0 at `low`, 1 at `high`, straight in between; `low` may be the larger one.
fn grade(low: f32, high: f32, value: f32) -> f32 {
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}
