//! Requests on the control socket, carried out.

use std::sync::Arc;
use std::time::Duration;

use biosim_scanner::{Scene, VirtualDevice};
use biotrust_driver_api::SelfReport;
use biotrust_model::{DeviceStatus, Level};
use serde_json::{Value, json};

use super::faults::is_refused;
use super::{Lab, Registrar, enrol};
use crate::agent::Condition;
use crate::args::State;
use crate::control::Request;
use crate::control::server::Handler;
use crate::jsonlines::{CallError, Reply};
use biotrust_model::time::Clock as _;

/// For an effect to hold at the daemon.
const HOLDS_WITHIN: Duration = Duration::from_secs(15);

/// Why a request was not carried out: code and text.
pub(super) struct Refusal(pub(super) &'static str, pub(super) String);

/// Something in biosim did not work.
pub(super) fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal("failed", error.to_string())
}

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
            Request::Fault { id, fault } => self.set_fault(&id, fault),
            Request::Reboot { id } => self.reboot(&id),
            Request::PowerCycle { id } => self.power_cycle(&id),
            Request::StopClock { id } => self.stop_clock(&id),
            Request::Yank { .. } | Request::HwFault { .. } | Request::Finger { .. } => {
                Err(Refusal("unsupported", "only `biosim hardware` has this".to_owned()))
            }
        }
    }

    /// Changes the scene in front of all devices.
    fn set_scene(&self, change: impl FnOnce(&mut Scene)) -> Value {
        let mut scene = self.scene();
        change(&mut scene);
        self.devices().iter().for_each(|device| device.set_scene(scene.clone()));
        subject(&scene)
    }

    fn list(&self) -> Result<Value, Refusal> {
        let known = self.known()?;
        let listed = self.listed()?;
        let devices: Vec<Value> = self
            .devices()
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

    /// The device that is called `id`: by its serial number, or by the id that the daemon gave it.
    pub(super) fn find(&self, id: &str) -> Result<Arc<VirtualDevice>, Refusal> {
        let devices = self.devices();
        if let Some(device) = devices.iter().find(|device| device.serial() == id) {
            return Ok(Arc::clone(device));
        }
        self.known()?;
        let ids = self.ids();
        let device = devices.iter().find(|device| ids.get(device.serial()).is_some_and(|own| own == id));
        device.cloned().ok_or_else(|| {
            let serials: Vec<&str> = devices.iter().map(|device| device.serial()).collect();
            Refusal(
                "not_found",
                format!("there is no device {id:?}; serial numbers are {}", serials.join(", ")),
            )
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
            self.until(&device, Condition { status: Some(status.as_str()), ..Condition::default() })?;
        }
        Ok(json!({"serial": device.serial(), "status": status}))
    }

    fn unplug(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        device.unplug();
        self.until(&device, Condition { present: Some(false), ..Condition::default() })?;
        Ok(json!({"serial": device.serial(), "plugged": false}))
    }

    fn replug(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        device.plug(&self.links).map_err(failed)?;
        let reports = device.report().status;
        if reports == DeviceStatus::Ready {
            self.make_device_ready(&device)?;
        } else {
            let condition =
                Condition { present: Some(true), status: Some(reports.as_str()), ..Condition::default() };
            self.until(&device, condition)?;
        }
        Ok(json!({"serial": device.serial(), "plugged": true}))
    }

    /// With a management server the daemon has the new key certified there. Without one biosim certifies it: at L0 the
    /// daemon makes the key, at L1 the device.
    fn rotate_key(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        let sha256 = match (&self.agent, self.registrar, device.spec().level) {
            (Some(agent), Registrar::Server, _) => Some(agent.rotate(device.serial())?),
            (_, _, Level::L1) => {
                let rotated = device.rotate_key(&self.workshop.pki);
                rotated.map_err(failed)?.map(|certificate| certificate.sha256())
            }
            (Some(agent), Registrar::Biosim, Level::L0) => {
                Some(enrol::certify(agent, &self.workshop.pki, device.serial(), self.clock.now())?)
            }
            (None, _, Level::L0) => {
                let why = "the key of an L0 device is the daemon's; start biosim with --agent-control";
                return Err(Refusal("unsupported", why.to_owned()));
            }
        };
        if device.is_plugged() {
            self.until(&device, Condition { certificate_sha256: sha256.as_deref(), ..Condition::default() })?;
        }
        Ok(json!({"serial": device.serial(), "certificate_sha256": sha256}))
    }

    fn reboot(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        device.power_cycle().map_err(failed)?;
        self.ready_again(&device)?;
        Ok(json!({"serial": device.serial(), "started": true}))
    }

    fn power_cycle(&self, id: &str) -> Result<Value, Refusal> {
        let device = self.find(id)?;
        device.unplug();
        self.until(&device, Condition { present: Some(false), ..Condition::default() })?;
        device.power_cycle().map_err(failed)?;
        device.plug(&self.links).map_err(failed)?;
        self.ready_again(&device)?;
        Ok(json!({"serial": device.serial(), "started": true}))
    }

    /// A device that was started is Ready again, unless it is not meant to be.
    fn ready_again(&self, device: &VirtualDevice) -> Result<(), Refusal> {
        let fit = device.report().status == DeviceStatus::Ready && !is_refused(device.faults());
        if fit && device.is_plugged() {
            self.make_device_ready(device)?;
        }
        Ok(())
    }

    /// Returns when the condition holds at the daemon, or at once without one.
    pub(super) fn until(&self, device: &VirtualDevice, condition: Condition<'_>) -> Result<(), Refusal> {
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
    use crate::args::{ChipChoice, Fault};
    use crate::profile;
    use biosim_image::Subject;
    use biosim_scanner::{CalibratedSubject, Kind, Spec};
    use biotrust_certs::TestPki;
    use biotrust_model::Purpose;
    use biotrust_model::time::SystemClock;

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
        let workshop = crate::lab::workshop(3, subject, pki);
        let lab = Arc::new(Lab::new(workshop, links.to_owned(), None, Registrar::Biosim));
        let orders = profile::orders(&specs, ChipChoice::Software, true);
        lab.plug_in(lab.begin(orders).unwrap()).unwrap();
        lab
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
        let plugged = lab.until_dropped();
        lab.make_ready().unwrap();
        let links = || std::fs::read_dir(dir.path()).unwrap().count();
        let ask = |line: &str| lab.carry_out(serde_json::from_str(line).unwrap());
        let [l0, l1] = [0, 1].map(|place: usize| lab.devices()[place].serial().to_owned());

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

        let faulty = |fault: &str| ask(&format!(r#"{{"op":"fault","id":"{l1}","fault":"{fault}"}}"#));
        let good = lab.find(&l1).ok().unwrap();
        faulty("debug").ok().unwrap();
        assert!(good.faults().debug_mode);
        faulty("foreign").ok().unwrap();
        let twin = lab.find(&l1).ok().unwrap();
        assert!(!Arc::ptr_eq(&twin, &good) && twin.is_plugged() && !good.is_plugged());
        assert!(twin.ftm().unwrap().keys().chip_chain != good.ftm().unwrap().keys().chip_chain);
        faulty("none").ok().unwrap();
        assert!(Arc::ptr_eq(&lab.find(&l1).ok().unwrap(), &good) && good.is_plugged() && !twin.is_plugged());
        assert!(!good.faults().debug_mode);
        ask(&format!(r#"{{"op":"stop-clock","id":"{l1}"}}"#)).ok().unwrap();
        assert!(good.faults().stopped_clock);
        for op in ["reboot", "power-cycle"] {
            ask(&format!(r#"{{"op":"{op}","id":"{l0}"}}"#)).ok().unwrap();
            assert_eq!(links(), 2);
        }
        let refused = lab.carry_out(Request::Fault { id: l0.clone(), fault: Fault::Debug });
        assert_eq!(code(refused), "unsupported");

        drop((plugged, good, twin));
        assert_eq!(links(), 0);
        assert!(lab.devices().is_empty(), "nothing keeps a TPM running");
    }
}
