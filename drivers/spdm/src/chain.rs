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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::certificate;

    fn chain() -> Chain {
        Chain::with_root(&[certificate(1, 600), certificate(2, 500), certificate(3, 400)]).unwrap()
    }

    fn why(blob: &[u8]) -> Why {
        match Chain::decode(blob).unwrap_err() {
            SpdmError::Malformed { what: WHAT, why } => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn certificates_go_root_side_first() {
        let blob = chain().encode().unwrap();
        assert_eq!(blob.len(), 36 + 3 * 4 + 1500);
        assert_eq!(blob[..4], [0x0C, 0x06, 0, 0]);
        assert_eq!(blob[4..36], sha256(&[&certificate(3, 400)]));
        assert_eq!(blob[36..36 + 404], certificate(3, 400));
        assert_eq!(Chain::decode(&blob).unwrap(), chain());
    }

    #[test]
    fn a_blob_that_is_cut_anywhere_is_refused() {
        let blob = chain().encode().unwrap();
        for length in 0..blob.len() {
            assert!(Chain::decode(&blob[..length]).is_err(), "{length} bytes");
            // Also where its length field agrees: only whole certificates are a chain.
            let mut short = blob[..length].to_vec();
            if length >= 36 {
                short[..2].copy_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
                let whole = [440, 944].contains(&length);
                assert_eq!(Chain::decode(&short).is_ok(), whole, "{length} bytes");
            }
        }
    }

    #[test]
    fn each_rule_of_the_blob_has_its_error() {
        let bent = |at: usize, value: u8| {
            let mut blob = chain().encode().unwrap();
            blob[at] = value;
            blob
        };
        assert_eq!(why(&bent(0, 0x0D)), Why::Value("Length"));
        assert_eq!(why(&bent(2, 1)), Why::Reserved);
        assert_eq!(why(&bent(36, 0x31)), Why::Value("Certificates"));
        assert_eq!(why(&bent(37, 0x81)), Why::Value("Certificates"), "not in two bytes of length");
        assert_eq!(why(&bent(38, 0)), Why::Value("Certificates"), "not the shortest length");
        assert_eq!(why(&bent(38, 9)), Why::Short);
        assert_eq!(why(&[&[36, 0, 0, 0][..], &[0; 32]].concat()), Why::Short, "no certificate");
        assert_eq!(
            Chain::with_root(&[]).unwrap_err().to_string(),
            "malformed certificate blob: it ends too early"
        );
    }

    #[test]
    fn limits_hold() {
        let many = |count| Chain { root_hash: [0; 32], certificates: vec![certificate(1, 300); count] };
        assert!(many(MAX_CERTIFICATES).encode().is_ok());
        assert!(many(MAX_CERTIFICATES + 1).encode().is_err());
        let long = |length| Chain { root_hash: [0; 32], certificates: vec![certificate(1, length)] };
        assert!(long(32_768 - 40).encode().is_ok());
        assert!(long(32_768 - 39).encode().is_err());
        assert!(long(65_535).encode().is_err());
    }

    #[test]
    fn portions_must_add_up() {
        let mut assembly = Assembly::default();
        assert!(!assembly.push(&[1; 10], 20).unwrap());
        assert_eq!(assembly.offset(), 10);
        assert!(assembly.push(&[2; 10], 9).is_err());
        assert!(assembly.push(&[2; 20], 0).unwrap(), "the control");
        let mut assembly = Assembly::default();
        assert!(matches!(assembly.push(&[0; 100], u16::MAX), Err(SpdmError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_blobs_never_panic(mut blob in proptest::collection::vec(any::<u8>(), 36..600)) {
            let _ = Chain::decode(&blob);
            let length = u16::try_from(blob.len()).unwrap().to_le_bytes();
            blob[..2].copy_from_slice(&length);
            blob[2..4].copy_from_slice(&[0, 0]);
            if let Ok(chain) = Chain::decode(&blob) {
                prop_assert_eq!(chain.encode().unwrap(), blob);
            }
        }
    }
}
