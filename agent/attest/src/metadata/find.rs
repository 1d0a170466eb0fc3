//! Which entry is about a device.

use super::{Metadata, Model};

impl Metadata {
    /// The entry for a model, by the names that stand in a digital ID: exact but for letter case and runs of spaces.
    #[must_use]
    pub fn find(&self, provider: &str, make: &str, model: &str) -> Option<&Model> {
        self.document.models.iter().find(|entry| {
            same_words(&entry.provider, provider)
                && same_words(&entry.make, make)
                && same_words(&entry.model, model)
        })
    }
}

/// Equal but for letter case and runs of spaces.
fn same_words(a: &str, b: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    words(a) == words(b)
}
