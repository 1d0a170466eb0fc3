//! The speed and memory of the main job, each figure as a ratio to a floor measured in the same run.
//!
//! Real programs over real sockets: `biosim serve` holds the devices, `biotrustd` is started and measured from
//! outside. Machines are noisy, so medians are shown and nothing is asserted: a row that misses its target says so,
//! and the exit status stays 0.

mod floor;
mod library;
mod load;
mod rig;
mod trust;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};

use floor::Signer;
use library::Library;
use load::Latencies;
use rig::{Devices, Rig};

/// One row of the table.
struct Row {
    what: &'static str,
    target: String,
    measured: String,
    floor: String,
    met: bool,
}

fn main() -> Result<()> {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let seconds = if quick { 2 } else { 10 };
    let mut rows = Vec::new();

    say("floors: RSA-2048 signatures, base64");
    let signer = Signer::new()?;
    say(&format!("  one signature takes {}", millis(signer.time(1000)?)));

    say("libraries: evidence, trust store");
    let library = Library::new();
    rows.extend(library.evidence()?);
    rows.push(library.store()?);
    say("devices with chips and a management server: proofs, plugging in, rotation");
    rows.extend(trust::rows(library.verification()?)?);
    drop(library);

    say("six L0 devices: discovery, info, capture, load");
    let devices = Devices::start("all", "l0")?;
    let rig = Rig::start(&devices, "info_reuse_ms = 5000")?;
    rig.ready(6)?;
    rows.extend(discovery(&rig)?);
    rows.push(capture(&rig, &signer)?);
    let idle = rig.rss()?;
    rows.push(flood(&rig, seconds)?);
    rows.push(stream(&rig, seconds)?);
    rows.push(memory(&rig, idle)?);
    drop(rig);

    say("cold signatures");
    let rig = Rig::start(&devices, "info_reuse_ms = 0")?;
    rig.ready(6)?;
    rows.push(cold_info(&rig, &signer)?);
    drop(rig);

    say("start, with the devices already connected");
    rows.push(start(&devices)?);

    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["measure", "target", "measured", "floor of the same run", "met"]);
    for row in &rows {
        table.add_row([row.what, &row.target, &row.measured, &row.floor, if row.met { "yes" } else { "NO" }]);
    }
    println!("\n{table}");
    println!("\n{} cores, {}", std::thread::available_parallelism()?, rig::machine());
    Ok(())
}

fn discovery(rig: &Rig) -> Result<[Row; 2]> {
    let one = load::latencies(rig.port, load::DISCOVERY, 1, Duration::from_secs(2))?;
    let many = load::latencies(rig.port, load::DISCOVERY, 100, Duration::from_secs(4))?;
    let connect = load::connect_floor()?;
    let row = |what, target: &str, found: &Latencies, limit: Duration| Row {
        what,
        target: target.to_owned(),
        measured: format!(
            "p50 {}, p99 {} ({} requests)",
            millis(found.at(50)),
            millis(found.at(99)),
            found.len()
        ),
        floor: format!("bare TCP round trip {}", millis(connect)),
        met: found.at(99) < limit,
    };
    Ok([
        row("MOSIPDISC, 1 client", "p99 < 1 ms", &one, Duration::from_millis(1)),
        row("MOSIPDISC, 100 clients", "p99 < 20 ms", &many, Duration::from_millis(20)),
    ])
}

fn cold_info(rig: &Rig, signer: &Signer) -> Result<Row> {
    let signatures = 12;
    let pair = || -> Result<(Duration, Duration)> {
        let time = load::serial(rig.port, load::INFO, 1)?.at(50);
        Ok((time, signer.time(24)? * signatures))
    };
    let pairs = (0..60).map(|_| pair()).collect::<Result<Vec<_>>>()?;
    Ok(ratio_row("MOSIPDINFO, 6 devices, cold signatures", 1.3, &pairs, &format!("{signatures} signatures")))
}

fn capture(rig: &Rig, signer: &Signer) -> Result<Row> {
    let slap = rig.device("Finger", "Slap")?;
    let pair = || -> Result<(Duration, Duration)> {
        let body = load::post(rig.port, "RCAPTURE", "/capture", &rig::left_slap(&slap.id))?;
        Ok((rig.host_time(&slap.serial)?, signer.time(24)? * 5 + floor::encoding(body.len())))
    };
    let pairs = (0..21).map(|_| pair()).collect::<Result<Vec<_>>>()?;
    Ok(ratio_row("RCAPTURE 4 fingers, after the sensor delivered", 1.5, &pairs, "5 signatures and encoding"))
}

