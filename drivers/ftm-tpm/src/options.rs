//! What the operator says about the TPM.

use biotrust_model::Secret;

/// How to reach a TPM and what to believe of it.
#[derive(Debug)]
pub struct Options {
    /// TCTI of tpm2-tss: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`.
    pub tcti: String,
    /// Certificates (DER) that may have issued the certificate of its endorsement key. Where there are none, the
    /// certificate is only compared with the key, and [`biotrust_driver_api::Ftm::notices`] says so.
    pub ek_anchors: Vec<Vec<u8>>,
    /// Certificate (DER) of the endorsement key, for a TPM that does not keep one itself.
    pub ek_certificate: Option<Vec<u8>>,
    /// Password of the owner hierarchy; none is the usual state.
    pub owner_auth: Option<Secret>,
    /// Password of the endorsement hierarchy; none is the usual state.
    pub endorsement_auth: Option<Secret>,
}

impl Options {
    /// A TPM without passwords, whose EK certificate is its own and is not traced to an anchor.
    #[must_use]
    pub fn new(tcti: impl Into<String>) -> Self {
        Self {
            tcti: tcti.into(),
            ek_anchors: Vec::new(),
            ek_certificate: None,
            owner_auth: None,
            endorsement_auth: None,
        }
    }
}
