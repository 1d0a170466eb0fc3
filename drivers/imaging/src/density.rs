//! How many dots of a sensor fall on an inch.

/// Density of the sensor in dots per inch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dpi(u16);

impl Dpi {
    /// What most fingerprint scanners have.
    pub const FINGER: Self = Self(500);

    /// `None` unless `dots` is 1 to 1664: dots per metre must fit the 16 bits of a JP2 file's resolution box.
    #[must_use]
    pub fn new(dots: u16) -> Option<Self> {
        (1..=1664).contains(&dots).then_some(Self(dots))
    }

    /// Dots per inch.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// Dots per metre, rounded: 500 dpi are 19685.
    #[must_use]
    pub fn per_metre(self) -> u16 {
        // 1 inch = 0.0254 m. Fits: 1664 dpi are 65512.
        u16::try_from((u32::from(self.0) * 10_000 + 127) / 254).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_that_do_not_fit_are_refused() {
        assert_eq!(Dpi::FINGER.per_metre(), 19_685);
        assert_eq!(Dpi::new(1000).map(Dpi::per_metre), Some(39_370));
        assert!(Dpi::new(0).is_none() && Dpi::new(1665).is_none());
        assert_eq!(Dpi::new(1664).map(Dpi::per_metre), Some(65_512));
    }
}
