//! What the libraries of trust can do, without a program around them: one thread, which is one core.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biotrust_attest::testing::{SpdmForge, TpmForge, World};
use biotrust_attest::verify;
use biotrust_certs::disk::StoreDir;
use biotrust_certs::{Authority, Certificate, Device, Domain, Order, Validity};
use biotrust_model::evidence::{EvidencePurpose, FtmKind};
use biotrust_model::time::UtcMillis;

use super::{Row, micros, millis};

/// A moment in 2030; nothing here looks at a clock.
const NOW: UtcMillis = UtcMillis(1_893_456_000_000);
/// RSA signatures in evidence: its own, two of the chip's path, the certificate request's …
const COMMON: u32 = 4;
/// … two transcripts and the key statement, or …
const SPDM: u32 = COMMON + 3;
/// … the path of the attestation key, two certified keys, the quote and the clock.
const TPM: u32 = COMMON + 2 + 4;
/// Certificates in the large store.
const AUTHORITIES: usize = 10_000;

/// Authorities, keys, and the floor: RSA verifications with the same library.
pub(crate) struct Library {
    world: World,
}

impl Library {
    pub(crate) fn new() -> Self {
        Self { world: World::new(NOW) }
    }

    /// Time of one verification with RSA-2048, the key given as it stands in a certificate.
    pub(crate) fn verification(&self) -> Result<Duration> {
        let message = [7; 256];
        let signature = self.world.device.sign(&message);
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.world.device.spki());
        best(400, || black_box(&key).verify(&message, &signature).is_ok())
    }

    /// Whole verifications of good evidence: every check, with request, metadata and reference values.
    pub(crate) fn evidence(&self) -> Result<[Row; 2]> {
        let world = &self.world;
        let (challenge, identity) = (world.challenge(EvidencePurpose::DeviceKey), world.identity());
        let csr = world.device.csr(&identity.serial_no);
        let row = |what, kind, signatures: u32, evidence: &str| -> Result<Row> {
            let models = world.metadata(&world.document(kind));
            let expected = world.expected(&challenge, &identity, &csr, &models);
            let floor = self.verification()? * signatures;
            let each = best(400, || verify(black_box(evidence), &expected).verdict().is_ok())?;
            let rate = 1.0 / each.as_secs_f64();
            Ok(Row {
                what,
                target: ">= 2000/s".to_owned(),
                measured: format!("{:.2} x ({rate:.0}/s)", each.as_secs_f64() / floor.as_secs_f64()),
                floor: format!("{signatures} RSA-2048 verifications, {}", micros(floor)),
                met: rate >= 2000.0,
            })
        };
        Ok([
            row(
                "evidence of a chip (SPDM), verified",
                FtmKind::Spdm,
                SPDM,
                &SpdmForge::new(world, &challenge).evidence(),
            )?,
            row(
                "evidence of a TPM, verified",
                FtmKind::Tpm,
                TPM,
                &TpmForge::new(world, &challenge).evidence(),
            )?,
        ])
    }

    /// A store of 10,000 authorities from disk: read, hashed against its manifest, parsed, indexed.
    pub(crate) fn store(&self) -> Result<Row> {
        let directory = tempfile::tempdir()?;
        let store = StoreDir::new(directory.path().join("device"), Domain::Device);
        store.replace(1, &self.authorities()?)?;
        let floor = self.verification()?;
        let load = best(1, || store.load::<Device>(0).is_ok_and(|loaded| loaded.is_some()))?;
        Ok(Row {
            what: "trust store of 10,000 certificates, loaded",
            target: "< 1 s".to_owned(),
            measured: format!("{:.0} x ({})", load.as_secs_f64() / floor.as_secs_f64(), millis(load)),
            floor: format!("RSA-2048 verification, {}", micros(floor)),
            met: load < Duration::from_secs(1),
        })
    }

    /// The provider's root and 9,999 authorities below it. They share one signature: loading verifies only what is
    /// self-issued, and so it costs the same as with one each.
    fn authorities(&self) -> Result<Vec<Certificate>> {
        const NAME: &[u8] = b"Provider 00000";
        let pki = &self.world.pki;
        let order = Order {
            is_ca: true,
            ..Order::leaf(
                Authority::DeviceProvider,
                self.world.other.spki(),
                pki.subject_of(Domain::Device, "Provider 00000"),
                Validity::starting(NOW, Duration::from_secs(365 * 86_400)),
            )
        };
        let mut pattern = pki.issue(&order)?.swap_remove(0);
        let at = pattern.windows(NAME.len()).position(|window| window == NAME).context("a name")?;
        let digits = at + NAME.len() - 5..at + NAME.len();
        let mut all: Vec<_> =
            pki.store::<Device>()?.entries().map(|entry| entry.certificate.clone()).collect();
        for number in all.len()..AUTHORITIES {
            pattern[digits.clone()].copy_from_slice(format!("{number:05}").as_bytes());
            all.push(Certificate::parse(&pattern)?);
        }
        Ok(all)
    }
}

/// Time of one run of `work`, which must succeed: the best of several rounds of `runs`, since whatever else runs on the machine
/// only makes it longer.
fn best(runs: u32, mut work: impl FnMut() -> bool) -> Result<Duration> {
    const ROUNDS: usize = 7;
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..runs {
            ensure!(work(), "what is measured fails");
        }
        best = best.min(started.elapsed() / runs);
    }
    Ok(best)
}
