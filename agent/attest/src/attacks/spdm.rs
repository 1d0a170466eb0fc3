//! Against the proof of a module that speaks SPDM.

use biotrust_model::evidence::{FtmKind, SpdmProof};
use biotrust_spdm::measurement::{Block, DeviceMode, Kind, index};
use biotrust_spdm::transcript::VCA;

use super::*;
use crate::key_statement::KeyStatement;
use CheckName::{ChipModel, CsrKey, DeviceKey, DeviceMode as Mode, Measurements, Svn};

/// The good proof with `change`, and signed again by the chip where `again` says so.
fn changed(again: bool, change: impl FnOnce(&mut SpdmProof)) -> Report {
    let forge = SpdmForge::new(&WORLD, &challenge());
    let mut proof = forge.proof();
    change(&mut proof);
    if again {
        forge.sign_again(&mut proof);
    }
    judge(FtmKind::Spdm, &forge.evidence_with(proof), |_| {})
}

fn stated(change: impl FnOnce(&mut KeyStatement)) -> Report {
    spdm(|forge| change(forge.statement.as_mut().unwrap()))
}

#[test]
fn the_control_is_signed_again_too() {
    assert!(changed(true, |_| {}).verdict().is_ok());
}

#[test]
fn a_truncated_certificate_blob() {
    for again in [false, true] {
        let report = changed(again, |proof| {
            let certificate = &mut proof.authentication[VCA + 3];
            certificate.truncate(certificate.len() - 40);
        });
        stopped(&report, &[ChipModel]);
    }
}

#[test]
fn a_downgrade_of_capabilities() {
    // CHAL is taken away, and the whole is signed again.
    let report = changed(true, |proof| proof.authentication[3][8] &= !0x04);
    stopped(&report, &[ChipModel, Measurements, Mode, Svn]);
}

#[test]
fn messages_left_out_or_changed() {
    let cases: [fn(&mut SpdmProof); 3] = [
        |proof| drop(proof.authentication.remove(VCA)),
        |proof| drop(proof.authentication.pop()),
        |proof| proof.authentication.swap(VCA, VCA + 2),
    ];
    for change in cases {
        stopped(&changed(false, change), &[ChipModel]);
    }
    let last = changed(false, |proof| *proof.authentication.last_mut().unwrap().last_mut().unwrap() ^= 1);
    stopped(&last, &[ChipModel]);
    let last = changed(false, |proof| *proof.measurements.last_mut().unwrap().last_mut().unwrap() ^= 1);
    stopped(&last, &[Measurements, Mode, Svn]);
}

#[test]
fn debugging_is_or_was_on() {
    for debug in [1, 2, 4, 8, 0x10] {
        let report =
            spdm(|forge| *forge = forge.clone().running(3, DeviceMode { debug, ..DeviceMode::normal() }));
        stopped(&report, &[Mode]);
    }
}

#[test]
fn a_mode_of_the_workshop() {
    for operational in [1, 2, 8, 0x10, 0x20, 5, 0] {
        let mode = DeviceMode { operational, ..DeviceMode::normal() };
        stopped(&spdm(|forge| *forge = forge.clone().running(3, mode)), &[Mode]);
    }
    let report = spdm(|forge| forge.blocks.retain(|block| block.index != index::DEVICE_MODE));
    stopped(&report, &[Mode]);
}

#[test]
fn unknown_firmware() {
    let report = spdm(|forge| {
        forge.blocks[2] = Block::digest(index::FIRMWARE, Kind::Firmware, [0x66; 32]);
        forge.statement.as_mut().unwrap().firmware_sha256 = [0x66; 32];
    });
    stopped(&report, &[Measurements]);
    assert!(text(&report, Measurements).contains("index 3"));
    let report = spdm(|forge| drop(forge.blocks.remove(0)));
    stopped(&report, &[Measurements]);
}

#[test]
fn another_version_than_the_measured_one() {
    let report = spdm(|forge| forge.firmware = "1.2.4".to_owned());
    stopped(&report, &[Measurements]);
}

