//! The running TPM and the watchdog that ends it when nobody is left to.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::isolated;
use crate::manufacture::{missing, state};

/// How long a TPM may take to answer after it got power.
const START: Duration = Duration::from_secs(10);
/// Ports are taken from below the range that systems give to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A swtpm process. Killed hard when it is dropped: power is cut, not a request made.
#[derive(Debug)]
pub(crate) struct Process {
    tpm: Child,
    watchdog: Child,
}

impl Process {
    /// Starts the TPM of `directory` on a pair of ports that is free.
    pub(crate) fn start_somewhere(directory: &Path) -> anyhow::Result<(Self, u16)> {
        let mut failure = None;
        for _ in 0..16 {
            let port = free_pair()?;
            // Somebody may take them before swtpm does; then swtpm ends at once, and we try others.
            match Self::start(directory, port) {
                Ok(process) => return Ok((process, port)),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
    }

    /// Starts the TPM of `directory` on `port`, with its control channel on the next one, as clients expect.
    pub(crate) fn start(directory: &Path, port: u16) -> anyhow::Result<Self> {
        let state = state(directory);
        ensure!(state.is_dir(), "no TPM was manufactured in {}", directory.display());
        let log = directory.join("swtpm.log");
        let log_file = File::options().create(true).append(true).open(&log).context("opening swtpm's log")?;
        let mut command = isolated::command("swtpm")?;
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={},mode=0600", state.display()));
        command.arg("--server").arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"));
        command.arg("--ctrl").arg(format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
        command.process_group(0); // Ctrl-C at a terminal is for whoever owns the TPM, and cuts no power
        let mut tpm = command.spawn().map_err(|e| missing("swtpm", &e))?;
        let watchdog = match watchdog(&tpm) {
            Ok(watchdog) => watchdog,
            Err(error) => {
                end(&mut tpm);
                return Err(error);
            }
        };
        let mut process = Self { tpm, watchdog };
        process.wait_until_ready(port).with_context(|| format!("see {}", log.display()))?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.tpm.id()
    }

    /// Ready means that the control channel answers and the process that we started is the one behind it: had it not
    /// got the ports, it would have ended.
    fn wait_until_ready(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.tpm.try_wait().context("looking after swtpm")? {
                bail!("swtpm ended at once ({status}); is the port {port} or the TPM's state in use?");
            }
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port + 1)) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => {}
                Err(e) => bail!("swtpm does not answer on port {}: {e}", port + 1),
            }
            // swtpm tells nobody when it listens
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: once the TPM is waited for, its id may become somebody else's.
        end(&mut self.watchdog);
        end(&mut self.tpm);
    }
}

/// A process that kills the TPM when this process is no more: its standard input is a pipe that only we hold.
fn watchdog(tpm: &Child) -> anyhow::Result<Child> {
    isolated::command("sh")?
        .args(["-c", "read _; kill -9 \"$1\"", "watchdog"])
        .arg(tpm.id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the watchdog of swtpm")
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Two ports in a row that nobody listens on.
fn free_pair() -> anyhow::Result<u16> {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let pairs = u64::from((PORTS.end - PORTS.start) / 2);
    for _ in 0..1000 {
        // A new state is keyed at random.
        let random = RandomState::new().build_hasher().finish() % pairs;
        let port = PORTS.start + 2 * u16::try_from(random)?;
        if free(port) && free(port + 1) {
            return Ok(port);
        }
    }
    bail!("no two free ports in a row between {} and {}", PORTS.start, PORTS.end)
}
