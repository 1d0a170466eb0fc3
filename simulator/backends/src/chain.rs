//! PKIX path building as keymanager does it with the JDK: anchors are the self-signed certificates of a domain, its
//! other certificates help, nothing from `x5c` does, revocation is off. backends-crypto, section 6.

use x509_parser::prelude::{X509Certificate, X509Name};

use crate::jws::{check_validity, parse_certificate};

/// Certificates uploaded for one domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    anchors: Vec<Vec<u8>>,
    helpers: Vec<Vec<u8>>,
}

/// A path is never longer than this in any deployment.
const MAX_DEPTH: usize = 6;

impl Store {
    /// Sorts DER certificates into anchors (self-signed) and helpers.
    pub(crate) fn new(certificates: Vec<Vec<u8>>) -> Result<Self, String> {
        let mut store = Self::default();
        for der in certificates {
            let certificate = parse_certificate(&der)?;
            let self_signed = same_name(certificate.subject(), certificate.issuer())
                && certificate.verify_signature(Some(certificate.public_key())).is_ok();
            if self_signed { store.anchors.push(der) } else { store.helpers.push(der) }
        }
        Ok(store)
    }

    /// Builds a path from `leaf` to an anchor at `now_s`; answers the subjects on the way.
    pub(crate) fn path(&self, leaf: &[u8], now_s: i64) -> Result<Vec<String>, String> {
        if self.anchors.is_empty() {
            return Err("the domain has no self-signed root at all".to_owned());
        }
        let certificate = parse_certificate(leaf)?;
        check_validity(&certificate, now_s)?;
        let mut path = vec![certificate.subject().to_string()];
        self.climb(&certificate, now_s, &mut path)?;
        Ok(path)
    }

    /// Depth first: an anchor that issued `child`, or a helper that did and leads to one.
    fn climb(&self, child: &X509Certificate<'_>, now_s: i64, path: &mut Vec<String>) -> Result<(), String> {
        let mut reason =
            format!("no certificate of the domain issued {} (issuer {})", child.subject(), child.issuer());
        for (is_anchor, der) in
            self.anchors.iter().map(|der| (true, der)).chain(self.helpers.iter().map(|der| (false, der)))
        {
            let issuer = parse_certificate(der)?;
            if !same_name(issuer.subject(), child.issuer())
                || child.verify_signature(Some(issuer.public_key())).is_err()
            {
                continue;
            }
            if let Err(why) = check_issuer(&issuer, path.len() - 1, now_s) {
                reason = why;
                continue;
            }
            path.push(issuer.subject().to_string());
            if is_anchor {
                return Ok(());
            }
            if path.len() <= MAX_DEPTH {
                match self.climb(&issuer, now_s, path) {
                    Ok(()) => return Ok(()),
                    Err(why) => reason = why,
                }
            }
            path.pop();
        }
        Err(reason)
    }
}

/// Validity, CA flag, key usage and path length of an issuer with `below` CA certificates under it.
fn check_issuer(issuer: &X509Certificate<'_>, below: usize, now_s: i64) -> Result<(), String> {
    let name = issuer.subject();
    check_validity(issuer, now_s)?;
    let constraints = issuer.basic_constraints().map_err(|e| format!("{name}: {e}"))?;
    let Some(constraints) = constraints.filter(|c| c.value.ca) else {
        return Err(format!("{name} is no CA"));
    };
    if constraints.value.path_len_constraint.is_some_and(|max| below > max as usize) {
        return Err(format!("the path under {name} is longer than it allows"));
    }
    match issuer.key_usage().map_err(|e| format!("{name}: {e}"))? {
        Some(usage) if !usage.value.key_cert_sign() => Err(format!("{name} may not sign certificates")),
        _ => Ok(()),
    }
}

/// The JDK's comparison of names: RDN by RDN in order, attribute values without regard to case and to runs of spaces.
fn same_name(a: &X509Name<'_>, b: &X509Name<'_>) -> bool {
    canonical(a) == canonical(b)
}

fn canonical(name: &X509Name<'_>) -> Vec<Vec<(String, String)>> {
    name.iter_rdn()
        .map(|rdn| {
            let mut attributes: Vec<_> = rdn
                .iter()
                .map(|attribute| {
                    let raw = attribute.attr_value().data;
                    let text = attribute.as_str().map_or_else(|_| hex::encode(raw), str::to_owned);
                    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
                    (attribute.attr_type().to_id_string(), words.join(" "))
                })
                .collect();
            attributes.sort();
            attributes
        })
        .collect()
}
