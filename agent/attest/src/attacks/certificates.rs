//! Against the chip certificate, and with the certificates of others.

use std::time::Duration;

use biotrust_certs::SignerPurpose::AttestationKey;
use biotrust_certs::{Authority, Domain, MAX_CHIP_LIFETIME, Order, Validity};
use biotrust_model::evidence::FtmKind;

use super::*;
use crate::testing::{CHIP_LIFE, FTM_SERIAL, PublicForge};
use CheckName::{ChipKey, ChipLifetime, ChipModel, ChipPath, DeviceKey, Identity, Measurements, Signature};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn good() -> Validity {
    Validity::starting(NOW, CHIP_LIFE)
}

/// The good chip with a certificate that is different.
fn certified(by: Authority, validity: Validity) -> Report {
    let chain = WORLD.chip_chain_by(by, &WORLD.chip, validity);
    tpm(|forge| forge.chip.1 = chain)
}

#[test]
fn the_control_is_certified_the_same_way() {
    assert!(certified(Authority::FtmProvider, good()).verdict().is_ok());
}

#[test]
fn a_cloned_certificate_without_its_key() {
    stopped(&tpm(|forge| forge.chip.0 = &WORLD.other), &[Signature]);
}

#[test]
fn a_substituted_certificate() {
    let chain = WORLD.chip_chain_by(Authority::FtmProvider, &WORLD.other, good());
    stopped(&tpm(|forge| forge.chip = (&WORLD.other, chain)), &[ChipModel, Identity]);
}

#[test]
fn the_same_serial_number_on_two_chips() {
    let chain = WORLD.chip_chain_by(Authority::FtmProvider, &WORLD.other, good());
    let second = |forge: &mut TpmForge<'static>| {
        forge.identity = PublicForge::of(&WORLD.other, forge.identity.attributes);
        forge.chip = (&WORLD.other, chain.clone());
    };
    let report = tpm(second);
    stopped(&report, &[Identity]);
    assert!(text(&report, Identity).contains("a copy"));
    let first_seen = judge(FtmKind::Tpm, &tpm_evidence(second), |expected| expected.known_chip = None);
    assert!(first_seen.verdict().is_ok(), "control: nobody knew the other one");
}

#[test]
fn a_chip_that_says_it_is_another_one() {
    stopped(&tpm(|forge| forge.claims.ftm_serial = "FTM0000000002".to_owned()), &[Identity]);
}

#[test]
fn certificates_outside_their_time() {
    stopped(&certified(Authority::FtmProvider, Validity::expired(NOW)), &[ChipPath]);
    stopped(&certified(Authority::FtmProvider, Validity::not_yet(NOW)), &[ChipPath]);
}

#[test]
fn a_certificate_that_lives_too_long() {
    let longest = Validity::starting(NOW, MAX_CHIP_LIFETIME);
    assert!(certified(Authority::FtmProvider, longest).verdict().is_ok(), "control");
    let longer = Validity::starting(NOW, MAX_CHIP_LIFETIME + Duration::from_secs(1));
    stopped(&certified(Authority::FtmProvider, longer), &[ChipLifetime]);
}

#[test]
fn an_unknown_root() {
    stopped(&certified(Authority::Stranger, good()), &[ChipPath]);
}

#[test]
fn the_wrong_domain() {
    for by in [Authority::DeviceProvider, Authority::Adopter] {
        stopped(&certified(by, Validity::starting(NOW, YEAR)), &[ChipPath]);
    }
}

#[test]
fn the_certificate_of_a_ca_as_a_chips() {
    let subject = WORLD.pki.subject_of(Domain::Ftm, FTM_SERIAL);
    let order =
        Order { is_ca: true, ..Order::leaf(Authority::FtmProvider, WORLD.chip.spki(), subject, good()) };
    let chain = WORLD.pki.issue(&order).unwrap();
    // Nor does its key usage let it sign data.
    stopped(&tpm(|forge| forge.chip.1 = chain), &[ChipKey]);
}

/// A certificate of the good attestation key, as somebody else would issue it, or for another time or TPM.
fn attesting(by: Authority, ftm_serial: &str, validity: Validity) -> Vec<Vec<u8>> {
    let subject = WORLD.pki.subject_of(Domain::Ftm, ftm_serial);
    let order = Order {
        extended_key_usages: vec![AttestationKey.oid().to_owned()],
        ..Order::leaf(by, WORLD.attestation.spki(), subject, validity)
    };
    WORLD.pki.issue(&order).unwrap()
}

