//! The machine against a world that does what it likes: a device with its keys, a server with its orders, a host that is
//! killed, messages that are lost.

use std::sync::LazyLock;

use biotrust_attest::Challenge;
use biotrust_certs::{Authority, Order, TestPki, Validity};
use biotrust_model::Level;
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::UtcMillis;
use proptest::prelude::*;

use super::*;
use crate::message::{Command, Refusal, ReplyBody, RequestBody};
use crate::{Bytes, Sha256};

const NOW: UtcMillis = UtcMillis(1_795_525_200_000);
const DAY: i64 = 86_400_000;

/// Certificates for four keys, each valid for 30 days from `NOW`. A key is named by its place here.
static CERTIFICATES: LazyLock<Vec<(Vec<u8>, Held)>> = LazyLock::new(|| {
    let pki = TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap();
    (0..4)
        .map(|_| {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
            let chain = pki
                .issue(&Order::leaf(
                    Authority::DeviceProvider,
                    &rcgen::PublicKeyData::subject_public_key_info(&key),
                    vec!["CN=SN0123456789".to_owned()],
                    Validity::starting(NOW, std::time::Duration::from_secs(30 * 86_400)),
                ))
                .unwrap();
            let held = Held::read(&chain[0]).unwrap();
            (chain[0].clone(), held)
        })
        .collect()
});

/// A device and the server behind it.
struct World {
    level: Level,
    current: Option<usize>,
    next: Option<usize>,
    made: usize,
    trusted: bool,
    now: UtcMillis,
    orders: Vec<Command>,
    refuse: Option<Refusal>,
    destroyed_by_order: bool,
    confirmed: Vec<(Sha256, Option<Sha256>)>,
    farewells: Vec<Sha256>,
    updates: u32,
    polls: u32,
}

impl World {
    fn new(level: Level) -> Self {
        Self {
            level,
            current: None,
            next: None,
            made: 0,
            trusted: false,
            now: NOW,
            orders: Vec::new(),
            refuse: None,
            destroyed_by_order: false,
            confirmed: Vec::new(),
            farewells: Vec::new(),
            updates: 0,
            polls: 0,
        }
    }

    fn facts(&self) -> Facts {
        Facts { level: self.level, certificate: self.current.map(|key| CERTIFICATES[key].1.clone()) }
    }

    /// Carries out a job as a good host with a good server would.
    fn carry_out(&mut self, job: Job) -> Result<Answer, Failure> {
        Ok(match job {
            Job::SyncTime => {
                self.trusted = true;
                Answer::TimeSet
            }
            Job::MakeKey => {
                let free = (0..4).find(|key| Some(*key) != self.current).unwrap();
                let key = (self.made % 3 + free + 1) % 4;
                let key = if Some(key) == self.current { free } else { key };
                self.made += 1;
                self.next = Some(key);
                Answer::KeyMade {
                    csr: Bytes(vec![u8::try_from(key).unwrap()]),
                    spki: CERTIFICATES[key].1.spki,
                }
            }
            Job::Prove(challenge) => {
                assert_eq!(challenge.purpose, EvidencePurpose::DeviceKey);
                assert!(self.next.is_some(), "evidence is for the next key");
                Answer::Proven("e.v.i".to_owned())
            }
            Job::Install { chain } => {
                let key = CERTIFICATES.iter().position(|(der, _)| *der == chain[0].0).unwrap();
                if self.next != Some(key) {
                    return Err(Failure::Device("no such next key".to_owned()));
                }
                (self.current, self.next) = (self.next, None);
                Answer::Installed
            }
            Job::DestroyKeys => {
                assert!(self.destroyed_by_order, "keys are destroyed on an order only");
                (self.current, self.next) = (None, None);
                Answer::Destroyed
            }
            Job::Sign(body) => {
                assert!(self.current.is_some(), "the key that signs is there");
                let RequestBody::Deregistered { destroyed_spki_sha256 } = body else { panic!("{body:?}") };
                Answer::Signed(destroyed_spki_sha256.to_string())
            }
            Job::Post(signed) => {
                self.farewells.push(Sha256::parse(&signed).unwrap());
                Answer::Replied(ReplyBody::Ack {})
            }
            Job::Poll { update, .. } => {
                self.polls += 1;
                if let Some(outcome) = update {
                    self.orders.retain(|order| {
                        !matches!(order, Command::Update { manifest, .. } if Sha256::of(manifest.as_bytes()) == outcome.manifest_sha256)
                    });
                }
                Answer::Replied(ReplyBody::Commands { commands: self.orders.clone(), next_poll_s: 60 })
            }
            Job::Update { .. } => {
                self.updates += 1;
                Answer::Updated
            }
            Job::Send(body) => Answer::Replied(self.reply(body)),
        })
    }

