//! Requests on the control socket, carried out.

use std::time::Duration;

use biosim_scanner::{Scene, VirtualDevice};
use biotrust_driver_api::SelfReport;
use biotrust_model::{DeviceStatus, Level};
use serde_json::{Value, json};

use super::{Lab, enrol};
use crate::agent::Condition;
use crate::args::State;
use crate::control::Request;
use crate::control::server::Handler;
use crate::jsonlines::{CallError, Reply};
use biotrust_model::time::Clock as _;

/// For an effect to hold at the daemon.
const HOLDS_WITHIN: Duration = Duration::from_secs(15);

/// Why a request was not carried out: code and text.
struct Refusal(&'static str, String);

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Refused { code, .. } if code == "timeout" => Self("timeout", error.to_string()),
            _ => Self("agent", error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self("failed", format!("{error:#}"))
    }
}

impl Handler for Lab {
    fn handle(&self, request: Request) -> Reply {
        match self.carry_out(request) {
            Ok(result) => Reply::done(result),
            Err(Refusal(code, message)) => Reply::refused(code, message),
        }
    }
}

impl Lab {
    fn carry_out(&self, request: Request) -> Result<Value, Refusal> {
        match request {
            Request::List => self.list(),
            Request::Subject { present } => Ok(self.set_scene(|scene| scene.present = present)),
            Request::Quality { value } if value <= 100 => Ok(self.set_scene(|scene| scene.ceiling = value)),
            Request::Quality { .. } => Err(Refusal("bad_request", "a quality is 0 to 100".to_owned())),
            Request::Missing { parts } => {
                Ok(self.set_scene(|scene| scene.missing = parts.iter().copied().collect()))
            }
            Request::Device { id, state } => self.set_state(&id, state),
            Request::Unplug { id } => self.unplug(&id),
            Request::Replug { id } => self.replug(&id),
            Request::RotateKey { id } => self.rotate_key(&id),
        }
    }

    /// Changes the scene in front of all devices.
    fn set_scene(&self, change: impl FnOnce(&mut Scene)) -> Value {
        let mut scene = self.scene();
        change(&mut scene);
        self.devices.iter().for_each(|device| device.set_scene(scene.clone()));
        subject(&scene)
    }

    fn list(&self) -> Result<Value, Refusal> {
        let known = self.known()?;
        let listed = self.listed()?;
        let devices: Vec<Value> = self
            .devices
            .iter()
            .zip(listed)
            .map(|(device, listed)| {
                let report = device.report();
                let at_daemon = known.iter().find(|d| d.serial.as_deref() == Some(device.serial()));
                let mut entry = json!(listed);
                if let Some(members) = entry.as_object_mut() {
                    members.insert("plugged".to_owned(), json!(device.is_plugged()));
                    members.insert("reports".to_owned(), json!(report.status));
                    members.insert("status".to_owned(), json!(at_daemon.and_then(|d| d.status.clone())));
                    members.insert("reason".to_owned(), json!(at_daemon.and_then(|d| d.reason.clone())));
                    members.insert("left_out".to_owned(), json!(at_daemon.and_then(|d| d.left_out.clone())));
                }
                entry
            })
            .collect();
        Ok(json!({"subject": subject(&self.scene()), "devices": devices}))
    }

    /// The device that is called `id`: its serial number, or the id that the daemon gave it.
    fn find(&self, id: &str) -> Result<&VirtualDevice, Refusal> {
        if let Some(device) = self.devices.iter().find(|device| device.serial() == id) {
            return Ok(device);
        }
        self.known()?;
        let ids = self.ids();
        let device = self.devices.iter().find(|device| ids.get(device.serial()).is_some_and(|own| own == id));
        device.ok_or_else(|| {
            let ids: Vec<&str> = self.devices.iter().map(VirtualDevice::serial).collect();
            Refusal("not_found", format!("there is no device {id:?}; serial numbers are {}", ids.join(", ")))
        })
    }

