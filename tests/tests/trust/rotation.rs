//! Rotation as people and machines order it, and under load.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use biotrust_tests::http::{Request, call, try_call};
use biotrust_tests::pairs::{Judge, Pair};
use biotrust_tests::site::{Plan, Site};
use biotrust_tests::{now, wait};
use serde_json::json;

use crate::{capture_of, captured, informed, json_of, living_keys, printed};

/// Requests that the load consists of, at least.
const REQUESTS: usize = 10_000;
/// Captures among them, at least.
const CAPTURES: usize = 24;
/// Rotations of each device during the load, at least.
const ROTATIONS: usize = 4;
/// The load ends by then, whatever has been reached.
const AT_MOST: Duration = Duration::from_secs(50);

#[test]
fn a_person_and_the_provider_can_have_a_key_rotated() {
    let site = Site::start(&Plan { level: "mixed", ..Plan::default() });
    for serial in &site.serials {
        site.ready(serial);
        let first = captured(&site, serial);
        let device = site.device(serial);
        let rotated = site.cli(&["device", "rotate", &device.id, "--json"]);
        assert!(rotated.status.success(), "{}", printed(&rotated));
        let second = captured(&site, serial);
        assert_eq!(
            json_of(&rotated)["certificate_sha256"],
            second.certificate,
            "in use as soon as it is said"
        );
        assert_ne!(first.certificate, second.certificate);
        assert_eq!((first.level, &second), (second.level.clone(), &informed(&site, serial)));

        site.mgmt(&["rotate", serial]);
        site.until(serial, "rotated", |device| {
            device["certificate"]["sha256"] != second.certificate.as_str()
        });
        let third = informed(&site, serial);
        assert_ne!(third.certificate, second.certificate);
        let destroyed = wait::until(biotrust_tests::site::PATIENCE, || {
            let keys = living_keys(&site, serial);
            (keys.len() == 1).then_some(())
        });
        assert!(destroyed.is_some(), "the end of both is on record: {:#?}", site.registered(serial));
        let keys = site.registered(serial).unwrap_or_default()["keys"].as_array().map_or(0, Vec::len);
        assert_eq!(keys, 3);
    }
}

/// Everything that clients were answered: each answer once, however often it came.
#[derive(Default)]
struct Answers {
    info: Mutex<HashSet<Vec<u8>>>,
    captures: Mutex<Vec<Vec<u8>>>,
    failures: Mutex<Vec<String>>,
    count: AtomicUsize,
}

impl Answers {
    fn take(&self, port: u16, request: &Request) -> Option<Vec<u8>> {
        self.count.fetch_add(1, Ordering::Relaxed);
        match try_call(port, request) {
            Ok(reply) if reply.status == 200 => return Some(reply.body),
            Ok(reply) => self.fail(format!("status {}: {}", reply.status, reply.text())),
            Err(error) => self.fail(error.to_string()),
        }
        None
    }

    fn fail(&self, what: String) {
        self.failures.lock().expect("failures").push(what);
    }
}

/// Every answer by one pair, every request answered; gives the certificates seen of each device.
fn judged(site: &Site, answers: &Answers) -> BTreeMap<String, BTreeSet<String>> {
    let keys = site.keys();
    let judge = Judge::new(&keys, now());
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |pair: Pair| {
        seen.entry(pair.serial).or_default().insert(pair.certificate);
    };
    let everybody: BTreeSet<&str> = site.serials.iter().map(String::as_str).collect();
    for answer in answers.info.lock().expect("answers").iter() {
        match judge.info(answer) {
            Ok(pairs) => {
                let there: BTreeSet<&str> = pairs.iter().map(|pair| pair.serial.as_str()).collect();
                if there != everybody {
                    answers.fail(format!("MOSIPDINFO lists {there:?}"));
                }
                pairs.into_iter().for_each(&mut note);
            }
            Err(why) => answers.fail(format!("MOSIPDINFO: {why}")),
        }
    }
    for answer in answers.captures.lock().expect("answers").iter() {
        match judge.capture(answer) {
            Ok(pair) => note(pair),
            Err(why) => answers.fail(format!("capture: {why}: {}", String::from_utf8_lossy(answer))),
        }
    }
    seen
}

/// Devices of both levels at once. (That a mixed answer would be found is shown beside the judge, in `pairs`.)
#[test]
fn under_load_no_request_fails_and_no_answer_is_mixed() {
    let site = Site::start(&Plan { profile: "all", level: "mixed", ..Plan::default() });
    site.serials.iter().for_each(|serial| drop(site.ready(serial)));
    let (answers, over) = (Answers::default(), AtomicBool::new(false));
    let started = Instant::now();
    let mut rotations = 0;
    let going = || !over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let request = Request::new("MOSIPDINFO", "/info").json(&json!({}));
                while going() {
                    if let Some(answer) = answers.take(site.port, &request) {
                        answers.info.lock().expect("answers").insert(answer);
                    }
                }
            });
        }
        for half in 0..2 {
            let (site, answers, going) = (&site, &answers, &going);
            scope.spawn(move || {
                let mine = site.serials.iter().skip(half).step_by(2);
                let requests: Vec<Request> = mine.map(|serial| capture_of(&site.device(serial))).collect();
                for request in requests.iter().cycle().take_while(|_| going()) {
                    if let Some(answer) = answers.take(site.port, request) {
                        answers.captures.lock().expect("answers").push(answer);
                    }
                }
            });
        }
        for serial in site.serials.iter().cycle() {
            let captures = answers.captures.lock().expect("answers").len();
            let enough = captures >= CAPTURES
                && answers.count.load(Ordering::Relaxed) >= REQUESTS
                && rotations >= ROTATIONS * site.serials.len();
            if enough || started.elapsed() > AT_MOST {
                break;
            }
            let rotated = site.cli(&["device", "rotate", serial]);
            if !rotated.status.success() {
                answers.fail(format!("rotation of {serial}: {}", printed(&rotated)));
            }
            rotations += 1;
        }
        over.store(true, Ordering::Relaxed);
    });
    let seen = judged(&site, &answers);
    let count = answers.count.load(Ordering::Relaxed);
    let captures = answers.captures.lock().expect("answers").len();
    println!("{count} requests, {captures} captures, {rotations} rotations in {:.1?}", started.elapsed());
    let failures = answers.failures.lock().expect("failures");
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures[..failures.len().min(10)].join("\n")
    );
    assert!(count >= REQUESTS, "{count} requests");
    assert!(captures >= CAPTURES, "{captures} captures");
    assert!(rotations >= ROTATIONS * site.serials.len(), "{rotations} rotations");
    for serial in &site.serials {
        let pairs = seen.get(serial).map_or(0, BTreeSet::len);
        assert!(
            pairs > ROTATIONS / 2,
            "{serial} was seen with {pairs} certificates: the load met no rotations"
        );
    }
    let last = call(site.port, &Request::new("MOSIPDINFO", "/info").json(&json!({})));
    assert!(Judge::new(&site.keys(), now()).info(&last.body).is_ok());
}
