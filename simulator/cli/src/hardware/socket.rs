//! Where a virtual USB device is plugged in: the kernel of this machine, or a USB/IP server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use biosim_usbip::server::Server;
use biosim_usbip::{Gadget, UsbDevice, vhci};
use serde_json::{Value, json};

/// The bus of all USB devices.
#[derive(Clone)]
pub(crate) enum UsbBus {
    /// The virtual host controller of the kernel.
    Vhci,
    /// A server for `usbip attach`.
    Server(Arc<Server>),
}

/// A device and its place.
pub(crate) struct Socket {
    bus: UsbBus,
    gadget: Gadget<dyn UsbDevice>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plugged: Option<InPlace>,
    /// The port of the controller that it was in last.
    port: Option<u32>,
}

enum InPlace {
    Vhci(vhci::Plugged),
    Server(String),
}

impl Socket {
    /// Not plugged in yet.
    pub(crate) fn new(bus: UsbBus, gadget: Gadget<dyn UsbDevice>) -> Self {
        Self { bus, gadget, state: Mutex::default() }
    }

    /// Plugs it in, where it was before if that is possible. Nothing happens when it is plugged in already.
    pub(crate) fn plug(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        if state.is_plugged() {
            return Ok(());
        }
        state.plugged = None;
        let plugged = match &self.bus {
            UsbBus::Vhci => {
                let plugged =
                    vhci::attach_at(&self.gadget, state.port).context("plugging a device into the kernel")?;
                state.port = Some(plugged.port());
                InPlace::Vhci(plugged)
            }
            UsbBus::Server(server) => InPlace::Server(server.export(&self.gadget)),
        };
        state.plugged = Some(plugged);
        Ok(())
    }

    /// Unplugs it; the kernel is told first.
    pub(crate) fn unplug(&self) -> anyhow::Result<()> {
        match self.state().plugged.take() {
            Some(InPlace::Vhci(plugged)) => plugged.unplug().context("unplugging a device"),
            other => {
                self.pull(other);
                Ok(())
            }
        }
    }

    /// Pulls it out under the kernel, in the middle of whatever is under way.
    pub(crate) fn yank(&self) {
        let plugged = self.state().plugged.take();
        self.pull(plugged);
    }

    fn pull(&self, plugged: Option<InPlace>) {
        match (plugged, &self.bus) {
            (Some(InPlace::Vhci(plugged)), _) => plugged.yank(),
            (Some(InPlace::Server(id)), UsbBus::Server(server)) => server.withdraw(&id),
            (Some(InPlace::Server(_)) | None, _) => {}
        }
    }

    /// Whether it is plugged in still: a device may also fall off the bus.
    pub(crate) fn is_plugged(&self) -> bool {
        self.state().is_plugged()
    }

    /// Where it is, for people and tests.
    pub(crate) fn place(&self) -> Value {
        match &self.state().plugged {
            Some(InPlace::Vhci(plugged)) if plugged.is_plugged() => {
                json!(format!("vhci port {}", plugged.port()))
            }
            Some(InPlace::Server(id)) => json!(format!("usbip {id}")),
            _ => Value::Null,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_plugged(&self) -> bool {
        match &self.plugged {
            Some(InPlace::Vhci(plugged)) => plugged.is_plugged(),
            Some(InPlace::Server(_)) => true,
            None => false,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.yank();
    }
}
