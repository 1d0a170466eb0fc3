//! Virtual biometric devices: sensor, subject, FTM, and the device end of the link on a pseudo-terminal.

pub mod hunt;
mod kind;
pub mod scene;
pub mod sensor;

pub use kind::{Kind, Maker, Spec};
pub use scene::Scene;
