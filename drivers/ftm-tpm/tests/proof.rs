//! What the TPM states, read by a parser of this test alone: nothing of the crate or of its library judges the bytes.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use aws_lc_rs::digest::{SHA256, digest};
use biotrust_driver_api::conformance::Verifier;
use biotrust_driver_api::{Ftm, FtmError};
use biotrust_model::evidence::{Attested, Binding, CertifiedKey, KeySlot, Proof, TpmProof};
use common::*;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Digest, Name};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Reads big-endian structures; panics where there is nothing left.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
    fn number(&mut self, length: usize) -> u64 {
        self.take(length).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
    fn sized(&mut self) -> &'b [u8] {
        let length = self.number(2) as usize;
        self.take(length)
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn name(public: &[u8]) -> Vec<u8> {
    [&[0, 0x0b], sha256(public).as_slice()].concat()
}

/// Attributes and modulus of a TPMT_PUBLIC of an RSA-2048 key with RSASSA-SHA256.
fn public(bytes: &[u8]) -> (u64, Vec<u8>) {
    let mut reader = Reader(bytes);
    assert_eq!((reader.number(2), reader.number(2)), (0x0001, 0x000b), "RSA, named by SHA-256");
    let attributes = reader.number(4);
    assert!(reader.sized().is_empty(), "no policy");
    assert_eq!(
        (reader.number(2), reader.number(2), reader.number(2)),
        (0x0010, 0x0014, 0x000b),
        "RSASSA, SHA-256"
    );
    assert_eq!((reader.number(2), reader.number(4)), (2048, 0));
    let modulus = reader.sized().to_vec();
    assert!(reader.0.is_empty() && modulus.len() == 256);
    (attributes, modulus)
}

fn signature(attested: &Attested) -> Vec<u8> {
    let mut reader = Reader(&attested.signature);
    assert_eq!((reader.number(2), reader.number(2)), (0x0014, 0x000b), "RSASSA, SHA-256");
    let signature = reader.sized().to_vec();
    assert!(reader.0.is_empty());
    signature
}

/// What follows the common part of a TPMS_ATTEST, after its checks.
fn attested<'a>(attested: &'a Attested, kind: u64, binding: &Binding, signer: &TpmProof) -> Reader<'a> {
    let mut reader = Reader(&attested.attest);
    assert_eq!(reader.number(4), 0xff54_4347, "made by a TPM");
    assert_eq!(reader.number(2), kind);
    let endorsement = 0x4000_000b_u32.to_be_bytes();
    let qualified = name(&[endorsement.as_slice(), &name(&signer.attestation_public)].concat());
    assert_eq!(reader.sized(), qualified, "a key of the endorsement hierarchy");
    assert_eq!(reader.sized(), binding.0);
    let (_clock, _resets, _restarts, safe) =
        (reader.number(8), reader.number(4), reader.number(4), reader.number(1));
    assert!(safe <= 1);
    reader.take(8);
    reader
}

fn key_of(certificate: &[u8]) -> Vec<u8> {
    X509Certificate::from_der(certificate).unwrap().1.public_key().raw.to_vec()
}

fn certified(key: &CertifiedKey, binding: &Binding, proof: &TpmProof) {
    let mut reader = attested(&key.attested, 0x8017, binding, proof);
    assert_eq!(reader.sized(), name(&key.public), "of this key");
    reader.sized();
    assert!(reader.0.is_empty());
}

