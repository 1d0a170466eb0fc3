//! Everything that a management server needs for a trial: keys, certificates, anchors and a configuration, in one folder.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use biotrust_certs::{Domain, SignerPurpose, TestPki, pem};
use biotrust_model::Secret;
use biotrust_model::time::UtcMillis;

/// What a trial set-up is made of.
#[derive(Debug)]
pub struct Materials<'a> {
    /// Whose certificates: the provider's key in it becomes the server's issuing key.
    pub pki: &'a TestPki,
    /// Host names and addresses that the server is reached by.
    pub names: Vec<String>,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Model metadata, a compact JWS; without it the set-up grants L1 to whoever proves a trusted chip.
    pub metadata: Option<String>,
    /// The time.
    pub now: UtcMillis,
}

const DAY: i64 = 86_400_000;

/// Writes a trial set-up into `dir` and returns the configuration file. Private keys get mode 0600. Blocking: makes two
/// RSA keys.
///
/// # Errors
/// When a file exists already or cannot be written.
pub fn init(dir: &Path, materials: &Materials<'_>) -> anyhow::Result<PathBuf> {
    let Materials { pki, names, listen, metadata, now } = materials;
    // A day old, so that hosts whose clocks are a little behind believe them.
    let from = UtcMillis(now.0 - DAY);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    let anchors = [
        ("device-anchors.pem", pki.anchors_pem(Domain::Device)),
        ("ftm-anchors.pem", pki.anchors_pem(Domain::Ftm)),
        ("adopter-anchor.pem", pki.adopter_anchor_pem()),
    ];
    for (name, text) in anchors {
        write(dir, name, text.as_bytes(), 0o644)?;
    }
    pair(dir, "issuer", &pki.provider_chain_der(), &pki.provider_key_pkcs8())?;
    let signer = pki.signer(SignerPurpose::Management, from)?;
    pair(dir, "signer", &signer.chain, &signer.pkcs8())?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (chain, key) = pki.tls_server(&names, from)?;
    pair(dir, "tls", &chain, &key)?;
    let models = match metadata {
        Some(metadata) => {
            write(dir, "metadata.jws", metadata.as_bytes(), 0o644)?;
            "adopter = [\"adopter-anchor.pem\"]\nmetadata = \"metadata.jws\""
        }
        None => "# adopter = [\"adopter-anchor.pem\"]\n# metadata = \"metadata.jws\"",
    };
    let trial = metadata.is_none();
    let config = format!(
        r#"# A trial set-up, made by `biosim mgmt init`. See docs/users/management-server.md.
listen = "{listen}"
database = "sqlite:mgmt.db"

[tls]
chain = "tls.pem"
key = "tls.key"

[signer]
chain = "signer.pem"
key = "signer.key"

[issuer]
chain = "issuer.pem"
key = "issuer.key"

[trust]
ftm = ["ftm-anchors.pem"]
{models}

[policy]
approval = "auto"
certificate_days = 30
rotate_days = 30
poll_s = 300
# Without model metadata nobody says which models are L1: a trial takes their word. Never in production.
l1_without_metadata = {trial}
"#
    );
    write(dir, "mgmt.toml", config.as_bytes(), 0o644)?;
    Ok(dir.join("mgmt.toml"))
}

fn pair(dir: &Path, name: &str, chain: &[Vec<u8>], key: &Secret) -> anyhow::Result<()> {
    let text: String = chain.iter().map(|der| pem::certificate(der)).collect();
    write(dir, &format!("{name}.pem"), text.as_bytes(), 0o644)?;
    let key = Secret::new(pem::encode("PRIVATE KEY", key.expose()).into_bytes());
    write(dir, &format!("{name}.key"), key.expose(), 0o600)
}

/// A new file: nothing is ever overwritten.
fn write(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let path = dir.join(name);
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(&path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("cannot write {}", path.display()))
}
