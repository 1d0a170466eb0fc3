//! The one list of drivers and FTM back ends that this daemon is built with. Nothing else names a concrete one.

use std::path::Path;
use std::sync::Arc;

use biotrust_driver_api::{DriverFactory, Ftm, FtmError};
use biotrust_ftm_soft::SoftFtm;
use biotrust_link::driver::LinkFactory;
use biotrust_model::time::Clock;

/// Version of this service, as devices and clients are told.
pub const SERVICE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The drivers for serial lines, in the order in which they are tried.
#[must_use]
pub fn drivers(clock: &Arc<dyn Clock>) -> Vec<Box<dyn DriverFactory>> {
    vec![Box::new(LinkFactory::new(Arc::clone(clock)))]
}

/// The FTM that holds device keys on this host (L0).
///
/// # Errors
/// When its directory cannot be made or is open to others.
pub fn host_ftm(state: &Path) -> Result<Box<dyn Ftm>, FtmError> {
    Ok(Box::new(SoftFtm::open(&state.join("keys"), None)?))
}
