//! The CA certificates of one trust domain.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use biotrust_model::time::UtcMillis;

use crate::disk::DiskError;
use crate::name::Attributes;
use crate::{
    Adopter, BundleProblem, Certificate, Device, Domain, Ftm, Name, NameMismatch, TrustDomain, bundle, files,
};

/// Store of the device providers' CA certificates.
pub type DeviceStore = TrustStore<Device>;
/// Store of the FTM providers' CA certificates.
pub type FtmStore = TrustStore<Ftm>;
/// Store of the identity authority's CA certificates.
pub type AdopterStore = TrustStore<Adopter>;

/// Why a store could not be loaded. The text names the file, the certificate in it, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Missing, or no permission.
    #[error("cannot read {file}: {error}; check that it exists and that the service may read it")]
    Unreadable {
        /// The path.
        file: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A pipe, a device, a socket.
    #[error("{file} is neither a regular file nor a directory; name a file of certificates")]
    NotAFile {
        /// The path.
        file: String,
    },
    /// Not a file of certificates.
    #[error("{file} has {bytes} bytes, too many for a file of certificates; name a smaller one")]
    TooLarge {
        /// The path.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// One certificate in the file is bad.
    #[error("{file}, certificate {position}: {problem}")]
    Bundle {
        /// The path, or whatever the bytes were said to come from.
        file: String,
        /// Which certificate, counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: BundleProblem,
    },
    /// A directory that is a store of its own (see [`crate::disk`]), and is not well.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What a certificate of a store is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Self-signed: a path may end here.
    Anchor,
    /// Another CA: a path may lead through here.
    Helper,
}

/// One certificate of a store, for status displays.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Anchor or helper.
    pub role: Role,
    /// The certificate.
    pub certificate: &'a Certificate,
    /// The file it came from.
    pub source: &'a str,
}

impl Entry<'_> {
    /// Whether it is within its validity at `now`; an expired CA stays listed but carries no path.
    #[must_use]
    pub fn is_current(&self, now: UtcMillis) -> bool {
        (self.certificate.not_before()..=self.certificate.not_after()).contains(&now)
    }
}

/// The CA certificates of domain `D`: anchors (self-signed) and helpers (all others).
///
/// Nothing else is ever used to build a path: certificates that come with a message are not.
pub struct TrustStore<D> {
    certificates: Vec<Stored>,
    by_subject: HashMap<Name, Vec<usize>>,
    /// First certificate with these attributes in any order, and with this common name: for what a leaf that names no
    /// known issuer was probably meant to name. Whoever sends such leaves must not make us walk through the store.
    by_attributes: HashMap<Attributes, usize>,
    by_common_name: HashMap<String, usize>,
    anchors: usize,
    known: HashSet<String>,
    domain: PhantomData<D>,
}

pub(crate) struct Stored {
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) role: Role,
    source: Arc<str>,
}

impl<D: TrustDomain> TrustStore<D> {
    /// A store that trusts nobody.
    #[must_use]
    pub fn new() -> Self {
        Self {
            certificates: Vec::new(),
            by_subject: HashMap::new(),
            by_attributes: HashMap::new(),
            by_common_name: HashMap::new(),
            anchors: 0,
            known: HashSet::new(),
            domain: PhantomData,
        }
    }

    /// Loads files, and the files directly inside directories whose extension is that of certificates (`pem`, `crt`,
    /// `cer`, `der`, `p7b`, `p7c`). Blocking.
    ///
    /// A directory with a manifest is read as [`crate::disk`] says, without a floor for its number. An empty directory
    /// gives an empty store; a path that does not exist is an error.
    ///
    /// # Errors
    /// The first file that cannot be read or holds anything but CA certificates.
    pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Self, StoreError> {
        let mut store = Self::new();
        for (file, bytes) in files::read_all(paths, D::DOMAIN)? {
            store.add(&file, &bytes)?;
        }
        Ok(store)
    }

    /// A store of the certificates in `bytes` (PEM, DER or PKCS#7).
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn from_bytes(source: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        let mut store = Self::new();
        store.add(source, bytes)?;
        Ok(store)
    }

    /// Adds the certificates in `bytes` (PEM, DER or PKCS#7, any number), which came from `source`; known ones once only.
    ///
    /// # Errors
    /// When one of them is unreadable or not the certificate of a CA; the store is then unchanged.
    pub fn add(&mut self, source: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let at = |(position, problem)| StoreError::Bundle { file: source.to_owned(), position, problem };
        let certificates = bundle::certificates(bytes).map_err(at)?;
        if let Some(index) = certificates.iter().position(|certificate| !certificate.is_ca()) {
            let subject = certificates.get(index).map(|c| c.subject().to_string()).unwrap_or_default();
            return Err(at((index + 1, BundleProblem::NotCa { subject })));
        }
        let source: Arc<str> = source.into();
        for certificate in certificates {
            self.insert(certificate, &source);
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, certificate: Certificate, source: &Arc<str>) {
        if !self.known.insert(certificate.sha256()) {
            return;
        }
        let role = if certificate.is_self_signed() { Role::Anchor } else { Role::Helper };
        let (index, subject) = (self.certificates.len(), certificate.subject());
        self.by_subject.entry(subject.clone()).or_default().push(index);
        self.by_attributes.entry(subject.attributes()).or_insert(index);
        if let Some(common_name) = subject.common_name() {
            self.by_common_name.entry(common_name.to_owned()).or_insert(index);
        }
        self.anchors += usize::from(role == Role::Anchor);
        self.certificates.push(Stored {
            certificate: Arc::new(certificate),
            role,
            source: Arc::clone(source),
        });
    }

    /// The domain as a value.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        D::DOMAIN
    }

