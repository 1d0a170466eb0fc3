//! The provider's keys: the issuing key behind [`biotrust_certs::issue::IssuerKey`], in a file or in a PKCS#11 token,
//! and the management signer. Secrets are read once and never shown.

mod file;
mod token;

pub use file::{chain, private_key};
pub use token::{TokenError, TokenIssuer};

use std::sync::Arc;

use anyhow::{Context as _, bail};
use biotrust_certs::issue::{FileIssuer, IssuerKey};
use biotrust_certs::{Certificate, SignerPurpose};

use crate::config::{IssuerConfig, KeyFiles};

/// The issuing key, with what leads from its certificate to the root.
pub struct Issuer {
    /// Signs device certificates.
    pub key: Arc<dyn IssuerKey>,
    /// Its certificate first, DER.
    pub chain: Vec<Vec<u8>>,
}

/// Loads the issuing key. Blocking.
///
/// # Errors
/// What is wrong with which file, or with the token.
pub fn issuer(config: &IssuerConfig) -> anyhow::Result<Issuer> {
    let chain = chain(&config.chain)?;
    let certificate = chain.first().cloned().context("the issuing chain is empty")?;
    let key: Arc<dyn IssuerKey> = match (&config.key, &config.token) {
        (Some(file), None) => Arc::new(FileIssuer::new(certificate, &private_key(file)?)?),
        (None, Some(token)) => Arc::new(TokenIssuer::open(token, certificate)?),
        _ => bail!("[issuer]: give either key or token"),
    };
    Ok(Issuer { key, chain: chain.iter().map(|c| c.der().to_vec()).collect() })
}

/// Signs replies and time tokens.
pub struct ManagementSigner {
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    key: FileIssuer,
}

impl ManagementSigner {
    /// Loads the signer of `organisation`. Blocking.
    ///
    /// # Errors
    /// What is wrong with which file; a certificate that devices would not believe.
    pub fn load(files: &KeyFiles, organisation: &str) -> anyhow::Result<Self> {
        let chain = chain(&files.chain)?;
        let leaf: Certificate = chain.first().cloned().context("the signer's chain is empty")?;
        if !leaf.has_purpose(SignerPurpose::Management) {
            bail!("{}: not a management signer; devices would not believe it", files.chain.display());
        }
        if chain.iter().take(2).any(|one| one.subject().organisation() != Some(organisation)) {
            bail!(
                "{}: the signer and whoever issued its certificate must be of organisation {organisation:?}, as the issuing \
                 certificate is; devices would not believe it",
                files.chain.display()
            );
        }
        let key = FileIssuer::new(leaf, &private_key(&files.key)?)?;
        Ok(Self { chain: chain.iter().map(|c| c.der().to_vec()).collect(), key })
    }

    /// RS256.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(self.key.sign_rs256(message)?)
    }
}
