//! What people and programs are told of the fleet: the status, and waiting for a state.

use std::time::Duration;

use biotrust_attest::metadata::{Freshness, Metadata};
use biotrust_certs::Certificate;
use biotrust_model::time::UtcMillis;
use biotrust_model::{DeviceStatus, Language, Problem, Purpose};
use biotrust_trust::{Check, Outcome};
use serde_json::{Value, json};

use super::discovery::Listing;
use super::unit::{Session, Unit};
use super::{Fleet, Inner, locked, sources};
use crate::control::WaitFor;

impl Fleet {
    /// The devices, for status: everything about each, and why one is left out of a list.
    #[must_use]
    pub fn status(&self) -> Value {
        let inner = &self.0;
        let mut devices: Vec<Value> =
            inner.open_units().iter().map(|(unit, session)| device(inner, unit, session)).collect();
        devices.extend(inner.units().iter().filter(|unit| unit.session().is_none()).map(|unit| line(unit)));
        Value::Array(devices)
    }

    /// What is plugged in and was not opened, and why.
    #[must_use]
    pub fn left_alone(&self) -> Vec<Value> {
        self.0.sources.buses.left_alone()
    }

    /// How the drivers of vendors are.
    #[must_use]
    pub fn vendor_drivers(&self) -> Vec<Value> {
        self.0.sources.vendors.report()
    }

    /// What somebody should know who looks after this host, beyond the state of single devices.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let inner = &self.0;
        let mut notices = Vec::new();
        if !inner.trust.device.has_anchor() {
            notices.push(
                "no anchor for device certificates: every device is refused ([trust] device_anchors)".into(),
            );
        }
        if !inner.trust.ftm.has_anchor() {
            notices.push(
                "no anchor for chip certificates: every L1 device is refused ([trust] ftm_anchors)".into(),
            );
        }
        notices.extend(inner.untimed.borrow().iter().map(|why| format!("no device is ready: {why}")));
        notices.extend(inner.ftm.notices());
        let now = inner.clock.now();
        notices.extend(inner.models.load().as_deref().and_then(|models| overdue(models, now)));
        let encryption = inner.encryption();
        for (domain, target) in encryption.all() {
            if !target.certificate.is_valid_at(now) {
                let ended = target.certificate.not_after().to_wire();
                notices.push(format!(
                    "the encryption certificate for domain {domain:?} is not valid now (its end: {ended}): CAPTURE is refused"
                ));
            }
        }
        notices.extend(sources::notices(inner));
        notices.extend(inner.clones());
        let listed = inner.listed();
        let kind = |s: &Session| (s.description.identity.modality, s.description.identity.device_sub_type);
        for (_, auth) in listed.iter().filter(|(_, s)| s.description.purpose == Purpose::Auth) {
            let twin = |s: &Session| s.description.purpose == Purpose::Registration && kind(s) == kind(auth);
            if inner.settings.purpose.is_none() && listed.iter().any(|(_, session)| twin(session)) {
                let (modality, sub_type) = kind(auth);
                notices.push(format!(
                    "a registration and an authentication device of one kind ({modality}, {sub_type}) are served side by \
                     side: the desktop registration client keeps the last one it reads, so the registration device is \
                     listed last; [sbi] purpose serves one of the two only"
                ));
            }
        }
        notices
    }

    /// Waits until everything in `wanted` holds.
    ///
    /// # Errors
    /// What holds instead, when `limit` is over.
    pub async fn wait(&self, wanted: &WaitFor, limit: Duration) -> Result<(), String> {
        let mut epoch = self.0.epoch.subscribe();
        let holds = async {
            loop {
                epoch.borrow_and_update();
                if self.differs(wanted).is_none() {
                    return;
                }
                if epoch.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        match tokio::time::timeout(limit, holds).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.differs(wanted).unwrap_or_else(|| "it holds now".into())),
        }
    }

    /// What does not hold, in words.
    fn differs(&self, wanted: &WaitFor) -> Option<String> {
        let found =
            self.0.listed().into_iter().find(|(_, s)| s.description.identity.serial_no == wanted.serial);
        let serial = &wanted.serial;
        if let Some(present) = wanted.present
            && present != found.is_some()
        {
            return Some(format!(
                "device {serial} is {}",
                if present { "not connected" } else { "still connected" }
            ));
        }
        let status = found.as_ref().map(|(unit, _)| unit.status());
        if let Some(want) = &wanted.status
            && status != Some(*want)
        {
            let why = found.as_ref().and_then(|(unit, _)| unit.problem());
            let why = why.map(|problem| format!(" ({problem})")).unwrap_or_default();
            return Some(format!(
                "device {serial} is {}{why}",
                status.map_or("not connected", DeviceStatus::as_str)
            ));
        }
        let certificate = found.and_then(|(_, session)| session.keys()).map(|keys| keys.sha256());
        if wanted.certificate_sha256.is_some() && certificate != wanted.certificate_sha256 {
            return Some(format!(
                "device {serial} has the certificate {}",
                certificate.as_deref().unwrap_or("(none)")
            ));
        }
        None
    }
}

