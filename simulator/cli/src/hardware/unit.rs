//! One virtual device: what it is, where it is plugged in, and what can be done to it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, bail};
use biosim_hardware::r30x::pty::OnPty;
use biosim_usbip::{Fault, Switch};
use biotrust_driver_api::{PipeError, PipeErrorKind};
use serde_json::{Value, json};

use super::part::{Known, Part, Person, locked};
use super::ptylink::PtyLink;
use super::socket::Socket;

/// The device falls off the bus and comes back at once, under another address: no state, so not a fault as others are.
const REENUMERATE: &str = "reenumerate";

/// A device.
pub(super) struct Unit {
    /// What `biosim ctl` calls it.
    pub(super) name: String,
    /// What it is, for lists.
    pub(super) about: &'static str,
    /// Its serial number; empty where it has none.
    pub(super) serial: String,
    part: Part,
    place: Place,
    /// The fault that was set by name.
    fault: Mutex<Option<String>>,
}

/// Where it is plugged in.
pub(super) enum Place {
    /// USB, with the switch for faults of the bus.
    Usb(Arc<Socket>, Switch),
    /// A pseudo-terminal that is linked to in this folder.
    Pty(PathBuf, Mutex<Option<(OnPty, PtyLink)>>),
    /// A socket of its own.
    Own,
}

impl Unit {
    pub(super) const fn new(
        name: String,
        about: &'static str,
        serial: String,
        part: Part,
        place: Place,
    ) -> Self {
        Self { name, about, serial, part, place, fault: Mutex::new(None) }
    }

    /// Plugs it in. Nothing happens when it is plugged in already.
    pub(super) fn plug(&self) -> anyhow::Result<()> {
        if self.is_plugged() {
            return Ok(());
        }
        match (&self.part, &self.place) {
            (Part::Link(end, Some(cable)), Place::Usb(socket, _)) => {
                // One that has fallen off the bus still believes to be plugged in.
                end.unplug();
                let (socket, cable) = (Arc::clone(socket), cable.clone());
                let framing = cable.with(|cable| cable.device().framing());
                let connect = move || {
                    // Called again when the device has started anew: it comes back as if it was plugged in anew.
                    socket.yank();
                    let line = cable.with(|cable| cable.device().line());
                    socket.plug().map_err(|error| PipeError {
                        kind: PipeErrorKind::Os,
                        os: None,
                        doing: format!("{error:#}"),
                    })?;
                    Ok(line)
                };
                end.attach(framing, Box::new(connect))?;
            }
            (Part::Link(end, None), Place::Pty(folder, _)) => end.plug(folder)?,
            (Part::Module(module, _), Place::Pty(folder, plugged)) => {
                locked(module).power_up(Instant::now());
                let on_pty = OnPty::plug(Arc::clone(module)).context("opening a pseudo-terminal")?;
                let link = PtyLink::insert(folder, &self.name, on_pty.path())?;
                *locked(plugged) = Some((on_pty, link));
            }
            (Part::Camera(stand), _) => stand.plug()?,
            (_, Place::Usb(socket, _)) => socket.plug()?,
            (_, Place::Pty(..) | Place::Own) => bail!("there is no place for it"),
        }
        Ok(())
    }

    /// Unplugs it; on USB the kernel is told first.
    pub(super) fn unplug(&self) -> anyhow::Result<()> {
        let done = match &self.place {
            Place::Usb(socket, _) => socket.unplug(),
            Place::Pty(_, plugged) => {
                *locked(plugged) = None;
                Ok(())
            }
            Place::Own => Ok(()),
        };
        match &self.part {
            Part::Link(end, _) => end.unplug(),
            Part::Camera(stand) => stand.unplug(),
            Part::Reader(_) | Part::Module(..) => {}
        }
        done
    }

    /// Pulls it out in the middle of whatever is under way.
    pub(super) fn yank(&self) -> anyhow::Result<()> {
        if let Place::Usb(socket, _) = &self.place {
            socket.yank();
        }
        self.unplug()
    }

    /// Takes its power away and gives it back.
    pub(super) fn power_cycle(&self) -> anyhow::Result<()> {
        self.unplug()?;
        if let Part::Link(end, _) = &self.part {
            end.power_cycle()?;
        }
        self.plug()
    }

    /// Whether it is plugged in: it may also have fallen off the bus.
    pub(super) fn is_plugged(&self) -> bool {
        match (&self.part, &self.place) {
            (Part::Camera(stand), _) => stand.is_plugged(),
            (_, Place::Usb(socket, _)) => socket.is_plugged(),
            (Part::Link(end, _), _) => end.is_plugged(),
            (_, Place::Pty(_, plugged)) => locked(plugged).is_some(),
            (_, Place::Own) => false,
        }
    }

    /// Shows the person to it, or nobody.
    pub(super) fn show(&self, person: Option<&Person>) -> anyhow::Result<()> {
        self.part.show(person)
    }

    /// Sets a fault by its name: of the device, else of its bus; or none.
    pub(super) fn set_fault(&self, name: Option<&str>) -> anyhow::Result<()> {
        if let (Some(REENUMERATE), Place::Usb(..)) = (name, &self.place) {
            self.yank()?;
            return self.plug();
        }
        if let Place::Usb(_, switch) = &self.place {
            switch.set(None);
        }
        match (self.part.set_fault(name), name, &self.place) {
            (Known::Yes, ..) | (Known::No(_), None, _) => {}
            (Known::No(own), Some(name), Place::Usb(_, switch)) => match name.parse::<Fault>() {
                Ok(fault) => switch.set(Some(fault)),
                Err(bus) => bail!("{own}{bus} or {REENUMERATE}"),
            },
            (Known::No(own), Some(_), Place::Pty(..) | Place::Own) => {
                bail!("{own}it is on no bus that has faults of its own")
            }
        }
        *locked(&self.fault) = name.map(str::to_owned);
        Ok(())
    }

    /// How it is now.
    pub(super) fn describe(&self) -> Value {
        let (bus, place) = match (&self.part, &self.place) {
            (_, Place::Usb(socket, _)) => ("usb", socket.place()),
            (Part::Camera(stand), _) => ("socket", json!(stand.is_plugged().then(|| stand.path()))),
            (Part::Link(end, _), Place::Pty(folder, _)) => {
                ("pty", json!(end.is_plugged().then(|| folder.join(format!("{}.tty", self.serial)))))
            }
            (_, Place::Pty(_, plugged)) => {
                ("pty", json!(locked(plugged).as_ref().map(|(_, link)| link.path())))
            }
            (_, Place::Own) => ("none", Value::Null),
        };
        let fault = locked(&self.fault).clone();
        let serial = (!self.serial.is_empty()).then_some(&self.serial);
        json!({
            "name": self.name,
            "device": self.about,
            "serial": serial,
            "bus": bus,
            "place": place,
            "plugged": self.is_plugged(),
            "fault": fault,
        })
    }
}
