//! Templates: what every kind of key may do, and where it lies in the TPM.
//!
//! The model is that of the TCG, "TPM 2.0 Keys for Device Identity and Attestation": an identity key that signs what
//! it is given (IDevID), and a restricted one that signs only what the TPM made (IAK). Both are primary keys of the
//! endorsement hierarchy, so that they survive a clear. Two things differ from the TCG's templates on purpose: there is
//! no policy for the administrator's role, since certifying the IDevID takes that role, and `noDA` is set, since keys
//! without a password have nothing to guess and must go on working when something else is guessed (and after a power
//! cut, which counts as a guess).

use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::structures::{
    Digest, HashScheme, KeyedHashScheme, Public, PublicBuilder, PublicKeyRsa, PublicKeyedHashParameters,
    PublicRsaParametersBuilder, RsaExponent, RsaScheme, SymmetricDefinitionObject,
};

/// Storage root key; the handle of the TCG's provisioning guidance.
pub(crate) const SRK: u32 = 0x8100_0001;
/// Identity key.
pub(crate) const IDEVID: u32 = 0x8102_0000;
/// Attestation key.
pub(crate) const IAK: u32 = 0x8102_0001;

/// Policy of the endorsement key: PolicySecret of the endorsement hierarchy (TCG EK Credential Profile, B.2).
const EK_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// Made in this TPM, never leaves it.
fn bound() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
}

/// Endorsement key, template L-1 of the EK Credential Profile.
pub(crate) fn ek() -> tss_esapi::Result<Public> {
    let attributes = bound().with_admin_with_policy(true).with_restricted(true).with_decrypt(true).build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Rsa)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(Digest::try_from(EK_POLICY.as_slice())?)
        .with_rsa_parameters(
            PublicRsaParametersBuilder::new_restricted_decryption_key(
                SymmetricDefinitionObject::AES_128_CFB,
                RsaKeyBits::Rsa2048,
                RsaExponent::default(),
            )
            .build()?,
        )
        .with_rsa_unique_identifier(PublicKeyRsa::new_empty_with_size(RsaKeyBits::Rsa2048))
        .build()
}

/// Storage root key.
pub(crate) fn srk() -> tss_esapi::Result<Public> {
    let attributes = bound()
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Rsa)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_rsa_parameters(
            PublicRsaParametersBuilder::new_restricted_decryption_key(
                SymmetricDefinitionObject::AES_128_CFB,
                RsaKeyBits::Rsa2048,
                RsaExponent::default(),
            )
            .build()?,
        )
        .with_rsa_unique_identifier(PublicKeyRsa::new_empty_with_size(RsaKeyBits::Rsa2048))
        .build()
}

/// Identity key.
pub(crate) fn idevid() -> tss_esapi::Result<Public> {
    signing(false, b"IDEVID")
}

/// Attestation key.
pub(crate) fn iak() -> tss_esapi::Result<Public> {
    signing(true, b"IAK")
}

/// Device key.
pub(crate) fn device_key() -> tss_esapi::Result<Public> {
    signing(false, b"")
}

/// An RSA-2048 key that makes RSASSA signatures over SHA-256 and nothing else.
fn signing(restricted: bool, unique: &[u8]) -> tss_esapi::Result<Public> {
    let attributes = bound()
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(restricted)
        .with_sign_encrypt(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Rsa)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_rsa_parameters(
            PublicRsaParametersBuilder::new()
                .with_scheme(RsaScheme::RsaSsa(HashScheme::new(HashingAlgorithm::Sha256)))
                .with_key_bits(RsaKeyBits::Rsa2048)
                .with_exponent(RsaExponent::default())
                .with_is_signing_key(true)
                .with_restricted(restricted)
                .build()?,
        )
        .with_rsa_unique_identifier(PublicKeyRsa::try_from(unique)?)
        .build()
}

/// A sealed secret.
pub(crate) fn sealed() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

/// Whether `public` was made by `template`: everything but the key itself is the same.
pub(crate) fn is_of(public: &Public, template: &Public) -> bool {
    match (public, template) {
        (
            Public::Rsa { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. },
            Public::Rsa {
                object_attributes: attributes,
                name_hashing_algorithm: hash,
                auth_policy: policy,
                parameters: wanted,
                ..
            },
        ) => {
            object_attributes == attributes
                && name_hashing_algorithm == hash
                && auth_policy == policy
                && parameters.rsa_scheme() == wanted.rsa_scheme()
                && parameters.key_bits() == wanted.key_bits()
        }
        _ => false,
    }
}

/// Whether device keys may hang under `public`: any storage key that cannot leave the TPM will do, since hosts come with
/// one.
pub(crate) fn is_storage(public: &Public) -> bool {
    let attributes = public.object_attributes();
    attributes.fixed_tpm() && attributes.fixed_parent() && attributes.restricted() && attributes.decrypt()
}
