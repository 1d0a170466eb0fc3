//! Proof of a TPM 2.0: the attestation key (IAK) vouches for the identity key (IDevID), whose certificate is the chip's,
//! and for the device key.
//!
//! Only a restricted key tells the truth about its TPM: an unrestricted one signs any bytes, and so also a TPMS_ATTEST
//! that somebody made up. So nothing is accepted here that is not signed by a key that is certified as an attestation
//! key and has the attributes of one.

use biotrust_certs::{Certificate, SignerPurpose};
use biotrust_model::evidence::{Attested, Binding, CertifiedKey, Quote, TpmProof};
use biotrust_model::time::UtcMillis;

use super::chip::{self, Chip};
use super::proven::{KeyProof, Proven, State};
use super::{Expected, Finding};
use crate::rsa::RsaKey;
use crate::shown;
use crate::tpm::{Attest, Attributes, Clock, Content, Public, qualified_name_in_endorsement, signature};
use crate::wire::sha256;

/// PCRs that software can reset at any time: 16 (debug) and 23 (application).
const RESETTABLE: [u8; 2] = [16, 23];

/// What every key of the module must be.
const BORN_INSIDE: Attributes =
    Attributes::FIXED_TPM.and(Attributes::FIXED_PARENT).and(Attributes::SENSITIVE_DATA_ORIGIN);
/// Ways to authorize that a key may have.
const AUTHORIZED: Attributes =
    Attributes::USER_WITH_AUTH.and(Attributes::ADMIN_WITH_POLICY).and(Attributes::NO_DA);

/// The attestation key, as its public area says; whether it is certified is another matter.
struct AttestationKey {
    public: Public,
    /// The same, ready to verify with: it is needed four times.
    key: RsaKey,
    qualified_name: [u8; 34],
}

impl AttestationKey {
    fn parse(public: &[u8]) -> Result<Self, String> {
        let public = Public::parse(public).map_err(|error| error.to_string())?;
        let key = RsaKey::from_spki(&public.spki).ok_or("is shorter than 2048 bits or no RSA key")?;
        Ok(Self { qualified_name: qualified_name_in_endorsement(&public.name), key, public })
    }
}

pub(super) fn judge(proof: &TpmProof, chip: &Chip, binding: &Binding, expected: &Expected<'_>) -> Proven {
    let key = AttestationKey::parse(&proof.attestation_public)
        .map_err(|text| format!("the attestation key: {text}"));
    let key = key.as_ref().map_err(Clone::clone);
    let mut valid_until = None;
    let chip_model = certified(proof, key.clone(), chip, expected).and_then(|end| {
        valid_until = Some(end);
        identity(&proof.identity, chip, key.clone()?)
    });
    let device_key = match &proof.device_key {
        None => Ok(KeyProof::Absent),
        Some(certified) => key.clone().and_then(|key| device_key(certified, key)),
    };
    let state = match &proof.quote {
        None => Ok(None),
        Some(quote) => key.clone().and_then(|key| measured(quote, key)).map(Some),
    };
    Proven {
        binding: bound(proof, binding),
        chip_model: Some(chip_model),
        device_key,
        state,
        clock: key.and_then(|key| clock(proof, key)),
        valid_until,
    }
}

/// The attestation key is certified for just that, by the maker of the chip and for this chip, and is the key of that
/// certificate. Returns when its path ends.
///
/// One attestation key in the wrong hands, of whatever TPM, must not be able to vouch for the keys of others: what it says
/// of keys counts for the chip of its certificate only.
fn certified(
    proof: &TpmProof,
    key: Result<&AttestationKey, String>,
    chip: &Chip,
    expected: &Expected<'_>,
) -> Result<UtcMillis, String> {
    let der = proof.attestation_chain.first().ok_or("the attestation key shows no certificate")?;
    let path = chip::path(der, expected).map_err(|text| format!("the attestation key: {text}"))?;
    let certificate = path.leaf();
    if !certificate.has_purpose(SignerPurpose::AttestationKey) {
        let (oid, purpose) = (SignerPurpose::AttestationKey.oid(), SignerPurpose::AttestationKey);
        return Err(format!("the attestation key is not certified for {purpose} (extended key usage {oid})"));
    }
    for finding in [chip::key(certificate), chip::lifetime(certificate)] {
        finding.map_err(|text| format!("the attestation key: {text}"))?;
    }
    let anchor = path.issuers().last().map(Certificate::sha256);
    if !chip.authorities.is_empty() && chip.authorities.last() != anchor.as_ref() {
        return Err("the attestation key is certified by another maker than the chip key".to_owned());
    }
    let [own, chips] = [certificate, &chip.certificate].map(|one| one.subject().common_name());
    if own.is_none() || own != chips {
        return Err(format!(
            "the attestation key is certified for trust module \"{}\", the chip key for \"{}\"",
            shown::value(own.unwrap_or_default()),
            shown::value(chips.unwrap_or_default())
        ));
    }
    let public = &key?.public;
    if public.spki != certificate.spki_der() {
        return Err("the attestation key is not the one that its certificate is for".to_owned());
    }
    let must = BORN_INSIDE.and(Attributes::RESTRICTED).and(Attributes::SIGN);
    public
        .attributes
        .check(must, AUTHORIZED)
        .map_err(|text| format!("the attestation key {text}; what it signs proves nothing"))?;
    Ok(path.valid_until())
}

