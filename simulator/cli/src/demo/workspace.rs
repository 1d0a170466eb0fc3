//! The folder of a demo: configuration, certificates, state, sockets, log. Private to the user, gone afterwards.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use biosim_scanner::Spec;
use biotrust_model::Level;
use biotrust_model::Purpose;
use serde::Serialize;

use super::daemon;
use crate::args::DemoArgs;
use crate::files::{self, Access};
use crate::pki::PkiFiles;
use crate::profile;

/// A device that stays plugged in proves itself again after this time, in seconds.
const ATTESTED_EVERY: u32 = 3600;

/// A folder that lives as long as this value, unless it is to be kept.
pub(crate) struct Workspace {
    root: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Workspace {
    /// Makes the folder: `keep` where it is given (new, or empty), a temporary one otherwise.
    pub(crate) fn create(keep: Option<&Path>) -> anyhow::Result<Self> {
        let workspace = match keep {
            Some(path) => Self { root: kept(path)?, _temporary: None },
            None => {
                // Short, because the path of a socket may have 107 bytes only.
                let made = tempfile::Builder::new()
                    .prefix("biosim-")
                    .permissions(private())
                    .tempdir()
                    .context("making a private folder")?;
                Self { root: made.path().to_owned(), _temporary: Some(made) }
            }
        };
        for folder in ["links", "pki", "state"] {
            private_folder(&workspace.root.join(folder))?;
        }
        Ok(workspace)
    }

    /// Where virtual devices appear.
    pub(crate) fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Where certificates are written.
    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// biosim's own control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.root.join("biosim.sock")
    }

    /// Where evidence is kept.
    pub(crate) fn evidence(&self, serial: &str) -> [PathBuf; 2] {
        ["evidence", "challenge"].map(|what| {
            let extension = if what == "evidence" { "jwt" } else { "json" };
            self.root.join(format!("{what}-{serial}.{extension}"))
        })
    }

    /// The management server's folder; it makes that itself.
    pub(crate) fn management(&self) -> PathBuf {
        self.root.join("mgmt")
    }

    /// What the management server prints goes here.
    pub(crate) fn management_log(&self) -> PathBuf {
        self.root.join("mgmt.log")
    }

    /// The daemon's control socket.
    pub(crate) fn agent_control(&self) -> PathBuf {
        self.root.join("biotrustd.sock")
    }

    /// The daemon's files.
    pub(crate) fn daemon(&self, program: PathBuf) -> daemon::Paths {
        daemon::Paths {
            program,
            config: self.root.join("biotrust.toml"),
            ready: self.root.join("biotrustd.json"),
            log: self.root.join("biotrustd.log"),
        }
    }

    /// Writes the daemon's configuration; `server` is the URL of the management server, where there is one.
    pub(crate) fn configure(
        &self,
        args: &DemoArgs,
        devices: &[Spec],
        pki: &PkiFiles,
        server: Option<&str>,
    ) -> anyhow::Result<()> {
        let l0_auth = devices.iter().any(|spec| spec.purpose == Purpose::Auth && spec.level == Level::L0);
        let config = Config {
            sbi: Sbi {
                port: args.port,
                purpose: profile::sbi_purpose(args.devices.profile),
                environment: "Staging",
                allow_l0_auth: l0_auth,
            },
            origins: Origins { auth: &args.origins, developer: &args.developers },
            trust: Trust { device_anchors: [&pki.device_anchors], ftm_anchors: [&pki.ftm_anchors] },
            attestation: Attestation { interval_s: ATTESTED_EVERY },
            metadata: Metadata { file: &pki.model_metadata, anchors: [&pki.adopter_anchor] },
            management: server.map(|url| Management { url, anchors: [&pki.device_anchors] }),
            encryption: Encryption { certificate: &pki.ida_certificate },
            buses: Buses { watch: [] },
            serial: Serial { links: self.links() },
            state: State { directory: self.root.join("state") },
            control: Control { socket: self.agent_control() },
            log: Log { filter: "info", format: "text" },
        };
        let text = toml::to_string(&config).context("writing the daemon's configuration")?;
        files::write(&self.root.join("biotrust.toml"), text.as_bytes(), Access::Private)
    }
}

fn kept(path: &Path) -> anyhow::Result<PathBuf> {
    let path = files::absolute(path)?;
    match std::fs::read_dir(&path) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!("{} is not empty; --keep wants a new or an empty folder", path.display());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => private_folder(&path)?,
        Err(error) => return Err(error).with_context(|| format!("looking into {}", path.display())),
    }
    Ok(path)
}

