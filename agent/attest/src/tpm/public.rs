//! TPMT_PUBLIC: a key, what it may do, and its name.

use super::reader::{Reader, TpmError};
use super::{NULL, RSASSA, SHA256};
use crate::rsa::{EXPONENT, RsaPublic};
use crate::wire::sha256;

/// TPM_ALG_RSA.
const RSA: u16 = 0x0001;

/// TPM_RH_ENDORSEMENT.
const ENDORSEMENT: [u8; 4] = 0x4000_000B_u32.to_be_bytes();

/// TPMA_OBJECT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attributes(
    /// As in the structure.
    pub u32,
);

impl Attributes {
    /// Cannot be moved to another TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// Cannot be loaded after a restart.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// Cannot be moved to another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// Made inside the TPM.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// Used with its authorization value.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Administered by policy only.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Wrong authorizations do not count towards a lockout.
    pub const NO_DA: Self = Self(1 << 10);
    /// Signs only what the TPM made.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// Decrypts.
    pub const DECRYPT: Self = Self(1 << 17);
    /// Signs.
    pub const SIGN: Self = Self(1 << 18);

    const NAMES: [(Self, &'static str); 10] = [
        (Self::FIXED_TPM, "fixedTPM"),
        (Self::ST_CLEAR, "stClear"),
        (Self::FIXED_PARENT, "fixedParent"),
        (Self::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
        (Self::USER_WITH_AUTH, "userWithAuth"),
        (Self::ADMIN_WITH_POLICY, "adminWithPolicy"),
        (Self::NO_DA, "noDA"),
        (Self::RESTRICTED, "restricted"),
        (Self::DECRYPT, "decrypt"),
        (Self::SIGN, "sign"),
    ];

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What stays of it without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Checks that `all` are there, and beside them at most `some`.
    ///
    /// # Errors
    /// A sentence that names what is missing or too much.
    pub fn check(self, all: Self, some: Self) -> Result<(), String> {
        let (missing, surplus) = (all.without(self), self.without(all.and(some)));
        match (missing.0, surplus.0) {
            (0, 0) => Ok(()),
            (0, _) => Err(format!("must not be {surplus:?}")),
            _ => Err(format!("is not {missing:?}")),
        }
    }
}

impl std::fmt::Debug for Attributes {
    /// `fixedTPM|sign`; bits without a name as a number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = Self::NAMES.into_iter().filter(|(bit, _)| self.0 & bit.0 != 0);
        let unnamed = Self::NAMES.into_iter().fold(*self, |rest, (bit, _)| rest.without(bit));
        let mut words: Vec<String> = named.map(|(_, name)| name.to_owned()).collect();
        if unnamed.0 != 0 || words.is_empty() {
            words.push(format!("{:08X}", unnamed.0));
        }
        f.write_str(&words.join("|"))
    }
}

/// The public area of an RSA key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// What it may do.
    pub attributes: Attributes,
    /// Digest of the policy that it is used or administered by; empty where there is none.
    pub auth_policy: Vec<u8>,
    /// Whether its scheme is fixed to RSASSA with SHA-256; otherwise whoever uses it chooses.
    pub fixed_scheme: bool,
    /// Length of the modulus in bits.
    pub key_bits: u16,
    /// Whether the public exponent is 65537.
    pub usual_exponent: bool,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// What the TPM calls it: `000B || SHA-256(this structure)`.
    pub name: [u8; 34],
}

impl Public {
    /// Reads the public area of an RSA signature key named by SHA-256.
    ///
    /// # Errors
    /// What it is instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new("TPMT_PUBLIC", bytes);
        reader.constant("type", RSA)?;
        reader.constant("nameAlg", SHA256)?;
        let attributes = Attributes(reader.u32()?);
        let auth_policy = reader.sized()?.to_vec();
        reader.constant("symmetric", NULL)?;
        let fixed_scheme = match reader.u16()? {
            NULL => false,
            RSASSA => {
                reader.constant("scheme.hashAlg", SHA256)?;
                true
            }
            other => {
                return Err(reader.wrong(format!("scheme is {other:04X}; the profile has RSASSA or none")));
            }
        };
        let key_bits = reader.u16()?;
        let exponent = reader.u32()?;
        let modulus = reader.sized()?;
        let exact = modulus.len() * 8 == usize::from(key_bits) && modulus.first().is_some_and(|b| *b >= 0x80);
        if !exact {
            return Err(reader.wrong(format!("unique is no modulus of {key_bits} bits")));
        }
        reader.end()?;
        // Zero stands for the default exponent.
        let exponent = if exponent == 0 { EXPONENT.to_vec() } else { exponent.to_be_bytes().to_vec() };
        let usual_exponent = exponent.strip_prefix(&[0]).unwrap_or(&exponent) == EXPONENT;
        let spki = RsaPublic { modulus: modulus.to_vec(), exponent }.to_spki();
        Ok(Self { attributes, auth_policy, fixed_scheme, key_bits, usual_exponent, spki, name: name(bytes) })
    }
}

/// Name of an object by its public area.
#[must_use]
pub fn name(public: &[u8]) -> [u8; 34] {
    named(&[public])
}

/// Qualified name of a primary key of the endorsement hierarchy: it says under what a key hangs. Keys of the owner's
/// hierarchy have another one, and what they attest hides the TPM's counters.
#[must_use]
pub fn qualified_name_in_endorsement(name: &[u8; 34]) -> [u8; 34] {
    named(&[&ENDORSEMENT, name])
}

fn named(parts: &[&[u8]]) -> [u8; 34] {
    let mut name = [0; 34];
    let digest = sha256(&parts.concat());
    let bytes = SHA256.to_be_bytes().into_iter().chain(digest);
    name.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    name
}
