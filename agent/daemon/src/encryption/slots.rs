//! What is in use for each `domainUri`, and what was last wrong with a replacement.
//!
//! Pure but for reading the files; times are arguments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_certs::AdopterStore;
use biotrust_model::time::UtcMillis;
use biotrust_sbi::session::EncryptionCertificate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Unfit, judge, read};
use crate::config;
use crate::fleet::{Encryption, EncryptionTarget};
use crate::management::store::Ledger;

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Url(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

#[derive(Debug)]
struct Slot {
    source: Source,
    /// Leaf first, DER; of a certificate that stood up when it was taken.
    chain: Option<Vec<Vec<u8>>>,
    /// Why the newest one is not in use.
    complaint: Option<String>,
}

/// A fetched certificate as it is remembered.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    /// Base64 of DER, leaf first.
    chain: Vec<String>,
    /// When it was fetched, milliseconds since 1970.
    fetched_ms: i64,
}

/// By `domainUri`; "" is the default.
pub(super) struct Slots {
    slots: BTreeMap<String, Slot>,
    anchors: AdopterStore,
}

impl Slots {
    pub(super) fn new(config: &config::Encryption, anchors: AdopterStore) -> Self {
        let file = |path: &PathBuf| Source::File(path.clone());
        let files = config.certificate.iter().map(|path| (String::new(), file(path)));
        let files = files.chain(config.domains.iter().map(|(domain, path)| (domain.clone(), file(path))));
        let fetch = config.fetch.iter();
        let urls = fetch.flat_map(|fetch| {
            let default = fetch.url.iter().map(|url| (String::new(), Source::Url(url.to_string())));
            default.chain(fetch.domains.iter().map(|(d, url)| (d.clone(), Source::Url(url.to_string()))))
        });
        let slot = |(domain, source)| (domain, Slot { source, chain: None, complaint: None });
        Self { slots: files.chain(urls).map(slot).collect(), anchors }
    }

    /// At the start every file must hold a certificate that can be used at some time.
    pub(super) fn read_files(&mut self, now: UtcMillis) -> anyhow::Result<()> {
        let Self { slots, anchors } = self;
        for slot in slots.values_mut() {
            let Source::File(path) = &slot.source else { continue };
            let name = || format!("[encryption] {}", path.display());
            let bytes = std::fs::read(path).with_context(name)?;
            let chain = read(&bytes).map_err(|why| anyhow!(why)).with_context(name)?;
            if let Err(Unfit::Never(why)) = judge(&chain, anchors, now) {
                return Err(anyhow!(why)).with_context(name);
            }
            // out of its dates: the refusal of a capture tells so
            slot.chain = Some(chain);
        }
        Ok(())
    }

    /// Takes what was fetched before, as far as it still stands up.
    pub(super) fn recall(&mut self, ledger: &Ledger, now: UtcMillis) {
        for (domain, slot) in self.slots.iter_mut().filter(|(_, slot)| matches!(slot.source, Source::Url(_)))
        {
            let remembered = ledger.get::<Remembered>(&name(domain)).unwrap_or_else(|error| {
                tracing::warn!(domain, %error, "an encryption certificate that was fetched before is lost");
                None
            });
            let chain = remembered.and_then(|held| {
                held.chain.iter().map(|one| STANDARD.decode(one)).collect::<Result<Vec<_>, _>>().ok()
            });
            slot.complaint = Some("not fetched yet".into());
            // of one that has ended, the refusal of a capture tells so
            slot.chain =
                chain.filter(|chain| !matches!(judge(chain, &self.anchors, now), Err(Unfit::Never(_))));
        }
    }

