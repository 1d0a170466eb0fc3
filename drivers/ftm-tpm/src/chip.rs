//! A connection to one TPM with everything that stays in it: the session, the storage key, the identity keys.
//!
//! Only three transient objects fit into a TPM at once, so that what stays is persistent (it takes no slot) and what
//! comes and goes is flushed after each use, on every path ([`Chip::with_object`]). One thread at a time.

use biotrust_driver_api::FtmError;
use biotrust_model::Secret;
use tss_esapi::Context;
use tss_esapi::constants::StartupType;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::{
    AuthHandle, KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle,
};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Auth, Digest, HashScheme, HashcheckTicket, Private, Public, Signature, SignatureScheme,
};
use tss_esapi::tss2_esys::{TPM2B_DIGEST, TPMT_TK_HASHCHECK};

use crate::blob::Blob;
use crate::connect::{connect, handles, is_alone};
use crate::endorsement::{self, Endorsement};
use crate::error::{Doing, Fault, Result};
use crate::{Options, certificates, spki, template};

/// A key that stays in the TPM.
#[derive(Debug, Clone)]
pub(crate) struct Resident {
    pub(crate) handle: KeyHandle,
    pub(crate) public: Public,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) spki: Vec<u8>,
}

/// An open TPM.
pub(crate) struct Chip {
    pub(crate) context: Context,
    /// Salted with the endorsement key; set for every command.
    pub(crate) session: AuthSession,
    pub(crate) endorsement: Endorsement,
    srk: KeyHandle,
    /// Name of the storage key: what is wrapped by another one cannot be loaded.
    srk_name: Vec<u8>,
    pub(crate) idevid: Resident,
    pub(crate) iak: Resident,
    /// Every certificate that was installed.
    pub(crate) certificates: Vec<Vec<u8>>,
    alone: bool,
}

impl Chip {
    /// Connects, checks the endorsement key, and makes what is not there yet: storage key, identity key, attestation
    /// key. That takes the TPM some seconds the first time.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        const DOING: &str = "opening the TPM";
        let mut context = connect(&options.tcti)?;
        for (hierarchy, password) in
            [(AuthHandle::Owner, &options.owner_auth), (AuthHandle::Endorsement, &options.endorsement_auth)]
        {
            if let Some(password) = password {
                context.tr_set_auth(hierarchy.into(), auth(password)?).doing(DOING)?;
            }
        }
        let (session, endorsement) = endorsement::session(&mut context, options)?;
        // From here on every command is authenticated and, where it can be, encrypted.
        context.set_sessions((Some(session), None, None));
        let (srk, _) =
            resident(&mut context, Hierarchy::Owner, template::SRK, template::srk, |public, _| {
                template::is_storage(public)
            })?;
        let srk_name = context.tr_get_name(srk.into()).doing(DOING)?.value().to_vec();
        let idevid = identity(resident(
            &mut context,
            Hierarchy::Endorsement,
            template::IDEVID,
            template::idevid,
            template::is_of,
        )?)?;
        let iak = identity(resident(
            &mut context,
            Hierarchy::Endorsement,
            template::IAK,
            template::iak,
            template::is_of,
        )?)?;
        let certificates = certificates::read(&mut context)?;
        let alone = is_alone(&options.tcti);
        Ok(Self { context, session, endorsement, srk, srk_name, idevid, iak, certificates, alone })
    }

    /// Makes an object under the storage key. It is not loaded.
    pub(crate) fn create(&mut self, template: Public, secret: Option<&[u8]>) -> Result<Blob> {
        const DOING: &str = "making a key in the TPM";
        let secret = secret.map(TryInto::try_into).transpose().doing(DOING)?;
        let made = self.context.create(self.srk, template, None, secret, None, None).doing(DOING)?;
        Blob::new(&self.srk_name, &made.out_public, &made.out_private)
    }

    /// Makes a device key.
    pub(crate) fn create_device_key(&mut self) -> Result<Blob> {
        self.create(template::device_key().doing("making a key in the TPM")?, None)
    }

    /// Whether `blob` was made under the storage key that the TPM has now.
    pub(crate) fn owns(&self, blob: &Blob) -> bool {
        blob.parent == self.srk_name
    }

    /// Loads an object, does something with it, and flushes it whatever came of that.
    pub(crate) fn with_object<T>(
        &mut self,
        blob: &Blob,
        work: impl FnOnce(&mut Self, KeyHandle) -> Result<T>,
    ) -> Result<T> {
        if !self.owns(blob) {
            return Err(FtmError::State {
                state: "the TPM was cleared or replaced since this was made in it".into(),
                next: "register the device again".into(),
            }
            .into());
        }
        let private = Private::try_from(blob.private.as_slice()).doing("loading a key")?;
        let handle = self.context.load(self.srk, private, blob.public()?).doing("loading a key")?;
        let done = work(self, handle);
        let flushed = self.context.flush_context(handle.into()).doing("unloading a key");
        let done = done?;
        flushed?;
        Ok(done)
    }

    /// RS256 of `message` with a key that may sign anything.
    pub(crate) fn sign(&mut self, key: KeyHandle, message: &[u8]) -> Result<Vec<u8>> {
        const DOING: &str = "signing";
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
        let digest = Digest::try_from(digest.as_ref()).doing(DOING)?;
        // No ticket: the TPM did not see the message.
        let ticket = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
            tag: TPM2_ST_HASHCHECK,
            hierarchy: TPM2_RH_NULL,
            digest: TPM2B_DIGEST::default(),
        })
        .doing(DOING)?;
        self.signature(key, digest, ticket)
    }

    /// RS256 of `message`, at most 1,024 bytes, with a restricted key: the TPM hashes it itself, to see that it does not
    /// look like its own statements.
    pub(crate) fn sign_restricted(&mut self, key: KeyHandle, message: &[u8]) -> Result<Vec<u8>> {
        const DOING: &str = "signing with the attestation key";
        let message = message.try_into().doing(DOING)?;
        let hashed = self.context.hash(message, HashingAlgorithm::Sha256, Hierarchy::Endorsement);
        let (digest, ticket) = hashed.doing(DOING)?;
        self.signature(key, digest, ticket)
    }

    fn signature(&mut self, key: KeyHandle, digest: Digest, ticket: HashcheckTicket) -> Result<Vec<u8>> {
        match self.context.sign(key, digest, scheme(), ticket).doing("signing")? {
            Signature::RsaSsa(signature) => Ok(signature.signature().value().to_vec()),
            _ => Err(FtmError::Failed {
                doing: "signing",
                why: "the TPM made another kind of signature".into(),
            }
            .into()),
        }
    }

    /// Certificate of the identity key and what leads to its anchor; empty before it was provisioned.
    pub(crate) fn identity_chain(&self) -> Vec<Vec<u8>> {
        certificates::chain(&self.certificates, &self.idevid.spki)
    }

    /// The same for the attestation key.
    pub(crate) fn attestation_chain(&self) -> Vec<Vec<u8>> {
        certificates::chain(&self.certificates, &self.iak.spki)
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        // The session lives until it is flushed, in a TPM that has room for three. Errors: it is gone already.
        self.context.clear_sessions();
        let _ = self.context.flush_context(SessionHandle::from(self.session).into());
        // An end that was not announced counts as a wrong password. Where others use the TPM, the kernel announces it.
        if self.alone {
            let _ = self.context.shutdown(StartupType::Clear);
        }
    }
}

