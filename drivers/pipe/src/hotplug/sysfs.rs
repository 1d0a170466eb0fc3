//! What is on the buses, read from sysfs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use biotrust_driver_api::{Bus, Node, UsbIdentity};

use super::database::{self, Record};

/// Name of a bus in messages of the kernel.
pub(super) const fn subsystem(bus: Bus) -> Option<&'static str> {
    match bus {
        Bus::Serial => Some("tty"),
        Bus::Usb => Some("usb"),
        Bus::Hid => Some("hidraw"),
        Bus::Video => Some("video4linux"),
        Bus::Vendor => None,
    }
}

/// Says what udevd knows of a device, by its directory in sysfs; `None` while it is not done with it.
type LookUp = Box<dyn Fn(&Path) -> Option<Record> + Send>;

/// Where to look. Another one is for tests.
pub(super) struct Host {
    pub sys: PathBuf,
    pub dev: PathBuf,
    pub database: LookUp,
}

/// A device, and all that tells it from another one at the same place at another time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub node: Node,
    /// Of its directory in sysfs: the kernel numbers these consecutively and makes a new one for each device.
    inode: u64,
    since: u64,
    /// Device number, permissions, user and group of its node.
    access: (u64, u32, u32, u32),
}

impl Host {
    pub(super) fn this() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into(), database: Box::new(database::look_up) }
    }

    /// All devices on `buses` that can be opened now, by their places.
    pub(super) fn scan(&self, buses: &[Bus]) -> BTreeMap<String, Identity> {
        let mut found = BTreeMap::new();
        for bus in buses {
            for device in self.devices(*bus) {
                let Some(mut identity) = self.identify(*bus, &device) else { continue };
                if found.contains_key(&identity.node.place) {
                    // Two nodes that sysfs does not tell apart by anything lasting.
                    identity.node.place = format!("{}+{}", identity.node.place, name(&device));
                }
                found.insert(identity.node.place.clone(), identity);
            }
        }
        found
    }

    /// Whether the path of `node` leads to another device by now. Of a path that sysfs does not know nothing can be said.
    pub(super) fn is_another(&self, node: &Node) -> bool {
        let names =
            |device: &PathBuf| property(device, "DEVNAME").is_some_and(|dev| self.dev.join(dev) == node.path);
        let Some(device) = self.devices(node.bus).into_iter().find(names) else { return false };
        let is_it = |now: &Node| {
            let rest = node.place.strip_prefix(&now.place);
            now.usb == node.usb && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
        };
        // One that udevd is not done with yet has come just now.
        !self.identify(node.bus, &device).is_some_and(|now| is_it(&now.node))
    }

    /// Directories of the devices on a bus, by name.
    fn devices(&self, bus: Bus) -> Vec<PathBuf> {
        let directory = match (bus, subsystem(bus)) {
            (Bus::Usb, _) => self.sys.join("bus/usb/devices"),
            (_, Some(class)) => self.sys.join("class").join(class),
            (_, None) => return Vec::new(),
        };
        // Without such devices there need not even be the directory.
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let mut links: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        links.sort();
        links.retain(|link| match bus {
            // Interfaces (1-1:1.0) are looked at with their devices.
            Bus::Usb => !name(link).contains(':'),
            // Radios and teletext are in the class too.
            Bus::Video => name(link).starts_with("video"),
            // Consoles and pseudo-terminals are no devices.
            _ => link.join("device").exists(),
        });
        links.iter().filter_map(|link| fs::canonicalize(link).ok()).collect()
    }

    fn identify(&self, bus: Bus, device: &Path) -> Option<Identity> {
        let usb_device = ancestor(device, "idVendor");
        let usb = usb_device.map(usb_identity);
        match bus {
            // A device that is not configured yet has no interfaces.
            Bus::Usb => complete(device, usb.as_ref()?)?,
            // What no chip was found for.
            Bus::Serial if attribute(device, "type").as_deref() == Some("0") => return None,
            _ => {}
        }
        let record = (self.database)(device)?;
        if record.capabilities.as_ref().is_some_and(|capabilities| !capabilities.contains(":capture:")) {
            return None;
        }
        let path = self.dev.join(property(device, "DEVNAME")?);
        let file = fs::metadata(&path).ok()?;
        let place = match usb_device.and_then(ports) {
            Some(ports) => format!("{}:{ports}{}", bus.name(), unit(bus, device)),
            None => fixed_place(bus, device, &path),
        };
        Some(Identity {
            inode: fs::metadata(device).ok()?.ino(),
            since: record.since,
            access: (file.rdev(), file.mode(), file.uid(), file.gid()),
            node: Node { bus, place, path, usb, driver: record.driver },
        })
    }
}

