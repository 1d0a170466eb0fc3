//! The state of one device's client, and the step.

use std::time::Duration;

use biotrust_model::Level;
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use super::enrol::Enrol;
use super::farewell::Farewell;
use super::schedule::{Silence, Tries, renewal};
use super::{Answer, Effect, Event, Facts, Failure, Held, Job, Moment, Wish};
use crate::Sha256;
use crate::message::{Command, Refusal, ReplyBody, RequestBody, Retry, UpdateOutcome};

/// Shortest time between two polls, in seconds, whatever the server says.
const POLL_LEAST_S: u32 = 10;

/// Pause after a refusal that only a person can end, where the machine has to go on asking all the same.
const REFUSED_PAUSE_S: u32 = 3600;

/// Everything that the client for one device must not forget. JSON through serde; unknown members are refused, so that
/// a newer state is not half understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub(super) level: Level,
    /// The pair in use.
    pub(super) held: Option<Held>,
    pub(super) work: Work,
    /// Whether the job of `work` is under way; not after a restart.
    #[serde(skip)]
    pub(super) waiting: bool,
    #[serde(skip)]
    pub(super) present: bool,
    /// Of the last job given out.
    ticket: u64,
    /// A rotation was ordered or wished.
    pub(super) rotate: bool,
    /// De-registration was ordered.
    pub(super) deregister: bool,
    /// The device was de-registered; it does not register itself again before it is plugged in anew.
    pub(super) gone: bool,
    report: bool,
    update: Option<Update>,
    outcome: Option<UpdateOutcome>,
    unconfirmed: Option<Confirmation>,
    /// Why the server certifies nothing until somebody has done something.
    pub(super) refused: Option<Refusal>,
    pub(super) enrolling: Tries,
    pub(super) contacting: Tries,
    /// Pauses between attempts of an update: they keep nothing else waiting.
    updating: Tries,
    /// How long the right server has not answered.
    pub(super) silence: Silence,
    time_set: Option<i64>,
    next_poll: Option<i64>,
    pub(super) renew_at: Option<i64>,
}

/// What is being done. At most one thing at a time: there are never two rotations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Work {
    Idle,
    Time,
    Poll { full: bool },
    Confirm,
    Update,
    Enrol(Enrol),
    Farewell(Farewell),
}

/// A rotation that the server has to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    certificate: Sha256,
    destroyed: Option<Sha256>,
}

/// An update that was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    manifest: String,
    image: String,
}

