//! A made-up TPM.

use biotrust_model::Level;
use biotrust_model::evidence::{Attested, CertifiedKey, Proof, Quote, TpmProof};
use biotrust_model::time::UtcMillis;

use super::{Key, World};
use crate::Challenge;
use crate::evidence::{self, Claims, DebugStatus};
use crate::rsa::RsaPublic;
use crate::signed::Signer;
use crate::tpm::{Attributes, Clock, MAGIC, name};
use crate::wire::sha256;

/// TPM_RH_ENDORSEMENT.
const ENDORSEMENT: u32 = 0x4000_000B;
/// TPM_RH_OWNER.
pub const OWNER: u32 = 0x4000_0001;

/// A TPMT_PUBLIC in the making.
#[derive(Debug, Clone)]
pub struct PublicForge {
    /// TPMA_OBJECT.
    pub attributes: Attributes,
    /// Digest of a policy.
    pub auth_policy: Vec<u8>,
    /// Scheme and hash; `None`: TPM_ALG_NULL.
    pub scheme: Option<(u16, u16)>,
    /// Zero for the default.
    pub exponent: u32,
    /// Modulus.
    pub modulus: Vec<u8>,
}

impl PublicForge {
    /// Of `key`, with RSASSA and SHA-256.
    #[must_use]
    pub fn of(key: &Key, attributes: Attributes) -> Self {
        let modulus = RsaPublic::from_spki(key.spki()).unwrap().modulus;
        Self { attributes, auth_policy: Vec::new(), scheme: Some((0x0014, 0x000B)), exponent: 0, modulus }
    }

    /// The structure.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0x00, 0x01, 0x00, 0x0B];
        out.extend(self.attributes.0.to_be_bytes());
        out.extend(sized(&self.auth_policy));
        out.extend([0x00, 0x10]);
        match self.scheme {
            None => out.extend([0x00, 0x10]),
            Some((scheme, hash)) => out.extend([scheme.to_be_bytes(), hash.to_be_bytes()].concat()),
        }
        out.extend(u16::try_from(self.modulus.len() * 8).unwrap().to_be_bytes());
        out.extend(self.exponent.to_be_bytes());
        out.extend(sized(&self.modulus));
        out
    }
}

/// What goes into every TPMS_ATTEST of one proof.
#[derive(Debug, Clone)]
pub struct AttestForge {
    /// `FF "TCG"`.
    pub magic: u32,
    /// Handle of the hierarchy of the attestation key.
    pub hierarchy: u32,
    /// The binding.
    pub extra_data: Vec<u8>,
    /// The clock.
    pub clock: Clock,
    /// Handle of the hierarchy of the identity key.
    pub identity_hierarchy: u32,
}

