//! The client against a server over real TLS: what works, and every way in which it does not.

mod scanner;
mod server;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use biotrust_certs::Domain;
use biotrust_mgmt::message::{Command, RequestKind};
use biotrust_model::time::SystemClock;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::Store;
use crate::time::{HostUptime, this_boot};
use scanner::{SERIAL, Scanner};
use server::{Mode, Tls, World};

fn world() -> Arc<World> {
    static WORLD: OnceLock<Arc<World>> = OnceLock::new();
    Arc::clone(WORLD.get_or_init(World::new))
}

/// A daemon's state directory, which survives its daemon.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("anchors.pem"), world().pki.anchors_pem(Domain::Device)).unwrap();
        Store::open(home.path()).unwrap();
        Self(home)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn anchors(&self) -> PathBuf {
        self.path().join("anchors.pem")
    }
}

/// The client at work.
struct Rig {
    manager: Manager<Scanner>,
    scanner: Arc<Scanner>,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
    state: PathBuf,
}

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    silence: Duration::from_millis(400),
    exchange: Duration::from_millis(1_500),
};

impl Rig {
    fn start(home: &Home, url: &str) -> Self {
        Self::with(home, url, |_| {})
    }

    fn with(home: &Home, url: &str, change: impl FnOnce(&mut Policy)) -> Self {
        let config = config::Management {
            url: Some(url.parse().unwrap()),
            anchors: vec![home.anchors()],
            ..config::Management::default()
        };
        let ledger = Ledger::open(home.path()).unwrap();
        let told = told_time(&ledger).unwrap();
        let clock = TrustedClock::new(
            Arc::new(SystemClock),
            Arc::new(HostUptime),
            this_boot(None).unwrap(),
            config.offline,
            false,
            told,
        );
        let scanner = Arc::new(Scanner::new(home.path(), world().pki.organisation(Domain::Device)));
        let manager = Manager::with_limits(&config, Arc::clone(&scanner), Arc::new(clock), ledger, LIMITS)
            .unwrap()
            .unwrap();
        let mut manager = manager;
        let shared = Arc::get_mut(&mut manager.0).unwrap();
        shared.policy.retry_first = Duration::from_millis(200);
        change(&mut shared.policy);
        let (stop, running) = (CancellationToken::new(), manager.clone());
        let stopped = stop.clone();
        let running = tokio::spawn(async move { running.run(stopped).await });
        Self { manager, scanner, stop, running: Some(running), state: home.path().to_owned() }
    }

    /// Ends it as a kill would: nothing is told to anybody.
    async fn kill(mut self) {
        self.scanner.save(&self.state);
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
        // the key files belong to one process at a time
        while Arc::strong_count(&self.scanner) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn report(&self) -> Value {
        self.manager.report(SERIAL).unwrap_or_default()
    }

    /// Until `holds` does; panics with the report when it does not come.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} did not come: {}", self.report());
    }

    async fn registered(&self) {
        self.until("registration", |rig| {
            rig.report()["registered"] == true && rig.report()["doing"].is_null()
        })
        .await;
    }

    fn last(&self) -> String {
        self.report()["last"]["text"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_device_registers_itself_at_plug_in_and_its_time_is_the_server_s() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Good).await;
    let home = Home::new();
    let rig = Rig::start(&home, &server.url);
    rig.registered().await;
    assert!(rig.scanner.certificate().is_some());
    rig.until("a poll", |_| server.count(RequestKind::Poll) > 0).await;
    let asked = server.asked.lock().unwrap().clone();
    use RequestKind::{Challenge, Confirm, Poll, Register, Time};
    assert_eq!(asked, [Time, Challenge, Register, Confirm, Poll], "and nothing else");
    assert!(rig.manager.0.clock.trusted().is_ok());
    assert!(told_time(&rig.manager.0.ledger).unwrap().is_some(), "also after a restart");
}

#[tokio::test]
async fn a_person_and_the_server_can_have_the_key_rotated() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Good).await;
    let home = Home::new();
    let rig = Rig::start(&home, &server.url);
    rig.registered().await;
    let first = rig.scanner.certificate();
    let second = rig.manager.rotate(SERIAL).await.unwrap();
    assert_ne!(first, Some(second.clone()));
    assert_eq!(rig.scanner.certificate(), Some(second.clone()));
    server.order(Command::Rotate {});
    rig.until("the ordered rotation", |rig| rig.scanner.certificate().is_some_and(|now| now != second)).await;
    assert_eq!(server.count(RequestKind::Rotate), 2);
    assert_eq!(rig.manager.rotate("OTHER").await, Err(OrderError::NoDevice("OTHER".into())));
}