#[test]
fn every_statement_verifies_against_the_certificate_and_carries_the_binding() {
    let bench = Bench::new();
    let mut ftm = bench.open_provisioned();
    let device = enrol(&mut ftm, "SN1");
    let binding = Binding(std::array::from_fn(|at| at as u8));
    let Proof::Tpm(proof) = ftm.prove(&binding, Some(("SN1", KeySlot::Current))).unwrap() else { panic!() };

    // The attestation key is restricted and in its certificate; the others are neither.
    let iak = key_of(&proof.attestation_chain[0]);
    let (attributes, modulus) = public(&proof.attestation_public);
    assert_eq!(
        attributes, 0x0005_0472,
        "fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign"
    );
    assert!(iak.windows(256).any(|window| window == modulus));
    let device_key = proof.device_key.as_ref().unwrap();
    for (key, spki) in [(device_key, &device), (&proof.identity, &key_of(&ftm.identity_chain().unwrap()[0]))]
    {
        let (attributes, modulus) = public(&key.public);
        assert_eq!(attributes, 0x0004_0472, "the same without restricted");
        assert!(spki.windows(256).any(|window| window == modulus));
        certified(key, &binding, &proof);
    }

    let quote = proof.quote.as_ref().unwrap();
    let mut reader = attested(&quote.attested, 0x8018, &binding, &proof);
    assert_eq!(reader.take(10), [0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0, 0], "registers 0 to 7 of the SHA-256 bank");
    let values: Vec<u8> = quote.pcrs.iter().flat_map(|(_, value)| *value).collect();
    assert_eq!(quote.pcrs.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(reader.sized(), sha256(&values));
    assert!(reader.0.is_empty());

    let time = proof.time.as_ref().unwrap();
    let mut reader = attested(time, 0x8019, &binding, &proof);
    assert_eq!(reader.take(8 + 8 + 4 + 4 + 1 + 8).len(), 33);
    assert!(reader.0.is_empty());

    for one in [&device_key.attested, &proof.identity.attested, &quote.attested, time] {
        let signature = signature(one);
        assert!(AwsLc.verifies(&iak, &one.attest, &signature));
        let mut forged = one.attest.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(!AwsLc.verifies(&iak, &forged, &signature), "negative control");
        assert!(!AwsLc.verifies(&device, &one.attest, &signature), "not by the device key");
    }
}

#[test]
fn a_proof_is_of_the_key_that_is_asked_for() {
    let bench = Bench::new();
    let mut ftm = bench.open_provisioned();
    let binding = Binding([3; 32]);
    assert!(matches!(ftm.prove(&binding, Some(("SN1", KeySlot::Next))), Err(FtmError::NoKey(_))));
    enrol(&mut ftm, "SN1");
    let csr = ftm.begin_rotation("SN1", "SN1", "Org").unwrap();
    let next = AwsLc.csr_key(&csr).unwrap();
    let Proof::Tpm(proof) = ftm.prove(&binding, Some(("SN1", KeySlot::Next))).unwrap() else { panic!() };
    let (_, modulus) = public(&proof.device_key.as_ref().unwrap().public);
    assert!(next.windows(256).any(|window| window == modulus));
    let Proof::Tpm(proof) = ftm.prove(&binding, None).unwrap() else { panic!() };
    assert_eq!(proof.device_key, None);
}

#[test]
fn the_attestation_key_signs_nothing_that_looks_like_a_statement() {
    // The request for its certificate is the one thing of another kind that it signs; the TPM hashes that itself.
    let bench = Bench::new();
    let request = bench.open().identity_request("FTM 7", "Org", &Binding([0; 32])).unwrap();
    let (attributes, modulus) = public(&request.attestation_public);
    assert_ne!(attributes & 0x0001_0000, 0, "restricted");
    let key = AwsLc.csr_key(&request.attestation_request).unwrap();
    assert!(key.windows(256).any(|window| window == modulus));
    assert_eq!(AwsLc.csr_key(&request.identity_request).map(|key| key.len()), Some(294));
    let ek = X509Certificate::from_der(&request.ek_certificate).unwrap().1.public_key().raw.to_vec();
    assert_eq!(ek, request.ek_public_key);
}

#[test]
fn a_credential_opens_for_this_attestation_key_in_this_tpm_alone() {
    let (bench, other) = (Bench::new(), Bench::new());
    let iak = bench.open().identity_request("x", "y", &Binding([0; 32])).unwrap().attestation_public;
    let secret = b"only the holder of both can read".as_slice();
    // Made by another program, for a key of this name in the TPM with that endorsement key.
    let protect = |tpm: &Bench, name: Vec<u8>| {
        let mut context = raw(&tpm.tpm);
        context.execute_with_session(Some(AuthSession::Password), |context| {
            let template = tss_esapi::abstraction::ek::create_ek_public_from_default_template_2(
                tss_esapi::abstraction::AsymmetricAlgorithmSelection::Rsa(
                    tss_esapi::interface_types::key_bits::RsaKeyBits::Rsa2048,
                ),
                None,
            );
            let ek = context
                .create_primary(Hierarchy::Endorsement, template.unwrap(), None, None, None, None)
                .unwrap()
                .key_handle;
            let (credential, secret) = context
                .execute_without_session(|context| {
                    context.make_credential(
                        ek,
                        Digest::try_from(secret).unwrap(),
                        Name::try_from(name).unwrap(),
                    )
                })
                .unwrap();
            context.flush_context(ek.into()).unwrap();
            (credential.value().to_vec(), secret.value().to_vec())
        })
    };
    let good = protect(&bench, name(&iak));
    let elsewhere = protect(&other, name(&iak));
    let another_key = protect(&bench, name(b"another key"));
    let mut ftm = bench.open();
    assert_eq!(ftm.activate(&good.0, &good.1).unwrap().expose(), secret);
    assert!(ftm.activate(&elsewhere.0, &elsewhere.1).is_err());
    assert!(ftm.activate(&another_key.0, &another_key.1).is_err());
    assert!(ftm.activate(b"", b"").is_err());
    assert_eq!(ftm.activate(&good.0, &good.1).unwrap().expose(), secret, "failures leave nothing behind");
    drop(ftm);
    assert_eq!((held(&bench.tpm).transient, held(&bench.tpm).sessions), (0, 0));
}
