//! Grey and colour images on the device side: JPEG 2000 files, preview JPEGs with marks, quality estimators.
//!
//! Used where pixels still exist in the clear: inside a device (or its simulator) and in L0 drivers. All of it is
//! computation on memory: nothing here does I/O, spawns or knows the time, and no error or `Debug` shows a pixel.
//! How the estimators and the encoders were measured stands in `docs/developers/imaging.md`.

pub(crate) mod density;
mod image;
pub mod iris;
pub mod jp2;
pub mod preview;
pub mod quality;
pub mod segment;

pub use density::Dpi;
pub use image::{Circle, Gray, ImageError, IrisGeometry, MAX_SIDE, Rect, Rgb};
