//! Against the chip certificate, and with the certificates of others.

use std::time::Duration;

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

#[test]
fn an_attestation_key_of_an_unknown_maker_or_out_of_time() {
    use biotrust_certs::SignerPurpose::AttestationKey;
    let spki = WORLD.attestation.spki();
    let chains = [
        WORLD.pki.issue_signer_by(Authority::Stranger, AttestationKey, spki, NOW, YEAR).unwrap(),
        WORLD.pki.issue_signer_by(Authority::DeviceProvider, AttestationKey, spki, NOW, YEAR).unwrap(),
        WORLD
            .pki
            .issue_signer(AttestationKey, spki, UtcMillis(NOW.0 - 86_400_000), Duration::from_secs(60))
            .unwrap(),
        WORLD.pki.issue_signer(AttestationKey, spki, NOW, MAX_CHIP_LIFETIME + YEAR).unwrap(),
    ];
    for chain in chains {
        stopped(&tpm(|forge| forge.attestation.1 = chain), &[ChipModel]);
    }
    stopped(&tpm(|forge| forge.attestation.1.clear()), &[ChipModel]);
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
