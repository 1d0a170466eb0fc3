//! From the configuration to running devices: reads the trust stores and certificates, opens the state, builds the fleet.
//!
//! Blocking (files), at the start only. [`trust`] is a step of its own, so that `--check-config` reads every file that
//! the daemon would.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use biotrust_certs::{DeviceStore, FtmStore};
use biotrust_model::time::{Clock, SystemClock};
use biotrust_sbi::session::EncryptionCertificate;

use crate::catalog;
use crate::config::{self, Config};
use crate::fleet::{Encryption, EncryptionTarget, Fleet, Settings, Trust};
use crate::run::Devices;
use crate::store::Store;

/// Reads whom to believe and whom to encrypt for.
///
/// # Errors
/// The first file that cannot be used, and why.
pub fn trust(config: &Config) -> anyhow::Result<Trust> {
    let config::Encryption { certificate, domains } = &config.encryption;
    let by_domain = |(domain, path): (&String, _)| Ok((domain.clone(), target(path)?));
    Ok(Trust {
        device: DeviceStore::load(&config.trust.device_anchors).context("[trust] device_anchors")?,
        ftm: FtmStore::load(&config.trust.ftm_anchors).context("[trust] ftm_anchors")?,
        encryption: Encryption {
            default: certificate.as_deref().map(target).transpose()?,
            domains: domains.iter().map(by_domain).collect::<anyhow::Result<_>>()?,
        },
    })
}

/// Reads a certificate to encrypt for and what follows it in its file.
fn target(path: impl AsRef<Path>) -> anyhow::Result<EncryptionTarget> {
    let path = path.as_ref();
    let name = || format!("[encryption] {}", path.display());
    let bytes = std::fs::read(path).with_context(name)?;
    let chain = biotrust_certs::certificates(&bytes)
        .map_err(|(index, problem)| anyhow::anyhow!("certificate {index}: {problem}"))
        .with_context(name)?;
    let chain: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.der().to_vec()).collect();
    let leaf = chain.first().context("no certificate in it").with_context(name)?;
    Ok(EncryptionTarget { certificate: EncryptionCertificate::from_der(leaf).with_context(name)?, chain })
}

/// Opens the state and the devices. Call inside the runtime.
///
/// # Errors
/// When the state or the directory of links cannot be used.
pub fn fleet(config: &Config, trust: Trust, url: &str) -> anyhow::Result<Fleet> {
    let state = &config.state.directory;
    let store = Store::open(state)?;
    let ftm = catalog::host_ftm(state).context("the keys of this host")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let drivers = catalog::drivers(&clock);
    let fleet = Fleet::new(settings(config, url), trust, store, ftm, drivers, clock)?;
    let ports = config.serial.port.iter().map(|port| port.path.clone()).collect();
    fleet.watch(config.serial.links.clone(), ports)?;
    Ok(fleet)
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
    }
}

impl Devices for Fleet {
    async fn first_scan(&self, limit: Duration) {
        self.coldplugged(limit).await;
    }

    fn stop(&self) {
        Self::stop(self);
    }

    async fn closed(&self, limit: Duration) {
        Self::closed(self, limit).await;
    }
}
