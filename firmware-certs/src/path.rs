//! Path building, as the back ends do it (JDK PKIX with the key manager's settings).
//!
//! A path leads from a leaf over helpers of the store to an anchor of the store. Every certificate on it, the anchor
//! included, must be valid now, have a strong key and no critical extension that we cannot obey; every issuer must be a
//! CA that may sign certificates and allows the length of the path. Revocation, extended key usage, policies and
//! authority key identifiers play no part, as they play none in the back ends.
//!
//! Compared case by case with JDK 17. We are stricter where no well-made deployment notices: RSA keys under 2048 bits
//! (the back ends' JWS library refuses those), anchors (the JDK takes one as it is, unless expired; we hold it to the
//! rules of every CA), a self-signed leaf that is itself an anchor, and name constraints.

use std::marker::PhantomData;
use std::sync::Arc;

use biotrust_model::time::UtcMillis;

use crate::store::Stored;
use crate::{
    Certificate, CertificateError, Domain, MIN_RSA_BITS, NameMismatch, Role, SignatureFault, TrustDomain,
    TrustStore,
};

/// Most CA certificates between leaf and anchor; the JDK's default.
const MAX_INTERMEDIATES: usize = 5;

/// Most signatures that are checked for one leaf: a store full of same-named CAs must not become a way to burn time.
const MAX_SIGNATURES: usize = 64;

/// The check that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathErrorKind {
    /// Not a certificate.
    #[error("{0}")]
    Malformed(#[from] CertificateError),
    /// Its time has not come; or the clock of this host is wrong.
    #[error("is not valid before {}; check the clock of this host", .0.to_wire())]
    NotYetValid(UtcMillis),
    /// Its time is over.
    #[error("expired at {}; it must be renewed", .0.to_wire())]
    Expired(UtcMillis),
    /// An RSA key that is too short.
    #[error("has an RSA key of {0} bits; {MIN_RSA_BITS} are required")]
    WeakKey(u32),
    /// A critical extension that cannot be obeyed, or name constraints.
    #[error("has critical extension {0}, which is not supported")]
    UnhandledExtension(String),
    /// The store has no CA certificate of this name.
    #[error("is issued by \"{issuer}\", which is not in the trust store{}", NearMiss(.near))]
    NoIssuer {
        /// The name that was looked for.
        issuer: String,
        /// A subject in the store that was probably meant.
        near: Option<(String, NameMismatch)>,
    },
    /// Signed with its own key: nobody else vouches for it.
    #[error("is signed with its own key; it needs an issuer in the trust store")]
    SelfSigned,
    /// The store has no anchor at all, so nothing can be trusted.
    #[error("cannot be trusted: the trust store holds no self-signed root certificate")]
    NoAnchor,
    /// Not signed by the issuer that it names.
    #[error("{0}")]
    Signature(#[from] SignatureFault),
    /// An issuer without the CA flag. The store admits none; kept for what may be added to it.
    #[error("has issued a certificate but is not a CA")]
    NotCa,
    /// An issuer whose key usage forbids it.
    #[error("has issued a certificate but its key usage does not allow that")]
    NoCertSign,
    /// More CA certificates below an issuer than it allows, or more than we follow.
    #[error("allows {allowed} CA certificates below it; this path has {found}")]
    PathTooLong {
        /// What it allows.
        allowed: usize,
        /// What there are.
        found: usize,
    },
    /// The store offers too many ways.
    #[error("could not be checked: too many CA certificates of the same name in the trust store")]
    TooComplex,
}

struct NearMiss<'a>(&'a Option<(String, NameMismatch)>);

impl std::fmt::Display for NearMiss<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some((subject, mismatch)) => write!(
                f,
                "; it {mismatch} \"{subject}\", which is: issue it again with the issuer copied from there byte for byte"
            ),
            None => Ok(()),
        }
    }
}

