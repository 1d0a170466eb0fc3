//! How fast evidence is verified, beside the floor: the RSA verifications that cannot be avoided.
//!
//! `cargo run --release -p biotrust-attest --example speed --features testing`
//!
//! One thread. The floor is measured in the same run: the number of RSA signatures in a piece of evidence (itself, its
//! proof, the request, and the paths of its certificates) times the time of one verification with RSA-2048.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a program for people

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biotrust_attest::testing::{SpdmForge, TpmForge, World};
use biotrust_attest::{Expected, verify};
use biotrust_model::evidence::{EvidencePurpose, FtmKind};
use biotrust_model::time::UtcMillis;

/// Signatures of the evidence, of the chip's path (two) and of the request.
const COMMON: u32 = 4;
/// Two transcripts and the key statement.
const SPDM: u32 = COMMON + 3;
/// The attestation key's path, two keys, the quote and the clock.
const TPM: u32 = COMMON + 2 + 4;

/// Times of one run of `floor` and of `work`: the best of several rounds each, in turn, since whatever else runs only
/// makes them longer.
fn times(mut floor: impl FnMut(), mut work: impl FnMut()) -> (Duration, Duration) {
    const ROUNDS: u32 = 15;
    const RUNS: u32 = 200;
    let round = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..RUNS).for_each(|_| work());
        start.elapsed() / RUNS
    };
    (0..ROUNDS).fold((Duration::MAX, Duration::MAX), |(least, best), _| {
        (least.min(round(&mut floor)), best.min(round(&mut work)))
    })
}

fn main() {
    let world = World::new(UtcMillis(1_893_456_000_000));
    let (challenge, identity) = (world.challenge(EvidencePurpose::DeviceKey), world.identity());
    let csr = world.device.csr(&identity.serial_no);
    let message = [7; 256];
    let signature = world.device.sign(&message);
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, world.device.spki());

    let samples = [
        (FtmKind::Spdm, SPDM, SpdmForge::new(&world, &challenge).evidence()),
        (FtmKind::Tpm, TPM, TpmForge::new(&world, &challenge).evidence()),
    ];
    for (kind, count, evidence) in samples {
        let models = world.metadata(&world.document(kind));
        let expected: Expected<'_> = world.expected(&challenge, &identity, &csr, &models);
        let (floor, each) = times(
            || black_box(&key).verify(&message, &signature).unwrap(),
            || assert!(verify(black_box(&evidence), &expected).verdict().is_ok()),
        );
        let ratio = each.as_secs_f64() / (floor * count).as_secs_f64();
        println!(
            "{kind}: {:.0} evidences/s ({:.0} us each, {} characters); {count} RSA verifications of {:.1} us, \
             {ratio:.2} times their floor",
            1.0 / each.as_secs_f64(),
            each.as_secs_f64() * 1e6,
            evidence.len(),
            floor.as_secs_f64() * 1e6,
        );
    }
}