    fn set_state(&self, id: &str, state: State) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        let (status, reason) = match state {
            State::Ready => (DeviceStatus::Ready, ""),
            State::Busy => (DeviceStatus::Busy, "at work (set with biosim ctl)"),
            State::NotReady => (DeviceStatus::NotReady, "cover open (set with biosim ctl)"),
            State::NotRegistered => (DeviceStatus::NotRegistered, "no certificate (set with biosim ctl)"),
        };
        device.set_report(SelfReport { status, reason: reason.to_owned() });
        if device.is_plugged() {
            self.until(device, Condition { status: Some(status.as_str()), ..Condition::default() })?;
        }
        Ok(json!({"serial": device.serial(), "status": status}))
    }

    fn unplug(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        device.unplug();
        self.until(device, Condition { present: Some(false), ..Condition::default() })?;
        Ok(json!({"serial": device.serial(), "plugged": false}))
    }

    fn replug(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        device.plug(&self.links).map_err(|error| Refusal("failed", error.to_string()))?;
        let reports = device.report().status;
        if reports == DeviceStatus::Ready {
            self.make_device_ready(device)?;
        } else {
            let condition =
                Condition { present: Some(true), status: Some(reports.as_str()), ..Condition::default() };
            self.until(device, condition)?;
        }
        Ok(json!({"serial": device.serial(), "plugged": true}))
    }

    /// At L0 the daemon makes the new key and biosim certifies it; at L1 both happen in here.
    fn rotate_key(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        let sha256 = match (device.spec().level, &self.agent) {
            (Level::L1, _) => {
                let rotated = device.rotate_key(&self.pki).map_err(|e| Refusal("failed", e.to_string()))?;
                rotated.map(|certificate| certificate.sha256())
            }
            (Level::L0, Some(agent)) => {
                Some(enrol::certify(agent, &self.pki, device.serial(), self.clock.now())?)
            }
            (Level::L0, None) => {
                let why = "the key of an L0 device is the daemon's; start biosim with --agent-control";
                return Err(Refusal("unsupported", why.to_owned()));
            }
        };
        if device.is_plugged() {
            self.until(device, Condition { certificate_sha256: sha256.as_deref(), ..Condition::default() })?;
        }
        Ok(json!({"serial": device.serial(), "certificate_sha256": sha256}))
    }

    /// Returns when the condition holds at the daemon, or at once without one.
    fn until(&self, device: &VirtualDevice, condition: Condition<'_>) -> Result<(), Refusal> {
        match &self.agent {
            Some(agent) => Ok(agent.wait(device.serial(), condition, HOLDS_WITHIN)?),
            None => Ok(()),
        }
    }
}

/// The subject as the answers show it.
fn subject(scene: &Scene) -> Value {
    json!({"present": scene.present, "quality": scene.ceiling, "missing": scene.missing})
}

#[cfg(test)]
mod tests {
    use super::*;
    use biosim_image::Subject;
    use biosim_scanner::{CalibratedSubject, Kind, Spec};
    use biotrust_certs::TestPki;
    use biotrust_model::Purpose;
    use biotrust_model::time::SystemClock;
    use std::sync::Arc;

    /// One device of each level, without a daemon.
    fn lab(links: &std::path::Path) -> Arc<Lab> {
        let pki = Arc::new(TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap());
        let specs = [Level::L0, Level::L1].map(|level| Spec {
            kind: Kind::Face,
            level,
            purpose: Purpose::Registration,
        });
        let specs = [specs[0], Spec { kind: Kind::SingleIris, ..specs[1] }];
        let subject = Arc::new(CalibratedSubject::new(Subject::new(3, None)));
        Arc::new(Lab::build(&specs, 3, subject, pki, links.to_owned(), None).unwrap())
    }

    fn code(result: Result<Value, Refusal>) -> &'static str {
        match result {
            Ok(value) => panic!("{value}"),
            Err(Refusal(code, _)) => code,
        }
    }

    #[test]
    fn without_a_daemon_effects_hold_at_the_devices() {
        let dir = tempfile::tempdir().unwrap();
        let lab = lab(dir.path());
        let plugged = lab.plug_all().unwrap();
        lab.make_ready().unwrap();
        let links = || std::fs::read_dir(dir.path()).unwrap().count();
        let ask = |line: &str| lab.carry_out(serde_json::from_str(line).unwrap());
        let (l0, l1) = (lab.devices[0].serial().to_owned(), lab.devices[1].serial().to_owned());

        assert_eq!(links(), 2);
        ask(&format!(r#"{{"op":"unplug","id":"{l0}"}}"#)).ok().unwrap();
        assert_eq!(links(), 1);
        ask(&format!(r#"{{"op":"replug","id":"{l0}"}}"#)).ok().unwrap();
        assert_eq!(links(), 2);

        ask(r#"{"op":"quality","value":12}"#).ok().unwrap();
        ask(r#"{"op":"missing","parts":["Left"]}"#).ok().unwrap();
        ask(&format!(r#"{{"op":"device","id":"{l1}","state":"not-ready"}}"#)).ok().unwrap();
        let list = ask(r#"{"op":"list"}"#).ok().unwrap();
        assert_eq!(list["subject"], json!({"present": true, "quality": 12, "missing": ["Left"]}));
        assert_eq!(
            (&list["devices"][0]["reports"], &list["devices"][1]["reports"]),
            (&json!("Ready"), &json!("Not Ready"))
        );
        assert_eq!(list["devices"][1]["level"], "L1");

        let rotated = ask(&format!(r#"{{"op":"rotate-key","id":"{l1}"}}"#)).ok().unwrap();
        assert_eq!(rotated["certificate_sha256"].as_str().unwrap().len(), 64);
        assert_eq!(code(ask(&format!(r#"{{"op":"rotate-key","id":"{l0}"}}"#))), "unsupported");
        assert_eq!(code(ask(r#"{"op":"unplug","id":"nobody"}"#)), "not_found");
        assert_eq!(code(ask(r#"{"op":"quality","value":101}"#)), "bad_request");

        drop(plugged);
        assert_eq!(links(), 0);
    }
}
