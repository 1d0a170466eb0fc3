//! From what was asked for to devices.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use biosim_hardware::link::LinkOnUsb;
use biosim_hardware::r30x::R30x;
use biosim_hardware::serial::{Acm, Ftdi};
use biosim_hardware::uru4000::Uru4000;
use biosim_scanner::{ModuleDevice, Options, Spec, VirtualDevice, Workshop};
use biosim_usbip::{Faulty, Gadget, Identity, UsbDevice};
use biotrust_link::hid;

use super::part::{CameraStand, LinkEnd, Part};
use super::socket::{Socket, UsbBus};
use super::spec::{Bus, DeviceSpec, HardwareKind, Line};
use super::unit::{Place, Unit};

/// Numbers of pid.codes that are free for tests within an organisation.
const VENDOR: u16 = 0x1209;
const PRODUCT_LINK_USB: u16 = 0x0002;
const PRODUCT_LINK_HID: u16 = 0x0003;
const PRODUCT_FTM_HID: u16 = 0x0004;
const PRODUCT_R30X: u16 = 0x0005;

/// Builds devices.
pub(super) struct Builder {
    /// Where USB devices go.
    pub(super) usb: Option<UsbBus>,
    /// Where the links to pseudo-terminals go.
    pub(super) links: Option<PathBuf>,
    /// What reference devices are made from; there where one is asked for.
    pub(super) workshop: Option<Workshop>,
}

impl Builder {
    /// Builds all of them, each with a name of its own. Two reference devices of one kind have different serial numbers.
    pub(super) fn build(&self, specs: &[DeviceSpec]) -> anyhow::Result<Vec<Unit>> {
        let mut names = BTreeSet::new();
        let mut scanners: Vec<Spec> = Vec::new();
        let mut modules = 0;
        let mut units = Vec::new();
        for spec in specs {
            let name = name(spec, &names)?;
            names.insert(name.clone());
            let number = match &spec.kind {
                HardwareKind::Link { spec, .. } => {
                    scanners.push(*spec);
                    scanners.iter().filter(|other| *other == spec).count()
                }
                HardwareKind::Ftm { .. } => {
                    modules += 1;
                    modules
                }
                _ => 1,
            };
            let unit =
                self.one(name.clone(), &spec.kind, number).with_context(|| format!("building {name}"))?;
            units.push(unit);
        }
        Ok(units)
    }

    fn one(&self, name: String, kind: &HardwareKind, number: usize) -> anyhow::Result<Unit> {
        match kind {
            HardwareKind::Uru4000 { serial } => {
                let (device, switch) = Faulty::new(Uru4000::new(serial));
                let gadget = Gadget::new(device)?;
                let place = Place::Usb(self.socket(gadget.erase())?, switch);
                Ok(Unit::new(name, "U.are.U 4500", serial.clone(), Part::Reader(gadget), place))
            }
            HardwareKind::R30x { on, serial } => self.module(name, *on, serial),
            HardwareKind::Link { on, spec } => self.scanner(name, *on, *spec, number),
            HardwareKind::Ftm { on } => self.trust_module(name, *on, number),
            HardwareKind::Camera { socket } => {
                let stand = CameraStand::new(socket.clone());
                Ok(Unit::new(name, "camera", String::new(), Part::Camera(stand), Place::Own))
            }
        }
    }

    fn module(&self, name: String, on: Line, serial: &str) -> anyhow::Result<Unit> {
        let module = Arc::new(Mutex::new(R30x::default()));
        let (about, (gadget, switch)) = match on {
            Line::Pty => {
                let place = Place::Pty(self.folder()?.to_owned(), Mutex::new(None));
                return Ok(Unit::new(name, "R30x module", String::new(), Part::Module(module, None), place));
            }
            Line::Acm => {
                let identity = identity(PRODUCT_R30X, "R30x fingerprint module", serial);
                ("R30x module with USB", faulty(Acm::new(&identity, Arc::clone(&module)))?)
            }
            Line::Ftdi => ("R30x module on FT232R", faulty(Ftdi::new(serial, Arc::clone(&module)))?),
        };
        let waker = gadget.waker();
        let place = Place::Usb(self.socket(gadget)?, switch);
        Ok(Unit::new(name, about, serial.to_owned(), Part::Module(module, Some(waker)), place))
    }