    fn reply(&mut self, body: RequestBody) -> ReplyBody {
        if let (Some(refusal), RequestBody::Register { .. } | RequestBody::Rotate { .. }) =
            (&self.refuse, &body)
        {
            return ReplyBody::Refused(refusal.clone());
        }
        match body {
            RequestBody::Challenge { purpose } => {
                ReplyBody::Challenge { challenge: Challenge::new([1; 32], "mgmt", purpose, self.now) }
            }
            RequestBody::Register { csr, .. } | RequestBody::Rotate { csr, .. } => {
                self.orders.retain(|order| *order != Command::Rotate {});
                let (der, _) = &CERTIFICATES[usize::from(csr.0[0])];
                ReplyBody::Certificate { chain: vec![Bytes(der.clone())] }
            }
            RequestBody::Confirm { certificate_sha256, destroyed_spki_sha256 } => {
                self.confirmed.push((certificate_sha256, destroyed_spki_sha256));
                ReplyBody::Ack {}
            }
            RequestBody::Deregistered { destroyed_spki_sha256 } => {
                self.orders.retain(|order| *order != Command::Deregister {});
                self.farewells.push(destroyed_spki_sha256);
                ReplyBody::Ack {}
            }
            other => panic!("no job sends {other:?} by itself"),
        }
    }
}

/// The machine and its world, with the job that is under way.
struct Rig {
    world: World,
    state: State,
    policy: Policy,
    pending: Option<(u64, Job)>,
    wake: Option<UtcMillis>,
    told: Vec<String>,
}

impl Rig {
    fn new(level: Level) -> Self {
        let (world, state) = (World::new(level), State::new(level));
        let mut rig =
            Self { world, state, policy: Policy::default(), pending: None, wake: None, told: Vec::new() };
        rig.plug();
        rig
    }

    fn step(&mut self, event: Event) {
        let at = Moment {
            now: self.world.now,
            trusted: self.world.trusted,
            chance: Chance(1 << 62),
            policy: &self.policy,
        };
        for effect in self.state.step(event, &at) {
            match effect {
                Effect::Do { ticket, job } => {
                    assert!(self.pending.is_none(), "one job at a time: {job:?} beside {:?}", self.pending);
                    if *job == Job::DestroyKeys {
                        assert!(self.world.destroyed_by_order);
                    }
                    self.pending = Some((ticket, *job));
                }
                Effect::Wake(when) => {
                    assert!(when > self.world.now, "no busy loop");
                    self.wake = Some(when);
                }
                Effect::Tell(text) => self.told.push(text),
            }
        }
    }

    fn plug(&mut self) {
        self.pending = None;
        let facts = self.world.facts();
        self.step(Event::Plugged(facts));
    }

    /// As after `kill -9` and a start: what was stored is all there is.
    fn kill(&mut self) {
        let stored = serde_json::to_string(&self.state).unwrap();
        self.state = serde_json::from_str(&stored).unwrap();
        self.plug();
    }

    fn answer(&mut self) {
        if let Some((ticket, job)) = self.pending.take() {
            let result = self.world.carry_out(job);
            self.step(Event::Done { ticket, result });
        }
    }

    fn fail(&mut self, failure: Failure) {
        if let Some((ticket, _)) = self.pending.take() {
            self.step(Event::Done { ticket, result: Err(failure) });
        }
    }

    /// Lets everything happen that happens without an event from outside.
    fn settle(&mut self) {
        for _ in 0..200 {
            if self.pending.is_none() {
                return;
            }
            self.answer();
        }
        panic!("it does not come to rest: {:?}", self.state);
    }

    fn pass(&mut self, millis: i64) {
        self.world.now = UtcMillis(self.world.now.0 + millis);
        self.step(Event::Tick);
    }

    fn order(&mut self, command: Command) {
        if matches!(command, Command::Deregister {}) {
            self.world.destroyed_by_order = true;
        }
        self.world.orders.push(command);
        self.pass(3_600_000);
        self.settle();
    }