#[tokio::test]
async fn de_registration_destroys_the_key_and_is_not_undone_before_the_next_plug_in() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Good).await;
    for by_hand in [true, false] {
        let home = Home::new();
        let rig = Rig::start(&home, &server.url);
        rig.registered().await;
        let before = server.count(RequestKind::Deregistered);
        if by_hand {
            rig.manager.deregister(SERIAL).await.unwrap();
        } else {
            server.order(Command::Deregister {});
        }
        rig.until("the farewell", |_| server.count(RequestKind::Deregistered) == before + 1).await;
        assert_eq!(rig.scanner.certificate(), None);
        let registered = server.count(RequestKind::Register);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(server.count(RequestKind::Register), registered, "it stays out");
        rig.scanner.plug(false);
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.scanner.plug(true);
        rig.registered().await;
    }
}

/// Each way is a clear state, is tried again, and is over when the server is good again.
#[tokio::test]
async fn a_server_that_misbehaves_is_told_and_tried_again() {
    for (mode, says) in [
        (Mode::OtherProvider, "is not believed"),
        (Mode::Garbage, "is not believed"),
        (Mode::Endless, "longer than"),
        (Mode::Silent, "did not answer in time"),
        (Mode::Slow, "did not answer in time"),
        (Mode::Busy, "status 503"),
        (Mode::Elsewhere, "status 302"),
    ] {
        let server = server::Server::start(&world(), Tls::Good, mode).await;
        let home = Home::new();
        let rig = Rig::start(&home, &server.url);
        rig.until(&format!("{mode:?}: {says}"), |rig| rig.last().contains(says)).await;
        assert_eq!(rig.scanner.certificate(), None, "{mode:?}");
        server.set(Mode::Good);
        rig.registered().await;
    }
}

#[tokio::test]
async fn a_reply_to_another_message_is_not_believed() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Good).await;
    let home = Home::new();
    let rig = Rig::start(&home, &server.url);
    rig.registered().await;
    server.set(Mode::Replays);
    let refused = rig.manager.rotate(SERIAL).await.unwrap_err().to_string();
    assert!(refused.contains("the reply is to message"), "{refused}");
    server.set(Mode::Good);
    rig.until("the rotation", |_| server.count(RequestKind::Rotate) > 0).await;
}

#[tokio::test]
async fn another_server_is_never_spoken_to() {
    for (tls, says) in
        [(Tls::Stranger, "UnknownIssuer"), (Tls::OtherName, "not valid for"), (Tls::Old, "rotocol")]
    {
        let server = server::Server::start(&world(), tls, Mode::Good).await;
        let home = Home::new();
        let rig = Rig::start(&home, &server.url);
        rig.until(&format!("{tls:?}"), |rig| rig.last().contains("is not the server that it should be"))
            .await;
        assert!(rig.last().contains(says), "{tls:?}: {}", rig.last());
        assert!(server.asked.lock().unwrap().is_empty(), "{tls:?}: nothing was said");
    }
    let home = Home::new();
    let rig = Rig::start(&home, "https://127.0.0.1:1/");
    rig.until("nobody there", |rig| rig.last().contains("127.0.0.1:1 cannot be reached")).await;
}

