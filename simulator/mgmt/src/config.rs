//! Configuration: one TOML file. Relative paths are relative to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// `sqlite:PATH` or `postgres://…`.
    pub database: String,
    /// Name of this server in challenges [default: the provider's organisation].
    pub audience: Option<String>,
    /// Certificate and key of the TLS server.
    pub tls: KeyFiles,
    /// Management signer: replies and time tokens.
    pub signer: KeyFiles,
    /// The provider's issuing key.
    pub issuer: IssuerConfig,
    /// Whom the server trusts.
    pub trust: TrustConfig,
    /// What the provider decides.
    #[serde(default)]
    pub policy: PolicyConfig,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8443))
}

/// A certificate chain and its key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFiles {
    /// PEM, leaf first, without the root.
    pub chain: PathBuf,
    /// PKCS#8 in PEM; only its owner may read it.
    pub key: PathBuf,
}

/// Where the issuing key is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// PEM: the certificate of the issuing key (the one that MOSIP re-signed), then what leads to its root.
    pub chain: PathBuf,
    /// PKCS#8 in PEM; only its owner may read it. Either this or `token`.
    pub key: Option<PathBuf>,
    /// A key in a PKCS#11 token.
    pub token: Option<TokenConfig>,
}

/// A key in a PKCS#11 token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The module, a shared library.
    pub module: PathBuf,
    /// Label of the token.
    pub label: String,
    /// Label of the private key in it.
    pub key: String,
    /// File with the user's PIN; only its owner may read it.
    pub pin_file: PathBuf,
}

/// Whom the server trusts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfig {
    /// Anchors and intermediates of domain FTM: chips.
    pub ftm: Vec<PathBuf>,
    /// Anchors of the adopter: signers of model metadata.
    #[serde(default)]
    pub adopter: Vec<PathBuf>,
    /// Model metadata, a compact JWS.
    pub metadata: Option<PathBuf>,
}

/// Which devices register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// Every device that proves itself at L1; others when their serial number is approved.
    Auto,
    /// Only devices whose serial number is approved, or at L1 whose model is.
    Listed,
}

/// What the provider decides.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Which devices register.
    pub approval: Approval,
    /// Life of a device certificate, in days; it never ends after its issuer's.
    pub certificate_days: u32,
    /// A rotation is ordered this many days after a key was certified.
    pub rotate_days: u32,
    /// How often a device asks for orders, in seconds.
    pub poll_s: u32,
    /// Grant L1 to devices of their own trust module where there is no model metadata. For trials.
    pub l1_without_metadata: bool,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            approval: Approval::Auto,
            certificate_days: 30,
            rotate_days: 30,
            poll_s: 300,
            l1_without_metadata: false,
        }
    }
}

impl Config {
    /// Reads a configuration file. Blocking.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut config: Self = toml::from_str(&text).with_context(|| format!("{}", file.display()))?;
        config.resolve(file.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    fn resolve(&mut self, base: &Path) {
        let mut paths = vec![
            &mut self.tls.chain,
            &mut self.tls.key,
            &mut self.signer.chain,
            &mut self.signer.key,
            &mut self.issuer.chain,
        ];
        paths.extend(self.issuer.key.iter_mut());
        paths.extend(self.issuer.token.iter_mut().map(|token| &mut token.pin_file));
        paths.extend(&mut self.trust.ftm);
        paths.extend(&mut self.trust.adopter);
        paths.extend(self.trust.metadata.iter_mut());
        for path in paths {
            *path = base.join(&*path);
        }
        if let Some(file) = self.database.strip_prefix("sqlite:").filter(|file| !file.starts_with('/')) {
            self.database = format!("sqlite:{}", base.join(file).display());
        }
    }
}