    fn standing(&self) -> Standing {
        let at = Moment { now: self.world.now, trusted: true, chance: Chance(0), policy: &self.policy };
        self.state.standing(&at)
    }
}

#[test]
fn plugged_in_it_registers_confirms_and_polls_by_itself() {
    for level in [Level::L0, Level::L1] {
        let mut rig = Rig::new(level);
        rig.settle();
        let held = CERTIFICATES[rig.world.current.unwrap()].1.clone();
        assert_eq!(rig.world.confirmed, [(held.sha256, None)]);
        assert_eq!(rig.world.polls, 1);
        assert!(rig.standing().registered);
        assert_eq!(rig.wake, Some(UtcMillis(NOW.0 + 60_000)), "the server wants to hear more in a minute");
    }
}

#[test]
fn an_order_rotates_and_the_end_of_the_old_key_is_recorded() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    let old = CERTIFICATES[rig.world.current.unwrap()].1.clone();
    rig.order(Command::Rotate {});
    let new = CERTIFICATES[rig.world.current.unwrap()].1.clone();
    assert_ne!(old, new);
    assert_eq!(rig.world.confirmed.last(), Some(&(new.sha256, Some(old.spki))));
}

#[test]
fn it_rotates_at_80_per_cent_without_an_order() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    let first = rig.world.current;
    rig.pass(22 * DAY);
    rig.settle();
    assert_eq!(rig.world.current, first, "not before its time");
    rig.pass(2 * DAY);
    rig.settle();
    assert_ne!(rig.world.current, first);
}

#[test]
fn a_person_can_rotate_and_a_refusal_ends_by_hand() {
    let mut rig = Rig::new(Level::L1);
    let refusal = |retry_s| Refusal {
        check: "clone".to_owned(),
        text: "this serial number belongs to another chip".to_owned(),
        next: "ask the provider".to_owned(),
        retry_s,
    };
    rig.world.refuse = Some(refusal(None));
    rig.settle();
    assert_eq!(rig.standing().refusal.unwrap().check, "clone");
    rig.world.refuse = None;
    rig.pass(3 * DAY);
    assert!(rig.pending.is_none(), "terminal: nothing happens by itself");
    rig.step(Event::Wished(Wish::Retry));
    rig.settle();
    assert!(rig.standing().registered);
    let first = rig.world.current;
    rig.step(Event::Wished(Wish::Rotate));
    rig.settle();
    assert_ne!(rig.world.current, first);

    rig.world.refuse = Some(refusal(Some(600)));
    rig.step(Event::Wished(Wish::Rotate));
    rig.settle();
    assert!(rig.standing().refusal.is_none());
    let second = rig.world.current;
    rig.world.refuse = None;
    rig.pass(599_000);
    rig.settle();
    assert_eq!(rig.world.current, second);
    rig.pass(1_000);
    rig.settle();
    assert_ne!(rig.world.current, second, "retryable: tried again when the server said");
}

#[test]
fn deregistered_means_no_key_and_no_way_back_by_itself() {
    for level in [Level::L0, Level::L1] {
        let mut rig = Rig::new(level);
        rig.settle();
        let held = CERTIFICATES[rig.world.current.unwrap()].1.clone();
        rig.order(Command::Deregister {});
        assert_eq!((rig.world.current, rig.world.next), (None, None));
        assert_eq!(rig.world.farewells, [held.spki]);
        rig.pass(10 * DAY);
        assert!(rig.pending.is_none());
        assert!(!rig.standing().registered);
    }
}

#[test]
fn a_person_can_deregister_without_a_server_and_it_is_told_later() {
    for level in [Level::L0, Level::L1] {
        let mut rig = Rig::new(level);
        rig.settle();
        let held = CERTIFICATES[rig.world.current.unwrap()].1.clone();
        rig.world.destroyed_by_order = true;
        rig.step(Event::Wished(Wish::Deregister));
        while !matches!(rig.pending, Some((_, Job::Post(_) | Job::Send(RequestBody::Deregistered { .. })))) {
            rig.answer();
        }
        assert_eq!(rig.world.current, None, "the keys go at once");
        rig.fail(Failure::Unreachable("no route".to_owned()));
        rig.kill();
        rig.pass(DAY);
        rig.settle();
        assert_eq!(rig.world.farewells, [held.spki]);
    }
}