/// What to say about metadata that is not up to date.
fn overdue(models: &Metadata, now: UtcMillis) -> Option<String> {
    let due = models.next_update().to_wire();
    match models.freshness(now) {
        Freshness::Current => None,
        Freshness::NotYet { from } => Some(format!(
            "the model metadata is dated {}, in the future: no device is served as L1 until the clock of this host is right",
            from.to_wire()
        )),
        Freshness::Overdue { until } => Some(format!(
            "the model metadata was due on {due}; it is used until {}: put the current one in place ([metadata] file)",
            until.to_wire()
        )),
        Freshness::Expired { since } => Some(format!(
            "the model metadata was due on {due} and counts no more since {}: no device is served as L1 until the \
             current one is in place ([metadata] file)",
            since.to_wire()
        )),
    }
}

fn device(inner: &Inner, unit: &Unit, session: &Session) -> Value {
    let identity = &session.description.identity;
    let (clone, refused) =
        inner.clone_of(unit, session).map_or((None, None), |(why, problem)| (Some(why), problem));
    let listing = match &refused {
        Some(problem) => Listing::None { why: problem.subject.clone().unwrap_or_default() },
        None => inner.listing(unit, session, false),
    };
    let (in_discovery, in_info, left_out) = match listing {
        Listing::Full => (true, true, None),
        Listing::DiscoveryOnly { why } => (true, false, Some(why)),
        Listing::None { why } => (false, false, Some(why)),
    };
    let keys = session.keys();
    let checks = keys.as_ref().map(|keys| keys.checks.clone()).unwrap_or_default();
    let problem = refused.or_else(|| unit.problem());
    let plug = unit.plug();
    json!({
        "serial": identity.serial_no,
        "id": session.id,
        "make": identity.make,
        "model": identity.model,
        "type": identity.modality,
        "sub_type": identity.device_sub_type,
        "level": session.level(),
        "keys_at": session.description.level,
        "why_not_l1": keys.as_ref().and_then(|keys| keys.why_not_l1()),
        "attested_s": keys.as_ref().and_then(|keys| keys.attested_ago(inner)).map(|ago| ago.as_secs()),
        "purpose": session.description.purpose,
        "firmware": session.description.firmware,
        "link": unit.path(),
        "place": unit.place(),
        "bus": unit.spot.found.node.bus.name(),
        "driver": session.driver,
        "quirks": quirks(unit),
        "opened_after_ms": plug.opened.map(millis),
        "ready_after_ms": plug.ready.map(millis),
        "status": unit.status(),
        "reason": problem.as_ref().and_then(|problem| problem.subject.clone()),
        "problem": problem.as_ref().map(problem_json),
        "clone": clone,
        "in_discovery": in_discovery,
        "in_info": in_info,
        "left_out": left_out,
        "certificate": keys.as_ref().and_then(|keys| keys.certificate.as_ref()).map(certificate),
        "refused_encryption": keys.iter().flat_map(|keys| &keys.refused_encryption).map(|(thumbprint, why)| {
            json!({"thumbprint": thumbprint, "why": why})
        }).collect::<Vec<_>>(),
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
        "update": locked(&session.update).map(|progress| {
            json!({"received": progress.received, "size": progress.size})
        }),
        "streams": locked(&unit.previews).open,
        "capturing": unit.machine().lease().is_some(),
        "last_capture": session.timing().map(|timing| {
            json!({"device_ms": millis(timing.device), "host_ms": millis(timing.host)})
        }),
    })
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// The entry of the quirk files that the device was opened by, where there is one.
fn quirks(unit: &Unit) -> Option<&str> {
    Some(unit.spot.found.quirks.name.as_str()).filter(|name| !name.is_empty())
}

/// A place at which no device could be opened (yet).
fn line(unit: &Unit) -> Value {
    let problem = unit.problem();
    json!({
        "serial": null,
        "link": unit.path(),
        "place": unit.place(),
        "bus": unit.spot.found.node.bus.name(),
        "driver": unit.spot.driver,
        "quirks": quirks(unit),
        "status": unit.status(),
        "reason": problem.as_ref().and_then(|problem| problem.subject.clone()),
        "problem": problem.as_ref().map(problem_json),
        "in_discovery": false,
        "in_info": false,
        "left_out": "what is there could not be opened",
        "certificate": null,
        "checks": [],
        "streams": 0,
        "capturing": false,
        "last_capture": null,
    })
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "code": problem.code().to_string(),
        "text": problem.text(Language::En),
        "who": problem.kind.actor(),
        "next": problem.kind.next_step(),
    })
}

fn certificate(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject().to_string(),
        "not_before": certificate.not_before().to_wire(),
        "not_after": certificate.not_after().to_wire(),
        "sha256": certificate.sha256(),
    })
}

fn check(check: &Check) -> Value {
    let outcome = match check.outcome {
        Outcome::Pass => "pass",
        Outcome::NotChecked => "not checked",
        Outcome::Warning => "warning",
        Outcome::Fail => "fail",
    };
    json!({
        "name": check.name.as_str(),
        "ok": check.outcome != Outcome::Fail,
        "outcome": outcome,
        "text": check.text,
    })
}
