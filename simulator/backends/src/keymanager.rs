//! Trust as keymanager keeps it: one store of authorities per partner domain.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_model::time::UtcMillis;

use crate::chain::Store;
use crate::jws::{Jws, JwsFault};

/// Partner domain of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Device providers.
    Device,
    /// FTM providers.
    Ftm,
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Device => "DEVICE",
            Self::Ftm => "FTM",
        })
    }
}

/// The two stores.
#[derive(Debug, Clone)]
pub struct KeyManager {
    device: Store,
    ftm: Store,
}

impl KeyManager {
    /// Takes the authorities of both domains as PEM bundles; self-signed ones become anchors.
    ///
    /// # Errors
    /// When a bundle holds something that is no certificate.
    pub fn from_pem(device_anchors: &str, ftm_anchors: &str) -> Result<Self, String> {
        let store = |domain: Domain, pem: &str| {
            pem_blocks(pem, "CERTIFICATE")
                .and_then(Store::new)
                .map_err(|e| format!("anchors of {domain}: {e}"))
        };
        Ok(Self { device: store(Domain::Device, device_anchors)?, ftm: store(Domain::Ftm, ftm_anchors)? })
    }

    /// Whether the signer leads to an anchor of one of `domains` at `now`; answers the subjects on the way.
    ///
    /// # Errors
    /// `Untrusted` with the reason of the last domain, or `Certificate`.
    pub fn check_trust(
        &self,
        domains: &[Domain],
        jws: &Jws,
        now: UtcMillis,
    ) -> Result<Vec<String>, JwsFault> {
        let leaf = jws.certificate(0)?;
        let mut reasons = Vec::new();
        for domain in domains {
            let store = match domain {
                Domain::Device => &self.device,
                Domain::Ftm => &self.ftm,
            };
            match store.path(&leaf, now.0.div_euclid(1000)) {
                Ok(path) => return Ok(path),
                Err(why) => reasons.push(format!("{domain}: {why}")),
            }
        }
        Err(JwsFault::Untrusted(reasons.join("; ")))
    }

    /// Parses, verifies the signature and the trust of a compact JWS: signature first, trust second, as all back ends do.
    ///
    /// # Errors
    /// The first fault.
    pub fn verify_jws(&self, domains: &[Domain], compact: &str, now: UtcMillis) -> Result<Jws, JwsFault> {
        let jws = Jws::parse(compact)?;
        jws.verify(now.0.div_euclid(1000))?;
        self.check_trust(domains, &jws, now)?;
        Ok(jws)
    }
}

/// The DER contents of all PEM blocks with this label.
pub(crate) fn pem_blocks(pem: &str, label: &str) -> Result<Vec<Vec<u8>>, String> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some((_, after)) = rest.split_once(&begin) {
        let (body, after) = after.split_once(&end).ok_or_else(|| format!("a {label} block does not end"))?;
        let body: String = body.split_whitespace().collect();
        blocks.push(STANDARD.decode(body).map_err(|e| format!("{label}: {e}"))?);
        rest = after;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests;