    /// Whether there is anything that a path may end at.
    #[must_use]
    pub fn has_anchor(&self) -> bool {
        self.anchors > 0
    }

    /// Everything in it, in the order of loading.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.certificates.iter().map(|stored| Entry {
            role: stored.role,
            certificate: &stored.certificate,
            source: &stored.source,
        })
    }

    /// CA certificates with this subject, anchors first (the shorter path is tried first).
    pub(crate) fn named(&self, subject: &Name) -> Vec<&Stored> {
        let indices = self.by_subject.get(subject).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<&Stored> =
            indices.iter().filter_map(|index| self.certificates.get(*index)).collect();
        found.sort_by_key(|stored| stored.role != Role::Anchor);
        found
    }

    /// A subject in the store that `issuer`, which is none, was probably meant to be; one in another order first.
    pub(crate) fn near(&self, issuer: &Name) -> Option<(&Name, NameMismatch)> {
        let same_attributes = self.by_attributes.get(&issuer.attributes());
        let same_common_name = issuer.common_name().and_then(|name| self.by_common_name.get(name));
        same_attributes.into_iter().chain(same_common_name).find_map(|index| {
            let subject = self.certificates.get(*index)?.certificate.subject();
            issuer.near_miss(subject).map(|mismatch| (subject, mismatch))
        })
    }
}

impl<D: TrustDomain> Default for TrustStore<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: TrustDomain> std::fmt::Debug for TrustStore<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustStore({}: {} anchors of {})", D::DOMAIN, self.anchors, self.certificates.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{Forge, key};

    fn chain() -> [Certificate; 3] {
        let root = Forge::ca("Root").sign(key(0));
        let middle = Forge::ca("Middle").key(key(1)).issuer(&root).sign(key(0));
        let leaf = Forge::leaf("Leaf").key(key(2)).issuer(&middle).sign(key(1));
        [root, middle, leaf]
    }

    #[test]
    fn roles_and_listing() {
        let [root, middle, _] = chain();
        let mut store = DeviceStore::from_bytes("a.pem", root.to_pem().as_bytes()).unwrap();
        store.add("b.der", middle.der()).unwrap();
        store.add("c.pem", root.to_pem().as_bytes()).unwrap();
        let listed: Vec<_> =
            store.entries().map(|e| (e.role, e.source.to_owned(), e.certificate.sha256())).collect();
        let expected = [
            (Role::Anchor, "a.pem".to_owned(), root.sha256()),
            (Role::Helper, "b.der".to_owned(), middle.sha256()),
        ];
        assert_eq!(listed, expected, "a duplicate counts once");
        assert!(store.has_anchor());
        assert_eq!(store.domain(), Domain::Device);
        assert!(!FtmStore::from_bytes("b", middle.der()).unwrap().has_anchor());
    }

    #[test]
    fn a_leaf_among_the_anchors_is_named() {
        let [root, _, leaf] = chain();
        let mut store = DeviceStore::new();
        let text = format!("{}{}", root.to_pem(), leaf.to_pem());
        let error = store.add("ca.pem", text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("ca.pem, certificate 2: O=Acme, CN=Leaf is not a CA certificate"), "{error}");
        assert_eq!(store.entries().count(), 0, "all or nothing");
    }

    #[test]
    fn a_name_does_not_make_an_anchor() {
        // Self-issued but signed by another key, as in a key rollover.
        let rollover = Forge::ca("Root").key(key(1)).sign(key(0));
        assert!(rollover.is_self_issued());
        let store = DeviceStore::from_bytes("x", rollover.der()).unwrap();
        assert_eq!(store.entries().next().unwrap().role, Role::Helper);
    }

    #[test]
    fn files_and_directories() {
        let [root, middle, _] = chain();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1.PEM"), root.to_pem()).unwrap();
        std::fs::write(dir.path().join("2.cer"), middle.der()).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no certificate").unwrap();
        std::fs::create_dir(dir.path().join("old.pem")).unwrap();
        let store = DeviceStore::load(&[dir.path()]).unwrap();
        assert_eq!(store.entries().count(), 2);

        let single = DeviceStore::load(&[dir.path().join("2.cer")]).unwrap();
        assert_eq!(single.entries().count(), 1);

        let error = DeviceStore::load(&[dir.path().join("notes.txt")]).unwrap_err().to_string();
        assert!(error.contains("notes.txt, certificate 1: no certificate in it"), "{error}");
        let error = DeviceStore::load(&[dir.path().join("missing.pem")]).unwrap_err().to_string();
        assert!(error.contains("missing.pem") && error.contains("check that it exists"), "{error}");
        let error = DeviceStore::load(&[Path::new("/dev/null")]).unwrap_err();
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
        let none: [&Path; 0] = [];
        assert!(!DeviceStore::load(&none).unwrap().has_anchor());
    }
}
