//! Every rule with a manifest that it alone refuses, beside one that passes.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use biotrust_certs::{Authority, Device, DeviceStore, SignerPurpose, TestPki, TestSigner};
use biotrust_model::time::UtcMillis;
use proptest::prelude::*;

use super::*;
use crate::signed::{self, Signer};

const NOW: UtcMillis = UtcMillis(1_795_000_000_000);
const HOUR: i64 = 3_600_000;
const IMAGE: &[u8] = b"an image";
const VENDOR: &str = "Example Devices Ltd";

static PKI: LazyLock<TestPki> = LazyLock::new(|| TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap());
static STORE: LazyLock<DeviceStore> = LazyLock::new(|| PKI.store::<Device>().unwrap());
static SIGNER: LazyLock<TestSigner> =
    LazyLock::new(|| PKI.signer(SignerPurpose::Firmware, UtcMillis(NOW.0 - HOUR)).unwrap());

fn manifest() -> Manifest {
    Manifest {
        sequence: 8,
        vendor: VENDOR.into(),
        make: "Biosim".into(),
        model: "SLAP-442".into(),
        component: Component::Firmware,
        version: "2.0".into(),
        svn: 3,
        size: IMAGE.len() as u64,
        sha256: digest::digest(&digest::SHA256, IMAGE).as_ref().try_into().unwrap(),
        precursors: vec!["1.8".into(), "1.9".into()],
        dependencies: vec![Dependency { component: Component::Loader, min_svn: 2 }],
        issued_at: UtcMillis(NOW.0 - HOUR / 2),
        best_before: Some(UtcMillis(NOW.0 + HOUR)),
    }
}

const TARGET: Target<'static> = Target {
    vendor: VENDOR,
    make: "Biosim",
    model: "SLAP-442",
    running: "1.9",
    svn_floor: 3,
    sequence: Some(7),
    loader_svn: Some(2),
    capacity: Some(IMAGE.len() as u64),
};

fn sign_with(signer: &TestSigner, typ: &str, json: &str) -> String {
    let unsigned = signed::prepare(typ, &Signer::Chain(&signer.chain), json).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    unsigned.attach(&signature)
}

fn sign(manifest: &Manifest) -> String {
    sign_with(&SIGNER, TYP, &manifest.to_json())
}

fn judge(jws: &str) -> Result<Manifest, ManifestError> {
    verify(jws, &*STORE, &TARGET, NOW)
}

#[test]
fn a_good_manifest_is_accepted_and_reads_as_it_was_written() {
    assert_eq!(judge(&sign(&manifest())).unwrap(), manifest());
    manifest().check_image(IMAGE).unwrap();
    let plain = Manifest { precursors: vec![], dependencies: vec![], best_before: None, ..manifest() };
    assert_eq!(judge(&sign(&plain)).unwrap(), plain);
}

/// It is read before its signature is known, and what is wrong with it gets into logs.
#[test]
fn what_cannot_be_read_is_told_in_one_short_line() {
    let name = format!("\u{1b}[2J\n{}", "x".repeat(2_000));
    let json = manifest().to_json().replacen(
        "\"svn\"",
        &format!("{},\"svn\"", serde_json::json!({ name: 1 }).to_string().trim_matches(['{', '}'])),
        1,
    );
    let error = judge(&sign_with(&SIGNER, TYP, &json)).unwrap_err();
    assert_eq!(error.rule(), "document");
    let text = error.to_string();
    assert!(text.len() < 300 && !text.chars().any(char::is_control), "{text:?}");
}

#[test]
fn each_rule_refuses_what_it_is_for() {
    let refused = |change: fn(&mut Manifest)| {
        let mut manifest = manifest();
        change(&mut manifest);
        judge(&sign(&manifest)).map_err(|error| error.rule())
    };
    assert!(refused(|_| ()).is_ok(), "control");
    for (rule, change) in [
        ("vendor", (|m| m.vendor = "Other Devices Ltd".into()) as fn(&mut Manifest)),
        ("model", |m| m.model = "IRIS-2".into()),
        ("model", |m| m.make = "Other".into()),
        ("component", |m| m.component = Component::Loader),
        ("downgrade", |m| m.svn = 2),
        ("sequence", |m| m.sequence = 7),
        ("sequence", |m| m.sequence = 0),
        ("expired", |m| m.best_before = Some(UtcMillis(NOW.0 - 1))),
        ("not-yet", |m| m.issued_at = UtcMillis(NOW.0 + HOUR)),
        ("precursor", |m| m.precursors = vec!["1.8".into()]),
        ("dependency", |m| m.dependencies[0].min_svn = 3),
        ("too-large", |m| m.size += 1),
        ("document", |m| m.size = 0),
        ("document", |m| m.version = String::new()),
        ("document", |m| m.version = "2\n0".into()),
    ] {
        assert_eq!(refused(change), Err(rule));
    }
}

