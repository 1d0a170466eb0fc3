//! Random plugs, pulls, resets and faults while clients capture: after each round everything is there again, and at the
//! end the daemon holds what it held at the beginning.
//!
//! The events follow from a seed, which is told; when exactly each hits is up to the machine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use biotrust_tests::{Device, Request, http, wait};
use serde_json::{Value, json};

use crate::guest::{self, shown};
use crate::hardware::Hardware;
use crate::host::{self, Daemon, Held};
use crate::judge;
use crate::scenario::buses;

/// Events of a cycle, and after how many of them everything is to be ready again.
const EVENTS: u32 = 200;
const ROUND: u32 = 50;
const SEED: u64 = 5;
/// Of each capture under way.
const TIMEOUT_MS: u32 = 6_000;
/// By how much an answer may be late here. A real host has none to spare; an emulated one does not run while the machine
/// does other things.
const LATE: Duration = Duration::from_secs(3);
/// What the daemon may have more in the end: its allocator keeps what it had from the system.
const MEMORY_KIB: usize = 8 * 1024;
const FAULTS: [&str; 5] = ["stall:1", "nak", "short", "garbage", "slow:50"];

/// What clients met.
#[derive(Default)]
struct Load {
    answers: BTreeMap<String, u32>,
    longest: Duration,
}

/// Runs the storm on these devices, with clients that capture from all of them.
pub(super) fn run(hardware: &Hardware, daemon: &Daemon, lines: &[Value]) {
    let cycles = guest::word("cycles").and_then(|word| word.parse().ok()).unwrap_or(1);
    let names: Vec<String> = hardware.names();
    let devices: Vec<Device> = lines.iter().map(host::device).collect();
    let before = settled(daemon, None);
    let (mut dice, mut ready_ms, mut load, mut counts) =
        (Dice(SEED), Vec::new(), Load::default(), BTreeMap::new());
    for cycle in 0..cycles {
        let end = AtomicBool::new(false);
        let cycle_load = std::thread::scope(|threads| {
            // One client after the other: on an emulated processor, four at once would test nothing but patience.
            let client = threads.spawn(|| client(daemon.port, &devices, &end));
            // Whatever happens: a client that goes on would keep a failed run from ending.
            let storm = AtTheEnd(&end);
            for event in 1..=EVENTS {
                *counts.entry(one(hardware, &names, &mut dice)).or_insert(0_u32) += 1;
                wait::pause(Duration::from_millis(dice.below(120)));
                if event % ROUND == 0 {
                    ready_ms.extend(put_right(hardware, &names));
                }
            }
            drop(storm);
            client.join().expect("a client")
        });
        load.add(cycle_load);
        if cycles > 1 {
            shown(format_args!("cycle {}: {:?}", cycle + 1, daemon.held()));
        }
    }
    let after = settled(daemon, Some(before));
    ready_ms.sort_by(f64::total_cmp);
    let of = |share: f64| {
        ready_ms.get((share * (ready_ms.len() - 1) as f64).round() as usize).copied().unwrap_or(0.0)
    };
    let events = cycles * EVENTS;
    shown(format_args!("{events} events of seed {SEED}: {counts:?}"));
    shown(format_args!(
        "answers to clients: {:?}; the longest took {:.1} s",
        load.answers,
        load.longest.as_secs_f64()
    ));
    shown(format_args!(
        "ready after a plug: p50 {:.0} ms, p99 {:.0} ms, of {}",
        of(0.5),
        of(0.99),
        ready_ms.len()
    ));
    shown(format_args!("held before {before:?}, after {after:?}"));
    guest::figures(&json!({
        "events": events, "seed": SEED, "by_kind": counts, "answers": load.answers,
        "longest_answer_ms": load.longest.as_millis() as u64,
        "ready_ms": {"p50": of(0.5), "p99": of(0.99), "count": ready_ms.len()},
        "before": before.json(), "after": after.json(),
    }));
    assert!(
        load.answers.get("0").is_some_and(|count| *count > 0),
        "no capture went well: {:?}",
        load.answers
    );
    let limit = Duration::from_millis(TIMEOUT_MS.into()) + LATE;
    assert!(load.longest < limit, "an answer took {:?}, its deadline was {TIMEOUT_MS} ms", load.longest);
    assert!(after.memory_kib < before.memory_kib + MEMORY_KIB, "memory: {before:?}, {after:?}");
}

/// One event; answers its name.
fn one(hardware: &Hardware, names: &[String], dice: &mut Dice) -> &'static str {
    let name = &names[dice.below(names.len() as u64) as usize];
    let plain = |op: &'static str| {
        hardware.order(op, name, &json!({}));
        op
    };
    match dice.below(10) {
        0 | 1 => plain("unplug"),
        2 | 3 => plain("yank"),
        4..=6 => plain("replug"),
        7 => plain("power-cycle"),
        8 => {
            let fault = FAULTS[dice.below(FAULTS.len() as u64) as usize];
            hardware.order("hw-fault", name, &json!({"fault": fault}));
            "fault"
        }
        _ => {
            hardware.reset(name);
            "reset"
        }
    }
}

/// Ends all faults, does what a person does then (lifts the finger, plugs everything anew), and waits until all is ready;
/// answers how long each took from its plug.
fn put_right(hardware: &Hardware, names: &[String]) -> Vec<f64> {
    hardware.finger(false);
    for name in names {
        hardware.order("hw-fault", name, &json!({"fault": "none"}));
        let more = hardware.plug_anew(name);
        if more > 0 {
            shown(format_args!("{name} was plugged {more} times more before the kernel took it up"));
        }
    }
    let lines = buses::all_ready();
    hardware.finger(true);
    lines.iter().filter_map(|line| line["ready_after_ms"].as_f64()).collect()
}

/// Captures from one device after the other until the end, and counts the answers by their code.
fn client(port: u16, devices: &[Device], end: &AtomicBool) -> Load {
    let mut load = Load::default();
    for device in devices.iter().cycle() {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let verb = if device.purpose == "Auth" { "CAPTURE" } else { "RCAPTURE" };
        let asked = Request::new(verb, "/capture").json(&judge::asked_of(device, TIMEOUT_MS));
        let start = Instant::now();
        let reply = http::try_call(port, &asked).unwrap_or_else(|error| panic!("no answer: {error}"));
        load.longest = load.longest.max(start.elapsed());
        let code = reply.json()["biometrics"][0]["error"]["errorCode"].as_str().map(str::to_owned);
        *load.answers.entry(code.unwrap_or_else(|| "none".to_owned())).or_insert(0) += 1;
        wait::pause(Duration::from_millis(20));
    }
    load
}

/// Lets clients end when it is dropped.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn add(&mut self, other: Self) {
        self.longest = self.longest.max(other.longest);
        for (code, count) in other.answers {
            *self.answers.entry(code).or_insert(0) += count;
        }
    }
}

/// What the daemon holds at rest: the same twice in a row, and no more files and threads than it had, where that is known.
fn settled(daemon: &Daemon, had: Option<Held>) -> Held {
    let mut last = daemon.held();
    let found = wait::until(host::PATIENCE, || {
        wait::pause(Duration::from_millis(500));
        let now = daemon.held();
        let steady = (now.files, now.threads) == (last.files, last.threads);
        let back = had.is_none_or(|had| now.files <= had.files && now.threads <= had.threads);
        last = now;
        (steady && back).then_some(now)
    });
    found.unwrap_or_else(|| panic!("the daemon keeps what it does not need: {had:?} before, {last:?} now"))
}

/// xorshift64: the same events for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
