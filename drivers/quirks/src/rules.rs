//! The udev rules that give the devices of the book to the daemon.
//!
//! They decide who may open a node and how its power is managed, not what drives it: for a device that is matched only
//! by its firmware version they match every version.

use std::fmt::Write;

use biotrust_driver_api::Bus;

use crate::book::Book;
use crate::entry::{Entry, Interface, UsbId};

/// Name of the file. It is read after 70-uaccess.rules, which gives cameras to whoever sits at the screen, and before
/// 73-seat-late.rules, which acts on that.
pub const FILE: &str = "72-biotrust.rules";

/// Name of the hand-written file of earlier versions: a left-over of it gives lines to the daemon twice.
pub const FORMER_FILE: &str = "70-biotrust.rules";

/// Group that may open the devices.
pub const GROUP: &str = "biotrust";

const HEAD: &str = "\
# Biometric devices: for the daemon only. Made by `biotrust udev generate rules` from the quirk files; changes here are lost.
# Goes to /usr/lib/udev/rules.d/72-biotrust.rules. A host that enables entries of its own (`[quirks] enable`) or has quirk
# files of its own makes its own: biotrust udev generate rules > /etc/udev/rules.d/72-biotrust.rules
# To name the driver of one device, set ENV{BIOTRUST_DRIVER} in a rule of your own before this file.

ACTION==\"remove\", GOTO=\"biotrust_end\"
SUBSYSTEM!=\"usb|tty|hidraw|video4linux\", GOTO=\"biotrust_end\"
SUBSYSTEM==\"usb\", ENV{DEVTYPE}!=\"usb_device\", GOTO=\"biotrust_end\"
SUBSYSTEM!=\"usb\", SUBSYSTEMS==\"usb\", ENV{ID_USB_INTERFACES}==\"\", IMPORT{builtin}=\"usb_id\"
";

const TAIL: &str = "
# Named by the owner of the host.
ENV{BIOTRUST_DRIVER}==\"?*\", ENV{BIOTRUST_QUIRK}!=\"?*\", ENV{BIOTRUST_QUIRK}=\"$env{BIOTRUST_DRIVER}\"

# A reader that sleeps loses its state; one that slept with the host is enumerated anew.
SUBSYSTEM==\"usb\", ENV{BIOTRUST_QUIRK}==\"?*\", ENV{.BIOTRUST_AWAKE}=\"1\"
ENV{.BIOTRUST_AWAKE}==\"1\", TEST==\"power/control\", ATTR{power/control}=\"on\"
ENV{.BIOTRUST_AWAKE}==\"1\", TEST==\"power/persist\", ATTR{power/persist}=\"0\"

ENV{BIOTRUST_QUIRK}!=\"?*\", GOTO=\"biotrust_end\"
GROUP=\"biotrust\", MODE=\"0660\", TAG-=\"uaccess\", TAG+=\"systemd\"
# A modem manager that probes the line would break into the framing.
ENV{ID_MM_PORT_IGNORE}=\"1\", ENV{ID_MM_DEVICE_IGNORE}=\"1\"
# Names that stay the same as long as the device is in the same socket.
ENV{ID_PATH}==\"\", IMPORT{builtin}=\"path_id\"
SUBSYSTEM==\"video4linux\", ENV{.BIOTRUST_NODE}=\"-video$attr{index}\"
SUBSYSTEM==\"tty\", SUBSYSTEMS==\"usb-serial\", ENV{.BIOTRUST_NODE}=\"-port$attr{port_number}\"
ENV{ID_PATH}==\"?*\", SYMLINK+=\"biotrust/$env{BIOTRUST_QUIRK}-$env{ID_PATH}$env{.BIOTRUST_NODE}\"

LABEL=\"biotrust_end\"
";

/// Writes the rules for all entries that are enabled. Where several match, the most exact comes last and gives its name.
#[must_use]
pub fn generate(book: &Book) -> String {
    let mut entries: Vec<&Entry> = book.entries().iter().filter(|entry| entry.enabled).collect();
    entries.sort_by_cached_key(|entry| (entry.most_exact(), entry.name.clone()));
    let mut text = HEAD.to_owned();
    for entry in entries {
        // Writing to a text does not fail.
        let _ = write!(text, "\n# {} ({}, driver {})\n", entry.about, entry.name, entry.driver);
        let ids: Vec<Option<UsbId>> =
            if entry.ids.is_empty() { vec![None] } else { entry.ids.iter().copied().map(Some).collect() };
        for id in &ids {
            let _ = writeln!(text, "{}, ENV{{BIOTRUST_QUIRK}}=\"{}\"", node(entry, *id), entry.name);
        }
        // The device behind a node of another bus.
        for id in ids.iter().filter(|_| entry.bus != Bus::Usb && entry.asks_usb()) {
            let _ =
                writeln!(text, "SUBSYSTEM==\"usb\"{}, ENV{{.BIOTRUST_AWAKE}}=\"1\"", usb(entry, *id, "ATTR"));
        }
    }
    text + TAIL
}

