//! Against the proof of a TPM.

use biotrust_model::evidence::{EvidencePurpose, FtmKind, Proof, TpmProof};

use super::*;
use crate::testing::{OWNER, PublicForge};
use crate::tpm::{Attributes, name};
use CheckName::{Binding, ChipModel, CsrKey, DeviceKey, Measurements, TrustedTime};

type Change = fn(Attributes) -> Attributes;

#[test]
fn an_attestation_forged_with_the_unrestricted_identity_key() {
    let report = tpm(|forge| {
        forge.attestation = forge.chip.clone();
        forge.attestation_public = forge.identity.clone();
    });
    stopped(&report, &[ChipModel]);
    assert!(text(&report, ChipModel).contains("2.23.133.8.3"), "{report:?}");
}

#[test]
fn an_unrestricted_key_that_says_it_is_restricted_and_has_no_attestation_certificate() {
    let report = tpm(|forge| {
        forge.attestation = forge.chip.clone();
        forge.attestation_public = PublicForge::of(&WORLD.chip, forge.attestation_public.attributes);
    });
    stopped(&report, &[ChipModel]);
}

#[test]
fn an_attestation_key_with_other_attributes() {
    let wrong: [(Change, &str); 6] = [
        (|good| good.without(Attributes::RESTRICTED), "is not restricted"),
        (|good| good.without(Attributes::FIXED_TPM), "is not fixedTPM"),
        (|good| good.without(Attributes::FIXED_PARENT), "is not fixedParent"),
        (|good| good.without(Attributes::SENSITIVE_DATA_ORIGIN), "is not sensitiveDataOrigin"),
        (|good| good.and(Attributes::DECRYPT), "must not be decrypt"),
        (|good| good.and(Attributes(1 << 19)), "must not be 00080000"),
    ];
    for (change, expected) in wrong {
        let report = tpm(|forge| {
            forge.attestation_public.attributes = change(forge.attestation_public.attributes);
        });
        stopped(&report, &[ChipModel]);
        assert!(text(&report, ChipModel).contains(expected), "{}", text(&report, ChipModel));
    }
}

#[test]
fn an_attestation_key_beside_the_certificate_of_another() {
    let report = tpm(|forge| {
        forge.attestation.0 = &WORLD.other;
        forge.attestation_public = PublicForge::of(&WORLD.other, forge.attestation_public.attributes);
    });
    stopped(&report, &[ChipModel]);
}

#[test]
fn a_signer_of_the_owners_hierarchy() {
    let report = tpm(|forge| forge.attest.hierarchy = OWNER);
    stopped(&report, &[ChipModel, DeviceKey, CsrKey, Measurements, TrustedTime]);
    assert!(text(&report, DeviceKey).contains("endorsement hierarchy"));
}

#[test]
fn an_identity_key_of_the_owners_hierarchy() {
    stopped(&tpm(|forge| forge.attest.identity_hierarchy = OWNER), &[ChipModel]);
}

#[test]
fn the_identity_key_of_another_tpm() {
    let report = tpm(|forge| forge.identity = PublicForge::of(&WORLD.other, forge.identity.attributes));
    stopped(&report, &[ChipModel]);
    assert!(text(&report, ChipModel).contains("not the key of the chip certificate"));
}

/// What `tpm2_certify` writes, which has no option for a nonce.
#[test]
fn a_constant_nonce() {
    let report = tpm(|forge| forge.attest.extra_data = vec![0x00, 0xFF, 0x55, 0xAA]);
    stopped(&report, &[Binding]);
}

#[test]
fn a_message_that_no_tpm_made() {
    let report = tpm(|forge| forge.attest.magic = 0x7B22_6B65);
    stopped(&report, &[Binding, ChipModel, DeviceKey, CsrKey, Measurements, TrustedTime]);
    assert!(text(&report, ChipModel).contains("no TPM made this"));
}

#[test]
fn a_signature_by_another_key() {
    let report = tpm(|forge| forge.attestation.0 = &WORLD.other);
    stopped(&report, &[ChipModel, DeviceKey, CsrKey, Measurements, TrustedTime]);
}

#[test]
fn a_device_key_that_may_have_come_from_outside_or_do_more_than_sign() {
    let wrong: [(Change, &str); 6] = [
        (|good| good.without(Attributes::SENSITIVE_DATA_ORIGIN), "is not sensitiveDataOrigin"),
        (|good| good.without(Attributes::FIXED_TPM), "is not fixedTPM"),
        (|good| good.without(Attributes::FIXED_PARENT), "is not fixedParent"),
        (|good| good.and(Attributes::RESTRICTED), "must not be restricted"),
        (|good| good.and(Attributes::DECRYPT), "must not be decrypt"),
        (|good| good.and(Attributes::ADMIN_WITH_POLICY), "must not be adminWithPolicy"),
    ];
    for (change, expected) in wrong {
        let report = tpm(|forge| {
            let device = forge.device.as_mut().unwrap();
            device.attributes = change(device.attributes);
        });
        stopped(&report, &[DeviceKey, CsrKey]);
        assert!(text(&report, DeviceKey).contains(expected), "{}", text(&report, DeviceKey));
    }
    let control = tpm(|forge| {
        let device = forge.device.as_mut().unwrap();
        device.attributes = device.attributes.and(Attributes::NO_DA);
    });
    assert!(control.verdict().is_ok(), "noDA is a matter of taste");
}

