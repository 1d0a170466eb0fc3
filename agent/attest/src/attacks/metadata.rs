//! Against model metadata, and with models that are not what they were.

use std::time::Duration;

use biotrust_certs::{Authority, SignerPurpose};
use biotrust_model::Level;
use biotrust_model::evidence::{FtmKind, Proof};
use biotrust_spdm::measurement::DeviceMode;

use super::*;
use crate::evidence::Claims;
use crate::metadata::{Document, Freshness, Metadata, MetadataError, Model as Entry, Status, StatusReport};
use crate::signed::SignedError;
use crate::testing::publish;
use CheckName::{Identity, Level as LevelCheck, Model};

const DAY: Duration = Duration::from_secs(86_400);

/// The good device, judged by metadata with one thing changed.
fn by_metadata(change: impl FnOnce(&mut Document)) -> Report {
    let mut document = WORLD.document(FtmKind::Spdm);
    change(&mut document);
    let models = WORLD.metadata(&document);
    judge(FtmKind::Spdm, &spdm_evidence(|_| {}), |expected| expected.models = Some(&models))
}

fn entry(change: impl FnOnce(&mut Entry)) -> Report {
    by_metadata(|document| change(document.models.first_mut().unwrap()))
}

fn status(status: Status, effective: UtcMillis, below_svn: Option<u64>) -> Report {
    entry(|entry| {
        entry.status.push(StatusReport { status, effective, below_svn, reason: "CVE-2030-1".to_owned() });
    })
}

#[test]
fn a_rollback() {
    let old = WORLD.publish(&WORLD.document(FtmKind::Spdm));
    assert!(Metadata::verify(&old, &WORLD.adopter, NOW, 7).is_ok(), "control");
    let refused = Metadata::verify(&old, &WORLD.adopter, NOW, 8);
    assert_eq!(refused.unwrap_err(), MetadataError::Rollback { number: 7, floor: 8 });
}

#[test]
fn metadata_of_anybody_else() {
    let document = WORLD.document(FtmKind::Spdm);
    let verify = |signer| Metadata::verify(&publish(&signer, &document), &WORLD.adopter, NOW, 0);
    let good = verify(WORLD.pki.signer(SignerPurpose::Metadata, NOW).unwrap());
    assert!(good.is_ok(), "control");
    for by in [Authority::Stranger, Authority::DeviceProvider] {
        let refused = verify(WORLD.pki.signer_by(by, SignerPurpose::Metadata, NOW).unwrap()).unwrap_err();
        assert!(matches!(refused, MetadataError::Signed(SignedError::Untrusted(_))), "{refused}");
    }
    let other = WORLD.pki.signer_by(Authority::Adopter, SignerPurpose::Firmware, NOW).unwrap();
    let refused = verify(other).unwrap_err();
    assert!(matches!(refused, MetadataError::Signed(SignedError::Purpose { .. })), "{refused}");
}

#[test]
fn changed_metadata() {
    let good = WORLD.publish(&WORLD.document(FtmKind::Spdm));
    let other = WORLD.publish(&Document { number: 8, ..WORLD.document(FtmKind::Spdm) });
    let payload = other.split('.').nth(1).unwrap();
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[1] = payload;
    let refused = Metadata::verify(&parts.join("."), &WORLD.adopter, NOW, 0).unwrap_err();
    assert_eq!(refused, MetadataError::Signed(SignedError::Signature));
}

/// Or the clock of this host was set back, which must not keep a whole host from starting.
#[test]
fn metadata_of_the_future() {
    let late = Document {
        issued_at: NOW.plus(DAY),
        next_update: NOW.plus(2 * DAY),
        ..WORLD.document(FtmKind::Spdm)
    };
    let models = Metadata::verify(&WORLD.publish(&late), &WORLD.adopter, NOW, 0).unwrap();
    assert_eq!(models.freshness(NOW), Freshness::NotYet { from: NOW.plus(DAY) });
    assert_eq!(models.freshness(NOW.plus(DAY)), Freshness::Current);
    let evidence = spdm_evidence(|_| {});
    level_0(&judge(FtmKind::Spdm, &evidence, |expected| expected.models = Some(&models)), "check the clock");
    let long_ago = Metadata::verify(&WORLD.publish(&late), &WORLD.adopter, UtcMillis(0), 0);
    assert!(long_ago.is_ok(), "a clock without a battery: {long_ago:?}");
}

