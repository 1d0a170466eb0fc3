//! Attestation: what a trust module is asked to prove, and the raw proofs that it gives.
//!
//! A proof is bytes that somebody else can verify without trusting whoever carried them. Drivers and simulators make
//! proofs, the crate `biotrust-attest` packs them into evidence and judges them; here are only their shapes.

use crate::vocabulary;

vocabulary! {
    /// What a challenge was given out for. A proof for one purpose is worth nothing for another.
    EvidencePurpose, "purpose of evidence", {
        /// Is this the chip that it says it is?
        Identity = "identity",
        /// Was this device key born in that chip?
        DeviceKey = "devkey",
        /// What firmware runs, in which mode?
        State = "state",
        /// What does its clock say?
        Time = "time",
    }
}

vocabulary! {
    /// Where device keys live.
    FtmKind, "kind of trust module", {
        /// In a TPM 2.0.
        Tpm = "tpm",
        /// In the device's own trust module, reached by SPDM.
        Spdm = "spdm",
        /// In files of this host: level L0 only.
        Software = "software",
    }
}

/// Which key of a device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySlot {
    /// The one that signs.
    Current,
    /// The one of a rotation that has begun and is not finished.
    Next,
}

/// The 32 bytes that every proof carries: the challenge's nonce, bound to its purpose and audience.
///
/// `SHA-256("MOSIP-FTM-v1" 00 purpose 00 nonce SHA-256(audience))`; computed by `biotrust_attest::Challenge::binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding(pub [u8; 32]);

/// What a trust module has to say for a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per challenge and moved a few times; a box would only be in the way"
)]
pub enum Proof {
    /// Of a device that speaks SPDM.
    Spdm(SpdmProof),
    /// Of a TPM 2.0.
    Tpm(TpmProof),
    /// Of keys in files: nothing but a signature by the device key over the evidence itself.
    Software,
}

impl Proof {
    /// Which kind of module made it.
    #[must_use]
    pub const fn kind(&self) -> FtmKind {
        match self {
            Self::Spdm(_) => FtmKind::Spdm,
            Self::Tpm(_) => FtmKind::Tpm,
            Self::Software => FtmKind::Software,
        }
    }
}

/// Transcripts of SPDM 1.2 exchanges, exactly as they went over the link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpdmProof {
    /// The messages of M1 with the signature that ends them: GET_VERSION, VERSION, GET_CAPABILITIES, CAPABILITIES,
    /// NEGOTIATE_ALGORITHMS, ALGORITHMS, GET_DIGESTS, DIGESTS, (GET_CERTIFICATE, CERTIFICATE)+, CHALLENGE,
    /// CHALLENGE_AUTH; one entry a message. The nonce of CHALLENGE is the [`Binding`].
    pub authentication: Vec<Vec<u8>>,
    /// GET_MEASUREMENTS (all, signed, nonce = [`Binding`]) and MEASUREMENTS. L1 is the first six messages of
    /// `authentication` and these two.
    pub measurements: Vec<Vec<u8>>,
    /// Statement of the chip key about the device key: a compact JWS of type `key-statement+jwt`. Absent where no device
    /// key was asked for.
    pub key_statement: Option<String>,
}

/// Structures of a TPM 2.0, in its own encoding, without size prefixes.
///
/// The identity key (IDevID) has the chip certificate; the attestation key (IAK) is restricted, so that what it signs was
/// made inside the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TpmProof {
    /// Certificate of the attestation key and what leads to its anchor in domain FTM; DER.
    pub attestation_chain: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the attestation key.
    pub attestation_public: Vec<u8>,
    /// The identity key, certified by the attestation key.
    pub identity: CertifiedKey,
    /// The device key, certified by the attestation key. Absent where none was asked for.
    pub device_key: Option<CertifiedKey>,
    /// Quote over the platform's PCRs.
    pub quote: Option<Quote>,
    /// The TPM's clock.
    pub time: Option<Attested>,
}

/// TPMS_ATTEST with the TPMT_SIGNATURE of the attestation key over it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attested {
    /// TPMS_ATTEST; its `extraData` is the [`Binding`].
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE, RSASSA with SHA-256.
    pub signature: Vec<u8>,
}

/// A key and the TPM's word that it is loaded there (TPM2_Certify).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertifiedKey {
    /// TPMT_PUBLIC of the key.
    pub public: Vec<u8>,
    /// The certification.
    pub attested: Attested,
}

/// TPM2_Quote over PCRs of the SHA-256 bank.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quote {
    /// Selected PCRs, ascending, with their values.
    pub pcrs: Vec<(u8, [u8; 32])>,
    /// The quote.
    pub attested: Attested,
}
