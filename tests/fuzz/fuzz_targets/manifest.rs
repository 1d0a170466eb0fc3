//! Firmware manifests, time tokens, model metadata and challenges from a stranger: none is ever accepted.
#![no_main]

use std::sync::OnceLock;

use biotrust_attest::manifest::{self, Manifest, Target};
use biotrust_attest::metadata::{Document, Metadata};
use biotrust_attest::{Challenge, signed, time_token};
use biotrust_certs::{AdopterStore, DeviceStore, Domain, SignerPurpose, TestPki};
use biotrust_model::time::UtcMillis;
use libfuzzer_sys::fuzz_target;

const NOW: UtcMillis = UtcMillis(1_790_000_000_000);

struct Bench {
    device: DeviceStore,
    adopter: AdopterStore,
    provider: String,
    /// Chain of a real firmware signer: only its signature is missing.
    chain: Vec<Vec<u8>>,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, NOW).expect("the test PKI is minted");
        let signer = pki.signer(SignerPurpose::Firmware, NOW).expect("a signer");
        Bench {
            device: pki.store().expect("anchors"),
            adopter: pki.store().expect("anchors"),
            provider: pki.organisation(Domain::Device).to_owned(),
            chain: signer.chain.clone(),
        }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let bench = bench();
    if let Ok(manifest) = Manifest::from_json(bytes) {
        let again = Manifest::from_json(manifest.to_json().as_bytes()).expect("what was read is written");
        assert_eq!(again, manifest);
        let _ = manifest.admit(&target(bench), NOW);
        let _ = manifest.check_image(bytes);
    }
    if let Ok(document) = Document::from_json(bytes) {
        let again = Document::from_json(document.to_json().as_bytes()).expect("what was read is written");
        assert_eq!(again, document);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = Challenge::from_json(&text);
    // as it came, and in the envelope of a real signer with a signature that is none
    let unsigned = signed::prepare(manifest::TYP, &signed::Signer::Chain(&bench.chain), &text);
    let enveloped = unsigned.map(|unsigned| unsigned.attach(&[0; 256])).unwrap_or_default();
    for jws in [text.as_ref(), &enveloped] {
        assert!(manifest::verify(jws, &bench.device, &target(bench), NOW).is_err());
        assert!(Metadata::verify(jws, &bench.adopter, NOW, 0).is_err());
        let _ = signed::parse(time_token::TYP, jws, 1 << 16).map(|parsed| parsed.verify().is_err());
    }
});

fn target(bench: &Bench) -> Target<'_> {
    Target {
        vendor: &bench.provider,
        make: "ACME",
        model: "Slap-4",
        running: "1.0.0",
        svn_floor: 1,
        sequence: Some(1),
        loader_svn: Some(1),
        capacity: Some(1 << 20),
    }
}