#[test]
fn a_device_key_of_another_kind() {
    let wrong: [fn(&mut PublicForge); 4] = [
        |public| public.exponent = 3,
        |public| public.auth_policy = vec![7; 32],
        |public| public.scheme = Some((0x0016, 0x000B)),
        |public| public.scheme = Some((0x0014, 0x0004)),
    ];
    for change in wrong {
        stopped(&tpm(|forge| change(forge.device.as_mut().unwrap())), &[DeviceKey, CsrKey]);
    }
    let control = tpm(|forge| forge.device.as_mut().unwrap().scheme = None);
    assert!(control.verdict().is_ok(), "whoever signs chooses RSASSA then");
}

/// A key in software, beside the certification of a real one.
#[test]
fn another_device_key_than_the_certified_one() {
    let genuine = PublicForge::of(&WORLD.other, TpmForge::new(&WORLD, &challenge()).identity.attributes);
    let report = tpm(|forge| forge.device_name = Some(name(&genuine.bytes())));
    stopped(&report, &[DeviceKey, CsrKey]);
}

#[test]
fn no_device_key_where_one_was_asked_for() {
    stopped(&tpm(|forge| forge.device = None), &[DeviceKey, CsrKey]);
}

#[test]
fn a_quote_of_resettable_pcrs() {
    for index in [16, 23] {
        let report = tpm(|forge| forge.pcrs.push((index, [0; 32])));
        stopped(&report, &[Measurements]);
        assert!(text(&report, Measurements).contains("reset by software"));
    }
}

#[test]
fn other_pcr_values_than_the_quoted_ones() {
    let forge = TpmForge::new(&WORLD, &challenge());
    let Proof::Tpm(good) = forge.proof() else { unreachable!() };
    let changed = |change: fn(&mut TpmProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        judge(FtmKind::Tpm, &forge.evidence_with(&Proof::Tpm(proof)), |_| {})
    };
    assert!(changed(|_| {}).verdict().is_ok(), "control");
    stopped(&changed(|proof| proof.quote.as_mut().unwrap().pcrs[0].1[0] ^= 1), &[Measurements]);
    stopped(&changed(|proof| proof.quote.as_mut().unwrap().pcrs.truncate(1)), &[Measurements]);
    stopped(&changed(|proof| proof.quote = None), &[Measurements]);
    // One kind of attestation in the place of another.
    let quote_for_clock = changed(|proof| proof.time = proof.quote.as_ref().map(|q| q.attested.clone()));
    stopped(&quote_for_clock, &[TrustedTime]);
    let key_for_identity = changed(|proof| {
        proof.identity.attested = proof.device_key.as_ref().unwrap().attested.clone();
    });
    stopped(&key_for_identity, &[ChipModel]);
}

#[test]
fn a_quote_of_the_sha1_bank() {
    stopped(&tpm(|forge| forge.bank = 0x0004), &[Binding, Measurements]);
}

#[test]
fn a_boot_that_nobody_knows() {
    let report = tpm(|forge| forge.pcrs[1].1 = [0x66; 32]);
    stopped(&report, &[Measurements]);
    assert!(text(&report, Measurements).contains("index 7"));
    stopped(&tpm(|forge| forge.pcrs.truncate(1)), &[Measurements]);
}

#[test]
fn a_restart_between_the_parts_of_a_proof() {
    stopped(&tpm(|forge| forge.time_reset_count = Some(5)), &[TrustedTime]);
}

fn asked_for_the_time(change: impl FnOnce(&mut TpmForge<'static>)) -> Report {
    static ASKED: LazyLock<Challenge> = LazyLock::new(|| WORLD.challenge(EvidencePurpose::Time));
    let mut forge = TpmForge::new(&WORLD, &ASKED);
    change(&mut forge);
    judge(FtmKind::Tpm, &forge.evidence(), |expected| expected.challenge = Some(&ASKED))
}

#[test]
fn a_clock_that_was_set_back() {
    assert!(asked_for_the_time(|_| {}).verdict().is_ok(), "control");
    stopped(&asked_for_the_time(|forge| forge.attest.clock.safe = false), &[TrustedTime]);
    let nobody_asked = tpm(|forge| forge.attest.clock.safe = false);
    assert!(nobody_asked.verdict().is_ok());
    assert_eq!(outcome(&nobody_asked, TrustedTime), Outcome::Warning);
}

#[test]
fn no_clock_where_one_was_asked_for() {
    stopped(&asked_for_the_time(|forge| forge.tells_time = false), &[TrustedTime]);
}

#[test]
fn a_certificate_request_of_another_key() {
    let csr = WORLD.other.csr("SN0000000001");
    let evidence = tpm_evidence(|_| {});
    let report = judge(FtmKind::Tpm, &evidence, |expected| expected.csr = Some(&csr));
    stopped(&report, &[CsrKey]);
    let report = judge(FtmKind::Tpm, &evidence, |expected| {
        (expected.csr, expected.device_key) = (Some(csr.as_slice()), None);
    });
    stopped(&report, &[DeviceKey, CsrKey]);
}

#[test]
fn a_certificate_request_that_its_key_did_not_sign() {
    let mut csr = WORLD.device.csr("SN0000000001");
    *csr.last_mut().unwrap() ^= 1;
    let report = judge(FtmKind::Tpm, &tpm_evidence(|_| {}), |expected| expected.csr = Some(&csr));
    stopped(&report, &[CsrKey]);
}

#[test]
fn a_tpm_that_says_nothing_of_debugging_is_no_device_of_level_1() {
    use crate::evidence::DebugStatus;
    for debug in [None, Some(DebugStatus::Enabled), Some(DebugStatus::Disabled)] {
        stopped(&tpm(|forge| forge.claims.debug = debug), &[CheckName::DeviceMode]);
    }
}
