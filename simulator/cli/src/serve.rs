//! `biosim serve`: virtual devices for a daemon that somebody else has started.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use biotrust_driver_api::Cancel;
use biotrust_model::time::{Clock as _, SystemClock};
use serde_json::json;

use crate::agent::Agent;
use crate::args::ServeArgs;
use crate::control::server::Server;
use crate::files::{self, Access};
use crate::jsonlines::CallError;
use crate::lab::{self, Lab};
use crate::{interrupt, pki, profile, say};

/// How often a daemon that is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Nothing to do but wait.
const LONG: Duration = Duration::from_secs(3600);

/// Serves until Ctrl-C.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let interrupt = interrupt::install()?;
    args.ready_file.as_deref().map_or(Ok(()), files::remove_stale)?;
    let specs = profile::devices(args.devices.profile, args.devices.level);
    let pki = Arc::new(pki::mint(SystemClock.now())?);
    let written = args.pki_out.as_deref().map(|folder| pki::write(&pki, folder)).transpose()?;
    let subject = lab::subject(&args.devices);
    let agent = args.agent_control.clone().map(Agent::new);
    let links = files::absolute(&args.links)?;
    let lab = Arc::new(Lab::build(&specs, args.devices.seed, subject, pki, links, agent.clone())?);
    let _control = Server::start(&args.control, Arc::clone(&lab) as _)?;
    let _plugged = lab.plug_all()?;
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
            "devices": lab.listed()?,
        });
        let ready = serde_json::to_vec_pretty(&ready).context("writing the ready file")?;
        files::write(path, &ready, Access::Private)?;
    }
    say::result(format_args!("{} devices in {}; Ctrl-C ends it", specs.len(), args.links.display()));
    while !interrupt.wait(LONG) {}
    Ok(ExitCode::SUCCESS)
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