impl State {
    /// The state of a device that was never seen before.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            held: None,
            work: Work::Idle,
            waiting: false,
            present: false,
            ticket: 0,
            rotate: false,
            deregister: false,
            gone: false,
            report: false,
            update: None,
            outcome: None,
            unconfirmed: None,
            refused: None,
            enrolling: Tries::default(),
            contacting: Tries::default(),
            updating: Tries::default(),
            silence: Silence::default(),
            time_set: None,
            next_poll: None,
            renew_at: None,
        }
    }

    /// The state of a device that is to be forgotten: as if it was never seen, but for how long the server has not
    /// answered, which nobody can undo but the server.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { silence: self.silence.clone(), ..Self::new(self.level) }
    }

    /// Takes in what happened and says what to do. Store the state before doing it.
    pub fn step(&mut self, event: Event, at: &Moment<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.silence.goes_on(at.now);
        match event {
            Event::Plugged(facts) => self.plugged(facts, at, &mut effects),
            Event::Unplugged => self.suspend(),
            Event::Tick => {}
            Event::Wished(wish) => {
                self.reopen();
                self.rotate |= wish == Wish::Rotate && self.held.is_some();
                self.deregister |= wish == Wish::Deregister && self.held.is_some();
            }
            Event::Done { ticket, result } if ticket == self.ticket && self.waiting && self.present => {
                self.waiting = false;
                match result {
                    Ok(answer) => self.done(answer, at, &mut effects),
                    Err(failure) => self.failed(&failure, at, &mut effects),
                }
            }
            Event::Done { .. } => {} // of a job that was given up
        }
        if !self.present || self.waiting {
            return effects;
        }
        if let Some(job) = self.next(at) {
            self.ticket = self.ticket.wrapping_add(1);
            self.waiting = true;
            effects.push(Effect::Do { ticket: self.ticket, job: Box::new(job) });
        } else if let Some(due) = self.due(at) {
            effects.push(Effect::Wake(due.max(UtcMillis(at.now.0.saturating_add(1000)))));
        }
        effects
    }

    /// A person, a plug or an order: what was refused may be tried again.
    fn reopen(&mut self) {
        self.refused = None;
        self.gone = false;
        self.enrolling.reset();
        self.contacting.reset();
        self.updating.reset();
    }

    /// The device decides what it holds; what is kept of it here may be older.
    fn plugged(&mut self, facts: Facts, at: &Moment<'_>, effects: &mut Vec<Effect>) {
        self.suspend();
        self.present = true;
        self.level = facts.level;
        self.reopen();
        if let Work::Enrol(enrol) = &self.work
            && let Some(held) = facts.certificate.as_ref()
            && enrol.installs(held)
        {
            // It was installed, and we were killed before we heard of it.
            self.installed(held.clone(), at, effects);
        } else if facts.certificate != self.held {
            self.renew_at = facts.certificate.as_ref().map(|held| renewal(held, at).0);
            self.held = facts.certificate;
        }
    }

    /// Nobody will answer: forgets what can be begun anew, keeps what must be finished.
    fn suspend(&mut self) {
        self.present = false;
        self.waiting = false;
        let lasting =
            matches!(&self.work, Work::Farewell(_)) || matches!(&self.work, Work::Enrol(e) if e.lasts());
        if !lasting {
            self.work = Work::Idle;
        }
    }

    /// The pair of the device is a new one.
    pub(super) fn installed(&mut self, held: Held, at: &Moment<'_>, effects: &mut Vec<Effect>) {
        self.work = Work::Idle;
        self.rotate = false;
        self.refused = None;
        self.enrolling.reset();
        // A certificate that ends soon, because its issuer does, is not renewed without a pause.
        self.renew_at = Some(renewal(&held, at).max(at.now.plus(at.policy.retry_most)).0);
        let before = self.held.replace(held.clone()).filter(|before| before.spki != held.spki);
        self.unconfirmed =
            Some(Confirmation { certificate: held.sha256, destroyed: before.map(|before| before.spki) });
        let until = UtcMillis(held.not_after).to_wire();
        effects.push(Effect::Tell(format!("certificate {} is in use until {until}", held.sha256)));
    }

    /// The pair of the device is gone, and what was planned for it.
    pub(super) fn forget(&mut self) {
        self.gone = true;
        (self.rotate, self.report) = (false, false);
        (self.update, self.outcome, self.unconfirmed, self.refused) = (None, None, None, None);
        (self.renew_at, self.next_poll) = (None, None);
    }

    fn done(&mut self, answer: Answer, at: &Moment<'_>, effects: &mut Vec<Effect>) {
        if matches!(answer, Answer::Replied(_) | Answer::TimeSet) {
            self.silence.ends(at.now);
        }
        if answer == Answer::TimeSet {
            self.time_set = Some(at.now.0);
        }
        match (std::mem::replace(&mut self.work, Work::Idle), answer) {
            (Work::Enrol(enrol), answer) => self.enrol_done(enrol, answer, at, effects),
            (Work::Farewell(farewell), answer) => self.farewell_done(farewell, answer, at, effects),
            (Work::Time, Answer::TimeSet) => self.contacting.reset(),
            (Work::Poll { full }, Answer::Replied(ReplyBody::Commands { commands, next_poll_s })) => {
                self.contacting.reset();
                self.outcome = None;
                self.report = false;
                self.update = None; // ordered again below, where it still is
                let most =
                    u32::try_from(at.policy.poll_every.as_secs()).unwrap_or(u32::MAX).max(POLL_LEAST_S);
                let pause = next_poll_s.clamp(POLL_LEAST_S, most);
                self.next_poll = Some(at.now.0.saturating_add(i64::from(pause) * 1000));
                for command in commands {
                    self.order(command, full, effects);
                }
                if self.update.is_none() {
                    self.updating.reset();
                }
            }
            (Work::Confirm, Answer::Replied(ReplyBody::Ack {})) => {
                self.contacting.reset();
                self.unconfirmed = None;
            }
            (Work::Confirm, Answer::Replied(ReplyBody::Refused(refusal)))
                if refusal.retry() == Retry::ByHand =>
            {
                self.unconfirmed = None;
                effects.push(Effect::Tell(told("the server does not note the new certificate", &refusal)));
            }
            (Work::Update, Answer::Updated) => self.updated(None, effects),
            (_, Answer::Replied(ReplyBody::Refused(refusal))) => {
                self.contacting.wait(refusal.retry_s.unwrap_or(REFUSED_PAUSE_S), at);
                effects.push(Effect::Tell(told("the management server refused", &refusal)));
            }
            (work, _) => self.misplaced(&work, at, effects),
        }
    }

    /// An order of the server.
    fn order(&mut self, command: Command, full: bool, effects: &mut Vec<Effect>) {
        match command {
            Command::Rotate {} => {
                if !self.rotate {
                    effects.push(Effect::Tell("the server orders a new device key".to_owned()));
                }
                self.rotate = true;
                self.refused = None;
            }
            Command::Deregister {} => {
                effects.push(Effect::Tell("the server orders that the device keys are destroyed".to_owned()));
                self.deregister = true;
            }
            // One report for an order, even if the server repeats the order in its answer to the report.
            Command::Report {} => self.report = !full,
            Command::Update { manifest, image } => {
                let done = self
                    .outcome
                    .as_ref()
                    .is_some_and(|outcome| outcome.manifest_sha256 == Sha256::of(manifest.as_bytes()));
                if !done {
                    self.update = Some(Update { manifest, image });
                }
            }
        }
    }

    fn failed(&mut self, failure: &Failure, at: &Moment<'_>, effects: &mut Vec<Effect>) {
        effects.push(Effect::Tell(failure.to_string()));
        match (std::mem::replace(&mut self.work, Work::Idle), failure) {
            (Work::Update, Failure::Device(why) | Failure::Distrusted(why)) => {
                self.updated(Some(why.clone()), effects);
            }
            // The image may be gone because the order is: what else the server wants must not wait for it.
            (Work::Update, Failure::Unreachable(_)) => self.updating.failed(at),
            (Work::Enrol(enrol), failure) => self.enrol_failed(enrol, failure, at),
            (work, _) => {
                // What must be finished is not forgotten; the rest is wanted again by its own reason.
                if matches!(work, Work::Farewell(_)) {
                    self.work = work;
                }
                self.contacting.failed(at);
            }
        }
    }

    /// An answer that does not fit the job: a fault of the host's.
    pub(super) fn misplaced(&mut self, work: &Work, at: &Moment<'_>, effects: &mut Vec<Effect>) {
        if matches!(work, Work::Farewell(_)) {
            self.work = work.clone();
        }
        self.contacting.failed(at);
        effects.push(Effect::Tell("an answer does not fit what was asked; it is asked again".to_owned()));
    }

    fn updated(&mut self, error: Option<String>, effects: &mut Vec<Effect>) {
        self.updating.reset();
        let Some(update) = self.update.take() else { return };
        let text =
            error.as_ref().map_or("the update is installed".to_owned(), |why| format!("no update: {why}"));
        effects.push(Effect::Tell(text));
        let error = error.map(|why| cut(why, crate::message::MAX_TEXT));
        self.outcome = Some(UpdateOutcome { manifest_sha256: Sha256::of(update.manifest.as_bytes()), error });
        self.next_poll = None; // report it now
    }

    /// The next job, where there is one that may be done now.
    fn next(&mut self, at: &Moment<'_>) -> Option<Job> {
        let may_contact = self.contacting.pause(at).is_none();
        let may_enrol = self.refused.is_none() && self.enrolling.pause(at).is_none();
        if let Work::Enrol(enrol) = &self.work {
            return enrol.job(self.held.is_some()); // what must be finished, after a restart
        }
        if !may_contact {
            return None;
        }
        if let Work::Farewell(farewell) = &self.work {
            return Some(farewell.job());
        }
        if self.deregister {
            return self.begin_farewell();
        }
        if self.held.is_none() {
            return (may_enrol && !self.gone).then(|| self.begin_enrolment());
        }
        if !at.trusted {
            self.work = Work::Time;
            return Some(Job::SyncTime);
        }
        if let Some(Confirmation { certificate, destroyed }) = &self.unconfirmed {
            self.work = Work::Confirm;
            return Some(Job::Send(RequestBody::Confirm {
                certificate_sha256: *certificate,
                destroyed_spki_sha256: *destroyed,
            }));
        }
        if may_enrol && (self.rotate || self.renew_at.is_some_and(|due| due <= at.now.0)) {
            return Some(self.begin_enrolment());
        }
        if self.time_due(at) <= at.now {
            self.work = Work::Time;
            return Some(Job::SyncTime);
        }
        if let Some(Update { manifest, image }) =
            self.update.clone().filter(|_| self.updating.pause(at).is_none())
        {
            self.work = Work::Update;
            return Some(Job::Update { manifest, image });
        }
        if self.report || self.poll_due(at) <= at.now {
            self.work = Work::Poll { full: self.report };
            return Some(Job::Poll { full: self.report, update: self.outcome.clone() });
        }
        None
    }

    /// When [`Self::next`] will have something to do; `None` where only an event can change that.
    fn due(&self, at: &Moment<'_>) -> Option<UtcMillis> {
        let pause = |tries: &Tries| tries.pause(at).unwrap_or(at.now);
        let contact = pause(&self.contacting);
        if matches!(self.work, Work::Farewell(_)) {
            return Some(contact);
        }
        let enrol = pause(&self.enrolling).max(contact);
        if self.held.is_none() {
            return (self.refused.is_none() && !self.gone).then_some(enrol);
        }
        let renewal = if self.rotate { Some(at.now) } else { self.renew_at.map(UtcMillis) };
        let renewal = renewal.filter(|_| self.refused.is_none()).map(|due| due.max(enrol));
        let update = self.update.as_ref().map(|_| pause(&self.updating));
        let others = self.poll_due(at).min(self.time_due(at));
        let others = update.map_or(others, |update| update.min(others)).max(contact);
        Some(renewal.map_or(others, |renewal| renewal.min(others)))
    }

    /// A poll that is further off than any is ever put off was fixed by a clock that was wrong.
    fn poll_due(&self, at: &Moment<'_>) -> UtcMillis {
        let latest = at.now.plus(at.policy.poll_every.max(Duration::from_secs(POLL_LEAST_S.into())));
        UtcMillis(self.next_poll.filter(|next| *next <= latest.0).unwrap_or(i64::MIN))
    }

    /// A time that was set in the future by a clock that was wrong is asked for again at once.
    fn time_due(&self, at: &Moment<'_>) -> UtcMillis {
        match self.time_set.filter(|set| *set <= at.now.0) {
            Some(set) => UtcMillis(set).plus(at.policy.time_every),
            None => at.now,
        }
    }
}

/// A refusal in one sentence.
pub(super) fn told(what: &str, refusal: &Refusal) -> String {
    format!("{what}: {} ({}); {}", refusal.text, refusal.check, refusal.next)
}

/// At most `most` bytes of a text.
fn cut(mut text: String, most: usize) -> String {
    while text.len() > most {
        text.pop();
    }
    text
}
