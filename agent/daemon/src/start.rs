//! From the configuration to running devices: reads the trust stores and certificates, opens the state, builds the fleet.
//!
//! Blocking (files), at the start only. [`trust`] is a step of its own, so that `--check-config` reads every file that
//! the daemon would.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use biotrust_attest::Policy;
use biotrust_attest::metadata::Metadata;
use biotrust_certs::{AdopterStore, DeviceStore, FtmStore};
use biotrust_driver_api::Ftm;
use biotrust_model::time::{Clock, SystemClock, UtcMillis};
use biotrust_quirks::{Book, Loaded};
use biotrust_vendor_driver::host::{DriverConfig, Start};

use crate::catalog::{self, FtmSettings, ModuleSettings, TpmSettings};
use crate::config::{self, Config, VendorDriver, VendorStart};
use crate::encryption::Keeper;
use crate::fleet::{Attestation, FixedPort, Fleet, Settings, SourceError, Sources, Trust, known_driver};
use crate::management::Manager;
use crate::store::{Floor, Store};

/// Reads whom to believe, whom to encrypt for, and what is known of models.
///
/// # Errors
/// The first file that cannot be used, and why.
pub fn trust(config: &Config) -> anyhow::Result<Trust> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Ok(Trust {
        device: DeviceStore::load(&config.trust.device_anchors).context("[trust] device_anchors")?,
        ftm: FtmStore::load(&config.trust.ftm_anchors).context("[trust] ftm_anchors")?,
        models: models(&config.metadata, clock.now())?,
        encryption: Keeper::open(&config.encryption, clock, None)?.current(),
    })
}

/// Looks at what else the configuration names, so that it is not found out later.
///
/// # Errors
/// The first thing that cannot be used, and why.
pub fn check(config: &Config) -> anyhow::Result<()> {
    ftm(&config.ftm)?;
    quirks(&config.quirks)?;
    ports(&config.serial)?;
    Manager::<Fleet>::check(&config.management)
}

/// Looks at what the daemon would go on without, and say so: quirk files that are wrong.
///
/// # Errors
/// The first of them, with the place of the mistake.
pub fn check_strictly(config: &Config) -> anyhow::Result<()> {
    let skipped = quirks(&config.quirks)?.skipped.into_iter().next();
    skipped.map_or(Ok(()), |error| Err(error).context("[quirks] directories"))
}

/// Reads what is known of device models. A file that is wrong is left out, so that one file of a vendor cannot stop the
/// devices of all others.
///
/// # Errors
/// When an entry is to be enabled that is nowhere, not even in a file that was left out.
fn quirks(config: &config::Quirks) -> anyhow::Result<Loaded> {
    let mut loaded = Book::load(&config.directories);
    for name in &config.enable {
        match loaded.book.enable(std::slice::from_ref(name)) {
            Err(error) if loaded.skipped.is_empty() => return Err(error).context("[quirks] enable"),
            _ => {}
        }
    }
    Ok(loaded)
}

/// Looks whether there is the driver of each line that is named.
///
/// # Errors
/// The first line whose driver is nowhere.
fn ports(config: &config::Serial) -> Result<(), SourceError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let drivers = catalog::drivers(&clock);
    config.port.iter().try_for_each(|port| known_driver(&drivers, &port.path, port.driver.as_deref()))
}

/// Reads the adopter's list of models.
///
/// # Errors
/// When it cannot be used, and why.
pub fn models(config: &config::Metadata, now: UtcMillis) -> anyhow::Result<Option<Metadata>> {
    let Some(file) = &config.file else { return Ok(None) };
    let name = || format!("[metadata] {}", file.display());
    let anchors = AdopterStore::load(&config.anchors).context("[metadata] anchors")?;
    let text = std::fs::read_to_string(file).with_context(name)?;
    let models = Metadata::verify(&text, &anchors, now, 0).with_context(name)?;
    Ok(Some(models.with_grace(config.grace)))
}