#[test]
fn older_firmware_than_the_adopter_accepts() {
    let report = spdm(|forge| *forge = forge.clone().running(2, DeviceMode::normal()));
    stopped(&report, &[Measurements, Svn]);
}

#[test]
fn older_firmware_than_this_device_had() {
    let evidence = spdm_evidence(|_| {});
    let with_floor = |floor| judge(FtmKind::Spdm, &evidence, |expected| expected.policy.svn_floor = floor);
    assert!(with_floor(3).verdict().is_ok(), "control");
    let report = with_floor(4);
    stopped(&report, &[Svn]);
    assert!(text(&report, Svn).contains("had before"));
}

#[test]
fn a_higher_version_number_than_the_measured_one() {
    let report = spdm(|forge| {
        let mut claims = claims_of(forge);
        claims.svn = Some(4);
        forge.claims = Some(claims);
    });
    stopped(&report, &[Svn]);
}

fn claims_of(forge: &SpdmForge<'_>) -> crate::evidence::Claims {
    let proof = biotrust_model::evidence::Proof::Spdm(forge.proof());
    crate::evidence::Claims::beside(
        &forge.identity,
        biotrust_model::Level::L1,
        &forge.firmware,
        forge.chip.1.first().map(Vec::as_slice),
        &proof,
    )
}

#[test]
fn a_key_that_was_not_made_in_the_chip() {
    let wrong: [fn(&mut KeyStatement); 5] = [
        |statement| statement.origin = "imported".to_owned(),
        |statement| statement.exportable = true,
        |statement| statement.usage = "decrypt".to_owned(),
        |statement| statement.spki_sha256[0] ^= 1,
        |statement| statement.v = 2,
    ];
    for change in wrong {
        stopped(&stated(change), &[DeviceKey, CsrKey]);
    }
}

#[test]
fn a_statement_of_another_chip_or_other_firmware() {
    let wrong: [fn(&mut KeyStatement); 4] = [
        |statement| statement.ftm_serial = "FTM0000000002".to_owned(),
        |statement| statement.svn = 4,
        |statement| statement.firmware_sha256 = [0x66; 32],
        |statement| statement.device_mode = "manufacturing".to_owned(),
    ];
    for change in wrong {
        stopped(&stated(change), &[DeviceKey, CsrKey]);
    }
}

/// Nobody has reference values for the model, so nobody misses a measurement but the statement that speaks of it.
#[test]
fn a_statement_of_firmware_that_is_not_measured() {
    let mut document = WORLD.document(FtmKind::Spdm);
    document.models[0].firmware.clear();
    let models = WORLD.metadata(&document);
    let judged = |change: fn(&mut SpdmForge<'static>)| {
        judge(FtmKind::Spdm, &spdm_evidence(change), |expected| expected.models = Some(&models))
    };
    assert!(judged(|_| {}).verdict().is_ok(), "control");
    let unmeasured = judged(|forge| forge.blocks.retain(|block| block.index != index::FIRMWARE));
    stopped(&unmeasured, &[DeviceKey, CsrKey]);
}

#[test]
fn a_statement_that_the_chip_did_not_sign() {
    stopped(&spdm(|forge| forge.statement_key = Some(&WORLD.other)), &[DeviceKey, CsrKey]);
}

#[test]
fn no_statement_where_a_key_was_asked_for() {
    stopped(&spdm(|forge| forge.statement = None), &[DeviceKey, CsrKey]);
}

/// The same firmware measures differently in the two exchanges.
#[test]
fn measurements_that_change_between_the_exchanges() {
    let mut other = SpdmForge::new(&WORLD, &challenge());
    other.blocks[0] = Block::digest(index::ROM, Kind::Rom, [0x66; 32]);
    let proof = other.proof();
    let report = changed(false, |good| good.authentication = proof.authentication.clone());
    assert!(
        text(&report, Measurements).contains("is not by this key")
            || text(&report, Measurements).contains("other measurements")
    );
    assert_eq!(report.failed().next().unwrap().name, Measurements, "{:#?}", report.checks());
}