/// Why a certificate is not trusted: the check that failed and the certificate that failed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("domain {domain}: certificate \"{subject}\" {kind}")]
pub struct PathError {
    /// The domain whose store was used.
    pub domain: Domain,
    /// Subject of the certificate that failed the check; the leaf or one of its issuers.
    pub subject: String,
    /// The check.
    pub kind: PathErrorKind,
}

/// A leaf that is trusted in domain `D`, and why.
pub struct VerifiedPath<D> {
    leaf: Certificate,
    issuers: Vec<Arc<Certificate>>,
    domain: PhantomData<D>,
}

impl<D: TrustDomain> VerifiedPath<D> {
    /// The certificate that was verified.
    #[must_use]
    pub const fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// Its issuers, the nearest first; the last one is the anchor.
    pub fn issuers(&self) -> impl Iterator<Item = &Certificate> {
        self.issuers.iter().map(AsRef::as_ref)
    }

    /// When the first certificate of the path expires: from then on the leaf is not trusted any more.
    #[must_use]
    pub fn valid_until(&self) -> UtcMillis {
        self.issuers().map(Certificate::not_after).fold(self.leaf.not_after(), UtcMillis::min)
    }
}

impl<D: TrustDomain> std::fmt::Debug for VerifiedPath<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedPath({}: {}", D::DOMAIN, self.leaf.subject())?;
        self.issuers().try_for_each(|issuer| write!(f, " <- {}", issuer.subject()))?;
        f.write_str(")")
    }
}

impl<D: TrustDomain> TrustStore<D> {
    /// Builds a path from `leaf_der` to an anchor of this store, valid at `now`.
    ///
    /// # Errors
    /// The check that failed. Where several ways were tried, the one that came nearest to success is reported.
    pub fn verify(&self, leaf_der: &[u8], now: UtcMillis) -> Result<VerifiedPath<D>, PathError> {
        let leaf = Certificate::parse(leaf_der).map_err(|error| PathError {
            domain: D::DOMAIN,
            subject: "(unreadable)".to_owned(),
            kind: error.into(),
        })?;
        strong::<D>(&leaf).and_then(|()| usable::<D>(&leaf, now))?;
        let mut search = Search { store: self, now, signatures_left: MAX_SIGNATURES, failure: None };
        if let Some(issuers) = search.climb(&leaf, &[]) {
            return Ok(VerifiedPath { leaf, issuers, domain: PhantomData });
        }
        match search.failure {
            Some((_, error)) if search.signatures_left > 0 => Err(error),
            _ => Err(failed::<D>(&leaf, PathErrorKind::TooComplex)),
        }
    }
}

/// One search for a path.
struct Search<'s, D> {
    store: &'s TrustStore<D>,
    now: UtcMillis,
    signatures_left: usize,
    /// The failure nearest to success so far, with the number of signatures that were good until then.
    failure: Option<(usize, PathError)>,
}

