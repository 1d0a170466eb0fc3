//! Suites that every implementation runs, so that a back end is judged by what callers rely on.

use crate::{Ftm, FtmError};

/// What a test of an [`Ftm`] needs to know how to do with public keys; keeps this crate free of a crypto library.
pub trait Verifier {
    /// Whether `signature` is RS256 by the key `spki` (SubjectPublicKeyInfo, DER) over `message`.
    fn verifies(&self, spki: &[u8], message: &[u8], signature: &[u8]) -> bool;
    /// SubjectPublicKeyInfo of a PKCS#10 request whose own signature is good; `None` where it is not.
    fn csr_key(&self, csr: &[u8]) -> Option<Vec<u8>>;
}

/// Runs a whole life of a key through a fresh `ftm` of any kind.
///
/// # Errors
/// The first rule that does not hold.
pub fn ftm_life_cycle(ftm: &mut dyn Ftm, verifier: &dyn Verifier) -> Result<(), String> {
    let name = "conformance-0001";
    let say = |what: &'static str| move |e: FtmError| format!("{what}: {e}");

    if !matches!(ftm.load(name), Err(FtmError::NoKey(_))) {
        return Err("a key that was never made must be NoKey".into());
    }
    if !matches!(ftm.finish_rotation(name), Err(FtmError::NoKey(_))) {
        return Err("a rotation that was never begun must be NoKey".into());
    }

    let first = rotate(ftm, verifier, name)?;
    let mut key = ftm.load(name).map_err(say("load"))?;
    let signature = key.sign_rs256(b"first").map_err(say("sign"))?;
    if signature.len() != 256 || !verifier.verifies(&first, b"first", &signature) {
        return Err("the first signature is not RS256 by the certified key".into());
    }
    if verifier.verifies(&first, b"other", &signature) {
        return Err("negative control: a signature fits another message".into());
    }
    drop(key);

    let pending = begin(ftm, verifier, name)?;
    if ftm.next_public_key(name).map_err(say("next_public_key"))?.as_ref() != Some(&pending) {
        return Err("the next key is not the one in the request".into());
    }
    let current = ftm.load(name).map_err(say("load while rotating"))?;
    if current.public_key_der() != first {
        return Err("an unfinished rotation must not change the current key".into());
    }
    drop(current);
    ftm.finish_rotation(name).map_err(say("finish_rotation"))?;
    let rotated = ftm.load(name).map_err(say("load after rotation"))?;
    if rotated.public_key_der() != pending || pending == first {
        return Err("after a rotation the next key must be the current one".into());
    }
    drop(rotated);

    ftm.destroy(name).map_err(say("destroy"))?;
    match ftm.load(name) {
        Err(FtmError::NoKey(_)) => Ok(()),
        _ => Err("a destroyed key must be NoKey".into()),
    }
}

fn begin(ftm: &mut dyn Ftm, verifier: &dyn Verifier, name: &str) -> Result<Vec<u8>, String> {
    let csr = ftm.begin_rotation(name, name, "Conformance").map_err(|e| format!("begin_rotation: {e}"))?;
    verifier.csr_key(&csr).ok_or_else(|| "the request does not prove possession of its key".to_owned())
}

fn rotate(ftm: &mut dyn Ftm, verifier: &dyn Verifier, name: &str) -> Result<Vec<u8>, String> {
    let key = begin(ftm, verifier, name)?;
    ftm.finish_rotation(name).map_err(|e| format!("finish_rotation: {e}"))?;
    Ok(key)
}
