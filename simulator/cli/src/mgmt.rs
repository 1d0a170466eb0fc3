//! `biosim mgmt`: the command line of the management server stand-in, with a log on standard error.

use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Signal, set_parent_process_death_signal};
use tracing_subscriber::EnvFilter;

use crate::args::MgmtArgs;

/// Carries out the command; blocks for as long as it takes.
pub(crate) fn run(args: MgmtArgs) -> anyhow::Result<ExitCode> {
    if args.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM)).context("following the parent process")?;
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    biosim_mgmt::run(args.args, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
