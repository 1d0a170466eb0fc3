//! Everything that a demo needs, up and running: folder, certificates, management server, daemon, devices, control
//! socket.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use biosim_scanner::ftm::FtmError;
use biosim_scanner::{Faults, Kind, Options, Spec, Workshop};
use biotrust_certs::{Domain, TestPki};
use biotrust_driver_api::Cancel;
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{Level, Purpose};
use serde::Serialize;

use super::daemon::Daemon;
use super::workspace::Workspace;
use crate::agent::Agent;
use crate::args::{ChipChoice, DemoArgs, ManagementChoice, Profile};
use crate::control::server::Server;
use crate::files::{self, Access};
use crate::lab::{self, Building, Joined, Lab, Listed, Order, PluggedIn, Registrar};
use crate::pki::{self, PkiFiles};
use crate::say::Progress;
use crate::{management, metadata, profile};

/// Fields end in their order: the daemon first, the folder last.
pub(crate) struct Stage {
    /// biotrustd.
    pub(crate) daemon: Daemon,
    _control: Server,
    _plugged: PluggedIn,
    /// A device that nobody certifies, where captures are played; to be plugged in.
    suspect: Mutex<Option<Building>>,
    /// The devices.
    pub(crate) lab: Arc<Lab>,
    /// The devices as the daemon knows them.
    pub(crate) devices: Vec<Listed>,
    /// How they became Ready.
    pub(crate) joined: Vec<Joined>,
    /// The authorities.
    pub(crate) pki: Arc<TestPki>,
    /// What the adopter says about the models, signed.
    pub(crate) metadata: String,
    /// The management server, where there is one.
    pub(crate) management: Option<management::Server>,
    files: PkiFiles,
    workspace: Workspace,
}

/// The ready file.
#[derive(Debug, Serialize)]
pub(crate) struct Ready<'a> {
    sbi: &'a str,
    pid: u32,
    control: PathBuf,
    agent_control: &'a Path,
    #[serde(flatten)]
    pki: &'a PkiFiles,
    provider: &'a str,
    management: Option<Management<'a>>,
    devices: &'a [Listed],
}

/// The management server in it.
#[derive(Debug, Serialize)]
struct Management<'a> {
    url: &'a str,
    /// Certificates that its TLS certificate and its signatures lead to.
    anchor: &'a Path,
    /// Organisation of its signer.
    organisation: &'a str,
    /// For `biosim mgmt --config`.
    config: &'a Path,
    log: &'a Path,
    pid: u32,
}

impl Stage {
    /// Sets everything up; returns when every device is Ready at the daemon.
    pub(crate) fn set(args: &DemoArgs, interrupt: &Cancel, progress: &Progress) -> anyhow::Result<Self> {
        args.ready_file.as_deref().map_or(Ok(()), files::remove_stale)?;
        let program = find_daemon(args.biotrustd.as_deref())?;
        let specs = profile::devices(args.devices.profile, args.devices.level);
        let workspace = Workspace::create(args.keep.as_deref())?;
        let subject = lab::subject(&args.devices);
        let registrar = match args.management {
            ManagementChoice::Local => Registrar::Server,
            ManagementChoice::None => Registrar::Biosim,
        };

        // The script should not wait for drawings; whoever else needs one waits for it.
        let (drawing, stop) = (Arc::clone(&subject), interrupt.clone());
        let drawn_for = if args.serve_only { Vec::new() } else { specs.clone() };
        let drawer = std::thread::Builder::new()
            .name("drawings".to_owned())
            .spawn(move || lab::prepare(&drawing, &drawn_for, &stop))
            .context("starting a thread")?;

        progress.now("making test certificates");
        let pki = Arc::new(pki::mint(SystemClock.now())?);
        let workshop = lab::workshop(args.devices.seed, subject, Arc::clone(&pki));
        let agent = Agent::new(workspace.agent_control());
        let lab = Arc::new(Lab::new(workshop.clone(), workspace.links(), Some(agent), registrar));

        let metadata = publish(&workshop, &specs)?;
        let files = pki::write(&pki, &metadata, &workspace.pki())?;
        let management = match registrar {
            Registrar::Biosim => None,
            Registrar::Server => {
                progress.now("starting the management server");
                Some(manage(&workshop, &specs, &metadata, &workspace, interrupt)?)
            }
        };
        workspace.configure(args, &specs, &files, management.as_ref().map(management::Server::url))?;

        progress.now("starting biotrustd");
        let daemon = Daemon::start(&workspace.daemon(program), interrupt)?;
        // Only now: programs that are started while a TPM is made would inherit the connection to it. A TPM takes seconds;
        // the others are registered meanwhile.
        let chip = args.devices.chip.unwrap_or(default_chip(args));
        let building = lab.begin(profile::orders(&specs, chip, registrar == Registrar::Biosim))?;
        let suspect = (!args.serve_only && registrar == Registrar::Server)
            .then(|| lab.begin(vec![suspect(args.devices.profile)]))
            .transpose()?;
        let control = Server::start(&workspace.control(), Arc::clone(&lab) as _)?;
        let plugged = lab.until_dropped();

        progress
            .now(format!("building {} virtual devices, plugging them in and registering them", specs.len()));
        let joined = lab.bring_in(building).map_err(|error| match error.is::<FtmError>() {
            true => error, // a device that could not be built: the daemon knows nothing of it
            false => anyhow!("{error:#}\nbiotrustd is running; {}", daemon.last_lines()),
        })?;
        progress.now("drawing fingers, irises and faces");
        if drawer.join().is_err() {
            bail!("the thread that draws the subject has failed");
        }
        let devices = lab.listed()?;
        let stage = Self {
            daemon,
            _control: control,
            _plugged: plugged,
            suspect: Mutex::new(suspect.and_then(|mut built| built.pop())),
            lab,
            devices,
            joined,
            pki,
            metadata,
            management,
            files,
            workspace,
        };
        if let Some(path) = &args.ready_file {
            let ready = serde_json::to_vec_pretty(&stage.ready()).context("writing the ready file")?;
            files::write(path, &ready, Access::Private)?;
        }
        Ok(stage)
    }

