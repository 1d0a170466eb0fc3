//! Keys and certificates in files.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biotrust_certs::Certificate;
use biotrust_model::Secret;
use zeroize::Zeroizing;

/// Largest key file, in bytes.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Certificates of a PEM file, in their order.
///
/// # Errors
/// A file that cannot be read or holds anything else.
pub fn chain(file: &Path) -> anyhow::Result<Vec<Certificate>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    biotrust_certs::certificates(&bytes).map_err(|(position, problem)| {
        anyhow::anyhow!("{}, certificate {position}: {problem}", file.display())
    })
}

/// A secret that only its owner can read: mode 0600 or less, a regular file.
///
/// # Errors
/// Everything else.
pub(super) fn owner_only(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let shown = file.display();
    let mut open = std::fs::File::open(file).with_context(|| format!("cannot read {shown}"))?;
    let about = open.metadata().with_context(|| format!("cannot read {shown}"))?;
    if !about.is_file() || about.len() > MAX_KEY_FILE {
        bail!("{shown} is not a file of a key");
    }
    if about.mode() & 0o077 != 0 {
        bail!(
            "{shown} can be read by others than its owner; chmod 600 it, and replace the key if others were there"
        );
    }
    // Read into a vector that never grows: no copy stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1));
    open.by_ref()
        .take(about.len())
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {shown}"))?;
    Ok(bytes)
}

/// A private key: PKCS#8 in PEM, mode 0600. Returns its DER.
///
/// # Errors
/// A file that others can read, or that holds anything else.
pub fn private_key(file: &Path) -> anyhow::Result<Secret> {
    let bytes = owner_only(file)?;
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{} is not PEM", file.display()))?;
    let body = text
        .trim()
        .strip_prefix("-----BEGIN PRIVATE KEY-----")
        .and_then(|text| text.strip_suffix("-----END PRIVATE KEY-----"))
        .with_context(|| format!("{} is not a PKCS#8 key in PEM (BEGIN PRIVATE KEY)", file.display()))?;
    let mut packed = Zeroizing::new(String::with_capacity(body.len()));
    packed.extend(body.chars().filter(|c| !c.is_whitespace()));
    let der = STANDARD.decode(packed.as_bytes());
    der.map(Secret::new).with_context(|| format!("{}: not base64", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let pem = biotrust_certs::pem::encode("PRIVATE KEY", &[7; 100]);
        assert_eq!(private_key(file(&pem, 0o600).path()).unwrap().expose(), [7; 100]);
        assert_eq!(private_key(file(&pem, 0o400).path()).unwrap().expose(), [7; 100]);
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let error = private_key(file(&pem, mode).path()).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        for wrong in ["", "-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----"] {
            let error = private_key(file(wrong, 0o600).path()).unwrap_err().to_string();
            assert!(error.contains("not a PKCS#8 key"), "{error}");
        }
        assert!(private_key(Path::new("/dev/zero")).is_err());
    }
}
