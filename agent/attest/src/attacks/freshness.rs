//! Old evidence, evidence for others, and clocks.

use std::time::Duration;

use biotrust_model::evidence::FtmKind;

use super::*;
use CheckName::{Binding, Challenge as Fresh, TrustedTime};

fn answered(change: impl FnOnce(&mut Challenge)) -> Report {
    let mut asked = challenge();
    change(&mut asked);
    judge(FtmKind::Tpm, &tpm_evidence(|_| {}), |expected| expected.challenge = Some(&asked))
}

#[test]
fn a_replay() {
    assert!(answered(|_| {}).verdict().is_ok(), "control");
    stopped(&answered(|asked| asked.nonce[0] ^= 1), &[Fresh, Binding]);
}

#[test]
fn a_nonce_of_another_purpose() {
    for purpose in [EvidencePurpose::Identity, EvidencePurpose::State, EvidencePurpose::Time] {
        stopped(&answered(|asked| asked.purpose = purpose), &[Fresh, Binding]);
    }
}

#[test]
fn another_audience() {
    stopped(&answered(|asked| asked.audience = "tesT".to_owned()), &[Fresh, Binding]);
}

/// The claims are made to fit the challenge; the proof inside is an old one.
#[test]
fn an_old_proof_in_new_evidence() {
    let mut old = challenge();
    old.nonce = [1; 32];
    let report = tpm(|forge| forge.attest.extra_data = old.binding().0.to_vec());
    stopped(&report, &[Binding]);
    let report = spdm(|forge| forge.binding = old.binding());
    stopped(&report, &[Binding]);
    let report = spdm(|forge| forge.statement.as_mut().unwrap().binding = old.binding().0);
    stopped(&report, &[Binding]);
}

#[test]
fn an_answer_after_the_challenge_expired() {
    let evidence = tpm_evidence(|_| {});
    let after = |seconds| {
        judge(FtmKind::Tpm, &evidence, |expected| expected.now = NOW.plus(Duration::from_secs(seconds)))
    };
    assert!(after(60).verdict().is_ok(), "control: the last second");
    stopped(&after(61), &[Fresh]);
}

#[test]
fn a_stopped_clock() {
    let report = tpm(|forge| forge.issued_at = UtcMillis(NOW.0 - 300_000));
    stopped(&report, &[Fresh, TrustedTime]);
    let control = tpm(|forge| forge.issued_at = UtcMillis(NOW.0 - 20_000));
    assert!(control.verdict().is_ok(), "within the tolerance");
}

#[test]
fn a_clock_that_is_ahead() {
    stopped(&tpm(|forge| forge.issued_at = NOW.plus(Duration::from_secs(40))), &[TrustedTime]);
}
