//! Evidence from a stranger: nothing but the good sample itself ever passes.
//!
//! The first byte chooses a sample (SPDM, TPM, software) and what the rest is: a whole text, a payload in the sample's
//! envelope, or edits of the sample's payload (two bytes position, one byte value), which reach deep into the proofs.
#![no_main]

use std::sync::OnceLock;

use biotrust_attest::metadata::Metadata;
use biotrust_attest::testing::{SpdmForge, TpmForge, World};
use biotrust_attest::{Challenge, verify};
use biotrust_model::evidence::{EvidencePurpose, FtmKind};
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceIdentity, Level};
use libfuzzer_sys::fuzz_target;

struct Sample {
    evidence: String,
    metadata: Metadata,
    passes: bool,
}

struct Bench {
    world: World,
    challenge: Challenge,
    identity: DeviceIdentity,
    csr: Vec<u8>,
    samples: [Sample; 3],
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let world = World::new(UtcMillis(1_790_000_000_000));
        let challenge = world.challenge(EvidencePurpose::DeviceKey);
        let (identity, csr) = (world.identity(), world.device.csr("SN0000000001"));
        let sample = |kind: FtmKind, evidence: String| {
            let metadata = world.metadata(&world.document(kind));
            let expected = world.expected(&challenge, &identity, &csr, &metadata);
            let passes = verify(&evidence, &expected).verdict().is_ok();
            Sample { evidence, passes, metadata }
        };
        let samples = [
            sample(FtmKind::Spdm, SpdmForge::new(&world, &challenge).evidence()),
            sample(FtmKind::Tpm, TpmForge::new(&world, &challenge).evidence()),
            sample(FtmKind::Software, world.software_evidence(&challenge, Level::L0)),
        ];
        assert!(samples.iter().take(2).all(|sample| sample.passes), "negative control: good samples pass");
        Bench { challenge, identity, csr, samples, world }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let bench = bench();
    let sample = &bench.samples[usize::from(choice % 3)];
    let text = match choice / 3 % 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => with_payload(&sample.evidence, |_| rest.to_vec()),
        _ => with_payload(&sample.evidence, |payload| edited(payload, rest)),
    };
    let expected = bench.world.expected(&bench.challenge, &bench.identity, &bench.csr, &sample.metadata);
    let report = verify(&text, &expected);
    let passes = report.verdict().is_ok();
    assert!(!passes || text == sample.evidence && sample.passes, "a change went unnoticed");
    assert!(!report.checks().is_empty());
});

fn with_payload(evidence: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let parts: Vec<&str> = evidence.split('.').collect();
    let payload = change(base64url_decode(parts[1]));
    format!("{}.{}.{}", parts[0], base64url(&payload), parts[2])
}

fn edited(mut payload: Vec<u8>, edits: &[u8]) -> Vec<u8> {
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % payload.len();
        payload[at] = edit[2];
    }
    payload
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn base64url_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("of our own making")
}