#[tokio::test]
async fn a_refusal_is_shown_with_what_to_do_and_is_not_repeated() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Refuses).await;
    let home = Home::new();
    let rig = Rig::start(&home, &server.url);
    rig.until("the refusal", |rig| rig.report()["refusal"]["check"] == "approved").await;
    assert_eq!(rig.report()["refusal"]["next"], "approve it at the provider's");
    let notices = rig.manager.notices();
    assert!(notices[0].contains("nobody has approved this device (approved)"), "{notices:?}");
    let asked = server.count(RequestKind::Register);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(server.count(RequestKind::Register), asked);
    let refused = rig.manager.rotate(SERIAL).await.unwrap_err().to_string();
    assert!(refused.contains("approve it at the provider's"), "{refused}");
    server.set(Mode::Good);
    rig.manager.rotate(SERIAL).await.unwrap();
}

/// Killed before, between and after the steps: the device always has a key with its certificate, or goes on to get one.
#[tokio::test]
async fn killed_anywhere_it_goes_on() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Good).await;
    let kinds = [RequestKind::Time, RequestKind::Challenge, RequestKind::Register, RequestKind::Confirm];
    for (round, kind) in kinds.into_iter().enumerate() {
        let home = Home::new();
        let before = server.count(kind);
        let rig = Rig::start(&home, &server.url);
        if round % 2 == 1 {
            *rig.scanner.fail_install.lock().unwrap() = true;
        }
        rig.until(&format!("{kind}"), |_| server.count(kind) > before).await;
        rig.kill().await;
        let rig = Rig::start(&home, &server.url);
        rig.registered().await;
        let now = rig.scanner.certificate();
        rig.until("the confirmation", |_| server.count(RequestKind::Poll) > 0).await;
        rig.kill().await;
        let rig = Rig::start(&home, &server.url);
        rig.registered().await;
        assert_eq!(rig.scanner.certificate(), now, "{kind}: it does not register twice");
        rig.kill().await;
    }
}

#[tokio::test]
async fn unplugged_in_the_middle_it_begins_anew() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Silent).await;
    let home = Home::new();
    let rig = Rig::start(&home, &server.url);
    rig.until("work", |rig| rig.report()["doing"] == "registering").await;
    rig.scanner.plug(false);
    server.set(Mode::Good);
    rig.scanner.plug(true);
    rig.registered().await;
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Good).await;
    let home = Home::new();
    // another process that holds the file, for longer than anybody waits here
    let other = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    let rig = Rig::start(&home, &server.url);
    rig.registered().await;
    let held = rig.scanner.certificate();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let rotated = tokio::time::timeout(Duration::from_secs(20), rig.manager.rotate(SERIAL)).await.unwrap();
    assert!(rotated.is_err_and(|error| error.to_string().contains("state.db")));
    assert_eq!(rig.scanner.certificate(), held);
    other.execute_batch("COMMIT").unwrap();
    rig.until("the rotation", |rig| rig.scanner.certificate() != held).await;
}

#[tokio::test]
async fn days_without_word_from_the_server_count_down_and_then_bite() {
    let server = server::Server::start(&world(), Tls::Good, Mode::Good).await;
    let home = Home::new();
    let rig = Rig::start(&home, &server.url);
    rig.registered().await;
    rig.kill().await;
    for (days_ago, left, held) in [(0_i64, None, false), (22, Some(8), false), (30, Some(0), true)] {
        // as if the last word had come so long ago
        let ledger = Ledger::open(home.path()).unwrap();
        let name = device::name(SERIAL);
        let mut state: Value = ledger.get(&name).unwrap().unwrap();
        state["silence"] = json!({ "millis": days_ago * 86_400_000, "seen": SystemClock.now().0 });
        ledger.put(&name, &state).unwrap();
        let rig = Rig::start(&home, "https://127.0.0.1:1/");
        rig.until("a report", |rig| rig.report()["registered"] == true).await;
        assert_eq!(rig.report()["offline_days_left"].as_u64(), left, "{days_ago}");
        assert_eq!(rig.scanner.held().is_some(), held, "{days_ago}: {:?}", rig.scanner.held());
        let noticed =
            rig.manager.notices().iter().any(|notice| notice.contains("no word from the management server"));
        assert_eq!(noticed, left.is_some(), "{days_ago}");
        rig.kill().await;
    }
    let rig = Rig::start(&home, &server.url);
    rig.until("word", |rig| rig.report()["offline_days_left"].is_null() && rig.scanner.held().is_none())
        .await;
}
