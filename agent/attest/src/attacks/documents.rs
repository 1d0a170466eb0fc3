//! Against the form of evidence: other documents, other signers, too much.

use biotrust_model::evidence::FtmKind;
use biotrust_sbi::base64url;

use super::*;
use crate::evidence::{MAX_LENGTH, PROFILE, TYP};
use crate::signed::Signer;
use CheckName::{EvidenceForm, Signature};

fn payload() -> String {
    let evidence = tpm_evidence(|_| {});
    String::from_utf8(base64url::decode(evidence.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn signed(typ: &str, payload: &str) -> String {
    WORLD.chip.document(typ, &Signer::Chain(&WORLD.chip_chain), payload)
}

fn judge_text(evidence: &str) -> Report {
    judge(FtmKind::Tpm, evidence, |_| {})
}

#[test]
fn the_control_is_signed_the_same_way() {
    assert!(judge_text(&signed(TYP, &payload())).verdict().is_ok());
}

/// A chip signs other documents too; none of them is evidence.
#[test]
fn another_document_of_the_same_chip() {
    for typ in ["mgmt+jwt", "key-statement+jwt", "JWT", "EAT+JWT", ""] {
        stopped(&judge_text(&signed(typ, &payload())), &[EvidenceForm]);
    }
}

#[test]
fn another_profile_or_claims_that_contradict_each_other() {
    let good = payload();
    let changes = [
        (PROFILE, "tag:biotrust.example,2026:ftm-evidence-2"),
        (r#""fmt":"tpm""#, r#""fmt":"tpm","more":1"#),
        (r#""fmt":"tpm""#, r#""fmt":"other""#),
        (r#""serialNo":"SN"#, r#""serialNo":"SN","serialNo":"SN"#),
        // of every layer: a verifier that takes the first and one that takes the last must not both be content
        (r#""aud":"#, r#""aud":"other","aud":"#),
        (r#""mosip_cert_level":"#, r#""mosip_cert_level":"L0","mosip_cert_level":"#),
        (r#""mosip_svn":"#, r#""mosip_svn":9,"mosip_svn":"#),
        (r#""fmt":"tpm""#, r#""fmt":"tpm","fmt":"tpm""#),
        (r#""attestation_public":"#, r#""attestation_public":"","attestation_public":"#),
        (r#""mosip_ftm_serial":"FTM"#, r#""mosip_ftm_serial":"OTHER"#),
        (r#""deviceProvider":""#, r#""deviceProvider":"Not "#),
        (r#""deviceSubType":"Slap""#, r#""deviceSubType":"Double""#),
        (r#""mosip_purpose":"devkey""#, r#""mosip_purpose":"anything""#),
        (r#""iat":"#, r#""iat":-"#),
    ];
    for (from, to) in changes {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        stopped(&judge_text(&signed(TYP, &changed)), &[EvidenceForm]);
    }
    assert!(
        judge_text(&signed(TYP, &good.replacen('{', r#"{"cti":"unknown claims are allowed","#, 1)))
            .verdict()
            .is_ok()
    );
}

#[test]
fn no_signature_or_another_algorithm() {
    let good = signed(TYP, &payload());
    let (header, rest) = good.split_once('.').unwrap();
    let header = String::from_utf8(base64url::decode(header).unwrap()).unwrap();
    for algorithm in ["none", "HS256", "PS256", "rs256"] {
        let changed = base64url::encode(header.replace("RS256", algorithm));
        stopped(&judge_text(&format!("{changed}.{rest}")), &[EvidenceForm]);
    }
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    stopped(&judge_text(&format!("{unsigned}.")), &[EvidenceForm]);
    let mut signature = base64url::decode(good.rsplit_once('.').unwrap().1).unwrap();
    signature[0] ^= 1;
    stopped(&judge_text(&format!("{unsigned}.{}", base64url::encode(signature))), &[Signature]);
}

#[test]
fn a_chip_without_its_certificate() {
    let evidence = WORLD.chip.document(TYP, &Signer::Key(WORLD.chip.spki()), &payload());
    stopped(&judge_text(&evidence), &[Signature]);
}

#[test]
fn too_much() {
    let good = payload();
    let padded = good.replacen('{', &format!(r#"{{"x":"{}","#, "x".repeat(MAX_LENGTH)), 1);
    let report = judge_text(&signed(TYP, &padded));
    stopped(&report, &[EvidenceForm]);
    assert!(text(&report, EvidenceForm).contains("over the limit"));
    let long = good.replacen("SN0000000001", &"9".repeat(257), 1);
    stopped(&judge_text(&signed(TYP, &long)), &[EvidenceForm]);
}

#[test]
fn garbage_is_refused_and_nothing_panics() {
    let good = signed(TYP, &payload());
    for text in ["", ".", "..", "a.b.c", "\u{1f600}.\u{1f600}.\u{1f600}", "{}"] {
        stopped(&judge_text(text), &[EvidenceForm]);
    }
    for end in (0..good.len()).step_by(97) {
        assert!(judge_text(&good[..end]).verdict().is_err(), "cut at {end}");
    }
}
