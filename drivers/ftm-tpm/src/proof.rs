//! What the TPM states about itself and its keys, signed by the attestation key.

use biotrust_driver_api::FtmError;
use biotrust_model::evidence::{Attested, Binding, CertifiedKey, Quote, TpmProof};
use tss_esapi::handles::ObjectHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Attest, AttestInfo, Data, PcrSelectionList, PcrSelectionListBuilder, PcrSlot, Public, Signature,
};
use tss_esapi::traits::Marshall;

use crate::blob::Blob;
use crate::chip::{Chip, scheme};
use crate::error::{Doing, Fault, Result};

const DOING: &str = "attesting";

/// What a host measures of its start. None of the registers that software may reset (16, 23).
const PCRS: [PcrSlot; 8] = [
    PcrSlot::Slot0,
    PcrSlot::Slot1,
    PcrSlot::Slot2,
    PcrSlot::Slot3,
    PcrSlot::Slot4,
    PcrSlot::Slot5,
    PcrSlot::Slot6,
    PcrSlot::Slot7,
];

/// How often a quote is made anew because a register changed between reading and quoting.
const ATTEMPTS: u32 = 4;

/// The TPM's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChipClock {
    /// Milliseconds that the TPM had power since it was cleared; goes on over restarts.
    pub clock_ms: u64,
    /// Restarts that forget (TPM Reset).
    pub resets: u32,
    /// Restarts and resumes that do not.
    pub restarts: u32,
    /// Whether the clock may not have been turned back by a power cut.
    pub safe: bool,
}

impl Chip {
    /// Everything that can be proven, for `binding`; the device key where one is given.
    pub(crate) fn prove(&mut self, binding: &Binding, key: Option<&Blob>) -> Result<TpmProof> {
        let attestation_chain = self.attestation_chain();
        if attestation_chain.is_empty() || self.identity_chain().is_empty() {
            return Err(unprovisioned().into());
        }
        let device_key = match key {
            Some(blob) => {
                let attested = self.with_object(blob, |chip, handle| chip.certify(handle.into(), binding))?;
                Some(CertifiedKey { public: blob.public.clone(), attested })
            }
            None => None,
        };
        Ok(TpmProof {
            attestation_chain,
            attestation_public: marshalled(&self.iak.public)?,
            identity: self.certified_identity(binding)?,
            device_key,
            quote: Some(self.quote(binding)?),
            time: Some(self.time(binding)?.0),
        })
    }

    /// The identity key, certified by the attestation key.
    pub(crate) fn certified_identity(&mut self, binding: &Binding) -> Result<CertifiedKey> {
        let attested = self.certify(self.idevid.handle.into(), binding)?;
        Ok(CertifiedKey { public: marshalled(&self.idevid.public)?, attested })
    }

    /// What the clock says.
    pub(crate) fn clock(&mut self) -> Result<ChipClock> {
        self.time(&Binding([0; 32])).map(|(_, clock)| clock)
    }

    fn certify(&mut self, key: ObjectHandle, binding: &Binding) -> Result<Attested> {
        let data = data(binding)?;
        // The same session cannot authorize two keys; that of the attestation key has no password to protect.
        let sessions = (Some(self.session), Some(AuthSession::Password), None);
        let iak = self.iak.handle;
        let made = self
            .context
            .execute_with_sessions(sessions, |context| context.certify(key, iak, data, scheme()))
            .doing(DOING)?;
        attested(&made)
    }

    fn time(&mut self, binding: &Binding) -> Result<(Attested, ChipClock)> {
        let data = data(binding)?;
        let sessions = (Some(self.session), Some(AuthSession::Password), None);
        let iak = self.iak.handle;
        let made = self
            .context
            .execute_with_sessions(sessions, |context| context.get_time(iak, data, scheme()))
            .doing(DOING)?;
        let AttestInfo::Time { info } = made.0.attested() else { return Err(unexpected()) };
        let clock = info.time_info().clock_info();
        let clock = ChipClock {
            clock_ms: clock.clock(),
            resets: clock.reset_count(),
            restarts: clock.restart_count(),
            safe: clock.safe(),
        };
        Ok((attested(&made)?, clock))
    }

    fn quote(&mut self, binding: &Binding) -> Result<Quote> {
        for _ in 0..ATTEMPTS {
            let pcrs = self.pcrs()?;
            let made =
                self.context.quote(self.iak.handle, data(binding)?, scheme(), selection()?).doing(DOING)?;
            let AttestInfo::Quote { info } = made.0.attested() else { return Err(unexpected()) };
            let values: Vec<u8> = pcrs.iter().flat_map(|(_, value)| *value).collect();
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &values);
            if info.pcr_digest().value() == digest.as_ref() {
                return Ok(Quote { pcrs, attested: attested(&made)? });
            }
        }
        Err(FtmError::Failed { doing: DOING, why: "the platform registers keep changing; try again".into() }
            .into())
    }

    fn pcrs(&mut self) -> Result<Vec<(u8, [u8; 32])>> {
        // Without a session: this answer cannot be encrypted, and the quote tells whether it is true.
        let selection = selection()?;
        let read = self.context.execute_without_session(|context| context.pcr_read(selection));
        let (_, read, values) = read.doing(DOING)?;
        let slots = read.get_selections().iter().flat_map(|one| one.selected());
        let numbers = slots.filter_map(|slot| u8::try_from(u32::from(slot).trailing_zeros()).ok());
        let values = values.value().iter().filter_map(|value| value.value().try_into().ok());
        let pcrs: Vec<_> = numbers.zip(values).collect();
        if pcrs.len() == PCRS.len() {
            return Ok(pcrs);
        }
        Err(FtmError::State {
            state: "the TPM does not keep its platform registers in SHA-256".into(),
            next: "switch the SHA-256 bank of the TPM on in the firmware setup of the host".into(),
        }
        .into())
    }
}

/// Says that nobody has issued certificates for this TPM's keys yet.
pub(crate) fn unprovisioned() -> FtmError {
    FtmError::State {
        state: "the TPM is not provisioned: there are no certificates of its identity and attestation keys"
            .into(),
        next: "ask its provider for them and install what comes back (`biotrust ftm provision`)".into(),
    }
}

fn selection() -> Result<PcrSelectionList> {
    PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &PCRS).build().doing(DOING)
}

fn data(binding: &Binding) -> Result<Data> {
    Data::try_from(binding.0.as_slice()).doing(DOING)
}

pub(crate) fn marshalled(public: &Public) -> Result<Vec<u8>> {
    public.marshall().doing(DOING)
}

fn attested((attest, signature): &(Attest, Signature)) -> Result<Attested> {
    Ok(Attested { attest: attest.marshall().doing(DOING)?, signature: signature.marshall().doing(DOING)? })
}

fn unexpected() -> Fault {
    Fault::Known(FtmError::Failed { doing: DOING, why: "the TPM attested something else".into() })
}