/// What matches the node that the daemon opens.
fn node(entry: &Entry, id: Option<UsbId>) -> String {
    let (subsystem, attribute) = match entry.bus {
        Bus::Usb => ("usb", "ATTR"),
        Bus::Serial => ("tty", "ATTRS"),
        Bus::Hid => ("hidraw", "ATTRS"),
        Bus::Video => ("video4linux", "ATTRS"),
        // No quirk file has entries for it.
        Bus::Vendor => ("none", "ATTRS"),
    };
    format!("SUBSYSTEM==\"{subsystem}\"{}", usb(entry, id, attribute))
}

/// What matches the USB device. All `ATTRS` of a rule are about the same parent.
fn usb(entry: &Entry, id: Option<UsbId>, attribute: &str) -> String {
    let mut text = String::new();
    let mut equal = |name: &str, value: &str| {
        let _ = write!(text, ", {attribute}{{{name}}}==\"{value}\"");
    };
    if let Some(id) = id {
        equal("idVendor", &format!("{:04x}", id.vendor));
        if let Some(product) = id.product {
            equal("idProduct", &format!("{product:04x}"));
        }
    }
    for (name, glob) in
        [("manufacturer", &entry.manufacturer), ("product", &entry.product), ("serial", &entry.serial)]
    {
        if let Some(glob) = glob {
            equal(name, &glob.to_string());
        }
    }
    if let Some(interface) = entry.interface {
        let _ = write!(text, ", ENV{{ID_USB_INTERFACES}}==\"*:{}:*\"", pattern(interface));
    }
    text
}

fn pattern(interface: Interface) -> String {
    let part = |part: Option<u8>| part.map_or_else(|| "??".to_owned(), |n| format!("{n:02x}"));
    format!("{:02x}{}{}", interface.class, part(interface.sub_class), part(interface.protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(text: &str) -> String {
        let mut book = Book::embedded();
        book.add(crate::file::parse(std::path::Path::new("test.toml"), text).unwrap());
        generate(&book)
    }

    const CAMERA: &str = "driver = \"v4l2\"\n[[device]]\nname = \"iris\"\nabout = \"An iris camera\"\nbus = \"video\"\n\
                          usb = [\"1234:abcd\", \"1235:*\"]\nproduct = \"Eye ?\"\ninterface = \"0e/02\"\n";

    #[test]
    fn a_rule_has_every_criterion_for_the_node_and_for_the_device_behind_it() {
        let rules = generated(CAMERA);
        for line in [
            "SUBSYSTEM==\"video4linux\", ATTRS{idVendor}==\"1234\", ATTRS{idProduct}==\"abcd\", \
             ATTRS{product}==\"Eye ?\", ENV{ID_USB_INTERFACES}==\"*:0e02??:*\", ENV{BIOTRUST_QUIRK}=\"iris\"",
            "SUBSYSTEM==\"video4linux\", ATTRS{idVendor}==\"1235\", ATTRS{product}==\"Eye ?\", \
             ENV{ID_USB_INTERFACES}==\"*:0e02??:*\", ENV{BIOTRUST_QUIRK}=\"iris\"",
            "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"1234\", ATTR{idProduct}==\"abcd\", ATTR{product}==\"Eye ?\", \
             ENV{ID_USB_INTERFACES}==\"*:0e02??:*\", ENV{.BIOTRUST_AWAKE}=\"1\"",
        ] {
            assert!(rules.lines().any(|l| l == line), "{line}\n{rules}");
        }
    }

    #[test]
    fn what_is_not_enabled_is_left_to_others() {
        let rules = generate(&Book::embedded());
        assert!(rules.contains("uru4500") && !rules.contains("r30x-ftdi") && !rules.contains("uvc-camera"));
        let mut book = Book::embedded();
        book.enable(&["uvc-camera"]).unwrap();
        assert!(
            generate(&book).contains("SUBSYSTEM==\"video4linux\", ENV{ID_USB_INTERFACES}==\"*:0e02??:*\"")
        );
    }

    #[test]
    fn the_most_exact_entry_comes_last() {
        let rules = generate(&Book::embedded());
        let at = |text: &str| rules.find(text).unwrap();
        assert!(at("=\"link-serial\"") < at("=\"ftm-serial\""));
        assert!(at("=\"ftm-serial\"") < at("=\"uru4500\""));
    }
}
