//! Is the daemon's configuration one that it would start with? The daemon itself is asked: it alone knows.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Finding;
use crate::text::plain;
use crate::within::within;

/// Where the packaged daemon has its configuration.
pub(crate) const DEFAULT_FILE: &str = "/etc/biotrust/biotrust.toml";

const NAME: &str = "configuration";
const LIMIT: Duration = Duration::from_secs(5);

pub(super) fn check(file: &Path, biotrustd: Option<&Path>) -> Finding {
    let shown = file.display();
    match std::fs::File::open(file) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Finding::warn(
                NAME,
                format!("there is no {shown}"),
                "Name the file that the service is started with (--config FILE), or install the sample configuration.",
            );
        }
        Err(error) => {
            return Finding::fail(
                NAME,
                format!("{shown} cannot be read: {error}"),
                "Ask as root (sudo biotrust doctor), or let the group biotrust read it (chmod 0640, chgrp biotrust).",
            );
        }
    }
    let program = biotrustd.map_or_else(find, Path::to_owned);
    match ask(&program, file) {
        Ok((true, _)) => Finding::ok(NAME, format!("{shown} is accepted")),
        Ok((false, complaint)) => Finding::fail(
            NAME,
            format!("{shown} is refused: {complaint}"),
            "Correct the file, then restart the service (systemctl restart biotrustd).",
        ),
        Err(why) => Finding::fail(
            NAME,
            format!("{} could not be asked about {shown}: {why}", program.display()),
            "Install biotrustd, or name it with --biotrustd PATH.",
        ),
    }
}

/// The daemon beside this program, else whichever is in PATH.
fn find() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("biotrustd"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("biotrustd"))
}

/// Whether `program` accepts `file`, with its last words.
fn ask(program: &Path, file: &Path) -> Result<(bool, String), String> {
    let child = Command::new(program)
        .arg("--config")
        .arg(file)
        .arg("--check-config")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let pid = rustix::process::Pid::from_child(&child);
    let Some(output) = within(LIMIT, move || child.wait_with_output()) else {
        // It has not been waited for, so the number is still its own.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        return Err(format!("it did not answer within {} s", LIMIT.as_secs()));
    };
    let output = output.map_err(|error| error.to_string())?;
    let words =
        String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr })
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .map_or_else(|| format!("it ended with {}", output.status), |line| plain(line.trim()));
    Ok((output.status.success(), words))
}