    /// Files to be watched.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let file = |slot: &Slot| match &slot.source {
            Source::File(path) => Some(path.clone()),
            Source::Url(_) => None,
        };
        self.slots.values().filter_map(file).collect()
    }

    /// Reads the files again; tells whether another certificate is in use now.
    pub(super) fn look_at_files(&mut self, now: UtcMillis) -> bool {
        let Self { slots, anchors } = self;
        let mut changed = false;
        for (domain, slot) in slots {
            let Source::File(path) = &slot.source else { continue };
            let offered = offered(path);
            changed |= slot.offer(domain, offered, anchors, now);
        }
        changed
    }

    /// Takes the outcome of a fetch; tells whether another certificate is in use now.
    pub(super) fn fetched(
        &mut self,
        domain: &str,
        outcome: Result<Vec<Vec<u8>>, String>,
        ledger: Option<&Ledger>,
        now: UtcMillis,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(domain) else { return false };
        let changed = slot.offer(domain, outcome, &self.anchors, now);
        if let (true, Some(chain), Some(ledger)) = (changed, &slot.chain, ledger) {
            let chain = chain.iter().map(|der| STANDARD.encode(der)).collect();
            if let Err(error) = ledger.put(&name(domain), &Remembered { chain, fetched_ms: now.0 }) {
                tracing::warn!(domain, %error, "an encryption certificate is not remembered");
            }
        }
        changed
    }

    pub(super) fn current(&self) -> Encryption {
        let mut encryption = Encryption::default();
        for (domain, slot) in &self.slots {
            let Some(target) = slot.target() else { continue };
            if domain.is_empty() {
                encryption.default = Some(target);
            } else {
                encryption.domains.insert(domain.clone(), target);
            }
        }
        encryption
    }

    /// How long the first of the fetched certificates is still valid.
    pub(super) fn life_left(&self, now: UtcMillis) -> Option<Duration> {
        let fetched = self.slots.values().filter(|slot| matches!(slot.source, Source::Url(_)));
        let left = |slot: &Slot| u64::try_from(slot.target()?.certificate.not_after().since(now)).ok();
        fetched.filter_map(left).min().map(Duration::from_millis)
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let one = |(domain, slot): (&String, &Slot)| {
            let why = slot.complaint.as_ref()?;
            let instead = match slot.target() {
                Some(target) => {
                    format!("the one before is used, until {}", target.certificate.not_after().to_wire())
                }
                None => "CAPTURE is refused with error 108".to_owned(),
            };
            Some(format!(
                "the encryption certificate for domain {domain:?} from {} cannot be used: {why}; {instead}",
                slot.source
            ))
        };
        self.slots.iter().filter_map(one).collect()
    }

    pub(super) fn report(&self) -> Value {
        let one = |(domain, slot): (&String, &Slot)| {
            let target = slot.target();
            let certificate = target.as_ref().map(|target| &target.certificate);
            json!({
                "domain": domain,
                "source": slot.source.to_string(),
                "sha256": certificate.map(EncryptionCertificate::thumbprint),
                "not_after": certificate.map(|certificate| certificate.not_after().to_wire()),
                "complaint": slot.complaint,
            })
        };
        self.slots.iter().map(one).collect()
    }
}

impl Slot {
    /// Takes a new chain where it stands up; keeps what it has, with a complaint, where not.
    fn offer(
        &mut self,
        domain: &str,
        offered: Result<Vec<Vec<u8>>, String>,
        anchors: &AdopterStore,
        now: UtcMillis,
    ) -> bool {
        let same = offered.as_ref().is_ok_and(|offered| self.chain.as_ref() == Some(offered));
        let verdict = match &offered {
            // what is in use, and is all there is, is never taken away; its dates are told when it is used
            _ if same => Ok(()),
            Ok(chain) => match judge(chain, anchors, now) {
                Ok(_) => Ok(()),
                // with nothing else in hand, "it has ended" is a better answer than "there is none"
                Err(Unfit::Ended(_) | Unfit::NotYet(_)) if self.chain.is_none() => Ok(()),
                Err(unfit) => Err(unfit.to_string()),
            },
            Err(why) => Err(why.clone()),
        };
        let complaint = verdict.err();
        if let Some(why) = complaint.as_ref().filter(|_| self.complaint != complaint) {
            tracing::warn!(domain, source = %self.source, why, "a new encryption certificate is not used");
        }
        self.complaint = complaint;
        match offered {
            Ok(chain) if self.complaint.is_none() && !same => {
                self.chain = Some(chain);
                let sha256 = self.target().map(|target| target.certificate.thumbprint().to_owned());
                tracing::info!(domain, source = %self.source, sha256, "encryption certificate in use");
                true
            }
            _ => false,
        }
    }

    fn target(&self) -> Option<EncryptionTarget> {
        let chain = self.chain.clone()?;
        let certificate = EncryptionCertificate::from_der(chain.first()?).ok()?;
        Some(EncryptionTarget { certificate, chain })
    }
}

fn offered(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    read(&bytes)
}

fn name(domain: &str) -> String {
    format!("encryption/{domain}")
}