fn private() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o700)
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making the folder {}", path.display()))
}

/// biotrust.toml, as far as the demo needs it.
#[derive(Serialize)]
struct Config<'a> {
    sbi: Sbi<'a>,
    origins: Origins<'a>,
    trust: Trust<'a>,
    attestation: Attestation,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    management: Option<Management<'a>>,
    encryption: Encryption<'a>,
    buses: Buses,
    serial: Serial,
    state: State,
    control: Control,
    log: Log<'a>,
}

#[derive(Serialize)]
struct Sbi<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    purpose: &'a str,
    environment: &'a str,
    allow_l0_auth: bool,
}

#[derive(Serialize)]
struct Origins<'a> {
    auth: &'a [String],
    developer: &'a [String],
}

#[derive(Serialize)]
struct Trust<'a> {
    device_anchors: [&'a Path; 1],
    ftm_anchors: [&'a Path; 1],
}

#[derive(Serialize)]
struct Attestation {
    interval_s: u32,
}

#[derive(Serialize)]
struct Metadata<'a> {
    file: &'a Path,
    anchors: [&'a Path; 1],
}

#[derive(Serialize)]
struct Management<'a> {
    url: &'a str,
    anchors: [&'a Path; 1],
}

#[derive(Serialize)]
struct Encryption<'a> {
    certificate: &'a Path,
}

/// Virtual devices only: cameras and readers of this host are nobody's business here.
#[derive(Serialize)]
struct Buses {
    watch: [&'static str; 0],
}

#[derive(Serialize)]
struct Serial {
    links: PathBuf,
}

#[derive(Serialize)]
struct State {
    directory: PathBuf,
}

#[derive(Serialize)]
struct Control {
    socket: PathBuf,
}

#[derive(Serialize)]
struct Log<'a> {
    filter: &'a str,
    format: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, ManagementChoice};
    use clap::Parser as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn configured(line: &str) -> toml::Table {
        let Command::Demo(args) = Cli::parse_from(line.split(' ')).command else { panic!("a demo") };
        let workspace = Workspace::create(None).unwrap();
        let file = |name: &str| workspace.pki().join(name);
        let pki = PkiFiles {
            device_anchors: file("d"),
            ftm_anchors: file("f"),
            adopter_anchor: file("a"),
            model_metadata: file("m"),
            ida_key: file("k"),
            ida_certificate: file("c"),
        };
        let devices = profile::devices(args.devices.profile, args.devices.level);
        let server = (args.management == ManagementChoice::Local).then_some("https://127.0.0.1:1");
        workspace.configure(&args, &devices, &pki, server).unwrap();
        assert_eq!(std::fs::metadata(&workspace.root).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::read_to_string(workspace.root.join("biotrust.toml")).unwrap().parse().unwrap()
    }

    #[test]
    fn the_configuration_says_what_was_asked_for() {
        let config = configured("biosim demo --profile auth --level mixed --port 0 --origin https://a.b");
        assert_eq!(config["sbi"]["port"].as_integer(), Some(0));
        assert_eq!(config["sbi"]["purpose"].as_str(), Some("auth"));
        assert_eq!(config["sbi"]["allow_l0_auth"].as_bool(), Some(true));
        assert_eq!(config["origins"]["auth"][0].as_str(), Some("https://a.b"));
        assert_eq!(config["management"]["url"].as_str(), Some("https://127.0.0.1:1"));

        let config = configured("biosim demo --profile auth --level l1 --management none");
        assert!(config.get("management").is_none());
        assert!(config["sbi"].get("port").is_none(), "the daemon takes the lowest free one");
        assert_eq!(config["sbi"]["allow_l0_auth"].as_bool(), Some(false));
    }

    #[test]
    fn a_temporary_folder_goes_and_a_kept_one_stays() {
        let root = Workspace::create(None).unwrap().root;
        assert!(!root.exists());
        let dir = tempfile::tempdir().unwrap();
        let keep = dir.path().join("kept");
        drop(Workspace::create(Some(&keep)).unwrap());
        assert!(keep.join("links").is_dir());
        let error = Workspace::create(Some(&keep)).err().unwrap().to_string();
        assert!(error.contains("not empty"), "{error}");
    }
}
