//! The endorsement key, and the session that it protects.
//!
//! Whoever sits on the bus between us and the TPM can read and change everything that crosses it, unless a session is
//! salted with a secret that only the TPM can decrypt. That holds only for the right key: so the key is compared with
//! its certificate first, and the certificate traced to an anchor where anchors are given.
//!
//! The key is derived anew for each session instead of using a persistent one: the answer to that command is the very
//! public key that the library then encrypts to, while a persistent key would be read twice, and could be another one
//! the second time. It costs one derivation at each start.
//!
//! Dates of the certificate are not judged: the clock of the host is not to be trusted at this point, and makers issue
//! such certificates for the life of the chip.

use biotrust_driver_api::FtmError;
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Public, SymmetricDefinition};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Doing, Fault, Result};
use crate::{Options, nv, spki, template};

/// Where the certificate of an RSA-2048 endorsement key lies (TCG EK Credential Profile, 2.2.1.4).
const CERTIFICATE: u32 = 0x01c0_0002;

/// The endorsement key, checked.
#[derive(Debug, Clone)]
pub(crate) struct Endorsement {
    pub(crate) public: Public,
    /// DER.
    pub(crate) certificate: Vec<u8>,
}

/// Checks the endorsement key and starts a session salted with it, which encrypts what it can and lives until it is
/// flushed.
pub(crate) fn session(context: &mut Context, options: &Options) -> Result<(AuthSession, Endorsement)> {
    let certificate = match &options.ek_certificate {
        Some(given) => given.clone(),
        None => context
            .execute_with_session(Some(AuthSession::Password), |context| nv::read(context, CERTIFICATE))?
            .ok_or_else(uncertified)?,
    };
    let (key, public) = derive(context)?;
    let session = match check(&public, &certificate, &options.ek_anchors) {
        Ok(()) => salted(context, key),
        Err(refused) => Err(refused.into()),
    };
    let flushed = context.flush_context(key.into()).doing("flushing the endorsement key");
    let session = session?;
    flushed?;
    Ok((session, Endorsement { public, certificate }))
}

/// The endorsement key as a transient object. A password of the hierarchy does not cross the bus: it goes into an HMAC.
pub(crate) fn derive(context: &mut Context) -> Result<(KeyHandle, Public)> {
    let template = template::ek().doing("deriving the endorsement key")?;
    let made = context.execute_with_nullauth_session(|context| {
        context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
    });
    let made = made.doing("deriving the endorsement key")?;
    Ok((made.key_handle, made.out_public))
}

fn salted(context: &mut Context, key: KeyHandle) -> Result<AuthSession> {
    const DOING: &str = "starting a session with the TPM";
    let session = context
        .start_auth_session(
            Some(key),
            None,
            None,
            SessionType::Hmac,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )
        .doing(DOING)?
        .ok_or_else(|| Fault::Known(FtmError::Failed { doing: DOING, why: "there is none".into() }))?;
    let (attributes, mask) = SessionAttributesBuilder::new()
        .with_continue_session(true)
        .with_decrypt(true)
        .with_encrypt(true)
        .build();
    context.tr_sess_set_attributes(session, attributes, mask).doing(DOING)?;
    Ok(session)
}

/// Whether this is the key that the certificate speaks of, and who says so.
fn check(public: &Public, certificate: &[u8], anchors: &[Vec<u8>]) -> std::result::Result<(), FtmError> {
    let refused =
        |state: &str, next: &str| FtmError::State { state: state.to_owned(), next: next.to_owned() };
    // Some makers pad the index: what follows the certificate is not judged.
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| {
        refused("the TPM's EK certificate is not a certificate", "ask the maker of the TPM for one")
    })?;
    let key = spki::spki(public).map_err(FtmError::from)?;
    if parsed.tbs_certificate.subject_pki.raw != key {
        return Err(refused(
            "the TPM's endorsement key is not the one in its certificate: something answers in its place",
            "look for a device between the host and its TPM; do not use this host",
        ));
    }
    if anchors.is_empty() || anchors.iter().any(|anchor| issued(&parsed, anchor)) {
        return Ok(());
    }
    Err(refused(
        "the TPM's EK certificate was issued by none of the configured EK anchors",
        "add the certificate of the CA that issued it to `[ftm] ek_anchors`, if you trust its maker",
    ))
}

/// Whether `anchor` issued `certificate`.
fn issued(certificate: &X509Certificate<'_>, anchor: &[u8]) -> bool {
    let Ok((_, anchor)) = X509Certificate::from_der(anchor) else { return false };
    anchor.subject().as_raw() == certificate.issuer().as_raw()
        && anchor.is_ca()
        && certificate.verify_signature(Some(anchor.public_key())).is_ok()
}

fn uncertified() -> FtmError {
    FtmError::State {
        state: "the TPM has no certificate of its endorsement key".into(),
        next:
            "get one from its maker and give it in the configuration of the FTM, or choose another back end"
                .into(),
    }
}
