//! Certificates of the identity and attestation keys, kept in the TPM: a bag from which each chain is put together.
//!
//! The two chains have most of their certificates in common, and a TPM has some kilobytes of memory, so that each is
//! kept once. Nothing here judges them: who reads a chain verifies it.

use biotrust_driver_api::FtmError;
use tss_esapi::Context;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Result;
use crate::nv;

/// The first index, in the TCG's range for certificates of device identities.
const FIRST: u32 = 0x01c9_0100;
/// How many there may be.
const MOST: u32 = 8;
/// Longest certificate: the smallest size of an index that TPMs allow.
const LONGEST: usize = 2048;

/// Every certificate that is there.
pub(crate) fn read(context: &mut Context) -> Result<Vec<Vec<u8>>> {
    let mut bag = Vec::new();
    for index in FIRST..FIRST + MOST {
        match nv::read(context, index)? {
            Some(certificate) => bag.push(certificate),
            None => break,
        }
    }
    Ok(bag)
}

/// Puts `bag` there in the place of what is. What is there already stays untouched: the memory wears.
pub(crate) fn write(context: &mut Context, bag: &[Vec<u8>]) -> Result<()> {
    let refused = |why: String| FtmError::Unusable { name: "for the TPM".into(), why };
    if bag.len() > MOST as usize {
        return Err(
            refused(format!("{} certificates are more than the {MOST} that are kept", bag.len())).into()
        );
    }
    if let Some(long) = bag.iter().map(Vec::len).find(|length| *length > LONGEST) {
        return Err(refused(format!("a certificate of {long} bytes is longer than {LONGEST}")).into());
    }
    let mut bag = bag.iter();
    for index in FIRST..FIRST + MOST {
        match bag.next() {
            Some(certificate) if nv::read(context, index)?.as_ref() == Some(certificate) => {}
            Some(certificate) => nv::replace(context, index, certificate)?,
            None => nv::remove(context, index)?,
        }
    }
    Ok(())
}

/// The chain of the key `spki`: its certificate, then issuer after issuer for as far as the bag goes.
pub(crate) fn chain(bag: &[Vec<u8>], spki: &[u8]) -> Vec<Vec<u8>> {
    let parsed: Vec<_> =
        bag.iter().filter_map(|der| Some((der, X509Certificate::from_der(der).ok()?.1))).collect();
    let mut next = parsed.iter().find(|(_, certificate)| certificate.public_key().raw == spki);
    let mut chain = Vec::new();
    while let Some((der, certificate)) = next {
        chain.push((*der).clone());
        next = parsed.iter().find(|(issuer, candidate)| {
            candidate.subject().as_raw() == certificate.issuer().as_raw()
                && !chain.contains(*issuer)
                && certificate.verify_signature(Some(candidate.public_key())).is_ok()
        });
    }
    chain
}
