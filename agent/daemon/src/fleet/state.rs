//! The state of one device as a pure machine: events and a time in, effects out.
//!
//! The wire knows four states; they are derived here from five facts that change independently: the connection, the
//! standing after appraisal, what keeps it from use although it stood up (the time is not known), what the device reports
//! of itself, and the lease that a capture holds. The transition
//! table stands in docs/developers/state-machine.md and is compared with this code by a test.
//!
//! Rule that the whole daemon leans on: `Busy` always has an owner. Either a lease with a deadline, which
//! [`Machine::tick`] ends even when everybody else has forgotten it, or the device itself, which says so.
//!
//! Times are monotonic, as distances from the start of the daemon.

use std::collections::BTreeMap;
use std::time::Duration;

use biotrust_driver_api::SelfReport;
use biotrust_model::{DeviceStatus, Problem, ProblemKind};

/// How long a capture may overstay its deadline before its worker is given up.
pub const OVERSTAY: Duration = Duration::from_millis(2_500);

/// How long a device stays out of use after its worker was given up.
pub const QUARANTINE: Duration = Duration::from_secs(10);

/// The line to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Being opened.
    Opening,
    /// Open.
    Open,
    /// Could not be opened, or was lost; it is being tried again.
    Lost {
        /// Why, for people.
        reason: String,
    },
    /// Its worker did not come back; left alone until then.
    Quarantined {
        /// Monotonic time.
        until: Duration,
    },
}

/// What appraisal of keys and certificates said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not yet appraised.
    Pending,
    /// No device key, or no certificate for it.
    NotRegistered {
        /// What is missing.
        reason: String,
    },
    /// A check failed.
    Refused {
        /// Name of the check and what it found.
        check: String,
    },
    /// The certificate is out of date.
    Expired {
        /// Which and since when.
        reason: String,
    },
    /// Everything stood up.
    Good,
}

/// The right of one capture to one device, until a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Unique in this process.
    pub id: u64,
    /// When the answer is due (monotonic).
    pub deadline: Duration,
}

/// What can keep a device from use although it stood up to appraisal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// The time of this host cannot be believed.
    HostTime,
    /// The time of the device cannot be believed.
    DeviceTime,
    /// Its management server has not been heard of for too long.
    Management,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The line is open and the device said how it is.
    Opened(SelfReport),
    /// The line could not be opened, or is gone.
    Lost(String),
    /// It is being opened again.
    Reopening,
    /// Keys and certificates were appraised.
    Appraised(Standing),
    /// The device said how it is.
    Reported(SelfReport),
    /// Something keeps the device from use, or (`None`) no longer does; says why, for people.
    Held(Hold, Option<String>),
    /// A capture wants the device.
    Acquire(Lease),
    /// A capture is done with the device.
    Release(u64),
}

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Call off the capture that holds this lease.
    Cancel(u64),
    /// Give up the worker thread and the handle: it does not come back.
    Abandon,
}

/// The state of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    connection: Connection,
    standing: Standing,
    report: SelfReport,
    /// What keeps it from use, with the reason.
    holds: BTreeMap<Hold, String>,
    lease: Option<Lease>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            connection: Connection::Opening,
            standing: Standing::Pending,
            report: SelfReport { status: DeviceStatus::Ready, reason: String::new() },
            holds: BTreeMap::new(),
            lease: None,
        }
    }
}

