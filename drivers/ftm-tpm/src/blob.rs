//! What is kept on the disk of a key or secret that lives under the TPM's storage key: useless without that TPM.
//!
//! `BTPM1`, then with 16-bit big-endian lengths: name of the storage key, TPMT_PUBLIC, TPM2B_PRIVATE's contents.

use biotrust_driver_api::FtmError;
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};

use crate::error::{Doing, Fault, Result};
use crate::spki;

const MAGIC: &[u8] = b"BTPM1";

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Name of the storage key that wraps it.
    pub(crate) parent: Vec<u8>,
    /// TPMT_PUBLIC.
    pub(crate) public: Vec<u8>,
    /// As the TPM wrapped it.
    pub(crate) private: Vec<u8>,
}

impl Blob {
    pub(crate) fn new(parent: &[u8], public: &Public, private: &Private) -> Result<Self> {
        Ok(Self {
            parent: parent.to_vec(),
            public: public.marshall().doing("making a key in the TPM")?,
            private: private.value().to_vec(),
        })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for part in [&self.parent, &self.public, &self.private] {
            // None is near that long: the TPM's own lengths have 16 bits.
            bytes.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `name` is for the error.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> std::result::Result<Self, FtmError> {
        let read = || {
            let rest = bytes.strip_prefix(MAGIC)?;
            let (parent, rest) = part(rest)?;
            let (public, rest) = part(rest)?;
            let (private, rest) = part(rest)?;
            rest.is_empty().then(|| Self {
                parent: parent.to_vec(),
                public: public.to_vec(),
                private: private.to_vec(),
            })
        };
        read().ok_or_else(|| FtmError::Unusable {
            name: name.to_owned(),
            why: "its file holds nothing that a TPM wrapped; register the device again".into(),
        })
    }

    pub(crate) fn public(&self) -> Result<Public> {
        Public::unmarshall(&self.public).doing("reading a public key")
    }

    /// SubjectPublicKeyInfo, DER, of a key.
    pub(crate) fn spki(&self) -> std::result::Result<Vec<u8>, FtmError> {
        self.public().and_then(|public| spki::spki(&public)).map_err(|fault: Fault| fault.into())
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer() {
        let blob = Blob { parent: vec![1; 34], public: vec![2; 300], private: vec![3; 200] };
        let bytes = blob.to_bytes();
        assert_eq!(Blob::parse("SN1", &bytes).unwrap(), blob);
        for end in 0..bytes.len() {
            assert!(Blob::parse("SN1", &bytes[..end]).is_err(), "{end}");
        }
        assert!(Blob::parse("SN1", &[bytes.as_slice(), &[0]].concat()).is_err());
    }
}
