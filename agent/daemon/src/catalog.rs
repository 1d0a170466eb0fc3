//! The one list of drivers and FTM back ends that this daemon is built with. Nothing else names a concrete one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use biotrust_driver_api::{Bus, DriverFactory, Found, Ftm, FtmError, Value};
use biotrust_ftm_link::FtmLink;
use biotrust_ftm_soft::SoftFtm;
use biotrust_ftm_tpm::{Options, TpmFtm};
use biotrust_link::driver::LinkFactory;
use biotrust_model::evidence::FtmKind;
use biotrust_model::time::Clock;
use biotrust_pipe::ports;
use biotrust_pipe::record::{Blank, Scrub};
use biotrust_r30x::R30xFactory;
use biotrust_uru4000::Uru4000Factory;
use biotrust_v4l2::V4l2Factory;
use biotrust_vendor_driver::host::VendorFactory;

/// Version of this service, as devices and clients are told.
pub const SERVICE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The drivers. Quirk files and the configuration name one for each device; those that do no harm to a stranger are tried
/// on lines of which nothing is known, in this order.
#[must_use]
pub fn drivers(clock: &Arc<dyn Clock>) -> Vec<Box<dyn DriverFactory>> {
    vec![
        Box::new(LinkFactory::new(Arc::clone(clock))),
        Box::new(R30xFactory::new(Arc::clone(clock))),
        Box::new(Uru4000Factory::new(Arc::clone(clock))),
        Box::new(V4l2Factory::new(Arc::clone(clock))),
        Box::new(VendorFactory::new(Arc::clone(clock))),
    ]
}

/// What a match of the quirk files is that no driver of [`drivers`] opens; why, for people.
#[must_use]
pub fn no_sensor(driver: &str) -> Option<&'static str> {
    (driver == "ftm-link").then_some(
        "it is a trust module, which holds keys: [ftm] backend = \"module\" with its path as `port` uses it",
    )
}

/// What takes fingers, faces and keys out of recordings of a driver's devices; whether it leaves anything of the contents.
#[must_use]
pub fn scrubber(driver: &str) -> (Box<dyn Scrub>, bool) {
    match driver {
        "link" => (Box::new(biotrust_link::recording::Cleaner::default()), true),
        "r30x" => (Box::new(biotrust_r30x::recording::Cleaner::default()), true),
        "uru4000" => (Box::new(biotrust_uru4000::recording::Cleaner), true),
        _ => (Box::new(Blank), false),
    }
}

/// Where the device keys of this host live.
#[derive(Debug, Clone)]
pub enum FtmSettings {
    /// In files of this host, sealed under a key of this host, which is itself sealed to a TPM where one is given.
    Software {
        /// The TPM.
        seal: Option<TpmSettings>,
    },
    /// In a TPM 2.0.
    Tpm(TpmSettings),
    /// In a trust module beside the sensors.
    Module(ModuleSettings),
}

impl FtmSettings {
    /// What kind of module that is.
    #[must_use]
    pub const fn kind(&self) -> FtmKind {
        match self {
            Self::Software { .. } => FtmKind::Software,
            Self::Tpm(_) => FtmKind::Tpm,
            Self::Module(_) => FtmKind::Spdm,
        }
    }
}

/// A TPM 2.0, and what to believe of it.
#[derive(Debug, Clone)]
pub struct TpmSettings {
    /// How to reach it, in the spelling of the TSS.
    pub tcti: String,
    /// Certificates (DER) that its endorsement key is believed under.
    pub ek_anchors: Vec<Vec<u8>>,
}

/// A trust module on a line of this host.
#[derive(Debug, Clone)]
pub struct ModuleSettings {
    /// Path of the serial line or hidraw node, or of a link to it.
    pub port: PathBuf,
    /// Speed of the line; `None`: as the system opens it.
    pub baud: Option<u32>,
}

impl ModuleSettings {
    /// What its port is now: a link may lead somewhere else after it was plugged in anew.
    fn found(&self) -> Found {
        let target = std::fs::canonicalize(&self.port).unwrap_or_else(|_| self.port.clone());
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let bus = if name.starts_with("hidraw") { Bus::Hid } else { Bus::Serial };
        let mut found = Found::line(&self.port);
        found.node.bus = bus;
        let baud = self.baud.map(|baud| (String::from("baud"), Value::Number(baud.into())));
        found.quirks.settings.extend(baud);
        found
    }
}

/// The FTM that holds device keys on this host (L0). A TPM that cannot be used is an error and nothing else: keys of
/// another kind in its place would be keys that nobody asked for.
///
/// # Errors
/// When its directory cannot be made or is open to others, or the TPM is not there or in a state that needs somebody.
pub fn host_ftm(state: &Path, settings: &FtmSettings) -> Result<Box<dyn Ftm>, FtmError> {
    let keys = state.join("keys");
    match settings {
        FtmSettings::Software { seal: None } => Ok(Box::new(SoftFtm::open(&keys, None)?)),
        FtmSettings::Software { seal: Some(tpm) } => {
            // only for the start: once the key of this host is out, the TPM is left alone
            let mut sealer = open_tpm(state, tpm)?;
            Ok(Box::new(SoftFtm::open(&keys, Some(&mut sealer))?))
        }
        FtmSettings::Tpm(tpm) => Ok(Box::new(open_tpm(state, tpm)?)),
        FtmSettings::Module(module) => {
            let (found, module) = (module.found(), module.clone());
            let connect = Box::new(move || ports::open(&module.found().node));
            Ok(Box::new(FtmLink::open(connect, found)?))
        }
    }
}

fn open_tpm(state: &Path, tpm: &TpmSettings) -> Result<TpmFtm, FtmError> {
    let options = Options { ek_anchors: tpm.ek_anchors.clone(), ..Options::new(&tpm.tcti) };
    TpmFtm::open(options, &state.join("tpm"))
}
