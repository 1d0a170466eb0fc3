//! Bytes that must not reach a log, a panic message or freed memory.

use zeroize::Zeroizing;

/// Key material or biometric data: cannot be printed or cloned, and is wiped when dropped.
///
/// `Debug` tells the length only, so that a struct that holds one may still derive `Debug`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over. The vector must not have been reallocated on the way, or copies stay behind.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that must see them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_only() {
        let shown = format!("{:?}", Secret::new(b"canary".to_vec()));
        assert_eq!(shown, "Secret(6 bytes)");
    }
}
