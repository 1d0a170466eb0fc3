//! All devices of `biosim hardware`, and what can be done to them over the control socket.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::part::Person;
use super::unit::Unit;
use crate::control::Request;
use crate::control::server::Handler;
use crate::jsonlines::Reply;

/// The devices, and who is there for them.
pub(super) struct Bench {
    units: Vec<Unit>,
    person: Person,
    present: Mutex<bool>,
}

/// Why a request was not carried out: code and text.
struct Refusal(&'static str, String);

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self("failed", format!("{error:#}"))
    }
}

impl Bench {
    /// Devices, and whom they will see.
    pub(super) fn new(units: Vec<Unit>, person: Person) -> Self {
        Self { units, person, present: Mutex::new(false) }
    }

    /// Plugs all of them in.
    pub(super) fn plug_all(&self) -> anyhow::Result<()> {
        self.units.iter().try_for_each(Unit::plug)
    }

    /// Unplugs all of them.
    pub(super) fn unplug_all(&self) {
        for unit in &self.units {
            // What cannot be unplugged is pulled when this program ends.
            let _ = unit.unplug();
        }
    }

    /// Shows the person to all devices, or nobody.
    pub(super) fn show_everywhere(&self, present: bool) -> anyhow::Result<()> {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = present;
        self.units.iter().try_for_each(|unit| unit.show(present.then_some(&self.person)))
    }

    /// All devices as they are.
    pub(super) fn describe(&self) -> Vec<Value> {
        self.units.iter().map(Unit::describe).collect()
    }

    /// The device that is called `id`, or has this serial number if it is the only one.
    fn find(&self, id: &str) -> Result<&Unit, Refusal> {
        if let Some(unit) = self.units.iter().find(|unit| unit.name == id) {
            return Ok(unit);
        }
        let mut of_serial = self.units.iter().filter(|unit| unit.serial == id && !id.is_empty());
        match (of_serial.next(), of_serial.next()) {
            (Some(unit), None) => Ok(unit),
            _ => {
                let names: Vec<&str> = self.units.iter().map(|unit| unit.name.as_str()).collect();
                Err(Refusal(
                    "not_found",
                    format!("there is no device {id:?}; there are {}", names.join(", ")),
                ))
            }
        }
    }

    fn carry_out(&self, request: Request) -> Result<Value, Refusal> {
        match request {
            Request::List => {
                let present = *self.present.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(json!({"subject": {"present": present}, "hardware": self.describe()}))
            }
            Request::Subject { present } | Request::Finger { id: None, present } => {
                self.show_everywhere(present)?;
                Ok(json!({"present": present}))
            }
            Request::Finger { id: Some(id), present } => {
                let unit = self.find(&id)?;
                unit.show(present.then_some(&self.person))?;
                Ok(json!({"name": unit.name, "present": present}))
            }
            Request::Unplug { id } => self.with(&id, Unit::unplug),
            Request::Replug { id } => self.with(&id, Unit::plug),
            Request::Yank { id } => self.with(&id, Unit::yank),
            Request::PowerCycle { id } => self.with(&id, Unit::power_cycle),
            Request::HwFault { id, fault } => {
                self.with(&id, |unit| unit.set_fault((fault != "none").then_some(fault.as_str())))
            }
            Request::Quality { .. }
            | Request::Missing { .. }
            | Request::Device { .. }
            | Request::RotateKey { .. }
            | Request::Fault { .. }
            | Request::Reboot { .. }
            | Request::StopClock { .. } => Err(Refusal(
                "unsupported",
                "`biosim serve` and `biosim demo` have this, not `biosim hardware`".into(),
            )),
        }
    }

    fn with(&self, id: &str, work: impl FnOnce(&Unit) -> anyhow::Result<()>) -> Result<Value, Refusal> {
        let unit = self.find(id)?;
        work(unit)?;
        Ok(unit.describe())
    }
}

impl Handler for Bench {
    fn handle(&self, request: Request) -> Reply {
        match self.carry_out(request) {
            Ok(result) => Reply::done(result),
            Err(Refusal(code, message)) => Reply::refused(code, message),
        }
    }
}