/// The identity key lives in the TPM of the attestation key, and is the chip key.
fn identity(certified: &CertifiedKey, chip: &Chip, by: &AttestationKey) -> Finding {
    let public = Public::parse(&certified.public).map_err(|error| format!("the identity key: {error}"))?;
    if public.spki != chip.certificate.spki_der() {
        return Err("the identity key of the TPM is not the key of the chip certificate".to_owned());
    }
    public
        .attributes
        .check(BORN_INSIDE.and(Attributes::SIGN), AUTHORIZED)
        .map_err(|text| format!("the identity key {text}"))?;
    let content = attested(&certified.attested, by).map_err(|text| format!("the identity key: {text}"))?;
    let Content::Certify { name, qualified_name } = content.content else {
        return Err("the identity key: the TPM attests something else than a key".to_owned());
    };
    if name != public.name {
        return Err("the attestation key has certified another key than the identity key".to_owned());
    }
    if qualified_name != qualified_name_in_endorsement(&public.name) {
        return Err("the identity key is no primary key of the endorsement hierarchy".to_owned());
    }
    Ok("the chip key lives in a TPM, by the word of its restricted attestation key".to_owned())
}

/// The device key was made in the same TPM, stays there, and signs anything but the TPM's own statements.
fn device_key(certified: &CertifiedKey, by: &AttestationKey) -> Result<KeyProof, String> {
    let public = Public::parse(&certified.public).map_err(|error| error.to_string())?;
    let content = attested(&certified.attested, by)?;
    let Content::Certify { name, .. } = content.content else {
        return Err("the TPM attests something else than a key".to_owned());
    };
    if name != public.name {
        return Err("the attestation key has certified another key than the one that is shown".to_owned());
    }
    let must = BORN_INSIDE.and(Attributes::USER_WITH_AUTH).and(Attributes::SIGN);
    public.attributes.check(must, Attributes::NO_DA).map_err(|text| format!("the device key {text}"))?;
    if public.key_bits != 2048 || !public.usual_exponent {
        return Err("the device key is not RSA-2048 with the exponent 65537".to_owned());
    }
    if !public.auth_policy.is_empty() {
        return Err("the device key has a policy that nobody knows".to_owned());
    }
    Ok(KeyProof::Key { spki: public.spki, text: "made in this TPM, cannot leave it, only signs".to_owned() })
}

/// The quoted PCRs.
fn measured(quote: &Quote, by: &AttestationKey) -> Result<State, String> {
    let content = attested(&quote.attested, by)?;
    let Content::Quote { pcrs, digest } = content.content else {
        return Err("the TPM attests something else than its PCRs".to_owned());
    };
    let shown: Vec<u8> = quote.pcrs.iter().map(|(index, _)| *index).collect();
    if pcrs.0 != shown || shown.is_empty() {
        return Err(format!("PCRs {:?} are quoted, the values of {shown:?} are shown", pcrs.0));
    }
    if let Some(index) = shown.iter().find(|index| RESETTABLE.contains(index)) {
        return Err(format!("PCR {index} can be reset by software at any time; it must not be quoted"));
    }
    let values: Vec<u8> = quote.pcrs.iter().flat_map(|(_, value)| *value).collect();
    if digest != sha256(&values) {
        return Err("the values of the PCRs are not the ones that the TPM has quoted".to_owned());
    }
    let digests = quote.pcrs.iter().map(|(index, value)| (*index, value.to_vec())).collect();
    Ok(State { digests, svn: None, version: None, mode: None })
}

/// The TPM's clock, where it was asked; and whether everything was attested since one and the same restart.
fn clock(proof: &TpmProof, by: &AttestationKey) -> Result<Option<Clock>, String> {
    let mut counts = parts(proof)
        .filter_map(|(_, part)| Attest::parse(&part.attest).ok())
        .map(|attest| (attest.clock.reset_count, attest.clock.restart_count));
    let first = counts.next();
    if counts.any(|other| Some(other) != first) {
        return Err("the TPM was restarted between the parts of the proof".to_owned());
    }
    let Some(time) = &proof.time else { return Ok(None) };
    let content = attested(time, by)?;
    let Content::Time { .. } = content.content else {
        return Err("the TPM attests something else than its clock".to_owned());
    };
    Ok(Some(content.clock))
}

/// What `by` attests, if it does.
fn attested(part: &Attested, by: &AttestationKey) -> Result<Attest, String> {
    let attest = Attest::parse(&part.attest).map_err(|error| error.to_string())?;
    if attest.qualified_signer != by.qualified_name {
        return Err("the signer is no primary key of the endorsement hierarchy, or another key".to_owned());
    }
    let signature = signature(&part.signature).map_err(|error| error.to_string())?;
    if !by.key.verifies(&part.attest, signature) {
        return Err("the attestation key has not signed this".to_owned());
    }
    Ok(attest)
}

/// Every attestation of the proof, with a name for the report.
fn parts(proof: &TpmProof) -> impl Iterator<Item = (&'static str, &Attested)> {
    let identity = std::iter::once(("identity key", &proof.identity.attested));
    identity
        .chain(proof.device_key.iter().map(|key| ("device key", &key.attested)))
        .chain(proof.quote.iter().map(|quote| ("PCRs", &quote.attested)))
        .chain(proof.time.iter().map(|time| ("clock", time)))
}

fn bound(proof: &TpmProof, binding: &Binding) -> Finding {
    let mut names = Vec::new();
    for (name, part) in parts(proof) {
        let attest = Attest::parse(&part.attest).map_err(|error| format!("{name}: {error}"))?;
        if attest.extra_data != binding.0 {
            return Err(format!(
                "the attestation of the {name} carries another binding: it answers something else"
            ));
        }
        names.push(name);
    }
    Ok(format!("carried by the attestations of: {}", names.join(", ")))
}