impl Machine {
    /// Takes an event.
    ///
    /// # Errors
    /// Only [`Event::Acquire`] can be refused: with the problem that a client is to be told.
    pub fn apply(&mut self, event: Event) -> Result<Option<Effect>, Problem> {
        match event {
            Event::Opened(report) => {
                self.connection = Connection::Open;
                self.standing = Standing::Pending;
                self.report = report;
                self.holds.remove(&Hold::DeviceTime);
                Ok(None)
            }
            Event::Lost(reason) => {
                if !matches!(self.connection, Connection::Quarantined { .. }) {
                    self.connection = Connection::Lost { reason };
                }
                self.standing = Standing::Pending;
                Ok(self.lease.take().map(|lease| Effect::Cancel(lease.id)))
            }
            Event::Reopening => {
                self.connection = Connection::Opening;
                Ok(self.lease.take().map(|lease| Effect::Cancel(lease.id)))
            }
            Event::Appraised(standing) => {
                self.standing = standing;
                Ok(None)
            }
            Event::Reported(report) => {
                self.report = report;
                Ok(None)
            }
            Event::Held(hold, why) => {
                match why {
                    Some(why) => self.holds.insert(hold, why),
                    None => self.holds.remove(&hold),
                };
                Ok(None)
            }
            Event::Acquire(lease) => match self.problem() {
                None => {
                    self.lease = Some(lease);
                    Ok(None)
                }
                Some(problem) => Err(problem),
            },
            Event::Release(id) => {
                if self.lease.is_some_and(|lease| lease.id == id) {
                    self.lease = None;
                }
                Ok(None)
            }
        }
    }

    /// Ends what has overstayed: a lease past its deadline, a quarantine that is over.
    pub fn tick(&mut self, now: Duration) -> Option<Effect> {
        if let Connection::Quarantined { until } = self.connection
            && now >= until
        {
            self.connection =
                Connection::Lost { reason: "it did not answer and is being opened again".into() };
        }
        match self.lease {
            Some(lease) if now > lease.deadline.saturating_add(OVERSTAY) => {
                self.lease = None;
                self.connection = Connection::Quarantined { until: now.saturating_add(QUARANTINE) };
                self.standing = Standing::Pending;
                Some(Effect::Abandon)
            }
            _ => None,
        }
    }

    /// The state on the wire.
    #[must_use]
    pub fn status(&self) -> DeviceStatus {
        if self.lease.is_some() {
            return DeviceStatus::Busy;
        }
        match (&self.connection, &self.standing) {
            (Connection::Open, Standing::NotRegistered { .. }) => DeviceStatus::NotRegistered,
            (Connection::Open, Standing::Good) if self.holds.is_empty() => self.report.status,
            _ => DeviceStatus::NotReady,
        }
    }

