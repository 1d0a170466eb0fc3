//! What trust costs a host: proving, plugging in, rotating. The floor is one RSA-2048 verification of the same run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use biotrust_attest::Challenge;
use biotrust_model::evidence::EvidencePurpose;
use biotrust_tests::site::Plan;
use biotrust_tests::{Site, now};
use serde_json::json;

use super::load;
use super::{Row, median, micros, millis};

/// Rotations during which a client asks.
const ROTATIONS: usize = 12;

/// Everything, on hosts with three devices whose chips are software, and TPMs.
pub(crate) fn rows(verification: Duration) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for chip in [Chip::Software, Chip::Tpm] {
        let site = Site::start(&Plan { chip: chip.option(), ..Plan::default() });
        site.serials.iter().for_each(|serial| drop(site.ready(serial)));
        rows.push(proof(&site, chip, verification)?);
        rows.push(plug_in(&site, chip, verification)?);
        if chip == Chip::Software {
            rows.extend(rotation(&site, verification)?);
        }
    }
    Ok(rows)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chip {
    Software,
    Tpm,
}

impl Chip {
    const fn option(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Tpm => "swtpm",
        }
    }

    const fn of(self, software: &'static str, tpm: &'static str) -> &'static str {
        match self {
            Self::Software => software,
            Self::Tpm => tpm,
        }
    }
}

/// Evidence for a challenge: SPDM over the line (certificates, challenge, measurements, key statement), packed and signed by
/// the chip. Four signatures.
fn proof(site: &Site, chip: Chip, verification: Duration) -> Result<Row> {
    let serial = site.serials.first().context("no device")?;
    let mut times = Vec::new();
    for round in 0..21 {
        let challenge = Challenge::new([round; 32], "bench", EvidencePurpose::DeviceKey, now());
        let started = Instant::now();
        let answer = site.control(&json!({"op": "evidence", "serial": serial, "challenge": challenge}));
        times.push(started.elapsed());
        ensure!(answer["ok"] == true, "no evidence: {answer}");
    }
    let what =
        chip.of("evidence over the line, chip in software", "evidence over the line, chip a TPM (swtpm)");
    Ok(row(what, median(&mut times), Duration::from_millis(500), verification))
}

/// From the moment at which a registered device is plugged in until clients can use it: opening, certificates, evidence, its
/// verification, device info.
fn plug_in(site: &Site, chip: Chip, verification: Duration) -> Result<Row> {
    let serial = site.serials.first().context("no device")?;
    let mut times = Vec::new();
    for _ in 0..9 {
        site.ctl(&["unplug", serial]);
        site.until(serial, "unplugged", serde_json::Value::is_null);
        let started = Instant::now();
        site.ctl(&["replug", serial]);
        site.ready(serial);
        times.push(started.elapsed());
    }
    let what = chip.of("plug-in to Ready, chip in software", "plug-in to Ready, chip a TPM (swtpm)");
    Ok(row(what, median(&mut times), Duration::from_secs(1), verification))
}

/// Rotations, one after the other, while a client asks for device info without a pause.
fn rotation(site: &Site, verification: Duration) -> Result<[Row; 2]> {
    let serial = site.serials.first().context("no device")?;
    let over = AtomicBool::new(false);
    let asked = |wanted: &dyn Fn() -> bool| -> Result<Duration> {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        while wanted() {
            load::serial(site.port, load::INFO, 1)?;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        Ok(longest)
    };
    let calm = Instant::now();
    let usual = asked(&|| calm.elapsed() < Duration::from_secs(2))?;
    let (mut times, gap) = std::thread::scope(|scope| {
        let client = scope.spawn(|| asked(&|| !over.load(Ordering::Relaxed)));
        let times = (0..ROTATIONS)
            .map(|_| {
                let started = Instant::now();
                let answer = site.control(&json!({"op": "rotate", "serial": serial}));
                ensure!(answer["ok"] == true, "no rotation: {answer}");
                Ok(started.elapsed())
            })
            .collect::<Result<Vec<_>>>();
        over.store(true, Ordering::Relaxed);
        let Ok(gap) = client.join() else { bail!("the client failed") };
        Ok((times?, gap?))
    })?;
    let mut seen = row(
        "longest gap that a client sees over 12 rotations",
        gap,
        Duration::from_millis(100),
        verification,
    );
    seen.floor = format!("{}; {} without rotations", seen.floor, millis(usual));
    Ok([
        row(
            "rotation: order to new certificate in use",
            median(&mut times),
            Duration::from_secs(1),
            verification,
        ),
        seen,
    ])
}

fn row(what: &'static str, time: Duration, limit: Duration, verification: Duration) -> Row {
    Row {
        what,
        target: format!("< {} ms", limit.as_millis()),
        measured: format!("{:.0} x ({})", time.as_secs_f64() / verification.as_secs_f64(), millis(time)),
        floor: format!("RSA-2048 verification, {}", micros(verification)),
        met: time < limit,
    }
}
