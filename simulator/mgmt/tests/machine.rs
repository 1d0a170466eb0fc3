//! The client machine of `biotrust-mgmt` against the real server, carried out as a host would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests

mod common;

use std::time::Duration;

use biotrust_mgmt::Sha256;
use biotrust_mgmt::client::{Answer, Chance, Effect, Event, Facts, Held, Job, Moment, Policy, State, Wish};
use biotrust_mgmt::message::{ReplyBody, Request, RequestBody};
use biotrust_model::Level;
use biotrust_model::time::{Clock as _, UtcMillis};
use common::{Rig, TestDevice, device_key};

/// A host with one device.
struct Host<'r> {
    rig: &'r Rig,
    device: TestDevice,
    state: State,
    policy: Policy,
    time_set: bool,
    /// A farewell that was signed and not sent.
    signed: Option<Request>,
    told: Vec<String>,
}

impl Host<'_> {
    /// Lets `event` happen, and everything that follows from it. Returns when it wants to be woken.
    async fn run(&mut self, event: Event) -> Option<UtcMillis> {
        let mut event = Some(event);
        for _ in 0..200 {
            let now = event.take()?;
            let at = Moment {
                now: self.rig.clock.now(),
                trusted: self.time_set,
                chance: Chance(1),
                policy: &self.policy,
            };
            let effects = self.state.step(now, &at);
            for effect in effects {
                match effect {
                    Effect::Do { ticket, job } => {
                        let answer = self.carry_out(*job).await;
                        event = Some(Event::Done { ticket, result: Ok(answer) });
                    }
                    Effect::Wake(when) => return Some(when),
                    Effect::Tell(text) => self.told.push(text),
                }
            }
        }
        panic!("it does not come to rest: {:?}", self.told);
    }

    async fn carry_out(&mut self, job: Job) -> Answer {
        match job {
            Job::SyncTime => {
                self.device.time(self.rig).await;
                self.time_set = true;
                Answer::TimeSet
            }
            Job::MakeKey => {
                let place = self.device.make_key();
                Answer::KeyMade { csr: self.device.csr(), spki: Sha256::of(device_key(place).spki()) }
            }
            Job::Send(body) => Answer::Replied(self.device.say(self.rig, body).await),
            Job::Prove(challenge) => Answer::Proven(self.device.evidence(&challenge)),
            Job::Install { chain } => {
                let chain = chain.into_iter().map(|der| der.0).collect();
                self.device.current = self.device.next.take().map(|place| (place, chain));
                Answer::Installed
            }
            Job::Poll { update, .. } => {
                let report = biotrust_mgmt::message::Report { update, ..self.device.report() };
                Answer::Replied(self.device.say(self.rig, RequestBody::Poll(report)).await)
            }
            Job::Sign(body) => {
                let request = self.device.request(body);
                let compact = self.device.sign(&request);
                self.signed = Some(request);
                Answer::Signed(compact)
            }
            Job::DestroyKeys => {
                self.device.current = None;
                Answer::Destroyed
            }
            Job::Post(compact) => {
                let request = self.signed.take().unwrap();
                Answer::Replied(self.rig.ask(&request, compact).await)
            }
            Job::Update { .. } => panic!("none was ordered"),
        }
    }

    async fn pass(&mut self, span: Duration) -> Option<UtcMillis> {
        self.rig.clock.shift(span);
        self.run(Event::Tick).await
    }
}

async fn life(level: Level, serial: &str) {
    let rig = Rig::start().await;
    let store = rig.store().await;
    let device = match level {
        Level::L0 => TestDevice::l0(&rig, serial),
        Level::L1 => TestDevice::l1(&rig),
    };
    let (state, policy) = (State::new(level), Policy::default());
    let mut host = Host { rig: &rig, device, state, policy, time_set: false, signed: None, told: Vec::new() };
    let wake = host.run(Event::Plugged(Facts { level, certificate: None })).await.unwrap();
    if level == Level::L0 {
        // Not approved yet: it asks again by itself, when the server said.
        assert!(host.device.current.is_none());
        let pause = wake.since(rig.clock.now());
        assert!((890_000..=900_000).contains(&pause), "{pause}");
        store.approve_serial(serial, rig.clock.now()).await.unwrap();
        host.pass(Duration::from_secs(901)).await;
    }
    let first = host.device.spki();
    let keys = store.keys_of(serial).await.unwrap();
    assert!(keys[0].confirmed_at.is_some(), "{:?}", host.told);

    store.order_rotation(serial, rig.clock.now()).await.unwrap();
    host.pass(Duration::from_secs(301)).await;
    let second = host.device.spki();
    assert_ne!(first, second);
    assert!(store.key(&first).await.unwrap().unwrap().destroyed_at.is_some());
    assert_eq!(store.device(serial).await.unwrap().unwrap().rotate_ordered, None);

    // After a restart of the host, with a device that it finds as it was.
    let held = Held::read(&host.device.current.as_ref().unwrap().1[0]).unwrap();
    host.run(Event::Plugged(Facts { level, certificate: Some(held) })).await;
    assert_eq!(host.device.spki(), second);

    store.order_farewell(serial).await.unwrap();
    host.pass(Duration::from_secs(301)).await;
    assert!(host.device.current.is_none());
    assert!(store.key(&second).await.unwrap().unwrap().destroyed_at.is_some());
    assert_eq!(store.device(serial).await.unwrap().unwrap().state.to_string(), "deregistered");

    // A person who tries again is told why not; nothing happens by itself.
    let wake = host.run(Event::Wished(Wish::Retry)).await;
    assert_eq!(wake, None, "{:?}", host.told);
    let at = Moment { now: rig.clock.now(), trusted: true, chance: Chance(0), policy: &host.policy };
    let refusal = host.state.standing(&at).refusal.unwrap();
    assert_eq!(refusal.check, "state", "{refusal:?}");
    store.approve_serial(serial, rig.clock.now()).await.unwrap();
    // The pool of the tests has two keys a device, and the server never certifies one twice.
    let reply = host
        .device
        .say(&rig, RequestBody::Challenge { purpose: biotrust_model::evidence::EvidencePurpose::DeviceKey });
    assert!(matches!(reply.await, ReplyBody::Challenge { .. }), "approved again, it may");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_l1_device() {
    life(Level::L1, "SN0000000001").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_l0_device() {
    life(Level::L0, "SN0000000002").await;
}
