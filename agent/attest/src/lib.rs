//! Attestation of trust modules: evidence, and the judgement on it, without I/O.