/// Whoever is offline goes on with what was signed in time; whoever finds the old signer's key makes nothing new with it.
#[test]
fn a_signer_whose_certificate_has_ended() {
    let ago = |days: i64| UtcMillis(NOW.0 - days * 86_400_000);
    let chain =
        WORLD.pki.issue_signer(SignerPurpose::Metadata, WORLD.other.spki(), ago(20), 10 * DAY).unwrap();
    let verified = |issued_at, next_update| {
        let document = Document { issued_at, next_update, ..WORLD.document(FtmKind::Spdm) };
        let signer = crate::signed::Signer::Chain(&chain);
        let jws = WORLD.other.document(crate::metadata::TYP, &signer, &document.to_json());
        Metadata::verify(&jws, &WORLD.adopter, NOW, 0)
    };
    let in_time = verified(ago(19), ago(11)).unwrap();
    assert!(matches!(in_time.freshness(NOW), Freshness::Overdue { .. }));
    for (issued_at, next_update) in [(ago(19), ago(9)), (ago(19), NOW.plus(DAY)), (NOW, NOW.plus(DAY))] {
        let refused = verified(issued_at, next_update).unwrap_err();
        assert!(matches!(refused, MetadataError::Signed(SignedError::Untrusted(_))), "{refused}");
    }
}

#[test]
fn models_in_bad_standing() {
    for bad in [Status::Revoked, Status::Compromised, Status::UpdateRequired] {
        let report = status(bad, NOW, None);
        stopped(&report, &[Model]);
        assert!(text(&report, Model).contains("CVE-2030-1"));
        let later = status(bad, NOW.plus(DAY), None);
        assert!(later.verdict().is_ok(), "its day has not come");
        assert_eq!(outcome(&later, Model), Outcome::Warning);
        stopped(&status(bad, NOW, Some(4)), &[Model]);
        assert!(status(bad, NOW, Some(3)).verdict().is_ok(), "other firmware");
    }
}

#[test]
fn a_chip_under_another_anchor_than_the_models() {
    stopped(&entry(|entry| entry.anchors = vec!["AB".repeat(32)]), &[Model]);
    assert!(entry(|entry| entry.anchors.clear()).verdict().is_ok(), "control: any anchor of the domain");
}

/// A maker has an authority for modules in devices, and others for what goes into hosts, where its owner has it sign what
/// a module would say: all lead to one anchor.
#[test]
fn a_chip_under_another_authority_of_the_same_maker() {
    let issuer = biotrust_certs::Certificate::parse(&WORLD.chip_chain[1]).unwrap();
    assert!(!issuer.is_self_signed());
    let sha256 = issuer.sha256();
    assert!(entry(|entry| entry.anchors = vec![sha256.clone()]).verdict().is_ok());
    // an attestation key's certificate, and so on: whatever else the root has certified
    let root = WORLD.ftm.entries().find(|entry| entry.role == biotrust_certs::Role::Anchor).unwrap();
    assert!(
        entry(|entry| entry.anchors = vec![root.certificate.sha256()]).verdict().is_ok(),
        "all of the maker's"
    );
    let leaf = biotrust_certs::Certificate::parse(&WORLD.chip_chain[0]).unwrap().sha256();
    stopped(&entry(|entry| entry.anchors = vec![leaf]), &[Model]);
}

#[test]
fn a_model_is_found_by_its_words_and_stands_there_once() {
    let mut document = WORLD.document(FtmKind::Spdm);
    let models = WORLD.metadata(&document);
    let provider = WORLD.identity().device_provider;
    assert!(models.find(&provider.to_uppercase(), " acme", "SLAP-4").is_some());
    assert!(models.find(&provider, "ACME", "Slap-40").is_none());
    document.models.push(document.models[0].clone());
    let refused = Metadata::verify(&WORLD.publish(&document), &WORLD.adopter, NOW, 0).unwrap_err();
    assert!(refused.to_string().contains("twice"), "{refused}");
}

/// What the adopter knows about a module inside the device says nothing about the TPM of the host beside it.
#[test]
fn reference_values_of_another_kind_of_module_are_left_alone() {
    let host = |forge: &mut TpmForge<'static>| {
        forge.claims.level = Level::L0;
        forge.claims.svn = None;
    };
    let report = judge(FtmKind::Spdm, &tpm_evidence(host), |_| {});
    assert_eq!(report.verdict().unwrap().level, Level::L0);
    for name in [CheckName::Measurements, CheckName::Svn] {
        assert_eq!(outcome(&report, name), Outcome::NotChecked);
    }
    let mut document = WORLD.document(FtmKind::Spdm);
    document.models[0].anchors = vec!["AB".repeat(32)];
    let models = WORLD.metadata(&document);
    let report = judge(FtmKind::Spdm, &tpm_evidence(host), |expected| expected.models = Some(&models));
    assert_eq!(report.verdict().unwrap().level, Level::L0, "nor do the makers of such modules");
    let level_1 = tpm(|forge| forge.claims.svn = None);
    stopped(&level_1, &[CheckName::Measurements, CheckName::Svn]);
}

