//! The command line of biosim.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::hardware::spec::{Attach, DeviceSpec};

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
    /// Everything happens in a fresh private directory: test certificates, configuration, state and sockets. The devices
    /// register with a management server, which certifies only what proves itself. Several demos run side by side. The
    /// exit status is 0 only when every step was verified.
    Demo(DemoArgs),
    /// Run virtual devices only, for a biotrustd that is started by somebody else.
    Serve(ServeArgs),
    /// Plug in virtual hardware: fingerprint readers and modules of other makers, and reference devices on USB and HID.
    ///
    /// A daemon, or any other program, finds them as it finds real ones. `--attach vhci` makes them devices of this
    /// machine's kernel (root; `modprobe vhci-hcd`), `--attach tcp:HOST:PORT` offers them to `usbip attach` without
    /// authentication, `--attach pty:FOLDER` is for those on a serial line.
    #[command(after_help = HARDWARE_EXAMPLES)]
    Hardware(HardwareArgs),
    /// Play a recorded device (`biotrust record`): it does again what it did then.
    ///
    /// A device of a serial line goes to `--attach pty:FOLDER`, a USB device to `--attach vhci` or `tcp:HOST:PORT`. Ends
    /// when the device is gone as it went then, and with a failure when the host does something else than it did.
    Replay(ReplayArgs),
    /// Change what the virtual devices of a running biosim see and do.
    ///
    /// Each command answers when its effect holds at the daemon (or, for the subject, at the devices).
    Ctl(CtlArgs),
    /// Run the management server of a device provider, or do what its operator does.
    #[command(after_help = MGMT_EXAMPLES)]
    Mgmt(MgmtArgs),
}

const MGMT_EXAMPLES: &str = "\
Examples:
  biosim mgmt init --dir trial                         keys, certificates and trial/mgmt.toml
  biosim mgmt --config trial/mgmt.toml serve           the server, until Ctrl-C
  biosim mgmt --config trial/mgmt.toml approve SERIAL  let a device without a trust module register
  biosim mgmt --config trial/mgmt.toml devices         what is registered
  biosim mgmt --config trial/mgmt.toml rotate SERIAL   a new device key, at the device's next poll
  biosim mgmt --config trial/mgmt.toml events          what was decided, and why

The demo has such a server: its ready file names the configuration as management.config.";

const HARDWARE_EXAMPLES: &str = "\
Examples:
  biosim hardware --device uru4000 --device r30x@ftdi --attach vhci --control hw.sock
  biosim hardware --device r30x@pty --attach pty:lines --control hw.sock
  biosim hardware --device left=uru4000 --device right=uru4000 --attach tcp:127.0.0.1:3240 --control hw.sock
  biosim hardware --device link@usb:L1,FingerSlap --attach vhci --control hw.sock --pki-out pki
  biosim ctl --control hw.sock finger absent           nobody touches anything
  biosim ctl --control hw.sock yank left               pulled in the middle of whatever is under way
  biosim ctl --control hw.sock replug left             plugged in where it was
  biosim ctl --control hw.sock hw-fault left stall:1   the next transfer stalls

Devices: [NAME=]uru4000[:SERIAL], r30x@acm|ftdi[:SERIAL], r30x@pty,
link@usb|hid|pty:L0|L1,KIND[,auth|registration] with KIND FingerSlap, FingerSingle, FingerTouchless, IrisDouble, IrisSingle
or Face, ftm@hid|pty, camera@SOCKET.";

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording.
    #[arg(value_name = "FILE")]
    pub(crate) recording: PathBuf,
    /// Where it is plugged in: vhci, tcp:HOST:PORT, pty:FOLDER.
    #[arg(long, value_name = "PLACE")]
    pub(crate) attach: Attach,
    /// File to write once it is plugged in: JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct HardwareArgs {
    /// A device (repeatable); see below.
    #[arg(long = "device", value_name = "DEVICE", required = true)]
    pub(crate) devices: Vec<DeviceSpec>,
    /// Where they are plugged in: vhci, tcp:HOST:PORT, pty:FOLDER (repeatable: one place for USB, one for lines).
    #[arg(long, value_name = "PLACE")]
    pub(crate) attach: Vec<Attach>,
    /// Where to put the socket that `biosim ctl` talks to.
    #[arg(long, value_name = "SOCK")]
    pub(crate) control: PathBuf,
    /// Where to write the anchors, the model metadata and the stand-in encryption key that the daemon and its judges need.
    #[arg(long, value_name = "DIR")]
    pub(crate) pki_out: Option<PathBuf>,
    /// File to write once the devices are plugged in: JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// No finger lies on the readers at the start.
    #[arg(long)]
    pub(crate) no_finger: bool,
    /// Seed of the subject's fingers, irises and face, and of the serial numbers.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder that keeps generated fingerprints between runs, or "none" [default: $XDG_CACHE_HOME/biosim or ~/.cache/biosim].
    #[arg(long, value_name = "DIR|none")]
    pub(crate) cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MgmtArgs {
    /// End when the program that has started this one ends.
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
    #[command(flatten)]
    pub(crate) args: biosim_mgmt::Args,
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

/// What the chips of L1 devices are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChipChoice {
    /// In this process.
    Software,
    /// A TPM 2.0 for each (needs swtpm; some seconds to make).
    Swtpm,
    /// A TPM 2.0 for the first L1 device, software for the others.
    Mixed,
}

