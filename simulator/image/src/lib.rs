//! Synthetic fingerprints, irises and faces, deterministic from a seed.