/// The median of the ratios of each measurement to the floor that was taken beside it.
fn ratio_row(what: &'static str, limit: f64, pairs: &[(Duration, Duration)], floor: &str) -> Row {
    let ratio = median(
        &mut pairs.iter().map(|(time, floor)| time.as_secs_f64() / floor.as_secs_f64()).collect::<Vec<_>>(),
    );
    let of = |pick: fn(&(Duration, Duration)) -> Duration| {
        millis(median(&mut pairs.iter().map(pick).collect::<Vec<_>>()))
    };
    Row {
        what,
        target: format!("<= {limit} x"),
        measured: format!("{ratio:.2} x ({})", of(|pair| pair.0)),
        floor: format!("{floor}, {}", of(|pair| pair.1)),
        met: ratio <= limit,
    }
}

fn flood(rig: &Rig, seconds: u64) -> Result<Row> {
    load::latencies(rig.port, load::INFO, 100, Duration::from_secs(1))?;
    let before = rig.rss()?;
    let span = Duration::from_secs(seconds);
    let started = Instant::now();
    let found = load::latencies(rig.port, load::INFO, 100, span)?;
    let rate = found.len() as f64 / started.elapsed().as_secs_f64();
    let growth = rig.rss()?.saturating_sub(before);
    let bare = load::echo_rate(found.answer_bytes, Duration::from_secs(2))?;
    Ok(Row {
        what: "100 clients on MOSIPDINFO",
        target: ">= 5000/s, no error, RSS growth < 20 MB".into(),
        measured: format!("{rate:.0}/s, {} errors, growth {}", found.errors, megabytes(growth)),
        floor: format!(
            "{:.2} of a bare server of {} answers ({bare:.0}/s)",
            rate / bare,
            kilobytes(found.answer_bytes)
        ),
        met: rate >= 5000.0 && found.errors == 0 && growth < 20 << 20,
    })
}

fn stream(rig: &Rig, seconds: u64) -> Result<Row> {
    let slap = rig.device("Finger", "Slap")?;
    let stream = load::Stream::open(rig.port, &slap.id, 1)?;
    stream.wait_for_frame()?;
    let (cpu, started) = (rig.cpu()?, Instant::now());
    let frames = stream.frames();
    rig::pause(Duration::from_secs(seconds));
    let share = (rig.cpu()? - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
    let fps = (stream.frames() - frames) as f64 / started.elapsed().as_secs_f64();
    Ok(Row {
        what: "STREAM",
        target: "< 5 % of a core at 15 fps".into(),
        measured: format!("{:.1} % of a core at {fps:.1} fps", share * 100.0),
        floor: "-".into(),
        met: share < 0.05 && fps >= 10.0,
    })
}

fn memory(rig: &Rig, idle: u64) -> Result<Row> {
    let devices = rig.registration_and_auth()?;
    let peak = rig.peak_while(|| load::captures(rig.port, &devices))?;
    Ok(Row {
        what: "RSS idle with 6 devices / during 4 captures",
        target: "< 20 MB / < 80 MB".into(),
        measured: format!("{} / {}", megabytes(idle), megabytes(peak)),
        floor: "-".into(),
        met: idle < 20 << 20 && peak < 80 << 20,
    })
}

fn start(devices: &Devices) -> Result<Row> {
    let mut times = Vec::new();
    for _ in 0..7 {
        times.push(Rig::time_to_port(devices).context("starting biotrustd")?);
    }
    let floor = rig::process_floor()?;
    let middle = median(&mut times);
    Ok(Row {
        what: "start to port open",
        target: "< 100 ms".into(),
        measured: millis(middle),
        floor: format!("starting /bin/true {}", millis(floor)),
        met: middle < Duration::from_millis(100),
    })
}

fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}

fn millis(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1e3)
}

fn micros(span: Duration) -> String {
    format!("{:.1} us", span.as_secs_f64() * 1e6)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn kilobytes(bytes: usize) -> String {
    format!("{:.0} kB", bytes as f64 / 1e3)
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}