/// A module beside a sensor measures its own firmware, whatever the sensor runs, and makes nothing L1 of it. Its proofs
/// must be as good as any.
#[test]
fn a_module_beside_a_sensor_is_level_0_and_measures_itself() {
    let claims = |level, firmware: &str| {
        let forge = SpdmForge::new(&WORLD, &challenge());
        let proof = Proof::Spdm(forge.proof());
        Claims::beside(
            &WORLD.identity(),
            level,
            firmware,
            WORLD.chip_chain.first().map(Vec::as_slice),
            &proof,
        )
    };
    let sensor = || claims(Level::L0, "sensor 9");
    let mut document = WORLD.document(FtmKind::Spdm);
    document.models[0].anchors = vec!["AB".repeat(32)];
    document.models[0].minimum_svn = 99;
    let models = WORLD.metadata(&document);
    let beside = judge(FtmKind::Spdm, &spdm_evidence(|forge| forge.claims = Some(sensor())), |expected| {
        expected.models = Some(&models);
    });
    let attested = beside.verdict().unwrap();
    assert_eq!((attested.level, attested.svn), (Level::L0, None));
    assert!(attested.why_not_l1.as_ref().unwrap().contains("key in a module"), "{attested:?}");
    assert_eq!(attested.device_key.as_deref(), Some(WORLD.device.spki()), "its word on the key counts");
    for name in [CheckName::Measurements, CheckName::Svn] {
        assert_eq!(outcome(&beside, name), Outcome::NotChecked);
    }

    let in_it = spdm(|forge| forge.claims = Some(claims(Level::L1, "sensor 9")));
    stopped(&in_it, &[CheckName::Measurements]);
    let debugged = spdm(|forge| {
        *forge = forge
            .clone()
            .running(3, DeviceMode { debug: DeviceMode::INVASIVE_DEBUG, ..DeviceMode::normal() });
        forge.claims = Some(sensor());
    });
    stopped(&debugged, &[CheckName::DeviceMode]);
}

#[track_caller]
fn level_0(report: &Report, why: &str) {
    let attested = report.verdict().unwrap();
    assert_eq!(attested.level, Level::L0);
    assert!(attested.why_not_l1.as_ref().unwrap().contains(why), "{attested:?}");
    assert_eq!(outcome(report, LevelCheck), Outcome::Warning);
}

#[test]
fn a_model_that_is_not_certified_l1() {
    level_0(&entry(|entry| entry.level = Level::L0), "certified L0");
    level_0(&entry(|entry| entry.ftm = FtmKind::Tpm), "kind tpm, not spdm");
    level_0(&by_metadata(|document| document.models.clear()), "not in the model metadata");
    level_0(&status(Status::Certified, NOW.plus(DAY), None), "certified from");
    assert_eq!(status(Status::Certified, NOW, None).verdict().unwrap().level, Level::L1, "control");
}

#[test]
fn metadata_that_is_not_kept_up_to_date() {
    let evidence = spdm_evidence(|_| {});
    // As if published longer ago: the next one was due `days` ago.
    let overdue = |days: u32| {
        let due = UtcMillis(NOW.0 - i64::from(days) * 86_400_000);
        let document = Document {
            issued_at: UtcMillis(due.0 - 86_400_000),
            next_update: due,
            ..WORLD.document(FtmKind::Spdm)
        };
        let models = WORLD.metadata(&document).with_grace(10 * DAY);
        judge(FtmKind::Spdm, &evidence, |expected| expected.models = Some(&models))
    };
    let in_grace = overdue(9);
    assert_eq!(in_grace.verdict().unwrap().level, Level::L1);
    assert_eq!(outcome(&in_grace, Model), Outcome::Warning);
    level_0(&overdue(11), "out of date");
}

#[test]
fn no_metadata_at_all() {
    let evidence = spdm_evidence(|_| {});
    level_0(&judge(FtmKind::Spdm, &evidence, |expected| expected.models = None), "no model metadata");
    let trusting = judge(FtmKind::Spdm, &evidence, |expected| {
        (expected.models, expected.policy.l1_without_metadata) = (None, true);
    });
    assert_eq!(trusting.verdict().unwrap().level, Level::L1);
    // A TPM proves that it is one, and not that it is in the scanner: that is for the adopter to say.
    let host = judge(FtmKind::Tpm, &tpm_evidence(|_| {}), |expected| {
        (expected.models, expected.policy.l1_without_metadata) = (None, true);
    });
    level_0(&host, "beside");
}

/// A device that has a chip falls back to keys in files.
#[test]
fn a_downgrade_to_software() {
    let evidence = WORLD.software_evidence(&challenge(), Level::L1);
    stopped(&judge(FtmKind::Spdm, &evidence, |_| {}), &[Identity]);
    let unknown = judge(FtmKind::Spdm, &evidence, |expected| {
        (expected.known_chip, expected.models) = (None, None);
    });
    level_0(&unknown, "files of the host");
}
