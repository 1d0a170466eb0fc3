//! Keys of the host, by name: the one that signs, and the one that waits to take its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use biotrust_model::evidence::KeySlot;
use biotrust_spdm::command::{HostKeys as Shown, KeyName};

use crate::chip::{DeviceKey, Made};

/// Most names: a chip has little room.
const MAX_NAMES: usize = 32;

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKey {
    /// It was never made, or is destroyed.
    #[error("there is no such key")]
    None,
    /// No room for another name.
    #[error("keys of {MAX_NAMES} devices are kept already")]
    Full,
}

/// All keys.
#[derive(Default)]
pub(super) struct HostKeys(BTreeMap<String, Pair>);

#[derive(Default)]
struct Pair {
    current: Option<Arc<dyn DeviceKey>>,
    next: Option<Arc<dyn DeviceKey>>,
    rotations: u64,
}

impl HostKeys {
    pub(super) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Whether there is room for keys of `name`.
    pub(super) fn has_room(&self, name: &KeyName) -> Result<(), NoKey> {
        let fits = self.0.contains_key(name.as_str()) || self.0.len() < MAX_NAMES;
        if fits { Ok(()) } else { Err(NoKey::Full) }
    }

    /// Keeps a key that was just made as the next one of `name`. Gives its request.
    pub(super) fn begin(&mut self, name: &KeyName, made: Made) -> Result<Vec<u8>, NoKey> {
        self.has_room(name)?;
        self.0.entry(name.as_str().to_owned()).or_default().next = Some(made.key);
        Ok(made.csr)
    }

    /// The next key becomes the current one.
    pub(super) fn switch(&mut self, name: &KeyName) -> Result<(), NoKey> {
        let pair = self.0.get_mut(name.as_str()).ok_or(NoKey::None)?;
        pair.current = Some(pair.next.take().ok_or(NoKey::None)?);
        pair.rotations += 1;
        Ok(())
    }

    /// A key, and how often that name has had a new one.
    pub(super) fn find(&self, name: &KeyName, slot: KeySlot) -> Result<(Arc<dyn DeviceKey>, u64), NoKey> {
        let pair = self.0.get(name.as_str()).ok_or(NoKey::None)?;
        let key = match slot {
            KeySlot::Current => &pair.current,
            KeySlot::Next => &pair.next,
        };
        Ok((Arc::clone(key.as_ref().ok_or(NoKey::None)?), pair.rotations))
    }

    pub(super) fn destroy(&mut self, name: &KeyName) {
        self.0.remove(name.as_str());
    }

    pub(super) fn shown(&self, name: &KeyName) -> Shown {
        let spki = |key: &Option<Arc<dyn DeviceKey>>| key.as_ref().map(|key| key.public_key_der().to_vec());
        let pair = self.0.get(name.as_str());
        Shown {
            current: pair.and_then(|pair| spki(&pair.current)),
            next: pair.and_then(|pair| spki(&pair.next)),
        }
    }
}