#[test]
fn what_a_host_does_not_know_is_left_to_the_device() {
    let host = Target { sequence: None, loader_svn: None, capacity: None, ..TARGET };
    let jws = sign(&Manifest { sequence: 1, size: 1 << 20, ..manifest() });
    verify(&jws, &*STORE, &host, NOW).unwrap();
    assert!(judge(&jws).is_err(), "the device knows better");
}

#[test]
fn an_image_is_the_one_of_its_manifest() {
    let error = manifest().check_image(b"an image!").unwrap_err();
    assert_eq!(error, ManifestError::Size { size: 8, found: 9 });
    for bit in 0..IMAGE.len() * 8 {
        let mut image = IMAGE.to_vec();
        image[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(manifest().check_image(&image), Err(ManifestError::Digest));
    }
}

#[test]
fn only_the_providers_firmware_signer_signs() {
    let json = manifest().to_json();
    let at = UtcMillis(NOW.0 - HOUR);
    let rule = |signer: &TestSigner, typ: &str| judge(&sign_with(signer, typ, &json)).map_err(|e| e.rule());
    assert!(rule(&SIGNER, TYP).is_ok(), "control");
    assert_eq!(rule(&SIGNER, "mgmt-reply+jwt"), Err("signature"), "another type of document");
    for purpose in [SignerPurpose::Management, SignerPurpose::Metadata, SignerPurpose::AttestationKey] {
        assert_eq!(rule(&PKI.signer(purpose, at).unwrap(), TYP), Err("signature"), "{purpose}");
        let by_provider = PKI.signer_by(Authority::DeviceProvider, purpose, at).unwrap();
        assert_eq!(rule(&by_provider, TYP), Err("signature"), "{purpose}");
    }
    for by in [Authority::Stranger, Authority::OtherProvider, Authority::FtmProvider] {
        let signer = PKI.signer_by(by, SignerPurpose::Firmware, at).unwrap();
        assert_eq!(rule(&signer, TYP), Err("signature"), "{by:?}");
    }
    let mut other = sign(&manifest());
    let swapped = sign(&Manifest { svn: 9, ..manifest() });
    other.replace_range(other.rfind('.').unwrap().., &swapped[swapped.rfind('.').unwrap()..]);
    assert_eq!(judge(&other).unwrap_err().rule(), "signature", "the signature of another manifest");
}

#[test]
fn a_loader_without_a_clock_judges_signers_at_the_time_of_signing() {
    let later = UtcMillis(NOW.0 + 3 * 366 * 24 * HOUR);
    let jws = sign(&manifest());
    assert!(Manifest::authenticate(&jws, &*STORE, VENDOR, Some(later)).is_err(), "the signer has expired");
    Manifest::authenticate(&jws, &*STORE, VENDOR, None).unwrap();
    let before = sign(&Manifest { issued_at: UtcMillis(NOW.0 - 2 * HOUR), ..manifest() });
    let error = Manifest::authenticate(&before, &*STORE, VENDOR, None).unwrap_err();
    assert_eq!(error.rule(), "signature", "dated before its signer was");
}

#[test]
fn unknown_conditions_and_versions_are_refused() {
    let json = manifest().to_json();
    let rule = |json: &str| judge(&sign_with(&SIGNER, TYP, json)).map_err(|error| error.rule());
    assert!(rule(&json).is_ok(), "control");
    assert_eq!(rule(&json.replacen('{', r#"{"onlyOnSundays":true,"#, 1)), Err("document"));
    assert_eq!(rule(&json.replacen(r#""manifestVersion":1"#, r#""manifestVersion":2"#, 1)), Err("version"));
    assert_eq!(rule(&json.replacen(r#""svn":3"#, r#""svn":-3"#, 1)), Err("document"));
    assert_eq!(rule(&json.replacen(r#""sha256":""#, r#""sha256":"00"#, 1)), Err("document"));
    assert_eq!(rule("{}"), Err("document"));
    assert_eq!(judge(&"a".repeat(MAX_LENGTH + 1)).unwrap_err().rule(), "signature");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(json in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::from_json(json.as_bytes());
        let _ = Manifest::from_json(&bytes);
        prop_assert!(judge(&json).is_err());
    }

    #[test]
    fn a_broken_manifest_is_never_accepted(at in any::<prop::sample::Index>(), flip in 1u8..) {
        static JWS: LazyLock<String> = LazyLock::new(|| sign(&manifest()));
        let mut bytes = JWS.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(judge(&text).is_err());
        }
    }

    #[test]
    fn documents_survive_the_way_through_json(
        sequence: u64, svn: u64, size in 1..=MAX_IMAGE, sha256: [u8; 32], version in "[ -~]{1,40}",
        at in 0..4_000_000_000_000i64,
    ) {
        let manifest = Manifest { sequence, svn, size, sha256, version, issued_at: UtcMillis(at), ..manifest() };
        prop_assert_eq!(Manifest::from_json(manifest.to_json().as_bytes()), Ok(manifest));
    }
}
