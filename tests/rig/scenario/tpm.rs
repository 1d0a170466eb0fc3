//! The TPM module on the kernel's own device, through its resource manager.

use std::path::Path;

use crate::guest::{self, shown};

/// Everything about the TPM.
pub(crate) fn run() {
    assert!(Path::new("/dev/tpmrm0").exists(), "the kernel found no TPM");
    guest::run("udevadm", &["settle"]);
    shown("the kernel has a TPM");
}