#[test]
fn an_attestation_key_of_an_unknown_maker_or_out_of_time() {
    let control = attesting(Authority::FtmProvider, FTM_SERIAL, good());
    assert!(tpm(|forge| forge.attestation.1 = control).verdict().is_ok(), "control");
    let too_long = Validity::starting(NOW, MAX_CHIP_LIFETIME + YEAR);
    for (by, validity) in [
        (Authority::Stranger, good()),
        (Authority::DeviceProvider, Validity::starting(NOW, YEAR)),
        (Authority::FtmProvider, Validity::expired(NOW)),
        (Authority::FtmProvider, too_long),
    ] {
        let chain = attesting(by, FTM_SERIAL, validity);
        stopped(&tpm(|forge| forge.attestation.1 = chain), &[ChipModel]);
    }
    stopped(&tpm(|forge| forge.attestation.1.clear()), &[ChipModel]);
}

/// Somebody holds the attestation key of a TPM that is not this chip's (a broken one, or one in software of a careless
/// maker), and says with it that keys of theirs live where this chip's identity key does.
#[test]
fn the_attestation_key_of_another_tpm() {
    let chain = attesting(Authority::FtmProvider, "FTM0000000002", good());
    let report = tpm(|forge| forge.attestation.1 = chain);
    stopped(&report, &[ChipModel]);
    assert!(text(&report, ChipModel).contains("FTM0000000002"), "{report:?}");

    // The same under the name of this chip, by another maker that is trusted as well.
    let careless = biotrust_certs::TestPki::mint(biotrust_certs::TestPki::DEFAULT_SPEC, NOW).unwrap();
    let chain =
        careless.issue_attestation_certificate(WORLD.attestation.spki(), FTM_SERIAL, NOW, CHIP_LIFE).unwrap();
    let mut both = WORLD.pki.store::<biotrust_certs::Ftm>().unwrap();
    both.add("careless", careless.anchors_pem(Domain::Ftm).as_bytes()).unwrap();
    let judged = |change: &dyn Fn(&mut TpmForge<'static>)| {
        judge(FtmKind::Tpm, &tpm_evidence(|forge| change(forge)), |expected| expected.ftm = &both)
    };
    assert!(judged(&|_| {}).verdict().is_ok(), "control");
    let report = judged(&|forge| forge.attestation.1.clone_from(&chain));
    stopped(&report, &[ChipModel]);
    assert!(text(&report, ChipModel).contains("another maker"), "{report:?}");
}

/// A restricted key signs anything that does not look like the TPM's own words, so also the words of a module that speaks
/// SPDM: the attestation key of a host must not pass as the chip of a scanner that is not there.
#[test]
fn an_attestation_key_that_plays_a_chip() {
    let report = spdm(|forge| {
        let host = (&WORLD.attestation, WORLD.attestation_chain.clone());
        (forge.chip, forge.module) = (host.clone(), host);
    });
    stopped(&report, &[ChipKey, Identity]);
    assert!(text(&report, ChipKey).contains("attestation key"), "{report:?}");
}

/// The evidence of chip A, shown where device B stands.
#[test]
fn chip_a_for_device_b() {
    let mut b = WORLD.identity();
    b.serial_no = "SN0000000002".to_owned();
    let evidence = spdm_evidence(|_| {});
    let report = judge(FtmKind::Spdm, &evidence, |expected| {
        (expected.identity, expected.known_chip) = (Some(&b), None);
    });
    stopped(&report, &[Identity]);
    assert!(text(&report, Identity).contains("SN0000000002"));
}

/// The proof of chip A inside the evidence of chip B, whose certificate is as good.
#[test]
fn the_proof_of_another_chip() {
    let chain = WORLD.chip_chain_by(Authority::FtmProvider, &WORLD.other, good());
    let report = spdm(|forge| forge.module = (&WORLD.other, chain.clone()));
    stopped(&report, &[ChipModel, Measurements, CheckName::DeviceMode, CheckName::Svn]);
    let report =
        judge(FtmKind::Spdm, &spdm_evidence(|forge| forge.chip = (&WORLD.other, chain)), |expected| {
            expected.known_chip = None
        });
    stopped(&report, &[ChipModel, Measurements, CheckName::DeviceMode, CheckName::Svn]);
    assert!(text(&report, DeviceKey).contains("states"), "its own statement is its own");
}
