//! A TPM 2.0 as foundational trust module.
