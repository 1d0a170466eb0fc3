//! What the machine can do at best, now.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A key of the library that the daemon uses.
pub(crate) struct Signer {
    key: KeyPair,
    random: SystemRandom,
}

impl Signer {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no key could be made"))?;
        Ok(Self { key, random: SystemRandom::new() })
    }

    /// Median time of one signature now, out of `count` in a row. Taken beside each measurement: a machine that is slow
    /// at this moment is slow for both.
    pub(crate) fn time(&self, count: usize) -> Result<Duration> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            self.key
                .sign(&RSA_PKCS1_SHA256, &self.random, black_box(b"floor"), &mut signature)
                .map_err(|_| anyhow!("the library does not sign"))?;
            times.push(started.elapsed());
        }
        times.sort();
        times.get(times.len() / 2).copied().context("no signature was asked for")
    }
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