impl<D: TrustDomain> Search<'_, D> {
    /// Finds issuers from `child` up to an anchor. `below` is the path so far without the leaf, nearest first; `child`
    /// is its last element, or the leaf. On `None` the reason has been remembered.
    fn climb(&mut self, child: &Certificate, below: &[Arc<Certificate>]) -> Option<Vec<Arc<Certificate>>> {
        let store = self.store;
        let named = store.named(child.issuer());
        let mut candidates =
            named.into_iter().filter(|stored| !is_repeat(&stored.certificate, child, below)).peekable();
        if candidates.peek().is_none() {
            let error = self.no_issuer(child);
            self.remember(below.len(), error);
        }
        candidates.find_map(|candidate| self.step(candidate, child, below))
    }

    /// Takes `candidate` as the issuer of `child`, and goes on from there unless it is an anchor.
    fn step(
        &mut self,
        candidate: &Stored,
        child: &Certificate,
        below: &[Arc<Certificate>],
    ) -> Option<Vec<Arc<Certificate>>> {
        let issuer = &candidate.certificate;
        self.signatures_left = self.signatures_left.checked_sub(1)?;
        // The signature comes first: what is wrong with an issuer matters only if it is the issuer.
        let signed = strong::<D>(issuer)
            .and_then(|()| child.check_signature(issuer).map_err(|fault| failed::<D>(child, fault.into())));
        if let Err(error) = signed {
            self.remember(below.len(), error);
            return None;
        }
        if let Err(error) = usable::<D>(issuer, self.now).and_then(|()| may_issue::<D>(issuer, below)) {
            self.remember(below.len() + 1, error);
            return None;
        }
        let mut path = below.to_vec();
        path.push(Arc::clone(issuer));
        match candidate.role {
            Role::Anchor => Some(path),
            Role::Helper => self.climb(issuer, &path),
        }
    }

    fn no_issuer(&self, child: &Certificate) -> PathError {
        if !self.store.has_anchor() {
            return failed::<D>(child, PathErrorKind::NoAnchor);
        }
        if child.is_self_signed() {
            return failed::<D>(child, PathErrorKind::SelfSigned);
        }
        let near = self.store.near(child.issuer()).map(|(subject, mismatch)| (subject.to_string(), mismatch));
        failed::<D>(child, PathErrorKind::NoIssuer { issuer: child.issuer().to_string(), near })
    }

    fn remember(&mut self, good_signatures: usize, error: PathError) {
        if self.failure.as_ref().is_none_or(|(known, _)| good_signatures > *known) {
            self.failure = Some((good_signatures, error));
        }
    }
}

/// Key strength, of every certificate of a path.
fn strong<D: TrustDomain>(certificate: &Certificate) -> Result<(), PathError> {
    match certificate.rsa_bits() {
        Some(bits) if bits < MIN_RSA_BITS => Err(failed::<D>(certificate, PathErrorKind::WeakKey(bits))),
        _ => Ok(()),
    }
}

/// Validity and extensions, of every certificate of a path.
fn usable<D: TrustDomain>(certificate: &Certificate, now: UtcMillis) -> Result<(), PathError> {
    let fail = |kind| Err(failed::<D>(certificate, kind));
    if now < certificate.not_before() {
        return fail(PathErrorKind::NotYetValid(certificate.not_before()));
    }
    if now > certificate.not_after() {
        return fail(PathErrorKind::Expired(certificate.not_after()));
    }
    match certificate.unhandled_critical() {
        Some(oid) => fail(PathErrorKind::UnhandledExtension(oid.to_owned())),
        None => Ok(()),
    }
}

/// What an issuer must satisfy to stand above `below`.
fn may_issue<D: TrustDomain>(issuer: &Certificate, below: &[Arc<Certificate>]) -> Result<(), PathError> {
    let fail = |kind| Err(failed::<D>(issuer, kind));
    if !issuer.is_ca() {
        return fail(PathErrorKind::NotCa);
    }
    if !issuer.may_sign_certificates() {
        return fail(PathErrorKind::NoCertSign);
    }
    // RFC 5280 6.1.4 (l): self-issued certificates do not count. The leaf never does.
    let found = below.iter().filter(|certificate| !certificate.is_self_issued()).count();
    let allowed = issuer.path_len().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    if found > allowed {
        return fail(PathErrorKind::PathTooLong { allowed, found });
    }
    if below.len() > MAX_INTERMEDIATES {
        return fail(PathErrorKind::PathTooLong { allowed: MAX_INTERMEDIATES, found: below.len() });
    }
    Ok(())
}

/// Whether `candidate` is `child` itself or already on the path: by key and name, so that loops of re-signed
/// certificates end too.
fn is_repeat(candidate: &Certificate, child: &Certificate, below: &[Arc<Certificate>]) -> bool {
    let same = |other: &Certificate| {
        other.spki_der() == candidate.spki_der() && other.subject() == candidate.subject()
    };
    same(child) || below.iter().any(|certificate| same(certificate))
}

fn failed<D: TrustDomain>(certificate: &Certificate, kind: PathErrorKind) -> PathError {
    PathError { domain: D::DOMAIN, subject: certificate.subject().to_string(), kind }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
