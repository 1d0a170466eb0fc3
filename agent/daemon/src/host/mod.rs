//! The daemon as one thing: the devices, and around them the time, the encryption certificates and the management server.
//!
//! HTTP and the control socket see [`Host`]; each part knows of the others only what it was given.

mod awaited;
mod care;
mod models;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use biotrust_driver_api::{Ftm as _, FtmError};
use biotrust_model::time::{Clock, SystemClock};
use biotrust_model::{Modality, Problem};
use biotrust_sbi::request::{CaptureRequest, StreamRequest};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog;
use crate::config::Config;
use crate::control::{self, ControlError, WaitFor};
use crate::encryption::{Keeper, Sink};
use crate::fleet::{Fleet, Trust};
use crate::http::{self, FrameStream};
use crate::management::store::Ledger;
use crate::management::{self, Manager};
use crate::run::Devices;
use crate::start;
use crate::store::Store;
use crate::time::{HostUptime, TrustedClock, this_boot};
use awaited::Awaited;
use models::Models;
use uploads::Uploads;

/// How often it is looked whether the time can be believed.
const LOOK_AT_TIME: Duration = Duration::from_secs(1);

/// Everything that runs.
pub struct Host {
    fleet: Fleet,
    time: Arc<TrustedClock>,
    encryption: Keeper,
    manager: Option<Manager<Fleet>>,
    models: Arc<Models>,
    uploads: Uploads,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Host {
    /// Opens the state and the devices, and starts what takes care of them. Call inside the runtime.
    ///
    /// # Errors
    /// When the state or the directory of links cannot be used, or the FTM for a reason that waiting does not mend.
    pub fn start(config: &Config, trust: Trust, url: &str) -> anyhow::Result<Self> {
        let state = &config.state.directory;
        let store = Store::open(state)?;
        let ledger = Ledger::open(state)?;
        let ftm_settings = start::ftm(&config.ftm)?;
        let (kind, directory) = (ftm_settings.kind(), state.clone());
        let ftm = Awaited::open(kind, move || catalog::host_ftm(&directory, &ftm_settings));
        let mut ftm = ftm.context("the keys of this host")?;
        // one that cannot be used keeps no offset of a clock either
        let reset_count = match ftm.reset_count() {
            Err(FtmError::State { .. }) => None,
            told => told.context("the TPM does not tell how often it was reset")?,
        };
        let time = Arc::new(TrustedClock::new(
            Arc::new(SystemClock),
            Arc::new(HostUptime),
            this_boot(reset_count)?,
            config.management.offline,
            config.management.require_time,
            management::told_time(&ledger)?,
        ));
        let clock: Arc<dyn Clock> = Arc::clone(&time) as _;
        let encryption = Keeper::open(&config.encryption, Arc::clone(&clock), Some(ledger.clone()))?;
        let fleet = start::fleet(config, trust, url, store, Box::new(ftm), clock)?;
        fleet.set_untimed(time.hold());
        fleet.set_encryption(encryption.current());
        let manager = Manager::new(&config.management, Arc::new(fleet.clone()), Arc::clone(&time), ledger)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let models = Arc::new(Models::new(config));
        let host =
            Self { fleet, time, encryption, manager, models, uploads: Uploads::default(), stop, tasks };
        host.take_care();
        Ok(host)
    }

    fn take_care(&self) {
        let (keeper, fleet, stop) = (self.encryption.clone(), self.fleet.clone(), self.stop.clone());
        let sink: Sink = Arc::new(move |encryption| fleet.set_encryption(encryption));
        self.tasks.spawn(async move { keeper.run(sink, stop).await });
        if let Some(manager) = self.manager.clone() {
            let stop = self.stop.clone();
            self.tasks.spawn(async move { manager.run(stop).await });
        }
        let followed = Arc::clone(&self.models).follow(self.fleet.clone(), Arc::clone(&self.time) as _);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(followed).await;
        });
        let watched = watch_time(self.fleet.clone(), Arc::clone(&self.time), self.manager.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(watched).await;
        });
    }
}

