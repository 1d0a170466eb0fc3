//! What the FTM provider does in its facility: certificates for a chip, once it has seen that the chip is one.
//!
//! For a TPM that means: the certificate of its endorsement key is from the maker of the TPM, the attestation key lives in
//! the TPM of that endorsement key (credential activation), is restricted, and says that the identity key lives there too.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biotrust_attest::tpm::{self, Attest, Attributes, Content, Public};
use biotrust_certs::{Certificate, Csr, Domain, SignerPurpose, TestPki};
use biotrust_ftm_tpm::{IdentityRequest, TpmFtm};
use biotrust_model::Secret;
use biotrust_model::evidence::Binding;
use biotrust_model::time::UtcMillis;

use super::{CHIP_LIFETIME, ChipError};

const DOING: &str = "its provisioning";

/// Provisions a TPM as chip `ftm_serial`. Gives the chain of its identity key.
pub(super) fn provision(
    ftm: &mut TpmFtm,
    maker: &[u8],
    pki: &TestPki,
    ftm_serial: &str,
    from: UtcMillis,
) -> Result<Vec<Vec<u8>>, ChipError> {
    let failed = |why: &dyn std::fmt::Display| ChipError::new(DOING, why);
    let binding = Binding(random()?);
    let request = ftm
        .identity_request(ftm_serial, pki.organisation(Domain::Ftm), &binding)
        .map_err(|error| failed(&error))?;
    is_from_maker(&request, maker).map_err(|why| failed(&why))?;
    let attestation = Public::parse(&request.attestation_public).map_err(|error| failed(&error))?;
    activate(ftm, &request, &attestation)?;
    let identity = identity_key(&request, &attestation, &binding).map_err(|why| failed(&why))?;

    let chain = pki
        .issue_chip_certificate(&identity, ftm_serial, from, CHIP_LIFETIME)
        .map_err(|error| failed(&error))?;
    let attesting = pki
        .issue_signer(SignerPurpose::AttestationKey, &attestation.spki, from, CHIP_LIFETIME)
        .map_err(|error| failed(&error))?;
    ftm.install_certificates(&chain, &attesting).map_err(|error| failed(&error))?;
    Ok(chain)
}

/// The certificate of the endorsement key is from `maker`, and for the key that will be used.
fn is_from_maker(request: &IdentityRequest, maker: &[u8]) -> Result<(), String> {
    let maker =
        Certificate::parse(maker).map_err(|error| format!("certificate of the TPM's maker: {error}"))?;
    let certificate =
        Certificate::parse(&request.ek_certificate).map_err(|error| format!("EK certificate: {error}"))?;
    if certificate.issuer() != maker.subject() || certificate.check_signature(&maker).is_err() {
        return Err("the EK certificate is not from the maker of the TPM".to_owned());
    }
    if certificate.spki_der() != request.ek_public_key {
        return Err("the EK certificate is for another key".to_owned());
    }
    Ok(())
}

/// Only the TPM with this endorsement key, with the attestation key in it, can answer.
fn activate(ftm: &mut TpmFtm, request: &IdentityRequest, attestation: &Public) -> Result<(), ChipError> {
    let failed = |why: &dyn std::fmt::Display| ChipError::new(DOING, why);
    let secret = Secret::new(random::<32>()?.to_vec());
    let (credential, wrapped) = tpm::make_credential(&request.ek_public_key, &attestation.name, &secret)
        .map_err(|error| failed(&error))?;
    let answer = ftm.activate(&credential, &wrapped).map_err(|error| failed(&error))?;
    aws_lc_rs::constant_time::verify_slices_are_equal(answer.expose(), secret.expose())
        .map_err(|_| failed(&"the TPM answered with another secret"))
}

/// The identity key, if the attestation key says that it lives in the same TPM. Gives its SubjectPublicKeyInfo.
fn identity_key(
    request: &IdentityRequest,
    attestation: &Public,
    binding: &Binding,
) -> Result<Vec<u8>, String> {
    let born = Attributes::FIXED_TPM.and(Attributes::FIXED_PARENT).and(Attributes::SENSITIVE_DATA_ORIGIN);
    let all = born.and(Attributes::SIGN).and(Attributes::USER_WITH_AUTH);
    let more = Attributes::ADMIN_WITH_POLICY.and(Attributes::NO_DA);
    let identity = Public::parse(&request.identity.public).map_err(|error| error.to_string())?;
    attestation
        .attributes
        .check(all.and(Attributes::RESTRICTED), more)
        .map_err(|why| format!("the attestation key {why}"))?;
    identity.attributes.check(all, more).map_err(|why| format!("the identity key {why}"))?;

    let said = &request.identity.attested;
    let signature = tpm::signature(&said.signature).map_err(|error| error.to_string())?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &attestation.spki)
        .verify(&said.attest, signature)
        .map_err(|_| "the identity key is not certified by the attestation key".to_owned())?;
    let attest = Attest::parse(&said.attest).map_err(|error| error.to_string())?;
    let fresh = attest.extra_data == binding.0;
    let about = matches!(&attest.content, Content::Certify { name, .. } if *name == identity.name);
    if !fresh || !about {
        return Err("the attestation key speaks of another key, or at another time".to_owned());
    }
    for (csr, key) in [(&request.attestation_request, attestation), (&request.identity_request, &identity)] {
        let csr = Csr::verify(csr).map_err(|error| error.to_string())?;
        if csr.spki_der() != key.spki {
            return Err("a request is for another key than the one that was shown".to_owned());
        }
    }
    Ok(identity.spki)
}

fn random<const N: usize>() -> Result<[u8; N], ChipError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ChipError::new(DOING, "no randomness"))?;
    Ok(bytes)
}
