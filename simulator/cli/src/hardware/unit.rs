//! One virtual device: what it is, where it is plugged in, and what can be done to it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use biosim_hardware::link::LinkOnUsb;
use biosim_hardware::r30x::pty::OnPty;
use biosim_hardware::r30x::{self, R30x};
use biosim_hardware::uru4000::{self, Uru4000};
use biosim_scanner::{Scene, VirtualDevice};
use biosim_usbip::{Fault, Faulty, Gadget, Switch, Waker};
use biotrust_driver_api::{PipeError, PipeErrorKind};
use biotrust_imaging::Gray;
use serde_json::{Value, json};

use super::ptylink::PtyLink;
use super::socket::Socket;

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
    /// The last fault that was set by name.
    fault: Mutex<Option<String>>,
}

/// What a device is made of.
pub(super) enum Part {
    /// A reader on USB.
    Reader(Gadget<Faulty<Uru4000>>),
    /// A module, and what wakes the bus that it is on.
    Module(Arc<Mutex<R30x>>, Option<Waker>),
    /// A reference device, with its cable where it is on USB.
    Scanner(Arc<VirtualDevice>, Option<Gadget<Faulty<LinkOnUsb>>>),
}

/// Where it is plugged in.
pub(super) enum Place {
    /// USB, with the switch for faults of the bus.
    Usb(Arc<Socket>, Switch),
    /// A pseudo-terminal that is linked to in this folder, while it is plugged in.
    Pty(PathBuf, Mutex<Option<(OnPty, PtyLink)>>),
}

/// Whether a name was that of a fault.
enum Known {
    Yes,
    No(String),
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
            (Part::Scanner(device, Some(cable)), Place::Usb(socket, _)) => {
                // One that has fallen off the bus still believes to be plugged in.
                device.unplug();
                let (socket, cable) = (Arc::clone(socket), cable.clone());
                let framing = cable.with(|cable| cable.device().framing());
                device.attach_to(framing, move || {
                    // Called again when the device has started anew: it comes back as a device that was plugged in anew.
                    socket.yank();
                    let line = cable.with(|cable| cable.device().line());
                    socket.plug().map_err(|error| PipeError {
                        kind: PipeErrorKind::Os,
                        os: None,
                        doing: format!("{error:#}"),
                    })?;
                    Ok(line)
                })?;
            }
            (Part::Scanner(device, None), Place::Pty(folder, _)) => device.plug(folder)?,
            (Part::Module(module, _), Place::Pty(folder, plugged)) => {
                locked(module).power_up(Instant::now());
                let on_pty = OnPty::plug(Arc::clone(module)).context("opening a pseudo-terminal")?;
                let link = PtyLink::insert(folder, &self.name, on_pty.path())?;
                *locked(plugged) = Some((on_pty, link));
            }
            (_, Place::Usb(socket, _)) => socket.plug()?,
            (Part::Reader(_) | Part::Scanner(_, Some(_)), Place::Pty(..)) => {
                bail!("a USB device has no line")
            }
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
        };
        if let Part::Scanner(device, _) = &self.part {
            device.unplug();
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

    /// Whether it is plugged in: it may also have fallen off the bus.
    pub(super) fn is_plugged(&self) -> bool {
        match (&self.part, &self.place) {
            (_, Place::Usb(socket, _)) => socket.is_plugged(),
            (Part::Scanner(device, _), Place::Pty(..)) => device.is_plugged(),
            (_, Place::Pty(_, plugged)) => locked(plugged).is_some(),
        }
    }

    /// Lays a finger on it, or takes it away.
    pub(super) fn finger(&self, print: Option<&Gray>) -> anyhow::Result<()> {
        let copy = || print.map(copy).transpose();
        match &self.part {
            Part::Reader(gadget) => {
                let print = copy()?;
                gadget.with(|reader| match print {
                    Some(print) => reader.device().press(print),
                    None => reader.device().lift(),
                });
            }
            Part::Module(module, waker) => {
                match copy()? {
                    Some(print) => locked(module).press(print),
                    None => locked(module).lift(),
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Part::Scanner(device, _) => {
                device.set_scene(Scene { present: print.is_some(), ..Scene::default() })
            }
        }
        Ok(())
    }

    /// Sets a fault by its name: of the device, else of its bus; or none.
    pub(super) fn set_fault(&self, name: Option<&str>) -> anyhow::Result<()> {
        if let Place::Usb(_, switch) = &self.place {
            switch.set(None);
        }
        let own = self.set_own_fault(name);
        match (own, name, &self.place) {
            (Known::Yes, ..) | (Known::No(_), None, _) => {}
            (Known::No(own), Some(name), Place::Usb(_, switch)) => match name.parse::<Fault>() {
                Ok(fault) => switch.set(Some(fault)),
                Err(bus) => bail!("{own}{bus}"),
            },
            (Known::No(own), Some(_), Place::Pty(..)) => {
                bail!("{own}it is not on a bus with faults of its own")
            }
        }
        *locked(&self.fault) = name.map(str::to_owned);
        Ok(())
    }

    fn set_own_fault(&self, name: Option<&str>) -> Known {
        match &self.part {
            Part::Reader(gadget) => match name.map(str::parse::<uru4000::Fault>).transpose() {
                Ok(fault) => gadget.with(|reader| reader.device().set_fault(fault)),
                Err(error) => return Known::No(format!("{error}; ")),
            },
            Part::Module(module, waker) => match name.map(str::parse::<r30x::Fault>).transpose() {
                Ok(fault) => {
                    locked(module).set_fault(fault, Instant::now());
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                Err(error) => return Known::No(format!("{error}; ")),
            },
            Part::Scanner(..) => return Known::No(String::new()),
        }
        Known::Yes
    }

    /// Takes its power away and gives it back.
    pub(super) fn power_cycle(&self) -> anyhow::Result<()> {
        if let Part::Scanner(device, _) = &self.part {
            return device.power_cycle().context("starting the device anew");
        }
        self.unplug()?;
        self.plug()
    }

    /// How it is now.
    pub(super) fn describe(&self) -> Value {
        let (bus, place) = match &self.place {
            Place::Usb(socket, _) => ("usb", socket.place()),
            Place::Pty(folder, plugged) => {
                let linked = locked(plugged).as_ref().map(|(_, link)| link.path().to_owned());
                let scanner = || folder.join(format!("{}.tty", self.serial));
                let path = match &self.part {
                    Part::Scanner(device, _) => device.is_plugged().then(scanner),
                    _ => linked,
                };
                ("pty", json!(path))
            }
        };
        let serial = (!self.serial.is_empty()).then_some(&self.serial);
        json!({
            "name": self.name,
            "device": self.about,
            "serial": serial,
            "bus": bus,
            "place": place,
            "plugged": self.is_plugged(),
            "fault": *locked(&self.fault),
        })
    }
}

/// An image is not cloned by accident; here a finger is laid on several devices.
fn copy(print: &Gray) -> anyhow::Result<Gray> {
    print.crop(print.bounds()).context("laying a finger on a device")
}

/// Complete at any moment.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
