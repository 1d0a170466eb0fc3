//! Virtual biometric devices: sensor, subject, FTM, and the device end of the link on a pseudo-terminal.

mod calibration;
mod device;
pub mod ftm;
pub mod hunt;
mod kind;
mod plug;
pub mod scene;
pub mod sensor;
mod studio;

pub use calibration::CalibratedSubject;
pub use device::{PlugError, VirtualDevice, Workshop};
pub use ftm::Ftm;
pub use kind::{Kind, Maker, Spec};
pub use scene::Scene;
