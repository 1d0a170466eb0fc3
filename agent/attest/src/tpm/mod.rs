//! Structures of a TPM 2.0, read strictly: what a verifier needs of them and no more.