/// RSASSA over SHA-256.
pub(crate) fn scheme() -> SignatureScheme {
    SignatureScheme::RsaSsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) }
}

fn auth(password: &Secret) -> Result<Auth> {
    Auth::try_from(password.expose()).doing("taking a password of the TPM")
}

fn identity((handle, public): (KeyHandle, Public)) -> Result<Resident> {
    let spki = spki::spki(&public)?;
    Ok(Resident { handle, public, spki })
}

/// The key at a persistent handle, made there if nothing is. What is there must be of the kind that we would make.
fn resident(
    context: &mut Context,
    hierarchy: Hierarchy,
    at: u32,
    template: fn() -> tss_esapi::Result<Public>,
    fits: impl Fn(&Public, &Public) -> bool,
) -> Result<(KeyHandle, Public)> {
    const DOING: &str = "preparing the TPM's keys";
    let handle = PersistentTpmHandle::new(at).doing(DOING)?;
    let template = template().doing(DOING)?;
    let taken = handles(context, at)?.contains(&TpmHandle::Persistent(handle));
    let key: KeyHandle = if taken {
        context.tr_from_tpm_public(TpmHandle::Persistent(handle)).doing(DOING)?.into()
    } else {
        let made =
            context.create_primary(hierarchy, template.clone(), None, None, None, None).doing(DOING)?;
        let kept =
            context.evict_control(Provision::Owner, made.key_handle.into(), Persistent::Persistent(handle));
        let flushed = context.flush_context(made.key_handle.into()).doing(DOING);
        let kept: ObjectHandle = kept.doing(DOING)?;
        flushed?;
        kept.into()
    };
    let (public, _, _) = context.read_public(key).doing(DOING)?;
    if fits(&public, &template) {
        return Ok((key, public));
    }
    Err(Fault::Known(FtmError::State {
        state: format!("another kind of key lies at the handle {at:08X} of the TPM"),
        next: format!("if nobody needs it, remove it: `tpm2_evictcontrol -c 0x{at:08X}`"),
    }))
}