/// Opens the devices. Call inside the runtime.
///
/// # Errors
/// When the directory of links cannot be used, or the list of models is older than one that was used before.
pub fn fleet(
    config: &Config,
    trust: Trust,
    url: &str,
    mut store: Store,
    ftm: Box<dyn Ftm>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Fleet> {
    if let Some(models) = &trust.models {
        // an older list would bring back what was withdrawn
        store.raise(Floor::Models, models.number()).context("[metadata] file")?;
    }
    let drivers = catalog::drivers(&clock);
    let fleet = Fleet::new(settings(config, url), trust, store, ftm, drivers, clock)?;
    fleet.watch(sources(config)?)?;
    Ok(fleet)
}

/// Where devices are looked for.
fn sources(config: &Config) -> anyhow::Result<Sources> {
    let fixed =
        |port: &config::SerialPort| FixedPort { path: port.path.clone(), driver: port.driver.clone() };
    Ok(Sources {
        links: config.serial.links.clone(),
        ports: config.serial.port.iter().map(fixed).collect(),
        buses: config.buses.watch.clone(),
        quirks: Some(quirks(&config.quirks)?),
        vendors: vendors(config)?,
    })
}

/// Drivers of vendors; the sockets of those that the daemon starts lie beside its own, where no other user may look.
fn vendors(config: &Config) -> anyhow::Result<Vec<DriverConfig>> {
    let runtime = config.control.socket.with_file_name("drivers");
    let commands = |driver: &VendorDriver| matches!(driver.start, VendorStart::Command { .. });
    if config.vendor.driver.iter().any(commands) {
        DirBuilder::new().recursive(true).mode(0o700).create(&runtime).with_context(|| {
            format!("cannot make {} for the sockets of [[vendor.driver]]", runtime.display())
        })?;
    }
    let start = |start: &VendorStart| match start.clone() {
        VendorStart::Socket(socket) => Start::Socket(socket),
        VendorStart::Command { argv, user } => Start::Command { argv, user, runtime: runtime.clone() },
    };
    let drivers = config.vendor.driver.iter();
    Ok(drivers
        .map(|driver| DriverConfig { name: driver.name.clone(), start: start(&driver.start) })
        .collect())
}

/// Where the keys of this host live.
///
/// # Errors
/// When a file of anchors cannot be used, and why.
pub fn ftm(config: &config::Ftm) -> anyhow::Result<FtmSettings> {
    let tpm = || -> anyhow::Result<TpmSettings> {
        let anchors = config.ek_anchors.iter().map(|file| certificates(file)).collect::<Result<Vec<_>, _>>();
        let ek_anchors = anchors.context("[ftm] ek_anchors")?.concat();
        Ok(TpmSettings { tcti: config.tcti.clone(), ek_anchors })
    };
    Ok(match config.backend {
        config::FtmBackend::Software => {
            FtmSettings::Software { seal: config.seal_to_tpm.then(tpm).transpose()? }
        }
        config::FtmBackend::Tpm => FtmSettings::Tpm(tpm()?),
        config::FtmBackend::Module => {
            let port = config.port.clone();
            let port =
                port.context("[ftm] backend = \"module\" needs `port`: the path of the module's line")?;
            FtmSettings::Module(ModuleSettings { port, baud: config.baud })
        }
    })
}

/// The certificates in a file; DER.
fn certificates(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let name = || file.display().to_string();
    let bytes = std::fs::read(file).with_context(name)?;
    let found = biotrust_certs::certificates(&bytes)
        .map_err(|(index, problem)| anyhow::anyhow!("certificate {index}: {problem}"))
        .with_context(name)?;
    Ok(found.iter().map(|certificate| certificate.der().to_vec()).collect())
}

fn settings(config: &Config, url: &str) -> Settings {
    let sbi = &config.sbi;
    Settings {
        purpose: sbi.purpose.only(),
        env: sbi.environment,
        language: sbi.language,
        allow_l0_auth: sbi.allow_l0_auth,
        digital_id_key: sbi.digital_id_key,
        append_chip_certificate: sbi.append_chip_certificate,
        finish_margin: sbi.finish_margin,
        answer_early: sbi.answer_early,
        info_reuse: sbi.info_reuse,
        hard_ceiling: sbi.hard_ceiling,
        streams_per_device: config.limits.streams_per_device,
        callback_id: url.to_owned(),
        attestation: Attestation {
            interval: config.attestation.interval,
            required: config.attestation.required,
            policy: Policy {
                clock_tolerance: config.attestation.clock_tolerance,
                l1_without_metadata: config.attestation.l1_without_metadata,
                ..Policy::default()
            },
        },
        require_time: config.management.require_time,
    }
}
