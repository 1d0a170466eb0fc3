//! The life of devices, on both databases.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests

mod common;

use std::time::Duration;

use biotrust_certs::Certificate;
use biotrust_mgmt::message::{Command, ReplyBody, RequestBody, UpdateOutcome};
use biotrust_mgmt::{Nonce, Sha256, Stamp};
use biotrust_model::evidence::FtmKind;
use biotrust_model::time::{Clock, SystemClock, UtcMillis};
use common::postgres::Postgres;
use common::{Kind, Rig, TestDevice, WORLD, refusal};

const DAY: Duration = Duration::from_secs(86_400);

async fn commands(rig: &Rig, device: &TestDevice) -> Vec<Command> {
    match device.say(rig, RequestBody::Poll(device.report())).await {
        ReplyBody::Commands { commands, next_poll_s } => {
            assert_eq!(next_poll_s, 300);
            commands
        }
        other => panic!("{other:?}"),
    }
}

/// Registered by evidence, rotated by order and by age, told the time, updated, de-registered, and not let in again.
async fn life(rig: Rig) -> Rig {
    let mut device = TestDevice::l1(&rig);
    let chain = device.enrol(&rig).await.unwrap();

    // Profile of the certificate, and its issuer byte for byte.
    let certificate = Certificate::parse(&chain[0]).unwrap();
    let issuer = Certificate::parse(&WORLD.pki.provider_chain_der()[0]).unwrap();
    assert_eq!(certificate.issuer().raw(), issuer.subject().raw());
    assert_eq!(certificate.subject().common_name(), Some("SN0000000001"));
    assert_eq!(certificate.subject().organisation(), Some(rig.organisation.as_str()));
    assert_eq!((certificate.not_after().0 - certificate.not_before().0) / 86_400_000, 30);
    rig.anchors.verify(&chain[0], rig.clock.now()).unwrap();
    assert_eq!(device.confirm(&rig, None).await, ReplyBody::Ack {});
    assert_eq!(device.confirm(&rig, None).await, ReplyBody::Ack {}, "may be said again");
    assert_eq!(commands(&rig, &device).await, []);

    // The server's time, bound to nonce and device.
    let token = device.time(&rig).await;
    assert!(token.utc.since(rig.clock.now()).abs() < 5_000);

    // An order of the operator's.
    let store = rig.store().await;
    assert!(store.order_rotation("SN0000000001", rig.clock.now()).await.unwrap());
    assert_eq!(commands(&rig, &device).await, [Command::Rotate {}]);
    assert_eq!(commands(&rig, &device).await, [Command::Rotate {}], "until it is carried out");
    let old = device.spki();
    device.enrol(&rig).await.unwrap();
    assert_eq!(device.confirm(&rig, Some(old)).await, ReplyBody::Ack {});
    assert_eq!(commands(&rig, &device).await, []);
    let keys = store.keys_of("SN0000000001").await.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].destroyed_at.is_some() && keys[1].destroyed_at.is_none(), "{keys:?}");
    assert!(keys.iter().all(|key| key.confirmed_at.is_some()));

    // A report and an update.
    assert!(store.order_report("SN0000000001", rig.clock.now()).await.unwrap());
    assert_eq!(commands(&rig, &device).await, [Command::Report {}]);
    let mut report = device.report();
    report.notices = vec!["all is well".to_owned()];
    device.say(&rig, RequestBody::Poll(report.clone())).await;
    assert!(store.device("SN0000000001").await.unwrap().unwrap().report.unwrap().contains("all is well"));
    let image = vec![0xA5; 100_000];
    store.order_update("0123", "SN0000000001", "m.a.n", image.clone(), rig.clock.now()).await.unwrap();
    let ordered = Command::Update { manifest: "m.a.n".to_owned(), image: "/v1/image/0123".to_owned() };
    assert_eq!(commands(&rig, &device).await, [ordered]);
    let fetched = rig.client.get(rig.url("/v1/image/0123")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(fetched, image);
    report.update = Some(UpdateOutcome { manifest_sha256: Sha256::of(b"m.a.n"), error: None });
    device.say(&rig, RequestBody::Poll(report)).await;
    assert_eq!(commands(&rig, &device).await, []);
    assert_eq!(rig.client.get(rig.url("/v1/image/0123")).send().await.unwrap().status(), 404);

    // By age, without an operator.
    rig.clock.shift(DAY * 29);
    assert_eq!(commands(&rig, &device).await, []);
    rig.clock.shift(DAY);
    assert_eq!(commands(&rig, &device).await, [Command::Rotate {}]);

    // The end.
    assert!(store.order_farewell("SN0000000001").await.unwrap());
    assert_eq!(commands(&rig, &device).await, [Command::Deregister {}]);
    let gone = RequestBody::Deregistered { destroyed_spki_sha256: device.spki() };
    assert_eq!(device.say(&rig, gone.clone()).await, ReplyBody::Ack {});
    assert_eq!(device.say(&rig, gone).await, ReplyBody::Ack {}, "may be said again");
    let state = store.device("SN0000000001").await.unwrap().unwrap();
    assert_eq!((state.state.to_string().as_str(), state.current_key), ("deregistered", None));
    device.current = None;
    assert_eq!(device.enrol(&rig).await.unwrap_err().check, "state");

    // The trail has all of it, and cannot be changed.
    let events = store.events(Some("SN0000000001"), 1000).await.unwrap();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    for kind in ["register", "confirm", "rotate", "update", "deregistered"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    assert_eq!(events.last().unwrap().check.as_deref(), Some("state"));
    store.close().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_on_sqlite() {
    let rig = life(Rig::start().await).await;
    let rows = changed_events(&rig).await;
    assert!(rows.contains("append-only"), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_on_postgresql() {
    let postgres = Postgres::start();
    let rig = life(Rig::with(|config| config.database = postgres.url()).await).await;
    let rows = changed_events(&rig).await;
    assert!(rows.contains("append-only"), "{rows}");
    rig.running.stop().await;
}

/// What the database says to somebody who rewrites history.
async fn changed_events(rig: &Rig) -> String {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&rig.config.database).await.unwrap();
    let delete = sqlx::query("DELETE FROM events").execute(&pool).await.unwrap_err().to_string();
    let update =
        sqlx::query("UPDATE events SET outcome = 'accepted'").execute(&pool).await.unwrap_err().to_string();
    pool.close().await;
    assert!(delete.contains("append-only"), "{delete}");
    update
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_one_database() {
    let postgres = Postgres::start();
    let (first, url) = (Rig::with(|config| config.database = postgres.url()), postgres.url());
    let first = first.await;
    assert_eq!(first.config.database, url);
    let second = first.second().await;

    // A challenge of one is answered at the other, once.
    let mut device = TestDevice::l1(&first);
    device.make_key();
    let challenge = device.challenge(&first, biotrust_model::evidence::EvidencePurpose::DeviceKey).await;
    let evidence = device.evidence(&challenge);
    device.apply(&second, evidence.clone()).await.unwrap();
    device.make_key();
    assert_eq!(device.apply(&first, evidence).await.unwrap_err().check, "challenge");

    // A message to one is known to the other.
    let request = device.request(RequestBody::Poll(device.report()));
    let compact = device.sign(&request);
    assert!(matches!(first.ask(&request, compact.clone()).await, ReplyBody::Commands { .. }));
    assert_eq!(refusal(second.ask(&request, compact).await).check, "fresh");

    // Both issue at once, and both are remembered.
    let mut other = TestDevice::l0(&second, "SN0000000002");
    first.store().await.approve_serial("SN0000000002", first.clock.now()).await.unwrap();
    let (a, b) = tokio::join!(device.enrol(&first), other.enrol(&second));
    a.unwrap();
    b.unwrap();
    assert_eq!(first.store().await.devices().await.unwrap().len(), 2);
    second.running.stop().await;
    first.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_l0_device_needs_its_approval_and_then_signs_with_its_key() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l0(&rig, "SN0000000002");
    let refused = device.enrol(&rig).await.unwrap_err();
    assert_eq!(refused.check, "approved");
    assert!(refused.retry_s.is_some(), "it asks again by itself: {refused:?}");
    let store = rig.store().await;
    store.approve_serial("SN0000000002", rig.clock.now()).await.unwrap();
    device.enrol(&rig).await.unwrap();
    let first = device.spki();
    assert_eq!(device.confirm(&rig, None).await, ReplyBody::Ack {});
    device.enrol(&rig).await.unwrap();
    assert_eq!(device.confirm(&rig, Some(first)).await, ReplyBody::Ack {});

    // A host that lost its keys is a clone until an operator has looked.
    let mut again = TestDevice::l0(&rig, "SN0000000002");
    again.next = Some(0);
    let ask = RequestBody::Challenge { purpose: biotrust_model::evidence::EvidencePurpose::DeviceKey };
    assert_eq!(refusal(again.say(&rig, ask).await).check, "clone");
    store.approve_serial("SN0000000002", rig.clock.now()).await.unwrap();
    again.next = Some(0);
    let challenge = again.challenge(&rig, biotrust_model::evidence::EvidencePurpose::DeviceKey).await;
    let evidence = again.evidence(&challenge);
    again.apply(&rig, evidence).await.unwrap();
    // ... and the copy with the old key is out.
    let reply = device.say(&rig, RequestBody::Poll(device.report())).await;
    assert_eq!(refusal(reply).check, "sender");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_l0_device_that_was_away_for_long_may_only_renew() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l0(&rig, "SN0000000002");
    rig.store().await.approve_serial("SN0000000002", rig.clock.now()).await.unwrap();
    device.enrol(&rig).await.unwrap();
    rig.clock.shift(DAY * 31);
    let reply = device.say(&rig, RequestBody::Poll(device.report())).await;
    assert_eq!(refusal(reply).check, "certificate-expired");
    let old = device.spki();
    device.enrol(&rig).await.unwrap();
    assert_eq!(device.confirm(&rig, Some(old)).await, ReplyBody::Ack {});
    assert_eq!(commands(&rig, &device).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farewell_signed_before_the_key_went_is_taken_late() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l0(&rig, "SN0000000002");
    let store = rig.store().await;
    store.approve_serial("SN0000000002", rig.clock.now()).await.unwrap();
    device.enrol(&rig).await.unwrap();
    store.order_farewell("SN0000000002").await.unwrap();
    let request = device.request(RequestBody::Deregistered { destroyed_spki_sha256: device.spki() });
    let compact = device.sign(&request);
    rig.clock.shift(DAY);
    assert_eq!(rig.ask(&request, compact).await, ReplyBody::Ack {});
    assert_eq!(store.device("SN0000000002").await.unwrap().unwrap().state.to_string(), "deregistered");
}

/// The host was offline after a rotation: the server hears of the key that went before it hears that it was in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_goes_before_it_reports_its_rotation_is_gone_and_may_come_back() {
    let rig = Rig::start().await;
    let store = rig.store().await;
    for mut device in [TestDevice::l1(&rig), TestDevice::l0(&rig, "SN0000000002")] {
        let serial = device.serial().to_owned();
        store.approve_serial(&serial, rig.clock.now()).await.unwrap();
        device.enrol(&rig).await.unwrap();
        let first = device.spki();
        assert_eq!(device.confirm(&rig, None).await, ReplyBody::Ack {});
        rig.clock.shift(Duration::from_secs(1));
        device.enrol(&rig).await.unwrap();
        let gone = RequestBody::Deregistered { destroyed_spki_sha256: device.spki() };
        assert_eq!(device.say(&rig, gone).await, ReplyBody::Ack {});
        let state = || async { store.device(&serial).await.unwrap().unwrap().state.to_string() };
        assert_eq!(state().await, "deregistered");
        store.approve_serial(&serial, rig.clock.now()).await.unwrap();
        assert_eq!(state().await, "approved");
        // What was said of an older key, once more, takes no new one away.
        rig.clock.shift(Duration::from_secs(1));
        if device.kind != Kind::Software {
            device.make_key();
            let old = RequestBody::Deregistered { destroyed_spki_sha256: first };
            assert_eq!(device.say(&rig, old).await, ReplyBody::Ack {});
            assert_eq!(state().await, "approved");
        }
        // An operator can change his mind before the device is back.
        assert!(store.order_farewell(&serial).await.unwrap());
        assert_eq!(state().await, "deregistered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_l0_device_whose_certificate_was_lost_on_the_way_gets_another_until_one_is_in_use() {
    let rig = Rig::start().await;
    rig.store().await.approve_serial("SN0000000002", rig.clock.now()).await.unwrap();
    let mut lost = TestDevice::l0(&rig, "SN0000000002");
    lost.enrol(&rig).await.unwrap(); // ... and its host never hears of it
    rig.clock.shift(Duration::from_secs(1));
    let register = async |place| {
        let mut device = TestDevice::l0(&rig, "SN0000000002");
        device.next = Some(place);
        let ask = RequestBody::Challenge { purpose: biotrust_model::evidence::EvidencePurpose::DeviceKey };
        match device.say(&rig, ask).await {
            ReplyBody::Challenge { challenge } => {
                let evidence = device.evidence(&challenge);
                device.apply(&rig, evidence).await.unwrap();
                Ok(device)
            }
            other => Err(refusal(other).check),
        }
    };
    let device = register(0).await.unwrap();
    assert_eq!(device.confirm(&rig, None).await, ReplyBody::Ack {});
    assert_eq!(commands(&rig, &device).await, []);
    // The lost key is nobody's, and now the number is taken.
    assert_eq!(refusal(lost.say(&rig, RequestBody::Poll(lost.report())).await).check, "sender");
    assert_eq!(register(1).await.err().as_deref(), Some("clone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_of_models_never_comes_back() {
    let rig = Rig::start().await;
    let Rig { dir, config, running, .. } = rig;
    running.stop().await;
    let start = async |number: u64| {
        let mut document = WORLD.document(FtmKind::Tpm);
        document.number = number;
        std::fs::write(config.trust.metadata.as_ref().unwrap(), WORLD.publish(&document)).unwrap();
        let clock = std::sync::Arc::new(SystemClock);
        match biosim_mgmt::serve_at(config.clone(), Default::default(), clock).await {
            Ok(running) => {
                running.stop().await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    };
    let before = WORLD.document(FtmKind::Tpm).number;
    start(before + 2).await.unwrap();
    let refused = start(before + 1).await.unwrap_err();
    assert!(refused.contains("metadata"), "{refused}");
    start(before + 2).await.unwrap();
    drop(dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_can_be_required_of_l1_devices_too() {
    let rig = Rig::with(|config| config.policy.approval = biosim_mgmt::config::Approval::Listed).await;
    let mut device = TestDevice::l1(&rig);
    assert_eq!(device.enrol(&rig).await.unwrap_err().check, "approved");
    rig.store().await.approve_model(&device.identity.model, rig.clock.now()).await.unwrap();
    device.enrol(&rig).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_devices_challenges_and_memory() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    device.make_key();
    let challenge = device.challenge(&rig, biotrust_model::evidence::EvidencePurpose::DeviceKey).await;
    let evidence = device.evidence(&challenge);
    let poll = device.request(RequestBody::Time { nonce: Nonce([1; 32]), host_utc: Stamp(rig.clock.now()) });
    let compact = device.sign(&poll);
    assert!(matches!(rig.ask(&poll, compact.clone()).await, ReplyBody::Time { .. }));

    let rig = rig.restart().await;
    assert_eq!(refusal(rig.ask(&poll, compact).await).check, "fresh", "a replay after a restart");
    device.apply(&rig, evidence).await.unwrap();

    let rig = rig.restart().await;
    assert_eq!(device.confirm(&rig, None).await, ReplyBody::Ack {});
    assert_eq!(commands(&rig, &device).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_wrong_clock_gets_the_time_and_nothing_else() {
    let rig = Rig::start().await;
    let mut device = TestDevice::l1(&rig);
    device.enrol(&rig).await.unwrap();
    let wrong = UtcMillis(rig.clock.now().0 - 400 * 86_400_000);
    let mut request = device.request(RequestBody::Time { nonce: Nonce([7; 32]), host_utc: Stamp(wrong) });
    request.at = wrong;
    let compact = device.sign(&request);
    assert!(matches!(rig.ask(&request, compact).await, ReplyBody::Time { .. }));
    assert_eq!(rig.last_event("SN0000000001").await, ("time".to_owned(), None), "a wrong clock is noted");
    let mut request = device.request(RequestBody::Poll(device.report()));
    request.at = wrong;
    let compact = device.sign(&request);
    assert_eq!(refusal(rig.ask(&request, compact).await).check, "fresh");
}
