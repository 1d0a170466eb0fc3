//! The raw proof in JSON: every structure exactly as the module made it, base64url.

use biotrust_model::evidence::{Attested, CertifiedKey, Proof, Quote, SpdmProof, TpmProof};
use serde::{Deserialize, Serialize};

use crate::wire::{Bytes, hex32};

#[allow(clippy::large_enum_variant)] // there is one at a time
#[derive(Serialize, Deserialize)]
#[serde(tag = "fmt", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum ProofWire {
    Spdm {
        authentication: Vec<Bytes>,
        measurements: Vec<Bytes>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_statement: Option<String>,
    },
    Tpm {
        attestation_chain: Vec<Bytes>,
        attestation_public: Bytes,
        identity: CertifiedWire,
        #[serde(skip_serializing_if = "Option::is_none")]
        device_key: Option<CertifiedWire>,
        #[serde(skip_serializing_if = "Option::is_none")]
        quote: Option<QuoteWire>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time: Option<AttestedWire>,
    },
    Software {},
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttestedWire {
    attest: Bytes,
    signature: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertifiedWire {
    public: Bytes,
    attest: Bytes,
    signature: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuoteWire {
    pcrs: Vec<PcrWire>,
    attest: Bytes,
    signature: Bytes,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PcrWire(u8, #[serde(with = "hex32")] [u8; 32]);

fn wrap(parts: &[Vec<u8>]) -> Vec<Bytes> {
    parts.iter().cloned().map(Bytes).collect()
}

fn unwrap(parts: Vec<Bytes>) -> Vec<Vec<u8>> {
    parts.into_iter().map(|Bytes(bytes)| bytes).collect()
}

impl From<&Proof> for ProofWire {
    fn from(proof: &Proof) -> Self {
        match proof {
            Proof::Spdm(spdm) => Self::Spdm {
                authentication: wrap(&spdm.authentication),
                measurements: wrap(&spdm.measurements),
                key_statement: spdm.key_statement.clone(),
            },
            Proof::Tpm(tpm) => Self::Tpm {
                attestation_chain: wrap(&tpm.attestation_chain),
                attestation_public: Bytes(tpm.attestation_public.clone()),
                identity: (&tpm.identity).into(),
                device_key: tpm.device_key.as_ref().map(Into::into),
                quote: tpm.quote.as_ref().map(|quote| QuoteWire {
                    pcrs: quote.pcrs.iter().map(|(index, value)| PcrWire(*index, *value)).collect(),
                    attest: Bytes(quote.attested.attest.clone()),
                    signature: Bytes(quote.attested.signature.clone()),
                }),
                time: tpm.time.as_ref().map(|time| AttestedWire {
                    attest: Bytes(time.attest.clone()),
                    signature: Bytes(time.signature.clone()),
                }),
            },
            // A kind of proof that this crate does not know yet proves nothing to it.
            _ => Self::Software {},
        }
    }
}

impl From<&CertifiedKey> for CertifiedWire {
    fn from(key: &CertifiedKey) -> Self {
        Self {
            public: Bytes(key.public.clone()),
            attest: Bytes(key.attested.attest.clone()),
            signature: Bytes(key.attested.signature.clone()),
        }
    }
}

impl From<ProofWire> for Proof {
    fn from(wire: ProofWire) -> Self {
        match wire {
            ProofWire::Spdm { authentication, measurements, key_statement } => Self::Spdm(SpdmProof {
                authentication: unwrap(authentication),
                measurements: unwrap(measurements),
                key_statement,
            }),
            ProofWire::Tpm { attestation_chain, attestation_public, identity, device_key, quote, time } => {
                Self::Tpm(TpmProof {
                    attestation_chain: unwrap(attestation_chain),
                    attestation_public: attestation_public.0,
                    identity: identity.into(),
                    device_key: device_key.map(Into::into),
                    quote: quote.map(|quote| Quote {
                        pcrs: quote.pcrs.into_iter().map(|PcrWire(index, value)| (index, value)).collect(),
                        attested: Attested { attest: quote.attest.0, signature: quote.signature.0 },
                    }),
                    time: time.map(|time| Attested { attest: time.attest.0, signature: time.signature.0 }),
                })
            }
            ProofWire::Software {} => Self::Software,
        }
    }
}

impl From<CertifiedWire> for CertifiedKey {
    fn from(wire: CertifiedWire) -> Self {
        Self {
            public: wire.public.0,
            attested: Attested { attest: wire.attest.0, signature: wire.signature.0 },
        }
    }
}
