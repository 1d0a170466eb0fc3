//! The command line of biosim.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Virtual biometric devices for the MOSIP device service, and a demo of the whole main job.
#[derive(Debug, Parser)]
#[command(name = "biosim", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start biotrustd with virtual devices, play the MOSIP clients, verify every answer, keep serving.
    ///
    /// Everything happens in a fresh private directory: test certificates, configuration, state and sockets. Several
    /// demos run side by side. The exit status is 0 only when every answer was verified.
    Demo(DemoArgs),
    /// Run virtual devices only, for a biotrustd that is started by somebody else.
    Serve(ServeArgs),
    /// Change what the virtual devices of a running biosim see and do.
    ///
    /// Each command answers when its effect holds at the daemon (or, for the subject, at the devices).
    Ctl(CtlArgs),
}

/// Which purposes the devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Slap finger, double iris, face.
    Registration,
    /// Single finger, single iris, face.
    Auth,
    /// All six.
    All,
}

/// Which levels the devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelChoice {
    /// Keys on the host.
    L0,
    /// Keys in the devices.
    L1,
    /// Some of each: irises differ from fingers and faces.
    Mixed,
}

/// What to build the devices from.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Which devices.
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) profile: Profile,
    /// Where their keys live.
    #[arg(long, value_enum, default_value = "mixed")]
    pub(crate) level: LevelChoice,
    /// Seed of the subject's fingers, irises and face, and of the serial numbers.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder that keeps generated fingerprints between runs, or "none" [default: $XDG_CACHE_HOME/biosim or ~/.cache/biosim].
    #[arg(long, value_name = "DIR|none")]
    pub(crate) cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) devices: DeviceArgs,
    /// End after the scripted captures instead of serving on.
    #[arg(long, conflicts_with = "serve_only")]
    pub(crate) once: bool,
    /// Skip the scripted captures: get everything ready, print one line, serve.
    #[arg(long)]
    pub(crate) serve_only: bool,
    /// Port of the service; 0 for any free one [default: the lowest free port from 4501].
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// File to write once every device is ready: JSON with addresses, sockets and paths.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Web origin that may CAPTURE, such as https://esignet.example (repeatable).
    #[arg(long = "origin", value_name = "URL")]
    pub(crate) origins: Vec<String>,
    /// Web origin that may do everything, such as the Compliance Tool Kit's (repeatable).
    #[arg(long = "developer", value_name = "URL")]
    pub(crate) developers: Vec<String>,
    /// Work in this new or empty folder and leave it there at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// The daemon to start [default: the biotrustd beside this program, else in PATH].
    #[arg(long, value_name = "PATH")]
    pub(crate) biotrustd: Option<PathBuf>,
    /// Print the report as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) devices: DeviceArgs,
    /// Folder in which the daemon looks for serial lines (its [serial] links).
    #[arg(long, value_name = "DIR")]
    pub(crate) links: PathBuf,
    /// Where to put the socket that `biosim ctl` talks to.
    #[arg(long, value_name = "SOCK")]
    pub(crate) control: PathBuf,
    /// The daemon's control socket: enrols L0 devices, and lets ctl wait for effects.
    #[arg(long, value_name = "SOCK")]
    pub(crate) agent_control: Option<PathBuf>,
    /// Where to write the anchors and the stand-in encryption key that the daemon and its judges need.
    #[arg(long, value_name = "DIR")]
    pub(crate) pki_out: Option<PathBuf>,
    /// File to write once the devices are plugged in (with an agent control socket: once they are ready there).
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CtlArgs {
    /// Control socket of the running biosim; `biosim demo` prints it, the ready file names it.
    #[arg(long, env = "BIOSIM_CONTROL", value_name = "SOCK")]
    pub(crate) control: PathBuf,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) what: Ctl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ctl {
    /// Put the subject in front of the devices, or take it away.
    Subject {
        /// Where the subject is.
        #[arg(value_enum)]
        presence: Presence,
    },
    /// Set the quality that images settle at, 0 to 100 (80 at the start).
    Quality {
        /// The quality.
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        value: u8,
    },
    /// Take fingers and eyes away: "Left RingFinger,Right" or none.
    Missing {
        /// Comma-separated names as on the wire, or none.
        parts: String,
    },
    /// Make a device report a state.
    Device {
        /// Its deviceId or serial number.
        id: String,
        /// The state.
        #[arg(value_enum)]
        state: State,
    },
    /// Pull the plug of a device.
    Unplug {
        /// Its deviceId or serial number.
        id: String,
    },
    /// Plug a device in again.
    Replug {
        /// Its deviceId or serial number.
        id: String,
    },
    /// Give a device a new key and a new certificate of its provider.
    RotateKey {
        /// Its deviceId or serial number.
        id: String,
    },
    /// List the devices.
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Presence {
    /// In front of the devices.
    Present,
    /// Nobody is there.
    Absent,
}

/// State that a device reports of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// All is well.
    Ready,
    /// At work for somebody else.
    Busy,
    /// Present, but not usable.
    NotReady,
    /// Without a certificate.
    NotRegistered,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_commands_parse() {
        for line in [
            "biosim demo --once",
            "biosim demo --serve-only --profile registration --level l0 --port 0 --ready-file f --origin https://a.b --developer https://c.d",
            "biosim serve --profile auth --level l1 --links d --control s --agent-control a --pki-out p --seed 7 --cache none --ready-file f",
            "biosim ctl --control s subject absent",
            "biosim ctl --control s quality 30",
            "biosim ctl --control s device BT0123456789 not-registered",
            "biosim ctl --control s list --json",
            "biosim ctl --control s rotate-key BT0123456789",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
        }
        assert!(Cli::try_parse_from(["biosim", "ctl", "--control", "s", "quality", "101"]).is_err());
        assert!(Cli::try_parse_from(["biosim", "demo", "--once", "--serve-only"]).is_err());
    }
}
