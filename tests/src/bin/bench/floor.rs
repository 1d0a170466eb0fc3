//! What the machine can do at best, now.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Median time of one RSA-2048 signature by the library that the daemon uses, over a second.
pub(crate) fn signature() -> Result<Duration> {
    let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no key could be made"))?;
    let random = SystemRandom::new();
    let mut signature = vec![0; key.public_modulus_len()];
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let started = Instant::now();
        key.sign(&RSA_PKCS1_SHA256, &random, black_box(b"floor"), &mut signature)
            .map_err(|_| anyhow!("the library does not sign"))?;
        times.push(started.elapsed());
    }
    times.sort();
    times.get(times.len() / 2).copied().context("no signature in a second")
}

/// Time of the work on bytes that no answer of `length` bytes can avoid: two rounds of base64 (the record, and the
/// payload that holds it), SHA-256 for the signature, and one copy into the answer. Median of five.
pub(crate) fn encoding(length: usize) -> Duration {
    let payload = vec![0x5A; length / 4 * 3];
    let record = vec![0x5A; payload.len() / 4 * 3];
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let started = Instant::now();
            let inner = black_box(URL_SAFE_NO_PAD.encode(black_box(&record)));
            let outer = black_box(URL_SAFE_NO_PAD.encode(black_box(&payload)));
            black_box(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, outer.as_bytes()));
            black_box(outer.clone());
            drop(inner);
            started.elapsed()
        })
        .collect();
    times.sort();
    times[2]
}
