//! The one source of chance: splitmix64, seeded from everything that an image depends on.
//!
//! Integer arithmetic and exactly rounded float operations only, so every machine draws the same image.

/// A generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator for one purpose: `domain` names it, `keys` are what it depends on.
    pub(crate) fn new(domain: [u8; 8], keys: &[u64]) -> Self {
        let mut state = Self(u64::from_le_bytes(domain));
        for key in keys {
            state = Self(state.next().rotate_left(17) ^ key);
        }
        Self(state.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `low..high`.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..limit`; 0 where `limit` is 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }

    /// Nearly normal, mean 0, variance 1, never beyond 3.5: the sum of four uniform 16-bit numbers.
    pub(crate) fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
        (sum as f32 / 65_536.0 - 2.0) * 1.732_050_8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // First outputs of the published algorithm for state 0.
        let mut random = Random(0);
        let first = [random.next(), random.next(), random.next()];
        assert_eq!(first, [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]);
    }

    #[test]
    fn every_key_counts() {
        let draw = |domain: &[u8; 8], keys: &[u64]| Random::new(*domain, keys).next();
        let base = draw(b"finger  ", &[1, 2]);
        for other in [draw(b"iris    ", &[1, 2]), draw(b"finger  ", &[2, 1]), draw(b"finger  ", &[1, 2, 0])] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn moments_are_right() {
        let mut random = Random::new(*b"test    ", &[]);
        let draws: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let variance = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f32>() / draws.len() as f32;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert!((0..1000).all(|_| (2.0..3.0).contains(&random.between(2.0, 3.0))));
        assert!((0..1000).all(|_| random.below(7) < 7));
    }
}
