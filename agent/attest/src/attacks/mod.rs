//! Attacks on evidence. Each changes one thing of a good sample, and names the checks that stop it: all of them, so that
//! a check that fails for a wrong reason is noticed as well as one that does not fail.

mod certificates;
mod documents;
mod freshness;
mod metadata;
mod spdm;
mod tpm;

use std::sync::LazyLock;

use biotrust_model::DeviceIdentity;
use biotrust_model::evidence::{EvidencePurpose, FtmKind};
use biotrust_model::time::UtcMillis;

use crate::metadata::Metadata;
use crate::testing::{SpdmForge, TpmForge, World};
use crate::{Challenge, CheckName, Expected, Outcome, Report, verify};

/// 2030-01-01T00:00:00Z.
const NOW: UtcMillis = UtcMillis(1_893_456_000_000);

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(NOW));

fn challenge() -> Challenge {
    WORLD.challenge(EvidencePurpose::DeviceKey)
}

/// What somebody knows who knows everything.
struct Knowledge {
    challenge: Challenge,
    identity: DeviceIdentity,
    csr: Vec<u8>,
    tpm: Metadata,
    spdm: Metadata,
}

static KNOWLEDGE: LazyLock<Knowledge> = LazyLock::new(|| Knowledge {
    challenge: challenge(),
    identity: WORLD.identity(),
    csr: WORLD.device.csr("SN0000000001"),
    tpm: WORLD.metadata(&WORLD.document(FtmKind::Tpm)),
    spdm: WORLD.metadata(&WORLD.document(FtmKind::Spdm)),
});

/// Judges `evidence` as somebody who knows everything, but for what `change` makes different.
fn judge<'e>(kind: FtmKind, evidence: &str, change: impl FnOnce(&mut Expected<'e>)) -> Report {
    let Knowledge { challenge, identity, csr, tpm, spdm } = &*KNOWLEDGE;
    let models = if kind == FtmKind::Spdm { spdm } else { tpm };
    let mut expected = WORLD.expected(challenge, identity, csr, models);
    change(&mut expected);
    verify(evidence, &expected)
}

/// A device with a TPM in which `change` makes one thing different.
fn tpm(change: impl FnOnce(&mut TpmForge<'static>)) -> Report {
    judge(FtmKind::Tpm, &tpm_evidence(change), |_| {})
}

fn tpm_evidence(change: impl FnOnce(&mut TpmForge<'static>)) -> String {
    let mut forge = TpmForge::new(&WORLD, &challenge());
    change(&mut forge);
    forge.evidence()
}

/// A device that speaks SPDM in which `change` makes one thing different.
fn spdm(change: impl FnOnce(&mut SpdmForge<'static>)) -> Report {
    judge(FtmKind::Spdm, &spdm_evidence(change), |_| {})
}

fn spdm_evidence(change: impl FnOnce(&mut SpdmForge<'static>)) -> String {
    let mut forge = SpdmForge::new(&WORLD, &challenge());
    change(&mut forge);
    forge.evidence()
}

/// Stopped by exactly these checks.
#[track_caller]
fn stopped(report: &Report, by: &[CheckName]) {
    let failed: Vec<CheckName> = report.failed().map(|check| check.name).collect();
    assert_eq!(failed, by, "{:#?}", report.checks());
    assert_eq!(report.verdict().unwrap_err().name, by[0]);
}

/// What `name` says.
fn text(report: &Report, name: CheckName) -> String {
    report.checks().iter().find(|check| check.name == name).map(|check| check.text.clone()).unwrap()
}

fn outcome(report: &Report, name: CheckName) -> Outcome {
    report.checks().iter().find(|check| check.name == name).map(|check| check.outcome).unwrap()
}

/// Negative control of all attacks: what they start from passes every check.
mod good {
    use biotrust_model::Level;

    use super::*;

    #[test]
    fn every_check_of_a_good_sample_passes() {
        for report in [tpm(|_| {}), spdm(|_| {})] {
            let passed: Vec<_> = report.checks().iter().map(|check| (check.name, check.outcome)).collect();
            let all: Vec<_> = CheckName::ALL.iter().map(|name| (*name, Outcome::Pass)).collect();
            assert_eq!(passed, all, "{:#?}", report.checks());
            let attested = report.verdict().unwrap();
            assert_eq!((attested.level, &attested.why_not_l1), (Level::L1, &None));
            assert_eq!(attested.identity, WORLD.identity());
            assert_eq!(attested.device_key.as_deref(), Some(WORLD.device.spki()));
            assert_eq!(attested.chip.as_ref().map(|chip| chip.spki_der()), Some(WORLD.chip.spki()));
            assert_eq!((attested.svn, attested.firmware.as_str()), (Some(3), "1.2.3"));
            assert!(attested.valid_until.unwrap() > NOW);
        }
    }

    #[test]
    fn software_is_level_0_and_says_so() {
        let evidence = WORLD.software_evidence(&challenge(), Level::L0);
        let report = judge(FtmKind::Software, &evidence, |expected| expected.known_chip = None);
        let attested = report.verdict().unwrap();
        assert_eq!(attested.level, Level::L0);
        assert!(attested.why_not_l1.as_ref().unwrap().contains("files of the host"));
        assert_eq!(attested.device_key.as_deref(), Some(WORLD.device.spki()));
        assert_eq!(outcome(&report, CheckName::ChipPath), Outcome::NotChecked);
    }

    #[test]
    fn the_tpm_of_a_host_beside_a_scanner_is_level_0() {
        let report = tpm(|forge| forge.claims.level = Level::L0);
        let attested = report.verdict().unwrap();
        assert_eq!(attested.level, Level::L0);
        assert!(attested.why_not_l1.as_ref().unwrap().contains("beside the scanner"), "{attested:?}");
    }

    #[test]
    fn what_nobody_asked_for_is_not_checked() {
        let report = judge(FtmKind::Tpm, &tpm_evidence(|_| {}), |expected| {
            (expected.challenge, expected.csr, expected.identity) = (None, None, None);
            (expected.models, expected.device_key, expected.known_chip) = (None, None, None);
        });
        for name in [CheckName::Challenge, CheckName::CsrKey, CheckName::Model, CheckName::Identity] {
            assert_eq!(outcome(&report, name), Outcome::NotChecked, "{name}");
        }
        assert_eq!(report.failed().count(), 0, "{:#?}", report.checks());
        assert_eq!(report.verdict().unwrap_err().name, CheckName::Challenge, "never good without freshness");
    }
}
