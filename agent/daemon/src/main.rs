//! biotrustd: the trust agent between biometric devices and MOSIP clients.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use biotrust_daemon::config::{self, Loaded};
use biotrust_daemon::host::Host;
use biotrust_daemon::run::{EXIT_CONFIG, Failure, run};
use biotrust_daemon::{log, start};
use clap::Parser;

/// The trust agent between biometric devices and MOSIP clients.
#[derive(Parser)]
#[command(name = "biotrustd", version)]
struct Args {
    /// Configuration; `conf.d/*.toml` beside it is merged over it.
    #[arg(long, value_name = "FILE", default_value = "/etc/biotrust/biotrust.toml")]
    config: PathBuf,
    /// Read the configuration and everything that it names, say what is wrong, and do nothing else.
    #[arg(long)]
    check_config: bool,
    /// Write a JSON file with `sbi`, `pid` and `control` when requests can be served.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (loaded, trust) = match load(&args) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, EXIT_CONFIG.into()),
    };
    if args.check_config {
        if let Err(error) = start::check_strictly(&loaded.config) {
            return fail(&error, EXIT_CONFIG.into());
        }
        let files = loaded.files.len();
        say(&format!("{files} file{} read, nothing wrong", if files == 1 { "" } else { "s" }));
        return ExitCode::SUCCESS;
    }
    let config = loaded.config;
    let outcome = serve(|| run(&config, args.ready_file.as_deref(), |url| Host::start(&config, trust, url)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            fail(&failure.into(), code)
        }
    }
}

fn load(args: &Args) -> anyhow::Result<(Loaded, biotrust_daemon::fleet::Trust)> {
    let loaded = config::load(&args.config)?;
    let trust = start::trust(&loaded.config)?;
    start::check(&loaded.config)?;
    log::start(&loaded.config.log)?;
    Ok((loaded, trust))
}

/// Two threads are enough for the async side: whatever blocks has a thread of its own.
fn serve<F: Future<Output = Result<(), Failure>>>(daemon: impl FnOnce() -> F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("biotrustd")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(daemon())
}

#[allow(clippy::print_stderr)] // one line for the person or unit that started us; there may be no log yet
fn fail(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    eprintln!("biotrustd: {error:#}");
    code
}

#[allow(clippy::print_stdout)] // the answer of --check-config
fn say(text: &str) {
    println!("biotrustd: {text}");
}
