//! Which entry is about a device.

use std::collections::HashMap;

use super::{Document, Metadata, Model};

/// Provider, make and model, as they are compared: in lower case, with single spaces.
type Key = [String; 3];

/// Where the entry of each model stands.
#[derive(Debug, Clone)]
pub(super) struct Index(HashMap<Key, usize>);

impl Index {
    /// Of a document in which no model stands twice.
    pub(super) fn of(document: &Document) -> Result<Self, String> {
        let mut index = HashMap::with_capacity(document.models.len());
        for (at, Model { provider, make, model, .. }) in document.models.iter().enumerate() {
            if index.insert(key(provider, make, model), at).is_some() {
                return Err(format!("\"{make} {model}\" stands there twice"));
            }
        }
        Ok(Self(index))
    }
}

impl Metadata {
    /// The entry for a model, by the names that stand in a digital ID: exact but for letter case and runs of spaces.
    #[must_use]
    pub fn find(&self, provider: &str, make: &str, model: &str) -> Option<&Model> {
        let at = self.index.0.get(&key(provider, make, model))?;
        self.document.models.get(*at)
    }
}

fn key(provider: &str, make: &str, model: &str) -> Key {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
    [words(provider), words(make), words(model)]
}
