//! `biosim serve`: virtual devices for a daemon that somebody else has started.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use biosim_scanner::{Spec, Workshop};
use biotrust_driver_api::Cancel;
use biotrust_model::Level;
use biotrust_model::time::{Clock as _, SystemClock};
use serde_json::json;

use crate::agent::Agent;
use crate::args::{ChipChoice, ServeArgs};
use crate::control::server::Server;
use crate::files::{self, Access};
use crate::jsonlines::CallError;
use crate::lab::{self, Lab, Registrar};
use crate::pki::{self, PkiFiles};
use crate::{interrupt, management, metadata, profile, say};

/// How often a daemon that is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Where a management server listens that is set up here; its configuration may say otherwise.
const MANAGEMENT_ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8443);
/// Nothing to do but wait.
const LONG: Duration = Duration::from_secs(3600);

/// Serves until Ctrl-C.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let interrupt = interrupt::install()?;
    args.ready_file.as_deref().map_or(Ok(()), files::remove_stale)?;
    let specs = profile::devices(args.devices.profile, args.devices.level);
    let pki = Arc::new(pki::mint(SystemClock.now())?);
    let workshop = lab::workshop(args.devices.seed, lab::subject(&args.devices), Arc::clone(&pki));
    let registrar = if args.management_out.is_some() { Registrar::Server } else { Registrar::Biosim };
    let agent = args.agent_control.clone().map(Agent::new);
    let links = files::absolute(&args.links)?;
    let lab = Arc::new(Lab::new(workshop.clone(), links, agent.clone(), registrar));
    let chip = args.devices.chip.unwrap_or(ChipChoice::Software);
    let building = lab.begin(profile::orders(&specs, chip, registrar == Registrar::Biosim))?;

    let (written, management) = write(args, &workshop, &specs)?;
    let _control = Server::start(&args.control, Arc::clone(&lab) as _)?;
    let _plugged = lab.until_dropped();
    lab.plug_in(building)?;
    if let Some(agent) = &agent {
        if !is_reachable(agent, &interrupt)? {
            return Ok(ExitCode::SUCCESS);
        }
        lab.make_ready()?;
    }
    if let Some(path) = &args.ready_file {
        let ready = json!({
            "pid": std::process::id(),
            "control": files::absolute(&args.control)?,
            "agent_control": args.agent_control.as_deref().map(files::absolute).transpose()?,
            "pki": written,
            "management": management.map(|config| json!({"config": config})),
            "devices": lab.listed()?,
        });
        let ready = serde_json::to_vec_pretty(&ready).context("writing the ready file")?;
        files::write(path, &ready, Access::Private)?;
    }
    say::result(format_args!("{} devices in {}; Ctrl-C ends it", specs.len(), args.links.display()));
    while !interrupt.wait(LONG) {}
    Ok(ExitCode::SUCCESS)
}

/// Writes what daemon, judges and management server need, where it is wanted; gives the certificates and the server's
/// configuration.
fn write(
    args: &ServeArgs,
    workshop: &Workshop,
    specs: &[Spec],
) -> anyhow::Result<(Option<PkiFiles>, Option<PathBuf>)> {
    if args.pki_out.is_none() && args.management_out.is_none() {
        return Ok((None, None));
    }
    let (pki, now) = (&workshop.pki, SystemClock.now());
    let models = metadata::publish(pki, &workshop.factory, &workshop.maker, specs, now)?;
    let written = args.pki_out.as_deref().map(|folder| pki::write(pki, &models, folder)).transpose()?;
    let Some(folder) = &args.management_out else { return Ok((written, None)) };
    let folder = files::absolute(folder)?;
    let config = management::set_up(pki, &folder, &models, MANAGEMENT_ADDRESS.into(), now)?;
    let plain = specs.iter().filter(|spec| spec.level == Level::L0);
    let plain: Vec<String> = plain.map(|spec| spec.serial(args.devices.seed)).collect();
    management::approve(&config, &plain, now)?;
    Ok((written, Some(config)))
}

/// Waits for the daemon's control socket; false when interrupted.
fn is_reachable(agent: &Agent, interrupt: &Cancel) -> Result<bool, CallError> {
    loop {
        match agent.devices() {
            Ok(_) => return Ok(true),
            Err(CallError::Unreachable { .. }) if interrupt.wait(LOOK_EVERY) => return Ok(false),
            Err(CallError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