/// Keeps the fleet from using a time that cannot be believed, and has the server asked when it is lost.
async fn watch_time(fleet: Fleet, time: Arc<TrustedClock>, manager: Option<Manager<Fleet>>) {
    let mut trusted = time.trusted().is_ok();
    let mut tick = tokio::time::interval(LOOK_AT_TIME);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        fleet.set_untimed(time.hold());
        let now = time.trusted().is_ok();
        if now != trusted {
            trusted = now;
            tracing::info!(trusted, "the time of this host");
            if let Some(manager) = &manager {
                manager.tick().await;
            }
        }
    }
}

impl http::Service for Host {
    fn discovery(&self, modality: Option<Modality>, developer: bool) -> Bytes {
        self.fleet.discovery(modality, developer)
    }

    async fn info(&self, developer: bool) -> Bytes {
        self.fleet.info(developer).await
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Bytes, Problem> {
        self.fleet.capture(request).await
    }

    fn stream(&self, request: &StreamRequest) -> Result<FrameStream, Problem> {
        self.fleet.stream(request)
    }
}

impl control::Service for Host {
    /// What the fleet says, and for each device how it stands with its server; the time; the encryption certificates.
    fn status(&self) -> Value {
        let mut status = control::Service::status(&self.fleet);
        let devices = status.get_mut("devices").and_then(Value::as_array_mut);
        for device in devices.into_iter().flatten() {
            let serial = device.get("serial").and_then(Value::as_str);
            let managed = serial.and_then(|serial| self.manager.as_ref()?.report(serial));
            if let Some(device) = device.as_object_mut() {
                device.insert("management".into(), managed.unwrap_or_default());
            }
        }
        let notices = self.time.notice().into_iter().chain(self.models.notice());
        let notices = notices.chain(self.encryption.notices());
        let notices = notices.chain(self.manager.iter().flat_map(Manager::notices));
        if let Some(all) = status.get_mut("notices").and_then(Value::as_array_mut) {
            all.extend(notices.map(Value::String));
        }
        if let Some(status) = status.as_object_mut() {
            status.insert("time".into(), self.time_report());
            status.insert("encryption".into(), self.encryption.report());
            status.insert("management_server".into(), self.manager.as_ref().map(Manager::server).into());
        }
        status
    }

    async fn wait(&self, condition: WaitFor, timeout: Duration) -> Result<(), ControlError> {
        control::Service::wait(&self.fleet, condition, timeout).await
    }

    async fn enrol_begin(&self, serial: &str) -> Result<Vec<u8>, ControlError> {
        self.fleet.enrol_begin(serial).await
    }

    async fn enrol_finish(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<String, ControlError> {
        self.fleet.enrol_finish(serial, chain).await
    }

    async fn destroy_key(&self, serial: &str) -> Result<(), ControlError> {
        control::Service::destroy_key(&self.fleet, serial).await
    }
}

impl Host {
    fn time_report(&self) -> Value {
        let trusted = self.time.trusted();
        json!({
            "now": self.time.now().to_wire(),
            "host": self.time.host().to_wire(),
            "trusted": trusted.is_ok(),
            "why_not": trusted.err(),
            "age_s": self.time.age().map(|age| age.as_secs()),
            "skew_ms": self.time.skew(),
        })
    }
}

impl Devices for Host {
    async fn first_scan(&self, limit: Duration) {
        self.fleet.coldplugged(limit).await;
    }

    fn stop(&self) {
        self.stop.cancel();
        self.fleet.stop();
    }

    async fn closed(&self, limit: Duration) {
        self.tasks.close();
        let all = async { tokio::join!(self.tasks.wait(), self.fleet.closed(limit)) };
        let _ = tokio::time::timeout(limit, all).await;
    }
}