/// A good device with a TPM of its own; every field may be changed.
#[derive(Clone)]
pub struct TpmForge<'w> {
    /// The challenge that it answers.
    pub challenge: Challenge,
    /// What it claims.
    pub claims: Claims,
    /// When.
    pub issued_at: UtcMillis,
    /// Key that signs the evidence, and its chain.
    pub chip: (&'w Key, Vec<Vec<u8>>),
    /// Key that attests, and its chain.
    pub attestation: (&'w Key, Vec<Vec<u8>>),
    /// Public area of the attestation key.
    pub attestation_public: PublicForge,
    /// Public area of the identity key.
    pub identity: PublicForge,
    /// Public area of the device key.
    pub device: Option<PublicForge>,
    /// Name that is certified for the device key, where it is not its own.
    pub device_name: Option<[u8; 34]>,
    /// Quoted PCRs.
    pub pcrs: Vec<(u8, [u8; 32])>,
    /// Bank of the quote.
    pub bank: u16,
    /// Whether the clock is told.
    pub tells_time: bool,
    /// What all attestations say.
    pub attest: AttestForge,
    /// Resets that the clock's attestation says, where it is another number.
    pub time_reset_count: Option<u32>,
}

const FIXED: Attributes =
    Attributes::FIXED_TPM.and(Attributes::FIXED_PARENT).and(Attributes::SENSITIVE_DATA_ORIGIN);

impl<'w> TpmForge<'w> {
    /// A good one for `challenge`.
    #[must_use]
    pub fn new(world: &'w World, challenge: &Challenge) -> Self {
        let signs = FIXED.and(Attributes::USER_WITH_AUTH).and(Attributes::SIGN);
        let claims = Claims {
            svn: Some(3),
            boot_count: Some(12),
            debug: Some(DebugStatus::DisabledPermanently),
            ..Claims::beside(
                &world.identity(),
                Level::L1,
                "1.2.3",
                world.chip_chain.first().map(Vec::as_slice),
                &Proof::Software,
            )
        };
        Self {
            challenge: challenge.clone(),
            claims,
            issued_at: world.now,
            chip: (&world.chip, world.chip_chain.clone()),
            attestation: (&world.attestation, world.attestation_chain.clone()),
            attestation_public: PublicForge::of(&world.attestation, signs.and(Attributes::RESTRICTED)),
            identity: PublicForge::of(&world.chip, signs),
            device: Some(PublicForge::of(&world.device, signs)),
            device_name: None,
            pcrs: vec![(0, [0; 32]), (7, [7; 32])],
            bank: 0x000B,
            tells_time: true,
            attest: AttestForge {
                magic: MAGIC,
                hierarchy: ENDORSEMENT,
                identity_hierarchy: ENDORSEMENT,
                extra_data: challenge.binding().0.to_vec(),
                clock: Clock { clock: 86_400_000, reset_count: 4, restart_count: 0, safe: true },
            },
            time_reset_count: None,
        }
    }

    /// The proof.
    #[must_use]
    pub fn proof(&self) -> Proof {
        let identity = self.identity.bytes();
        let identity_name = name(&identity);
        let identity_qualified = qualified(self.attest.identity_hierarchy, &identity_name);
        let device_key = self.device.as_ref().map(|public| {
            let public = public.bytes();
            let certified = self.device_name.unwrap_or_else(|| name(&public));
            let attested =
                self.attest(0x8017, &[sized(&certified), sized(&qualified(OWNER, &certified))].concat());
            CertifiedKey { public, attested }
        });
        Proof::Tpm(TpmProof {
            attestation_chain: self.attestation.1.clone(),
            attestation_public: self.attestation_public.bytes(),
            identity: CertifiedKey {
                attested: self.attest(0x8017, &[sized(&identity_name), sized(&identity_qualified)].concat()),
                public: identity,
            },
            device_key,
            quote: (!self.pcrs.is_empty()).then(|| self.quote()),
            time: self.tells_time.then(|| {
                let mut other = self.clone();
                other.attest.clock.reset_count =
                    self.time_reset_count.unwrap_or(other.attest.clock.reset_count);
                let clock = clock(&other.attest.clock);
                other.attest(0x8019, &[&[0; 8], clock.as_slice(), &[0; 8]].concat())
            }),
        })
    }

    /// The evidence.
    #[must_use]
    pub fn evidence(&self) -> String {
        self.evidence_with(&self.proof())
    }

    /// The evidence around another proof.
    #[must_use]
    pub fn evidence_with(&self, proof: &Proof) -> String {
        let payload = evidence::payload(&self.challenge, &self.claims, proof, self.issued_at);
        self.chip.0.document(evidence::TYP, &Signer::Chain(&self.chip.1), &payload)
    }

    fn quote(&self) -> Quote {
        let mut map = [0u8; 3];
        for (index, _) in &self.pcrs {
            if let Some(byte) = map.get_mut(usize::from(index / 8)) {
                *byte |= 1 << (index % 8);
            }
        }
        let values: Vec<u8> = self.pcrs.iter().flat_map(|(_, value)| *value).collect();
        let select = [&[0, 0, 0, 1], self.bank.to_be_bytes().as_slice(), &[3], &map].concat();
        let content = [select, sized(&sha256(&values))].concat();
        Quote { pcrs: self.pcrs.clone(), attested: self.attest(0x8018, &content) }
    }

    fn attest(&self, kind: u16, content: &[u8]) -> Attested {
        let AttestForge { magic, hierarchy, extra_data, clock: counters, .. } = &self.attest;
        let signer = qualified(*hierarchy, &name(&self.attestation_public.bytes()));
        let parts = [
            magic.to_be_bytes().to_vec(),
            kind.to_be_bytes().to_vec(),
            sized(&signer),
            sized(extra_data),
            clock(counters),
            vec![0; 8],
            content.to_vec(),
        ];
        let attest = parts.concat();
        let signature = [vec![0x00, 0x14, 0x00, 0x0B], sized(&self.attestation.0.sign(&attest))].concat();
        Attested { attest, signature }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn clock(clock: &Clock) -> Vec<u8> {
    let mut out = clock.clock.to_be_bytes().to_vec();
    out.extend(clock.reset_count.to_be_bytes());
    out.extend(clock.restart_count.to_be_bytes());
    out.push(clock.safe.into());
    out
}

fn qualified(hierarchy: u32, name: &[u8; 34]) -> Vec<u8> {
    [vec![0x00, 0x0B], sha256(&[&hierarchy.to_be_bytes(), name.as_slice()].concat()).to_vec()].concat()
}
