//! Everything that a demo needs, up and running: folder, certificates, daemon, devices, control socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use biosim_scanner::{CalibratedSubject, Spec};
use biotrust_certs::{Domain, TestPki};
use biotrust_driver_api::Cancel;
use biotrust_model::time::{Clock as _, SystemClock};
use serde::Serialize;

use super::daemon::Daemon;
use super::workspace::Workspace;
use crate::agent::Agent;
use crate::args::DemoArgs;
use crate::control::server::Server;
use crate::files::{self, Access};
use crate::lab::{self, Lab, Listed, PluggedIn};
use crate::pki::{self, PkiFiles};
use crate::profile;
use crate::say::Progress;

/// Fields end in their order: the daemon first, the folder last.
pub(crate) struct Stage {
    /// biotrustd.
    pub(crate) daemon: Daemon,
    _control: Server,
    _plugged: PluggedIn,
    /// The devices.
    pub(crate) lab: Arc<Lab>,
    /// The devices as the daemon knows them.
    pub(crate) devices: Vec<Listed>,
    /// The authorities.
    pub(crate) pki: Arc<TestPki>,
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
    devices: &'a [Listed],
}

impl Stage {
    /// Sets everything up; returns when every device is Ready at the daemon.
    pub(crate) fn set(args: &DemoArgs, interrupt: &Cancel, progress: &Progress) -> anyhow::Result<Self> {
        args.ready_file.as_deref().map_or(Ok(()), files::remove_stale)?;
        let program = find_daemon(args.biotrustd.as_deref())?;
        let specs = profile::devices(args.devices.profile, args.devices.level);
        let workspace = Workspace::create(args.keep.as_deref())?;
        let subject = lab::subject(&args.devices);

        // The script should not wait for drawings; whoever else needs one waits for it.
        let (drawing, stop) = (Arc::clone(&subject), interrupt.clone());
        let drawn_for = if args.serve_only { Vec::new() } else { specs.clone() };
        let drawer = std::thread::Builder::new()
            .name("drawings".to_owned())
            .spawn(move || lab::prepare(&drawing, &drawn_for, &stop))
            .context("starting a thread")?;

        progress.now("making test certificates");
        let pki = Arc::new(pki::mint(SystemClock.now())?);
        let files = pki::write(&pki, &workspace.pki())?;
        workspace.configure(args, &specs, &files)?;

        progress.now("starting biotrustd");
        let daemon = Daemon::start(&workspace.daemon(program), interrupt)?;

        progress.now(format!("building {} virtual devices", specs.len()));
        let lab = build(args, &specs, subject, &pki, &workspace, &daemon)?;
        let control = Server::start(&workspace.control(), Arc::clone(&lab) as _)?;

        progress.now("plugging the devices in and enrolling them");
        let plugged = lab.plug_all()?;
        lab.make_ready()
            .map_err(|error| anyhow!("{error:#}\nbiotrustd is running; {}", daemon.last_lines()))?;
        progress.now("drawing fingers, irises and faces");
        if drawer.join().is_err() {
            bail!("the thread that draws the subject has failed");
        }
        let devices = lab.listed()?;
        let stage =
            Self { daemon, _control: control, _plugged: plugged, lab, devices, pki, files, workspace };
        if let Some(path) = &args.ready_file {
            let ready = serde_json::to_vec_pretty(&stage.ready()).context("writing the ready file")?;
            files::write(path, &ready, Access::Private)?;
        }
        Ok(stage)
    }

    /// What the ready file says.
    pub(crate) fn ready(&self) -> Ready<'_> {
        Ready {
            sbi: &self.daemon.ready.sbi,
            pid: self.daemon.ready.pid,
            control: self.workspace.control(),
            agent_control: &self.daemon.ready.control,
            pki: &self.files,
            devices: &self.devices,
        }
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

fn build(
    args: &DemoArgs,
    specs: &[Spec],
    subject: Arc<CalibratedSubject>,
    pki: &Arc<TestPki>,
    workspace: &Workspace,
    daemon: &Daemon,
) -> anyhow::Result<Arc<Lab>> {
    let agent = Agent::new(daemon.ready.control.clone());
    let lab = Lab::build(specs, args.devices.seed, subject, Arc::clone(pki), workspace.links(), Some(agent))?;
    Ok(Arc::new(lab))
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
