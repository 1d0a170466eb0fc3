//! What the FTM provider does in its facility: certificates for a chip, once it has seen that the chip is one.
//!
//! For a TPM that means: the certificate of its endorsement key is from the maker of the TPM, the attestation key lives in
//! the TPM of that endorsement key (credential activation), is restricted, and says that the identity key lives there too.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biotrust_attest::tpm::{self, Attest, Attributes, Content, Public};
use biotrust_certs::{Certificate, Csr, Domain, TestPki};
use biotrust_driver_api::FtmError;
use biotrust_ftm_tpm::{IdentityRequest, TpmFtm};
use biotrust_model::Secret;
use biotrust_model::evidence::Binding;
use biotrust_model::time::UtcMillis;

use super::{CHIP_LIFETIME, ChipError};

const DOING: &str = "its provisioning";

/// A TPM whose request was looked at, and that has yet to open a secret.
pub struct Provisioning {
    ek_public_key: Vec<u8>,
    attestation: Public,
    /// SubjectPublicKeyInfo of its identity key.
    identity: Vec<u8>,
    secret: Secret,
}

/// What makes a TPM a chip: chains (DER, own certificate first) of two of its keys.
pub struct Issued {
    /// Of the identity key.
    pub identity: Vec<Vec<u8>>,
    /// Of the attestation key.
    pub attestation: Vec<Vec<u8>>,
}

impl Provisioning {
    /// Looks at a request that answers `binding`. `maker` is the certificate (DER) of the CA of the TPM's maker.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn begin(request: &IdentityRequest, maker: &[u8], binding: &Binding) -> Result<Self, ChipError> {
        let failed = |why: &dyn std::fmt::Display| ChipError::new(DOING, why);
        is_from_maker(request, maker).map_err(|why| failed(&why))?;
        let attestation = Public::parse(&request.attestation_public).map_err(|error| failed(&error))?;
        let identity = identity_key(request, &attestation, binding).map_err(|why| failed(&why))?;
        let secret = Secret::new(random::<32>()?.to_vec());
        Ok(Self { ek_public_key: request.ek_public_key.clone(), attestation, identity, secret })
    }

    /// A credential and its secret, which only the TPM with this endorsement key, with the attestation key in it, can open.
    ///
    /// # Errors
    /// When the endorsement key is no key for that.
    pub fn credential(&self) -> Result<(Vec<u8>, Vec<u8>), ChipError> {
        tpm::make_credential(&self.ek_public_key, &self.attestation.name, &self.secret)
            .map_err(|error| ChipError::new(DOING, error))
    }

    /// Certificates for the TPM that opened it, as chip `ftm_serial`.
    ///
    /// # Errors
    /// When it opened something else, or the certificates cannot be made.
    pub fn issue(
        &self,
        opened: &[u8],
        pki: &TestPki,
        ftm_serial: &str,
        from: UtcMillis,
    ) -> Result<Issued, ChipError> {
        let failed = |why: &dyn std::fmt::Display| ChipError::new(DOING, why);
        aws_lc_rs::constant_time::verify_slices_are_equal(opened, self.secret.expose())
            .map_err(|_| failed(&"the TPM answered with another secret"))?;
        let identity = pki
            .issue_chip_certificate(&self.identity, ftm_serial, from, CHIP_LIFETIME)
            .map_err(|error| failed(&error))?;
        let attestation = pki
            .issue_attestation_certificate(&self.attestation.spki, ftm_serial, from, CHIP_LIFETIME)
            .map_err(|error| failed(&error))?;
        Ok(Issued { identity, attestation })
    }
}

