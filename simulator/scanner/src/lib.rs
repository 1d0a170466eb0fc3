//! Virtual biometric devices: sensor, subject, FTM, and the device end of the link on a pseudo-terminal or any other
//! pipe; and a virtual trust module beside a sensor.

mod boot;
mod calibration;
mod chip;
mod controller;
mod device;
pub mod ftm;
pub mod hunt;
mod kind;
mod module;
mod options;
mod plug;
pub mod scene;
pub mod sensor;
mod studio;

pub use boot::{Factory, FactoryError, Measured, Release, SignedUpdate, Slot};
pub use calibration::CalibratedSubject;
pub use chip::{ChipError, Issued, MAX_FAILED_ATTEMPTS, Provisioning};
pub use device::{PlugError, VirtualDevice, Workshop};
pub use ftm::Ftm;
pub use kind::{Kind, Maker, Spec};
pub use module::ModuleDevice;
pub use options::{ChipCertificate, ChipKind, Faults, Options};
pub use scene::Scene;
