//! `biosim hardware`: virtual devices of other makers and on other buses, for a `biotrustd` (or anything else) that finds
//! them as it finds real ones.

mod bench;
mod build;
mod part;
pub(crate) mod ptylink;
pub(crate) mod socket;
pub(crate) mod spec;
mod unit;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use biosim_image::Subject;
use biosim_scanner::{CalibratedSubject, Spec};
use biosim_usbip::server::Server as UsbipServer;
use biotrust_model::BioSubType;
use biotrust_model::time::{Clock as _, SystemClock};
use serde_json::json;

use self::bench::Bench;
use self::build::Builder;
use self::part::Person;
use self::socket::UsbBus;
use self::spec::{Attach, DeviceSpec, HardwareKind};
use crate::args::HardwareArgs;
use crate::control::server::Server;
use crate::files::{self, Access};
use crate::{interrupt, lab, metadata, pki, say};

/// The finger that is laid on readers.
const FINGER: BioSubType = BioSubType::RightIndexFinger;
/// Nothing to do but wait.
const LONG: Duration = Duration::from_secs(3600);

/// Serves until Ctrl-C.
pub(crate) fn run(args: &HardwareArgs) -> anyhow::Result<ExitCode> {
    let interrupt = interrupt::install()?;
    args.ready_file.as_deref().map_or(Ok(()), files::remove_stale)?;
    let places = Places::of(args)?;
    let subject = Subject::new(args.seed, lab::cache_folder(args.cache.as_deref()));
    let person = person(&subject, &args.devices)?;
    let scanners: Vec<Spec> = args.devices.iter().filter_map(|device| scanner(&device.kind)).collect();
    let (workshop, written) = workshop(args, &scanners, subject)?;
    let usbip = match &places.usb {
        Some(UsbBus::Server(server)) => Some(server.address()),
        _ => None,
    };
    let builder = Builder { usb: places.usb, links: places.links, workshop };
    let bench = Arc::new(Bench::new(builder.build(&args.devices)?, person));
    bench.show_everywhere(!args.no_finger)?;

    let _control = Server::start(&args.control, Arc::clone(&bench) as _)?;
    let _unplugged = UnpluggedAtTheEnd(Arc::clone(&bench));
    bench.plug_all()?;
    if let Some(path) = &args.ready_file {
        let ready = json!({
            "pid": std::process::id(),
            "control": files::absolute(&args.control)?,
            "usbip": usbip,
            "pki": written,
            "hardware": bench.describe(),
        });
        let ready = serde_json::to_vec_pretty(&ready).context("writing the ready file")?;
        files::write(path, &ready, Access::Private)?;
    }
    say::result(format_args!("{} devices are plugged in; Ctrl-C ends it", args.devices.len()));
    while !interrupt.wait(LONG) {}
    Ok(ExitCode::SUCCESS)
}

/// The threads of the control socket keep the devices to the end of the process; their plugs are pulled before.
struct UnpluggedAtTheEnd(Arc<Bench>);

impl Drop for UnpluggedAtTheEnd {
    fn drop(&mut self) {
        self.0.unplug_all();
    }
}

/// Where devices are plugged in.
struct Places {
    usb: Option<UsbBus>,
    links: Option<PathBuf>,
}

impl Places {
    fn of(args: &HardwareArgs) -> anyhow::Result<Self> {
        let mut places = Self { usb: None, links: None };
        for attach in &args.attach {
            let twice = match attach {
                Attach::Vhci => places.usb.replace(UsbBus::Vhci).is_some(),
                Attach::Tcp(address) => {
                    let server = UsbipServer::start(address)
                        .with_context(|| format!("cannot listen on {address} for usbip"))?;
                    places.usb.replace(UsbBus::Server(Arc::new(server))).is_some()
                }
                Attach::Pty(folder) => places.links.replace(files::absolute(folder)?).is_some(),
            };
            if twice {
                bail!("devices of one kind go to one place: one of vhci and tcp, and one pty");
            }
        }
        let unused = |what| format!("no device goes to {what}: leave the --attach out, or add a device");
        let is = |test: fn(&HardwareKind) -> bool| args.devices.iter().any(|device| test(&device.kind));
        if places.usb.is_some() && !is(HardwareKind::is_usb) {
            bail!(unused("USB"));
        }
        if places.links.is_some() && !is(HardwareKind::is_pty) {
            bail!(unused("a pseudo-terminal"));
        }
        Ok(places)
    }
}

/// Who is there for the devices to see.
fn person(subject: &Subject, devices: &[DeviceSpec]) -> anyhow::Result<Person> {
    let print = subject.finger(FINGER, 1, 1.0).context("making a fingerprint")?;
    let is_seen = devices.iter().any(|device| matches!(device.kind, HardwareKind::Camera { .. }));
    let photo = is_seen.then(|| subject.face(1, 1.0, &[]).context("making a face"));
    Ok(Person { print, photo: photo.transpose()?.map(Arc::new) })
}

const fn scanner(kind: &HardwareKind) -> Option<Spec> {
    match kind {
        HardwareKind::Link { spec, .. } => Some(*spec),
        _ => None,
    }
}

/// What reference devices and trust modules are made from, where there are any or their certificates are asked for; they
/// are written then.
fn workshop(
    args: &HardwareArgs,
    scanners: &[Spec],
    subject: Subject,
) -> anyhow::Result<(Option<biosim_scanner::Workshop>, Option<pki::PkiFiles>)> {
    let has_module = args.devices.iter().any(|device| matches!(device.kind, HardwareKind::Ftm { .. }));
    if scanners.is_empty() && !has_module && args.pki_out.is_none() {
        return Ok((None, None));
    }
    let now = SystemClock.now();
    let pki = Arc::new(pki::mint(now)?);
    let subject = Arc::new(CalibratedSubject::new(subject));
    let workshop = lab::workshop(args.seed, subject, Arc::clone(&pki));
    let written = match &args.pki_out {
        Some(folder) => {
            let models = metadata::publish(&pki, &workshop.factory, &workshop.maker, scanners, now)?;
            Some(pki::write(&pki, &models, folder)?)
        }
        None => None,
    };
    Ok((Some(workshop), written))
}
