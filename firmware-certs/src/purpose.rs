//! What a signer's certificate is for, beyond being trusted: told by its extended key usage.
//!
//! A device certificate has no extended key usage, so it can never pass for one of these, whoever issued it.

use crate::Certificate;

/// A kind of signer. The first three numbers lie in the arc that IANA keeps for documentation (PEN 32473): a deployment
/// that registers an arc of its own changes them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignerPurpose {
    /// The management server: its answers and its time tokens.
    Management,
    /// Firmware manifests.
    Firmware,
    /// Model metadata.
    Metadata,
    /// The attestation key of a TPM (TCG: tcg-kp-AIKCertificate).
    AttestationKey,
}

impl SignerPurpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Management, Self::Firmware, Self::Metadata, Self::AttestationKey];

    /// Dotted object identifier that the extended key usage must hold.
    #[must_use]
    pub const fn oid(self) -> &'static str {
        match self {
            Self::Management => "1.3.6.1.4.1.32473.1.1",
            Self::Firmware => "1.3.6.1.4.1.32473.1.2",
            Self::Metadata => "1.3.6.1.4.1.32473.1.3",
            Self::AttestationKey => "2.23.133.8.3",
        }
    }

    /// In words, for messages: "a signer of …".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management messages",
            Self::Firmware => "firmware manifests",
            Self::Metadata => "model metadata",
            Self::AttestationKey => "TPM attestations",
        }
    }
}

impl std::fmt::Display for SignerPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Certificate {
    /// Whether it names `purpose` in its extended key usage. The catch-all purpose of RFC 5280 (any) does not count.
    #[must_use]
    pub fn has_purpose(&self, purpose: SignerPurpose) -> bool {
        self.extended_key_usages().iter().any(|oid| oid == purpose.oid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{self, Forge, key};

    fn with_usages(oids: &[&[u64]]) -> Certificate {
        let oids: Vec<Vec<u8>> = oids.iter().map(|arcs| forge::oid(arcs)).collect();
        let list = forge::seq(&oids.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let extension = forge::extension(&[2, 5, 29, 37], false, &list);
        Forge::leaf("Signer").with(|f| f.extensions.push(extension)).sign(key(0))
    }

    #[test]
    fn a_purpose_is_named_or_not_there() {
        let both = with_usages(&[&[1, 3, 6, 1, 4, 1, 32473, 1, 2], &[2, 23, 133, 8, 3]]);
        assert_eq!(both.extended_key_usages(), ["1.3.6.1.4.1.32473.1.2", "2.23.133.8.3"]);
        let has: Vec<_> =
            SignerPurpose::ALL.into_iter().filter(|purpose| both.has_purpose(*purpose)).collect();
        assert_eq!(has, [SignerPurpose::Firmware, SignerPurpose::AttestationKey]);
        let longer = with_usages(&[&[1, 3, 6, 1, 4, 1, 32473, 1, 2, 1]]);
        assert!(!longer.has_purpose(SignerPurpose::Firmware), "an arc below is another purpose");
    }

    #[test]
    fn neither_no_usage_nor_any_usage_is_a_purpose() {
        let any = with_usages(&[&[2, 5, 29, 37, 0]]);
        let none = Forge::leaf("Device").sign(key(0));
        for certificate in [any, none] {
            assert!(SignerPurpose::ALL.iter().all(|purpose| !certificate.has_purpose(*purpose)));
        }
    }
}