    /// What the ready file says.
    pub(crate) fn ready(&self) -> Ready<'_> {
        let provider = self.pki.organisation(Domain::Device);
        Ready {
            sbi: &self.daemon.ready.sbi,
            pid: self.daemon.ready.pid,
            control: self.workspace.control(),
            agent_control: &self.daemon.ready.control,
            pki: &self.files,
            provider,
            management: self.management.as_ref().map(|server| Management {
                url: server.url(),
                anchor: &self.files.device_anchors,
                organisation: provider,
                config: server.config(),
                log: server.log(),
                pid: server.id(),
            }),
            devices: &self.devices,
        }
    }

    /// The daemon's control socket.
    pub(crate) fn agent(&self) -> Agent {
        Agent::new(self.daemon.ready.control.clone())
    }

    /// The device that is to be refused, once.
    pub(crate) fn suspect(&self) -> Option<Building> {
        self.suspect.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where evidence of a device and the challenge that it answers are written.
    pub(crate) fn evidence_files(&self, serial: &str) -> [PathBuf; 2] {
        self.workspace.evidence(serial)
    }

    /// Where certificates and metadata are.
    pub(crate) const fn files(&self) -> &PkiFiles {
        &self.files
    }

    /// Whether daemon and management server still run.
    ///
    /// # Errors
    /// One of them has ended; the text shows the end of its log.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.daemon.check()?;
        self.management.as_ref().map_or(Ok(()), management::Server::check)
    }

    /// biosim's own control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.workspace.control()
    }

    /// Port of the service.
    pub(crate) fn port(&self) -> anyhow::Result<u16> {
        let sbi = &self.daemon.ready.sbi;
        let port = sbi.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/'));
        port.and_then(|port| port.parse().ok()).with_context(|| format!("biotrustd says it serves {sbi:?}"))
    }

    /// Anchors of the device domain, then of the FTM domain.
    pub(crate) fn anchors(&self) -> [String; 2] {
        [Domain::Device, Domain::Ftm].map(|domain| self.pki.anchors_pem(domain))
    }
}

/// A TPM for one device where everything is to be shown; a start that is quick where a program waits for it.
const fn default_chip(args: &DemoArgs) -> ChipChoice {
    if args.serve_only { ChipChoice::Software } else { ChipChoice::Mixed }
}

/// A device with an open debug port, of a model that the others are not of.
fn suspect(profile: Profile) -> Order {
    let purpose = match profile {
        Profile::Registration | Profile::All => Purpose::Registration,
        Profile::Auth => Purpose::Auth,
    };
    Order {
        spec: Spec { kind: Kind::TouchlessFinger, level: Level::L1, purpose },
        options: Options {
            registered: false,
            faults: Faults { debug_mode: true, ..Faults::default() },
            ..Options::default()
        },
    }
}

/// What the adopter says about the models of all devices, and of the one that is to be refused.
fn publish(workshop: &Workshop, specs: &[Spec]) -> anyhow::Result<String> {
    let all = [specs, &[suspect(Profile::All).spec]].concat();
    metadata::publish(&workshop.pki, &workshop.factory, &workshop.maker, &all, SystemClock.now())
}

/// Sets the management server up, has plain scanners approved by its operator, and starts it.
fn manage(
    workshop: &Workshop,
    specs: &[Spec],
    metadata: &str,
    workspace: &Workspace,
    interrupt: &Cancel,
) -> anyhow::Result<management::Server> {
    let (now, any_port) = (SystemClock.now(), ([127, 0, 0, 1], 0));
    let config = management::set_up(&workshop.pki, &workspace.management(), metadata, any_port.into(), now)?;
    let plain = specs.iter().filter(|spec| spec.level == Level::L0);
    let plain: Vec<String> = plain.map(|spec| spec.serial(workshop.seed)).collect();
    management::approve(&config, &plain, now)?;
    management::Server::start(&config, &workspace.management_log(), interrupt)
}

/// The daemon to start: as asked, else the one beside this program, else the one in PATH.
fn find_daemon(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = asked {
        return files::absolute(path);
    }
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("biotrustd"));
    if let Some(path) = beside.filter(|path| path.is_file()) {
        return Ok(path);
    }
    let in_path = std::env::var_os("PATH").and_then(|folders| {
        std::env::split_paths(&folders).map(|folder| folder.join("biotrustd")).find(|path| path.is_file())
    });
    in_path.context("there is no biotrustd beside biosim nor in PATH; build it, or name it with --biotrustd")
}