    /// The first of its kind has the serial number that `biosim serve` gives it, the others have others.
    fn scanner(&self, name: String, on: Bus, spec: Spec, number: usize) -> anyhow::Result<Unit> {
        let mut workshop = self.workshop()?.clone();
        workshop.seed = workshop.seed.wrapping_add(u64::try_from(number)?).wrapping_sub(1);
        let device = VirtualDevice::build_with(spec, &Options::default(), &workshop)?;
        let serial = device.serial().to_owned();
        let model = format!("biotrust {}", device.description().identity.model);
        let device: Arc<dyn LinkEnd> = Arc::new(device);
        match on {
            Bus::Pty => self.on_line(name, "reference device", serial, device),
            Bus::Usb => {
                let cable = LinkOnUsb::bulk(&identity(PRODUCT_LINK_USB, &model, &serial));
                self.on_cable(name, "reference device on USB", serial, device, cable)
            }
            Bus::Hid => {
                let reports = hid::descriptor(hid::USAGE_DEVICE);
                let cable = LinkOnUsb::hid(&identity(PRODUCT_LINK_HID, &model, &serial), reports);
                self.on_cable(name, "reference device on HID", serial, device, cable)
            }
        }
    }

    fn trust_module(&self, name: String, on: Bus, number: usize) -> anyhow::Result<Unit> {
        let workshop = self.workshop()?;
        let serial = format!("FTM{number:05}");
        let module = ModuleDevice::build(serial.clone(), &workshop.pki, &*workshop.clock)?;
        let module: Arc<dyn LinkEnd> = Arc::new(module);
        match on {
            Bus::Pty => self.on_line(name, "trust module", serial, module),
            Bus::Hid | Bus::Usb => {
                let reports = hid::descriptor(hid::USAGE_MODULE);
                let cable = LinkOnUsb::hid(&identity(PRODUCT_FTM_HID, "biotrust FTM-1", &serial), reports);
                self.on_cable(name, "trust module on HID", serial, module, cable)
            }
        }
    }

    fn on_line(
        &self,
        name: String,
        about: &'static str,
        serial: String,
        end: Arc<dyn LinkEnd>,
    ) -> anyhow::Result<Unit> {
        let place = Place::Pty(self.folder()?.to_owned(), Mutex::new(None));
        Ok(Unit::new(name, about, serial, Part::Link(end, None), place))
    }

    fn on_cable(
        &self,
        name: String,
        about: &'static str,
        serial: String,
        end: Arc<dyn LinkEnd>,
        cable: LinkOnUsb,
    ) -> anyhow::Result<Unit> {
        let (faulty, switch) = Faulty::new(cable);
        let cable = Gadget::new(faulty)?;
        let place = Place::Usb(self.socket(cable.erase())?, switch);
        Ok(Unit::new(name, about, serial, Part::Link(end, Some(cable)), place))
    }

    fn workshop(&self) -> anyhow::Result<&Workshop> {
        self.workshop.as_ref().context("there is no workshop")
    }

    fn socket(&self, gadget: Gadget<dyn UsbDevice>) -> anyhow::Result<Arc<Socket>> {
        let bus = self.usb.clone().context("it goes to USB: say --attach vhci or --attach tcp:HOST:PORT")?;
        Ok(Arc::new(Socket::new(bus, gadget)))
    }

    fn folder(&self) -> anyhow::Result<&Path> {
        self.links.as_deref().context("it is on a serial line: say --attach pty:FOLDER")
    }
}

fn faulty<D: UsbDevice + 'static>(
    device: D,
) -> anyhow::Result<(Gadget<dyn UsbDevice>, biosim_usbip::Switch)> {
    let (faulty, switch) = Faulty::new(device);
    Ok((Gadget::new(faulty)?.erase(), switch))
}

fn identity(product: u16, name: &str, serial: &str) -> Identity {
    Identity {
        vendor: VENDOR,
        product,
        release: 0x0100,
        manufacturer: "Biosim".to_owned(),
        name: name.to_owned(),
        serial: serial.to_owned(),
        ..Identity::default()
    }
}

/// A name that no other device has: as asked for, or made from what it is.
fn name(spec: &DeviceSpec, taken: &BTreeSet<String>) -> anyhow::Result<String> {
    if let Some(name) = &spec.name {
        if taken.contains(name) {
            bail!("two devices are called {name:?}");
        }
        return Ok(name.clone());
    }
    let base = spec.kind.default_name();
    let numbered = (2..).map(|number: u32| format!("{base}-{number}"));
    let free = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    free.context("no name is left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_a_name_of_its_own() {
        let builder = Builder { usb: None, links: Some(PathBuf::from("nowhere")), workshop: None };
        let specs = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<DeviceSpec>>();
        let units = builder.build(&specs(&["r30x@pty", "r30x@pty", "left=r30x@pty", "r30x@pty"])).unwrap();
        let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["r30x-pty", "r30x-pty-2", "left", "r30x-pty-3"]);
        assert!(builder.build(&specs(&["a=r30x@pty", "a=r30x@pty"])).is_err());
        let error = builder.build(&specs(&["uru4000"])).err().unwrap();
        assert!(format!("{error:#}").contains("--attach vhci"), "{error:#}");
    }
}