/// Whether devices register with a management server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManagementChoice {
    /// With one that is started along.
    Local,
    /// There is none: L1 devices are certified when they are made, L0 devices when they are plugged in.
    None,
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
    /// What the chips of L1 devices are [default: mixed where captures are played, else software].
    #[arg(long, value_enum)]
    pub(crate) chip: Option<ChipChoice>,
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
    /// The management server that devices register with.
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) management: ManagementChoice,
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
    /// Where to write the anchors, the model metadata and the stand-in encryption key that the daemon and its judges need.
    #[arg(long, value_name = "DIR")]
    pub(crate) pki_out: Option<PathBuf>,
    /// Where to set up the provider's management server, a new folder: start it with `biosim mgmt --config
    /// DIR/mgmt.toml serve`. Devices then have no certificate before they have registered with it.
    #[arg(long, value_name = "DIR")]
    pub(crate) management_out: Option<PathBuf>,
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
    /// Pull a device of `biosim hardware` out in the middle of whatever is under way.
    Yank {
        /// Its name or serial number.
        id: String,
    },
    /// Make something wrong with a device of `biosim hardware` or with its bus, or make it right again.
    HwFault {
        /// Its name or serial number.
        id: String,
        /// The fault, or none: stall, stall:TIMES, nak, short, garbage, babble, slow:MILLISECONDS, disconnect on USB, and
        /// those of the device itself, which the refusal of an unknown one lists.
        fault: String,
    },
    /// Lay a finger on devices of `biosim hardware`, or take it away.
    Finger {
        /// Whether a finger lies there.
        #[arg(value_enum)]
        presence: Presence,
        /// Name or serial number of one device [default: all].
        #[arg(long, value_name = "ID")]
        device: Option<String>,
    },
    /// Give a device a new key and a new certificate of its provider, through the management server where there is one.
    RotateKey {
        /// Its deviceId or serial number.
        id: String,
    },
    /// Make something wrong with an L1 device, so that its evidence fails, or make it right again.
    Fault {
        /// Its deviceId or serial number.
        id: String,
        /// What is wrong.
        #[arg(value_enum)]
        fault: Fault,
    },
    /// Start a device anew, as after an update.
    Reboot {
        /// Its deviceId or serial number.
        id: String,
    },
    /// Pull the plug of a device and plug it in again: an L1 device forgets the time.
    PowerCycle {
        /// Its deviceId or serial number.
        id: String,
    },
    /// Stop the clock of an L1 device (`fault ID none` starts it again).
    StopClock {
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

/// What is wrong with an L1 device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// Its debug port is open, and it says so.
    Debug,
    /// Its firmware is older than the adopter accepts.
    Svn,
    /// It shows the chip certificate of another device.
    Clone,
    /// Its chip certificate is from a root that nobody trusts.
    Foreign,
    /// It measures firmware that nobody released.
    Tampered,
    /// Nothing.
    None,
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
            "biosim ctl --control s fault BT0123456789 tampered",
            "biosim ctl --control s power-cycle BT0123456789",
            "biosim ctl --control s stop-clock BT0123456789",
            "biosim demo --once --chip swtpm --management none",
            "biosim serve --links d --control s --chip swtpm --management-out m",
            "biosim ctl --control s yank left",
            "biosim ctl --control s hw-fault left slow:20",
            "biosim ctl --control s finger absent",
            "biosim ctl --control s finger present --device left",
            "biosim hardware --device uru4000 --device a=r30x@pty --attach vhci --attach pty:d --control s --ready-file f --cache none",
            "biosim mgmt --config trial/mgmt.toml rotate SN1",
            "biosim mgmt --with-parent --config trial/mgmt.toml serve",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
        }
        assert!(Cli::try_parse_from(["biosim", "ctl", "--control", "s", "quality", "101"]).is_err());
        assert!(Cli::try_parse_from(["biosim", "demo", "--once", "--serve-only"]).is_err());
    }

    #[test]
    fn the_examples_in_the_help_are_good_ones() {
        let lines = MGMT_EXAMPLES.lines().chain(HARDWARE_EXAMPLES.lines());
        let examples = lines.filter_map(|line| line.trim().strip_prefix("biosim "));
        let commands: Vec<&str> = examples.filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(commands.len(), 6 + 8);
        for command in commands {
            let words = std::iter::once("biosim").chain(command.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{command}");
        }
    }
}
