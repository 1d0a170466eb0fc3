//! Makes a TPM: runs swtpm_setup with a CA that lives beside the TPM's state.
//!
//! The configuration of the host (/etc/swtpm*) is not used, so that every host makes the same TPM.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};

use crate::isolated;

/// What comes out of the factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// With an EK and a certificate for it.
    Certified,
    /// Without: as TPMs that lost theirs, or never had one.
    Uncertified,
}

/// Where the TPM keeps its state.
pub(crate) fn state(directory: &Path) -> PathBuf {
    directory.join("state")
}

/// Where the certificate of the CA lies.
pub(crate) fn ca_certificate(directory: &Path) -> PathBuf {
    directory.join("ca").join("issuer.pem")
}

/// Makes a TPM in `directory`.
pub(crate) fn manufacture(directory: &Path, model: Model) -> anyhow::Result<()> {
    let state = state(directory);
    ensure!(!state.exists(), "{} holds a TPM already", directory.display());
    let ca = directory.join("ca");
    for made in [directory, &state, &ca] {
        let made_it = DirBuilder::new().recursive(true).mode(0o700).create(made);
        made_it.with_context(|| format!("making {}", made.display()))?;
    }
    let log = directory.join("manufacture.log");
    let mut setup = isolated::command("swtpm_setup")?;
    setup.args(["--tpm2", "--rsa-keysize", "2048", "--pcr-banks", "sha256", "--overwrite"]);
    setup.arg("--tpmstate").arg(&state).arg("--logfile").arg(&log);
    setup.arg("--config").arg(configuration(directory, &ca)?);
    if model == Model::Certified {
        setup.arg("--create-ek-cert");
    }
    setup.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = setup.status().map_err(|e| missing("swtpm_setup", &e))?;
    if !status.success() {
        // Half a TPM must not be taken for one.
        let _ = fs::remove_dir_all(&state);
        bail!("swtpm_setup failed ({status}):\n{}", fs::read_to_string(&log).unwrap_or_default());
    }
    Ok(())
}

/// Writes what the tools want to be told in files; returns the one for swtpm_setup.
fn configuration(directory: &Path, ca: &Path) -> anyhow::Result<PathBuf> {
    let shown = |path: &Path| -> anyhow::Result<String> {
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        // The tools split at white space.
        ensure!(!text.contains(char::is_whitespace), "{text}: swtpm_setup cannot work in a path with spaces");
        Ok(text.to_owned())
    };
    let write = |name: &str, content: String| -> anyhow::Result<PathBuf> {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    let ca = shown(&std::path::absolute(ca)?)?;
    let authority = write(
        "ca.conf",
        format!(
            "statedir = {ca}\nsigningkey = {ca}/key.pem\nissuercert = {ca}/issuer.pem\ncertserial = {ca}/serial\n"
        ),
    )?;
    let options = write(
        "ca.options",
        "--platform-manufacturer biosim --platform-model swtpm --platform-version 1\n".into(),
    )?;
    let tool = installed("swtpm_localca")?;
    let (authority, options) = (std::path::absolute(authority)?, std::path::absolute(options)?);
    write(
        "setup.conf",
        format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            shown(&tool)?,
            shown(&authority)?,
            shown(&options)?
        ),
    )
}

/// Where a program lies: swtpm_setup wants the whole path of one.
pub(crate) fn installed(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| missing(program, &std::io::ErrorKind::NotFound.into()))
}

/// Says why a program could not be run, and what to install.
pub(crate) fn missing(program: &str, error: &std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        return anyhow::anyhow!(
            "{program} is not installed: install the packages swtpm and swtpm-tools (Debian, Ubuntu)"
        );
    }
    anyhow::anyhow!("running {program}: {error}")
}
