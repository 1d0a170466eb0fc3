//! `biosim replay`: a recorded device does again what it did, for whoever finds it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use biosim_hardware::replay::{Progress, ReplayOnPty, SerialReplay, UsbReplay};
use biosim_usbip::Gadget;
use biosim_usbip::server::Server;
use biotrust_pipe::record::Recording;
use serde_json::json;

use crate::args::ReplayArgs;
use crate::files::{self, Access};
use crate::hardware::ptylink::PtyLink;
use crate::hardware::socket::{Socket, UsbBus};
use crate::hardware::spec::Attach;
use crate::{interrupt, say};

/// How often the replay is asked how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// Plays until Ctrl-C, or until the device is gone or the host has left the recording, which is a failure.
pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let interrupt = interrupt::install()?;
    args.ready_file.as_deref().map_or(Ok(()), files::remove_stale)?;
    let file =
        File::open(&args.recording).with_context(|| format!("opening {}", args.recording.display()))?;
    let recording = Recording::read(BufReader::new(file))
        .with_context(|| format!("reading {}", args.recording.display()))?;
    let (driver, bus) = (recording.header.driver.clone(), recording.header.bus.clone());
    let stage = Stage::set(recording, &args.attach, &args.recording)?;
    if let Some(path) = &args.ready_file {
        let ready =
            json!({ "pid": std::process::id(), "driver": driver, "bus": bus, "place": stage.place() });
        files::write(path, &serde_json::to_vec_pretty(&ready)?, Access::Private)?;
    }
    say::result(format_args!("a recorded {driver} device is at {}; Ctrl-C ends it", stage.place()));
    let mut told = false;
    loop {
        if interrupt.wait(LOOK) {
            return Ok(ExitCode::SUCCESS);
        }
        match stage.progress() {
            Progress::Running => {}
            Progress::Finished if told => {}
            Progress::Finished => {
                told = true;
                say::result("the recording has been played to its end");
            }
            Progress::Gone => {
                say::result("the device is gone, as it went when it was recorded");
                return Ok(ExitCode::SUCCESS);
            }
            Progress::Diverged { line, why } => {
                bail!("the host has left the recording at line {line}: {why}");
            }
        }
    }
}

/// The device, and where it is.
enum Stage {
    Line { replay: ReplayOnPty, link: PtyLink },
    Usb { gadget: Gadget<UsbReplay>, socket: Socket },
}

impl Stage {
    fn set(recording: Recording, attach: &Attach, file: &Path) -> anyhow::Result<Self> {
        let bus = recording.header.bus.clone();
        let usb = |bus: UsbBus, recording| -> anyhow::Result<Self> {
            let gadget = Gadget::new(UsbReplay::new(recording)?).context("making a virtual device")?;
            let socket = Socket::new(bus, gadget.erase());
            socket.plug()?;
            Ok(Self::Usb { gadget, socket })
        };
        match (bus.as_str(), attach) {
            ("serial", Attach::Pty(folder)) => {
                let replay = ReplayOnPty::plug(SerialReplay::new(recording)?)?;
                let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("replay");
                let link = PtyLink::insert(&files::absolute(folder)?, name, replay.path())?;
                Ok(Self::Line { replay, link })
            }
            ("usb", Attach::Vhci) => usb(UsbBus::Vhci, recording),
            ("usb", Attach::Tcp(address)) => {
                let server = Server::start(address)
                    .with_context(|| format!("cannot listen on {address} for usbip"))?;
                usb(UsbBus::Server(server.into()), recording)
            }
            ("serial", _) => bail!("a recording of a serial line goes to --attach pty:FOLDER"),
            ("usb", _) => bail!("a recording of a USB device goes to --attach vhci or tcp:HOST:PORT"),
            (other, _) => bail!("recordings of the bus {other:?} are to be read, and cannot be played"),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Line { link, .. } => link.path().display().to_string(),
            Self::Usb { socket, .. } => socket.place().as_str().unwrap_or("no place any more").to_owned(),
        }
    }

    fn progress(&self) -> Progress {
        match self {
            Self::Line { replay, .. } => replay.progress(),
            Self::Usb { gadget, .. } => gadget.with(|device| device.progress()),
        }
    }
}