#[test]
fn an_update_is_done_once_and_reported() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    rig.order(Command::Update { manifest: "m.a.n".to_owned(), image: "/v1/image/1".to_owned() });
    assert_eq!(rig.world.updates, 1);
    assert!(rig.world.orders.is_empty(), "the outcome was reported at once");

    rig.world.orders.push(Command::Update { manifest: "b.a.d".to_owned(), image: "/v1/image/2".to_owned() });
    rig.pass(3_600_000);
    while !matches!(rig.pending, Some((_, Job::Update { .. }))) {
        rig.answer();
    }
    rig.fail(Failure::Device("the version is lower".to_owned()));
    rig.settle();
    assert!(rig.world.orders.is_empty(), "so is a failure, and it is not tried for ever");
    assert_eq!(rig.world.updates, 1);
}

#[test]
fn an_image_that_cannot_be_had_keeps_no_other_order_waiting() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    let update = Command::Update { manifest: "m.a.n".to_owned(), image: "/v1/image/1".to_owned() };
    rig.world.orders.push(update.clone());
    rig.pass(3_600_000);
    while !matches!(rig.pending, Some((_, Job::Update { .. }))) {
        rig.answer();
    }
    rig.fail(Failure::Unreachable("status 404".to_owned()));
    assert!(rig.pending.is_none(), "not at once again");
    // The operator has taken the order back, and ordered something else.
    rig.world.orders.clear();
    rig.world.orders.push(Command::Rotate {});
    let made = rig.world.made;
    rig.pass(60_000);
    for _ in 0..20 {
        match &rig.pending {
            Some((_, Job::Update { .. })) => rig.fail(Failure::Unreachable("status 404".to_owned())),
            _ => rig.answer(),
        }
    }
    assert_eq!(rig.world.made, made + 1, "the other order is carried out");
    rig.pass(3_600_000);
    rig.settle();
    assert_eq!(rig.world.updates, 0, "and the one that was taken back is forgotten");
    // One that still stands is tried again, after a pause.
    rig.world.orders.push(update);
    rig.pass(3_600_000);
    while !matches!(rig.pending, Some((_, Job::Update { .. }))) {
        rig.answer();
    }
    rig.fail(Failure::Unreachable("it broke off".to_owned()));
    assert!(rig.pending.is_none() && rig.wake.unwrap().0 - rig.world.now.0 <= 10_000);
    rig.pass(10_000);
    rig.settle();
    assert_eq!(rig.world.updates, 1);
}

#[test]
fn a_rotation_that_is_ordered_and_refused_again_and_again_is_tried_ever_more_seldom() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    rig.world.orders.push(Command::Rotate {});
    rig.world.refuse = Some(Refusal {
        check: "clone".to_owned(),
        text: "no".to_owned(),
        next: "look at it".to_owned(),
        retry_s: None,
    });
    let (made, polls) = (rig.world.made, rig.world.polls);
    for _ in 0..120 {
        rig.pass(60_000);
        rig.settle();
    }
    let (tries, polls) = (rig.world.made - made, rig.world.polls - polls);
    assert!((3..20).contains(&tries) && polls > 60, "{tries} tries in {polls} polls");
    rig.world.refuse = None;
    rig.pass(3_600_000);
    rig.settle();
    assert_eq!(rig.world.orders, [], "it ends when the server certifies");
}

#[test]
fn a_clock_that_is_turned_back_never_lengthens_the_countdown() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    for _ in 0..40 {
        rig.pass(DAY);
        while rig.pending.is_some() {
            rig.fail(Failure::Unreachable("connection refused".to_owned()));
        }
        // The host is restarted, and its clock set to the day before.
        rig.world.now = UtcMillis(rig.world.now.0 - DAY);
        rig.kill();
        while rig.pending.is_some() {
            rig.fail(Failure::Unreachable("connection refused".to_owned()));
        }
    }
    assert!(rig.standing().blocked.is_some(), "{:?}", rig.standing());
    // Nor can the device be forgotten for it.
    rig.state = rig.state.anew();
    rig.plug();
    while rig.pending.is_some() {
        rig.fail(Failure::Unreachable("connection refused".to_owned()));
    }
    assert!(rig.standing().blocked.is_some());
    rig.pass(3_600_000);
    rig.settle();
    assert_eq!(rig.standing().blocked, None, "one word of the server ends it");
}

#[test]
fn a_poll_that_a_wrong_clock_put_off_is_made() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    // A server that is a year ahead tells the time, and corrects itself.
    rig.pass(365 * DAY);
    rig.settle();
    rig.world.now = UtcMillis(NOW.0 + DAY);
    let polls = rig.world.polls;
    rig.pass(60_000);
    rig.settle();
    assert_eq!(rig.world.polls, polls + 1);
}

