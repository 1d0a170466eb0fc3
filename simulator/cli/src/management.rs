//! The device provider's management server, as biosim needs it: its folder, its operator's approvals, and the server
//! itself, a process of its own (`biosim mgmt`).
//!
//! The provider's issuing key lies in that folder, for its owner only; whoever makes the folder removes it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use biosim_mgmt::store::Store;
use biosim_mgmt::{Config, Materials};
use biotrust_certs::TestPki;
use biotrust_driver_api::Cancel;
use biotrust_model::time::UtcMillis;
use toml::{Table, Value};

use crate::files::{self, Access};
use crate::process::Process;

/// How often devices ask for orders, in seconds: somebody is watching.
const POLL_SECONDS: i64 = 5;
/// What the server prints before its address.
const READY: &str = "management server on ";

/// Makes a server's folder `directory`: keys, certificates, configuration. The answer is the configuration file. Blocks
/// for some 200 ms: two keys are made.
pub(crate) fn set_up(
    pki: &TestPki,
    directory: &Path,
    metadata: &str,
    listen: SocketAddr,
    now: UtcMillis,
) -> anyhow::Result<PathBuf> {
    let materials = Materials {
        pki,
        names: vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()],
        listen,
        metadata: Some(metadata.to_owned()),
        now,
    };
    let file = biosim_mgmt::init(directory, &materials).context("setting up the management server")?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let mut config: Table = text.parse().with_context(|| format!("reading {}", file.display()))?;
    let policy = config.entry("policy").or_insert_with(|| Value::Table(Table::new()));
    let policy = policy.as_table_mut().with_context(|| format!("{}: [policy]", file.display()))?;
    policy.insert("poll_s".to_owned(), Value::Integer(POLL_SECONDS));
    files::write(&file, config.to_string().as_bytes(), Access::Private)?;
    Ok(file)
}

/// Approves devices by serial number, as an operator does for those that cannot prove what they are.
pub(crate) fn approve(config: &Path, serials: &[String], now: UtcMillis) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let store = Store::open(&config.database).await?;
        for serial in serials {
            store.approve_serial(serial, now).await?;
        }
        store.close().await;
        Ok(())
    })
}

/// A running server. Dropping it ends it.
pub(crate) struct Server {
    process: Process,
    config: PathBuf,
    url: String,
}

impl Server {
    /// Starts the server of `config` and returns when it listens.
    pub(crate) fn start(config: &Path, log: &Path, interrupt: &Cancel) -> anyhow::Result<Self> {
        // This very program, also where its file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("biosim").args(["mgmt", "--with-parent", "--config"]).arg(config).arg("serve");
        let process = Process::start("the management server", &mut command, log)?;
        let url = process.wait_until(interrupt, || {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let complete =
                text.lines().zip(text.split_inclusive('\n')).filter(|(_, line)| line.ends_with('\n'));
            Ok(complete.filter_map(|(line, _)| line.strip_prefix(READY)).next().map(str::to_owned))
        })?;
        if !url.starts_with("https://") {
            bail!("the management server says that it is at {url:?}");
        }
        Ok(Self { process, config: config.to_owned(), url })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its configuration: what `biosim mgmt --config` takes for its operator's commands.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything that it has printed.
    pub(crate) fn log(&self) -> &Path {
        self.process.log()
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// It has ended; the text shows the end of its log.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.process.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki;
    use biotrust_model::time::{Clock as _, SystemClock};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_holds_what_the_server_and_its_operator_need() {
        let now = SystemClock.now();
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("mgmt");
        let pki = pki::mint(now).unwrap();
        let file = set_up(&pki, &folder, "m.e.ta", ([127, 0, 0, 1], 0).into(), now).unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.policy.poll_s, 5);
        assert!(!config.policy.l1_without_metadata, "the metadata decides");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("issuer.key"))), (0o700, 0o600));

        approve(&file, &["SN1".to_owned()], now).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(&config.database).await.unwrap();
            assert!(store.is_approved("SN1", None).await.unwrap());
            assert!(!store.is_approved("SN2", None).await.unwrap());
        });
        assert!(
            set_up(&pki, &folder, "m.e.ta", ([127, 0, 0, 1], 0).into(), now).is_err(),
            "never overwritten"
        );
    }
}