/// Provisions a TPM as chip `ftm_serial`. Gives the chain of its identity key.
pub(super) fn provision(
    ftm: &mut TpmFtm,
    maker: &[u8],
    pki: &TestPki,
    ftm_serial: &str,
    from: UtcMillis,
) -> Result<Vec<Vec<u8>>, ChipError> {
    let failed = |error: FtmError| ChipError::new(DOING, error);
    let binding = Binding(random()?);
    let request =
        ftm.identity_request(ftm_serial, pki.organisation(Domain::Ftm), &binding).map_err(failed)?;
    let begun = Provisioning::begin(&request, maker, &binding)?;
    let (credential, wrapped) = begun.credential()?;
    let opened = ftm.activate(&credential, &wrapped).map_err(failed)?;
    let issued = begun.issue(opened.expose(), pki, ftm_serial, from)?;
    ftm.install_certificates(&issued.identity, &issued.attestation).map_err(failed)?;
    Ok(issued.identity)
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

#[cfg(test)]
mod tests {
    use super::*;
    use biosim_swtpm::Swtpm;
    use biotrust_certs::certificates;
    use biotrust_ftm_tpm::Options;

    struct Bench {
        ftm: TpmFtm,
        maker: Vec<u8>,
        _process: Swtpm,
        _files: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let files = tempfile::tempdir().unwrap();
        let process = Swtpm::manufacture(&files.path().join("tpm")).unwrap();
        let maker = certificates(process.ek_ca_pem().unwrap().as_bytes()).unwrap()[0].der().to_vec();
        let ftm = TpmFtm::open(Options::new(process.tcti()), &files.path().join("keys")).unwrap();
        Bench { ftm, maker, _process: process, _files: files }
    }

    /// Whether the TPM can open what is meant for these keys.
    fn activates(ftm: &mut TpmFtm, ek_public_key: &[u8], attestation: &Public) -> bool {
        let secret = Secret::new(random::<32>().unwrap().to_vec());
        let (credential, wrapped) = tpm::make_credential(ek_public_key, &attestation.name, &secret).unwrap();
        ftm.activate(&credential, &wrapped).is_ok_and(|opened| opened.expose() == secret.expose())
    }

    #[test]
    fn what_is_not_one_tpm_of_the_maker_is_not_certified() {
        let (mut one, mut other) = (bench(), bench());
        let binding = Binding([5; 32]);
        let request = one.ftm.identity_request("FTM-1", "Example Silicon", &binding).unwrap();
        let foreign = other.ftm.identity_request("FTM-1", "Example Silicon", &binding).unwrap();
        let attestation = Public::parse(&request.attestation_public).unwrap();

        is_from_maker(&request, &one.maker).unwrap();
        assert!(is_from_maker(&request, &other.maker).unwrap_err().contains("not from the maker"));
        let mixed = IdentityRequest { ek_public_key: foreign.ek_public_key.clone(), ..request.clone() };
        assert!(is_from_maker(&mixed, &one.maker).unwrap_err().contains("another key"));

        assert!(activates(&mut one.ftm, &request.ek_public_key, &attestation));
        assert!(!activates(&mut other.ftm, &request.ek_public_key, &attestation));
        // The endorsement key of one TPM with the attestation key of the other.
        assert!(!activates(&mut one.ftm, &mixed.ek_public_key, &attestation));
        let theirs = Public::parse(&foreign.attestation_public).unwrap();
        assert!(!activates(&mut one.ftm, &request.ek_public_key, &theirs));

        let judge =
            |request: &IdentityRequest, binding| identity_key(request, &attestation, &Binding(binding));
        assert_eq!(judge(&request, [5; 32]), Ok(one.ftm.identity_public_key().unwrap()));
        assert!(judge(&request, [6; 32]).unwrap_err().contains("another time"));
        let swapped = IdentityRequest { identity: foreign.identity.clone(), ..request.clone() };
        assert!(judge(&swapped, [5; 32]).unwrap_err().contains("not certified"));
        let mut replaced = request.clone();
        replaced.identity.public.clone_from(&foreign.identity.public);
        assert!(judge(&replaced, [5; 32]).unwrap_err().contains("speaks of another key"));
        let csr = IdentityRequest { identity_request: foreign.identity_request, ..request.clone() };
        assert!(judge(&csr, [5; 32]).unwrap_err().contains("another key than"));
        // An unrestricted key signs whatever it is given: it cannot be the one that attests.
        let unrestricted = Public::parse(&request.identity.public).unwrap();
        let error = identity_key(&request, &unrestricted, &binding).unwrap_err();
        assert!(error.contains("restricted"), "{error}");
    }
}