#[test]
fn a_report_is_given_once_for_an_order() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    let polls = rig.world.polls;
    rig.order(Command::Report {}); // the server repeats it in every answer
    assert_eq!(rig.world.polls, polls + 2, "one that brought the order, one with the report");
}

#[test]
fn without_a_server_it_goes_on_for_the_days_of_the_policy() {
    let mut rig = Rig::new(Level::L1);
    rig.settle();
    assert_eq!(rig.standing().offline_days_left, None);
    let mut tries = 0;
    for _ in 0..60 {
        rig.pass(DAY / 2);
        while rig.pending.is_some() {
            tries += 1;
            rig.fail(Failure::Unreachable("connection refused".to_owned()));
        }
        let days = (rig.world.now.0 - NOW.0) / DAY;
        let expected = (days >= 1).then(|| u32::try_from(30 - days).unwrap());
        assert_eq!(rig.standing().offline_days_left, expected, "day {days}");
        assert_eq!(rig.standing().blocked.is_some(), days >= 30, "day {days}");
        assert!(rig.world.current.is_some());
    }
    assert!((60..70).contains(&tries), "{tries} tries");
    rig.pass(3_600_000);
    rig.settle();
    assert_eq!(rig.standing().blocked, None, "one word of the server ends it");
}

#[test]
fn a_certificate_for_another_key_is_not_installed() {
    let mut rig = Rig::new(Level::L1);
    while !matches!(rig.pending, Some((_, Job::Send(RequestBody::Register { .. })))) {
        rig.answer();
    }
    let (ticket, _) = rig.pending.take().unwrap();
    let other = CERTIFICATES.iter().enumerate().find(|(key, _)| Some(*key) != rig.world.next).unwrap().1;
    let chain = vec![Bytes(other.0.clone())];
    rig.step(Event::Done { ticket, result: Ok(Answer::Replied(ReplyBody::Certificate { chain })) });
    assert!(rig.told.last().unwrap().contains("not for the key that was asked for"), "{:?}", rig.told);
    assert!(rig.pending.is_none() && rig.wake.is_some(), "tried again after a pause");
}

#[test]
fn killed_at_every_step_of_every_flow_it_goes_on() {
    for level in [Level::L0, Level::L1] {
        for done in [false, true] {
            for kill_at in 0..24 {
                let mut rig = Rig::new(level);
                let mut first = None;
                // Registers, rotates, de-registers; is killed once, before or after the job was carried out.
                for step in 0..200 {
                    if rig.pending.is_none() {
                        match (first, rig.world.current) {
                            (None, Some(key)) => {
                                first = Some(key);
                                rig.order_only(Command::Rotate {});
                            }
                            (Some(key), Some(now)) if key != now => rig.order_only(Command::Deregister {}),
                            (Some(_), None) => break,
                            _ => {}
                        }
                        rig.pass(3_600_000);
                    }
                    if step == kill_at {
                        if done && let Some((_, job)) = rig.pending.take() {
                            let _ = rig.world.carry_out(job); // and nobody hears of it
                        }
                        rig.kill();
                    } else {
                        rig.answer();
                    }
                }
                let text = format!("{level} killed at {kill_at}, done {done}: {:?}", rig.told);
                let old = &CERTIFICATES[first.unwrap()].1;
                assert!(rig.world.confirmed.iter().any(|(_, gone)| *gone == Some(old.spki)), "{text}");
                assert!(!rig.world.farewells.is_empty() && rig.world.current.is_none(), "{text}");
            }
        }
    }
}

