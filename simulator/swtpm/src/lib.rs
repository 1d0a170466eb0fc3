//! A TPM 2.0 in software, as a child process.