    /// Why the device cannot be used now, where it cannot.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let about = |kind: ProblemKind, reason: &str| {
            Some(if reason.is_empty() { kind.into() } else { Problem::about(kind, reason) })
        };
        if self.lease.is_some() {
            return Some(ProblemKind::Busy.into());
        }
        match &self.connection {
            Connection::Opening => return about(ProblemKind::NotReady, "it is being opened"),
            Connection::Lost { reason } => return about(ProblemKind::NotReady, reason),
            Connection::Quarantined { .. } => {
                return about(
                    ProblemKind::NotReady,
                    "it stopped answering and was set aside for some seconds",
                );
            }
            Connection::Open => {}
        }
        match &self.standing {
            Standing::Pending => return about(ProblemKind::NotReady, "its certificates are being checked"),
            Standing::NotRegistered { reason } => return about(ProblemKind::NotRegistered, reason),
            Standing::Refused { check } => return about(ProblemKind::DeviceRefused, check),
            Standing::Expired { reason } => return about(ProblemKind::DeviceKeyExpired, reason),
            Standing::Good => {}
        }
        if let Some(why) = self.holds.values().next() {
            return about(ProblemKind::NotReady, why);
        }
        let kind = match self.report.status {
            DeviceStatus::Ready => return None,
            DeviceStatus::Busy => ProblemKind::Busy,
            DeviceStatus::NotReady => ProblemKind::NotReady,
            DeviceStatus::NotRegistered => ProblemKind::NotRegistered,
        };
        about(kind, &self.report.reason)
    }

    /// The line.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The appraisal.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The lease, where a capture runs.
    #[must_use]
    pub const fn lease(&self) -> Option<Lease> {
        self.lease
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(status: DeviceStatus) -> SelfReport {
        SelfReport { status, reason: String::new() }
    }

    fn ready() -> Machine {
        let mut machine = Machine::default();
        machine.apply(Event::Opened(report(DeviceStatus::Ready))).unwrap();
        machine.apply(Event::Appraised(Standing::Good)).unwrap();
        machine
    }

    fn lease(id: u64, seconds: u64) -> Lease {
        Lease { id, deadline: Duration::from_secs(seconds) }
    }

    /// The rows of docs/developers/state-machine.md, by name.
    fn states() -> Vec<(&'static str, Machine)> {
        let open = |standing: Standing, own: DeviceStatus| {
            let mut machine = ready();
            machine.apply(Event::Appraised(standing)).unwrap();
            machine.apply(Event::Reported(report(own))).unwrap();
            machine
        };
        let mut held = ready();
        held.apply(Event::Held(Hold::HostTime, Some("its clock was set back".into()))).unwrap();
        let mut leased = ready();
        leased.apply(Event::Acquire(lease(1, 10))).unwrap();
        let mut lost = ready();
        lost.apply(Event::Lost("unplugged".into())).unwrap();
        let mut quarantined = leased.clone();
        assert_eq!(quarantined.tick(Duration::from_secs(60)), Some(Effect::Abandon));
        vec![
            ("opening", Machine::default()),
            ("lost", lost),
            ("quarantined", quarantined),
            ("open, pending", open(Standing::Pending, DeviceStatus::Ready)),
            (
                "open, not registered",
                open(Standing::NotRegistered { reason: String::new() }, DeviceStatus::Ready),
            ),
            ("open, refused", open(Standing::Refused { check: "path".into() }, DeviceStatus::Ready)),
            ("open, expired", open(Standing::Expired { reason: String::new() }, DeviceStatus::Ready)),
            ("open, good, held", held),
            ("open, good, reports Ready", ready()),
            ("open, good, reports Busy", open(Standing::Good, DeviceStatus::Busy)),
            ("open, good, reports Not Ready", open(Standing::Good, DeviceStatus::NotReady)),
            ("open, good, reports Not Registered", open(Standing::Good, DeviceStatus::NotRegistered)),
            ("leased", leased),
        ]
    }

    #[test]
    fn the_table_in_the_docs_is_this_machine() {
        let doc = include_str!("../../../../docs/developers/state-machine.md");
        for (name, machine) in states() {
            let code = machine.problem().map_or_else(|| "0".to_owned(), |p| p.code().to_string());
            let acquire = match machine.clone().apply(Event::Acquire(lease(9, 10))) {
                Ok(_) => "leased".to_owned(),
                Err(problem) => format!("refused {}", problem.code()),
            };
            let lost = {
                let mut machine = machine.clone();
                let effect = machine.apply(Event::Lost("x".into())).unwrap();
                let to = if matches!(machine.connection, Connection::Quarantined { .. }) {
                    "quarantined"
                } else {
                    "lost"
                };
                if effect.is_some() { format!("{to}, capture cancelled") } else { to.to_owned() }
            };
            let row = format!("| {name} | {} | {code} | {acquire} | {lost} |", machine.status());
            assert!(doc.contains(&row), "state-machine.md lacks the row\n{row}");
        }
    }

    #[test]
    fn whatever_holds_a_device_keeps_it_from_being_ready_and_only_for_so_long() {
        let mut machine = ready();
        let mut apply = |event| {
            machine.apply(event).unwrap();
            machine.problem().and_then(|problem| problem.subject)
        };
        let why = |text: &str| Some(text.to_owned());
        assert_eq!(apply(Event::Held(Hold::DeviceTime, why("device"))), why("device"));
        assert_eq!(apply(Event::Held(Hold::HostTime, why("host"))), why("host"));
        assert_eq!(
            apply(Event::Opened(report(DeviceStatus::Ready))),
            why("its certificates are being checked")
        );
        assert_eq!(
            apply(Event::Appraised(Standing::Good)),
            why("host"),
            "a new start of the device heals its clock only"
        );
        assert_eq!(apply(Event::Held(Hold::HostTime, None)), None);
    }

    #[test]
    fn a_forgotten_lease_ends_and_sets_the_device_aside() {
        let mut machine = ready();
        machine.apply(Event::Acquire(lease(7, 10))).unwrap();
        assert_eq!(machine.tick(Duration::from_secs(12)), None, "still within what a transfer may take");
        assert_eq!(machine.tick(Duration::from_secs(13)), Some(Effect::Abandon));
        assert_eq!(machine.status(), DeviceStatus::NotReady);
        assert_eq!(machine.tick(Duration::from_secs(24)), None);
        assert!(matches!(machine.connection(), Connection::Lost { .. }), "tried again after the quarantine");
    }

    #[test]
    fn a_late_release_of_an_old_lease_frees_nobody_else() {
        let mut machine = ready();
        machine.apply(Event::Acquire(lease(1, 10))).unwrap();
        machine.apply(Event::Release(1)).unwrap();
        machine.apply(Event::Acquire(lease(2, 10))).unwrap();
        machine.apply(Event::Release(1)).unwrap();
        assert_eq!(machine.lease().map(|l| l.id), Some(2));
    }

    fn any_status() -> impl Strategy<Value = DeviceStatus> {
        prop::sample::select(DeviceStatus::ALL)
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any_status().prop_map(|s| Event::Opened(report(s))),
            Just(Event::Lost("gone".into())),
            Just(Event::Reopening),
            prop_oneof![
                Just(Standing::Good),
                Just(Standing::Pending),
                Just(Standing::NotRegistered { reason: "no key".into() }),
                Just(Standing::Refused { check: "path".into() }),
                Just(Standing::Expired { reason: "old".into() }),
            ]
            .prop_map(Event::Appraised),
            any_status().prop_map(|s| Event::Reported(report(s))),
            (prop::sample::select(vec![Hold::HostTime, Hold::DeviceTime, Hold::Management]), any::<bool>())
                .prop_map(|(hold, on)| Event::Held(hold, on.then(|| "no time".to_owned()))),
            (0..8u64, 0..120_000u64)
                .prop_map(|(id, ms)| Event::Acquire(Lease { id, deadline: Duration::from_millis(ms) })),
            (0..8u64).prop_map(Event::Release),
        ]
    }

    proptest! {
        /// No path leaves a device Busy without an owner or a deadline, whatever happens in whatever order.
        #[test]
        fn busy_always_has_an_owner(steps in prop::collection::vec((any_event(), 0..20_000u64), 1..60)) {
            let mut machine = Machine::default();
            let mut now = Duration::ZERO;
            for (event, pause) in steps {
                now += Duration::from_millis(pause);
                machine.tick(now);
                // a new lease is never granted for the past
                let event = match event {
                    Event::Acquire(l) => Event::Acquire(Lease { deadline: now + l.deadline, ..l }),
                    other => other,
                };
                let wanted = matches!(event, Event::Acquire(_));
                let before = machine.clone();
                match machine.apply(event) {
                    Ok(_) if wanted => prop_assert_eq!(before.status(), DeviceStatus::Ready),
                    Err(problem) => {
                        prop_assert!(wanted);
                        prop_assert_eq!(&machine, &before, "a refusal changes nothing");
                        prop_assert_ne!(before.status(), DeviceStatus::Ready, "{}", problem);
                    }
                    Ok(_) => {}
                }
                if machine.status() == DeviceStatus::Busy {
                    let owned = machine.lease().is_some_and(|l| l.deadline + OVERSTAY >= now);
                    prop_assert!(owned || machine.report.status == DeviceStatus::Busy);
                }
                prop_assert_eq!(machine.problem().is_none(), machine.status() == DeviceStatus::Ready);
            }
            // left alone, every lease ends
            machine.tick(now + Duration::from_secs(121) + OVERSTAY);
            prop_assert_eq!(machine.lease(), None);
        }
    }
}