impl Rig {
    fn order_only(&mut self, command: Command) {
        self.world.destroyed_by_order |= command == Command::Deregister {};
        if !self.world.orders.contains(&command) {
            self.world.orders.push(command);
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Answer,
    FailNet,
    FailDevice,
    Misfit(u8),
    OldTicket,
    Tick(i64),
    Unplug,
    Plug,
    Kill,
    LoseTime,
    Order(u8),
    Refuse(Option<u32>),
    Relent,
    Wish(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => Just(Act::Answer),
        1 => Just(Act::FailNet),
        1 => Just(Act::FailDevice),
        1 => (0u8..6).prop_map(Act::Misfit),
        1 => Just(Act::OldTicket),
        3 => (-1_000i64..100_000_000).prop_map(Act::Tick),
        1 => Just(Act::Unplug),
        1 => Just(Act::Plug),
        1 => Just(Act::Kill),
        1 => Just(Act::LoseTime),
        2 => (0u8..4).prop_map(Act::Order),
        1 => prop::option::of(0u32..100_000).prop_map(Act::Refuse),
        1 => Just(Act::Relent),
        1 => (0u8..3).prop_map(Act::Wish),
    ]
}

fn perform(rig: &mut Rig, act: Act) {
    match act {
        Act::Answer => rig.answer(),
        Act::FailNet => rig.fail(Failure::Unreachable("x".to_owned())),
        Act::FailDevice => rig.fail(Failure::Device("x".to_owned())),
        Act::Misfit(n) => {
            let answer = match n {
                0 => Answer::TimeSet,
                1 => Answer::Installed,
                2 => Answer::Updated,
                3 => Answer::Signed("x".to_owned()),
                4 => Answer::Proven("x".to_owned()),
                _ => Answer::Replied(ReplyBody::Ack {}),
            };
            // Not those that lie about the device: that its host tells the truth about it is taken for granted.
            let lies = matches!(
                rig.pending,
                Some((
                    _,
                    Job::Install { .. }
                        | Job::DestroyKeys
                        | Job::Update { .. }
                        | Job::Sign(_)
                        | Job::Send(RequestBody::Confirm { .. })
                ))
            );
            if !lies && let Some((ticket, _)) = rig.pending.take() {
                rig.step(Event::Done { ticket, result: Ok(answer) });
            }
        }
        Act::OldTicket => {
            let ticket = rig.pending.as_ref().map_or(0, |(ticket, _)| ticket.wrapping_sub(1));
            rig.step(Event::Done { ticket, result: Ok(Answer::Installed) });
        }
        Act::Tick(millis) => rig.pass(millis),
        Act::Unplug => {
            rig.pending = None;
            rig.step(Event::Unplugged);
        }
        Act::Plug => rig.plug(),
        Act::Kill => rig.kill(),
        Act::LoseTime => rig.world.trusted = false,
        Act::Order(n) => {
            let command = match n {
                0 => Command::Rotate {},
                1 => Command::Report {},
                2 => Command::Update { manifest: "m.a.n".to_owned(), image: "/v1/image/1".to_owned() },
                _ => Command::Deregister {},
            };
            rig.order_only(command);
        }
        Act::Refuse(retry_s) => {
            rig.world.refuse = Some(Refusal {
                check: "policy".to_owned(),
                text: "no".to_owned(),
                next: "wait".to_owned(),
                retry_s,
            });
        }
        Act::Relent => rig.world.refuse = None,
        Act::Wish(n) => {
            let wish = [Wish::Rotate, Wish::Retry, Wish::Deregister][usize::from(n)];
            rig.world.destroyed_by_order |= wish == Wish::Deregister;
            rig.step(Event::Wished(wish));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: no panic, one job at a time, the key in use is there until the server orders
    /// its end, the state survives on disk, and when the world is kind again the device ends up registered or, where
    /// that was ordered, de-registered.
    #[test]
    fn any_order_of_events(level in prop_oneof![Just(Level::L0), Just(Level::L1)], acts in prop::collection::vec(act(), 0..120)) {
        let mut rig = Rig::new(level);
        for act in acts {
            let before = rig.world.current;
            perform(&mut rig, act);
            prop_assert!(
                before.is_none() || rig.world.current.is_some() || rig.world.destroyed_by_order,
                "the key in use was lost"
            );
        }
        rig.world.refuse = None;
        rig.world.orders.clear();
        rig.kill();
        for _ in 0..5 {
            rig.settle();
            rig.pass(2 * 3_600_000);
        }
        rig.settle();
        prop_assert!(rig.world.current.is_some() || rig.world.destroyed_by_order, "{:?}", rig.state);
        if let Some(key) = rig.world.current {
            let held = &CERTIFICATES[key].1;
            prop_assert!(rig.world.confirmed.iter().any(|(sha256, _)| *sha256 == held.sha256), "it was confirmed");
        }
    }

    /// A state that is not ours is refused, never half understood.
    #[test]
    fn a_foreign_state_is_refused(garbage in ".{0,200}") {
        prop_assert!(serde_json::from_str::<State>(&garbage).is_err());
    }
}