/// `Some` when all interfaces of the active configuration are there, and the device is not a hub.
fn complete(device: &Path, usb: &UsbIdentity) -> Option<()> {
    let interfaces: usize = attribute(device, "bNumInterfaces")?.parse().ok()?;
    let hub = attribute(device, "bDeviceClass").as_deref() == Some("09");
    (!hub && interfaces == usb.interfaces.len()).then_some(())
}

fn usb_identity(device: &Path) -> UsbIdentity {
    let number = |name: &str| {
        attribute(device, name).and_then(|text| u16::from_str_radix(&text, 16).ok()).unwrap_or(0)
    };
    let text = |name: &str| attribute(device, name).unwrap_or_default();
    UsbIdentity {
        vendor: number("idVendor"),
        product: number("idProduct"),
        release: number("bcdDevice"),
        manufacturer: text("manufacturer"),
        name: text("product"),
        serial: text("serial"),
        interfaces: interfaces(device),
    }
}

fn interfaces(device: &Path) -> Vec<[u8; 3]> {
    let Ok(entries) = fs::read_dir(device) else { return Vec::new() };
    let mut interfaces: Vec<(u8, [u8; 3])> = entries
        .flatten()
        .filter_map(|entry| {
            let byte = |name: &str| u8::from_str_radix(&attribute(&entry.path(), name)?, 16).ok();
            let class = [byte("bInterfaceClass")?, byte("bInterfaceSubClass")?, byte("bInterfaceProtocol")?];
            Some((byte("bInterfaceNumber")?, class))
        })
        .collect();
    interfaces.sort_unstable();
    interfaces.into_iter().map(|(_, class)| class).collect()
}

/// Controller and ports: `0000:00:14.0-1.2`. Of a device on the SuperSpeed half of the controller, whose ports have the
/// same numbers: `0000:00:14.0-ss1.2`. The number that the kernel gives the bus depends on the order of the start.
fn ports(usb_device: &Path) -> Option<String> {
    let (_, ports) = name(usb_device).split_once('-')?;
    let root =
        usb_device.ancestors().find(|dir| name(dir).starts_with("usb") && dir.join("idVendor").exists())?;
    let half = if super_speed(root) { "ss" } else { "" };
    Some(format!("{}-{half}{ports}", name(root.parent()?)))
}

fn super_speed(root_hub: &Path) -> bool {
    attribute(root_hub, "version").is_some_and(|version| version.starts_with('3'))
}

/// Which of the nodes of a USB device: the interface, and its number where the interface has several.
fn unit(bus: Bus, device: &Path) -> String {
    if bus == Bus::Usb {
        return String::new();
    }
    let interface = ancestor(device, "bInterfaceNumber").and_then(|dir| name(dir).split_once(':'));
    let interface = interface.map_or_else(String::new, |(_, interface)| format!(":{interface}"));
    let number = match bus {
        Bus::Video => attribute(device, "index"),
        Bus::Serial => ancestor(device, "port_number").and_then(|port| attribute(port, "port_number")),
        _ => None,
    };
    match number.filter(|number| number != "0") {
        Some(number) => format!("{interface}#{number}"),
        None => interface,
    }
}

/// Place of what is not on USB.
fn fixed_place(bus: Bus, device: &Path, path: &Path) -> String {
    let parent = fs::canonicalize(device.join("device")).unwrap_or_default();
    let place = match bus {
        Bus::Hid => [property(&parent, "HID_PHYS"), property(&parent, "HID_UNIQ")]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty()),
        Bus::Video => Some(format!("{}{}", name(&parent), unit(bus, device))),
        _ => None,
    };
    place.map_or_else(|| path.display().to_string(), |place| format!("{}:{place}", bus.name()))
}

/// The device or the nearest one above it that has the attribute.
fn ancestor<'a>(device: &'a Path, attribute: &str) -> Option<&'a Path> {
    device.ancestors().find(|dir| dir.join(attribute).exists())
}

/// An attribute without white space around it; `None` where there is none, or nothing in it.
fn attribute(device: &Path, name: &str) -> Option<String> {
    let bytes = fs::read(device.join(name)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim().replace(char::is_control, "?");
    (!text.is_empty()).then_some(text)
}

/// A property that the kernel gives a device.
fn property(device: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(device.join("uevent")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
