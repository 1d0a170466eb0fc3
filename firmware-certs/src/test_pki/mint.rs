//! Making the authorities: keys in parallel, then certificates from the roots down.

use biotrust_model::time::UtcMillis;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    SerialNumber,
};
use x509_parser::time::ASN1Time;

use super::spec::{self, Entity, Spec, distinguished_name};
use super::{Branch, Ca, TestPki, TestPkiError};
use crate::Certificate;

const DAY_MILLIS: i64 = 86_400_000;

impl TestPki {
    /// Mints everything that `spec` names, valid around `now`.
    ///
    /// Blocking: makes one RSA-2048 key per certificate, each on a thread of its own (50 to 150 ms of CPU each). Mint
    /// once per process and share.
    ///
    /// # Errors
    /// When the specification is faulty (the text says where) or a key cannot be made.
    pub fn mint(spec: &str, now: UtcMillis) -> Result<Self, TestPkiError> {
        let spec = Spec::parse(spec)?;
        let branch_keys = |branch: &spec::Branch| 1 + branch.intermediate.len();
        let mut keys = make_keys(4 + branch_keys(&spec.device) + branch_keys(&spec.ftm))?.into_iter();
        let mut key = || keys.next().ok_or_else(|| mint_error("a key", "too few were made"));

        let adopter = root(&spec.adopter.root, key()?, now)?;
        let encryption_key = key()?;
        let encryption = encryption_certificate(&spec.adopter.encryption, &encryption_key, &adopter, now)?;
        let adopter = Branch { root: adopter, intermediates: Vec::new() };
        let mut branch = |branch: &spec::Branch| -> Result<Branch, TestPkiError> {
            let root = root(&branch.root, key()?, now)?;
            let mut intermediates: Vec<Ca> = Vec::new();
            for entity in &branch.intermediate {
                let ca = subordinate(entity, key()?, intermediates.last().unwrap_or(&root), now)?;
                intermediates.push(ca);
            }
            Ok(Branch { root, intermediates })
        };
        let device = branch(&spec.device)?;
        let ftm = branch(&spec.ftm)?;
        let other_provider = subordinate(&spec.other_provider, key()?, &device.root, now)?;
        let stranger = root(&spec.stranger, key()?, now)?;
        Ok(Self { adopter, encryption, encryption_key, device, other_provider, ftm, stranger })
    }
}

fn make_keys(count: usize) -> Result<Vec<KeyPair>, TestPkiError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..count).map(|_| scope.spawn(|| KeyPair::generate_for(&PKCS_RSA_SHA256))).collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(made) => made.map_err(|error| mint_error("an RSA key", error)),
                Err(_) => Err(mint_error("an RSA key", "the thread ended early")),
            })
            .collect()
    })
}

fn root(entity: &Entity, key: KeyPair, now: UtcMillis) -> Result<Ca, TestPkiError> {
    let params = ca_params(entity, now)?;
    let made = params.self_signed(&key).map_err(|error| mint_error(&label(entity), error))?;
    Ok(Ca { certificate: parse(made.der(), entity)?, issuer: Issuer::new(params, key) })
}

fn subordinate(entity: &Entity, key: KeyPair, above: &Ca, now: UtcMillis) -> Result<Ca, TestPkiError> {
    let mut params = ca_params(entity, now)?;
    params.use_authority_key_identifier_extension = true;
    let made = params.signed_by(&key, &above.issuer).map_err(|error| mint_error(&label(entity), error))?;
    Ok(Ca { certificate: parse(made.der(), entity)?, issuer: Issuer::new(params, key) })
}

fn encryption_certificate(
    entity: &Entity,
    key: &KeyPair,
    above: &Ca,
    now: UtcMillis,
) -> Result<Certificate, TestPkiError> {
    let mut params = params(entity, now)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DataEncipherment];
    params.use_authority_key_identifier_extension = true;
    let made = params.signed_by(key, &above.issuer).map_err(|error| mint_error(&label(entity), error))?;
    parse(made.der(), entity)
}

fn ca_params(entity: &Entity, now: UtcMillis) -> Result<CertificateParams, TestPkiError> {
    let mut params = params(entity, now)?;
    params.is_ca = IsCa::Ca(match entity.path_len {
        Some(limit) => BasicConstraints::Constrained(limit),
        None => BasicConstraints::Unconstrained,
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(entity: &Entity, now: UtcMillis) -> Result<CertificateParams, TestPkiError> {
    let at = |days: i32| UtcMillis(now.0.saturating_add(i64::from(days).saturating_mul(DAY_MILLIS)));
    if entity.days.from >= entity.days.to {
        return Err(TestPkiError::Spec(format!("{}: days.from must come before days.to", label(entity))));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(&entity.subject)?;
    set_validity(&mut params, at(entity.days.from), at(entity.days.to))?;
    params.serial_number = Some(serial_number()?);
    Ok(params)
}

/// Sets the validity, to the second.
fn set_validity(params: &mut CertificateParams, from: UtcMillis, to: UtcMillis) -> Result<(), TestPkiError> {
    let moment = |at: UtcMillis| {
        ASN1Time::from_timestamp(at.0.div_euclid(1000))
            .map(|time| time.to_datetime())
            .map_err(|error| mint_error("a date", error))
    };
    params.not_before = moment(from)?;
    params.not_after = moment(to)?;
    Ok(())
}

/// A positive random serial number of 16 bytes.
fn serial_number() -> Result<SerialNumber, TestPkiError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| mint_error("a serial number", "no randomness"))?;
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7F) | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

fn parse(der: &[u8], entity: &Entity) -> Result<Certificate, TestPkiError> {
    Certificate::parse(der).map_err(|error| mint_error(&label(entity), error))
}

fn label(entity: &Entity) -> String {
    entity.subject.join(", ")
}

pub(super) fn mint_error(what: &str, why: impl std::fmt::Display) -> TestPkiError {
    TestPkiError::Mint { what: what.to_owned(), why: why.to_string() }
}
