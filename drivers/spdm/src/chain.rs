//! The certificate blob of a slot: length, reserved, hash of the root, then certificates from the root side down.
//!
//! Pure. Only the outer shell of each certificate is read here (where it ends); what is in them is for whoever appraises.

use crate::error::{SpdmError, Why};
use crate::signature::sha256;
use crate::wire::Reader;

/// Longest blob in bytes.
pub const MAX_BLOB: usize = 32 * 1024;
/// Certificates in a blob at most.
pub const MAX_CERTIFICATES: usize = 8;

const WHAT: &str = "certificate blob";

/// The certificates of slot 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// SHA-256 of the root certificate, which need not be in the blob.
    pub root_hash: [u8; 32],
    /// The key's own first; DER.
    pub certificates: Vec<Vec<u8>>,
}

impl Chain {
    /// A chain, the key's own certificate first, that ends with the root.
    ///
    /// # Errors
    /// [`SpdmError::Malformed`] when it is empty.
    pub fn with_root(certificates: &[Vec<u8>]) -> Result<Self, SpdmError> {
        let root = certificates.last().ok_or(Reader::new(WHAT, &[]).bad(Why::Short))?;
        Ok(Self { root_hash: sha256(&[root]), certificates: certificates.to_vec() })
    }

    /// The blob.
    ///
    /// # Errors
    /// [`SpdmError::TooLong`], and whatever [`Self::decode`] would find.
    pub fn encode(&self) -> Result<Vec<u8>, SpdmError> {
        let length = 36 + self.certificates.iter().map(Vec::len).sum::<usize>();
        let short = u16::try_from(length).ok().filter(|_| length <= MAX_BLOB);
        let short = short.ok_or(SpdmError::TooLong { what: WHAT, limit: MAX_BLOB })?;
        let mut blob = Vec::with_capacity(length);
        blob.extend_from_slice(&short.to_le_bytes());
        blob.extend_from_slice(&[0, 0]);
        blob.extend_from_slice(&self.root_hash);
        self.certificates.iter().rev().for_each(|certificate| blob.extend_from_slice(certificate));
        Self::decode(&blob).map(|_| blob)
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// [`SpdmError::Malformed`], [`SpdmError::TooLong`].
    pub fn decode(blob: &[u8]) -> Result<Self, SpdmError> {
        if blob.len() > MAX_BLOB {
            return Err(SpdmError::TooLong { what: WHAT, limit: MAX_BLOB });
        }
        let mut reader = Reader::new(WHAT, blob);
        if usize::from(reader.u16()?) != blob.len() {
            return Err(reader.bad(Why::Value("Length")));
        }
        reader.reserved(2)?;
        let root_hash = reader.array()?;
        let mut certificates = Vec::new();
        while !reader.is_at_end() {
            if certificates.len() == MAX_CERTIFICATES {
                return Err(reader.bad(Why::Value("Certificates")));
            }
            certificates.push(certificate(&mut reader)?);
        }
        if certificates.is_empty() {
            return Err(reader.bad(Why::Short));
        }
        certificates.reverse();
        Ok(Self { root_hash, certificates })
    }
}

/// Reads one DER SEQUENCE with a length of two bytes: no certificate with an RSA key is shorter than 256 bytes.
fn certificate(reader: &mut Reader<'_>) -> Result<Vec<u8>, SpdmError> {
    let head: [u8; 4] = reader.array()?;
    let [0x30, 0x82, high, low] = head else { return Err(reader.bad(Why::Value("Certificates"))) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 0x100 {
        return Err(reader.bad(Why::Value("Certificates")));
    }
    Ok([&head, reader.take(length)?].concat())
}

/// Puts a blob together from the portions of CERTIFICATE.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    blob: Vec<u8>,
    length: Option<usize>,
}

impl Assembly {
    /// First byte that is still missing.
    pub(crate) fn offset(&self) -> u16 {
        u16::try_from(self.blob.len()).unwrap_or(u16::MAX)
    }

    /// Takes in a portion; answers whether the blob is complete. The sum of both must not change on the way.
    pub(crate) fn push(&mut self, portion: &[u8], remainder: u16) -> Result<bool, SpdmError> {
        let length = self.blob.len() + portion.len() + usize::from(remainder);
        if length > MAX_BLOB {
            return Err(SpdmError::TooLong { what: WHAT, limit: MAX_BLOB });
        }
        if *self.length.get_or_insert(length) != length {
            return Err(SpdmError::Mismatch { what: "CERTIFICATE", field: "RemainderLength" });
        }
        self.blob.extend_from_slice(portion);
        Ok(remainder == 0)
    }

    /// The bytes so far.
    pub(crate) fn into_blob(self) -> Vec<u8> {
        self.blob
    }
}
