//! Quality scores.

/// A quality score in `0.0..=100.0`; text form is what the tool kit's schema accepts ("70", "70.5").
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Score(f32);

impl Score {
    /// Zero.
    pub const MIN: Self = Self(0.0);
    /// One hundred.
    pub const MAX: Self = Self(100.0);

    /// `None` unless `value` is a number in `0.0..=100.0`.
    #[must_use]
    pub fn new(value: f32) -> Option<Self> {
        (0.0..=100.0).contains(&value).then_some(Self(value))
    }

    /// The nearest score; not-a-number becomes zero.
    #[must_use]
    pub fn clamped(value: f32) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(0.0, 100.0) })
    }

    /// As a number.
    #[must_use]
    pub const fn value(self) -> f32 {
        self.0
    }

    /// Rounded to the whole number that a quality block of ISO 19794 holds.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        self.0.round() as u8
    }
}

impl std::fmt::Display for Score {
    /// One decimal at most, none where it is zero, always with a point.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round() as u32;
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, tenth) => write!(f, "{whole}.{tenth}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_what_schemas_accept() {
        for (value, text) in [(0.0, "0"), (70.0, "70"), (70.5, "70.5"), (99.96, "100"), (100.0, "100")] {
            assert_eq!(Score::clamped(value).to_string(), text);
        }
    }

    #[test]
    fn range_is_closed() {
        assert!(Score::new(100.01).is_none());
        assert!(Score::new(f32::NAN).is_none());
        assert_eq!(Score::clamped(f32::NAN), Score::MIN);
        assert_eq!(Score::clamped(1e9), Score::MAX);
    }
}
