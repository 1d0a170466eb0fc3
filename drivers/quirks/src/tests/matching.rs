//! The most exact entry wins, whatever the order; every criterion counts.

use biotrust_driver_api::{Bus, Node, Quirks, UsbIdentity};
use proptest::prelude::*;

use super::{book, found, node};
use crate::{Book, Entry, Glob, Interface, Release, UsbId};

fn any_bus() -> impl Strategy<Value = Bus> {
    prop_oneof![Just(Bus::Serial), Just(Bus::Usb), Just(Bus::Hid), Just(Bus::Video)]
}

prop_compose! {
    fn any_usb()(
        vendor: u16, product: u16, release in 1u16..0xffff,
        manufacturer in "[A-Z][a-z]{1,8}", name in "[A-Z][a-z0-9]{1,8}", serial in "[0-9A-F]{4,12}",
        interfaces in prop::collection::vec(any::<[u8; 3]>(), 1..4),
    ) -> UsbIdentity {
        UsbIdentity { vendor, product, release, manufacturer, name, serial, interfaces }
    }
}

/// Which criteria an entry has.
type Asked = [bool; 6];

/// An entry that asks for what the device says.
fn about(
    name: &str,
    bus: Bus,
    usb: &UsbIdentity,
    [id, release, maker, product, serial, interface]: Asked,
) -> Entry {
    let glob = |asked: bool, text: &str| asked.then(|| Glob::new(text).unwrap());
    let [class, sub_class, protocol] = usb.interfaces[0];
    Entry {
        name: name.into(),
        about: String::new(),
        driver: "uru4000".into(),
        bus,
        ids: if id { vec![UsbId { vendor: usb.vendor, product: Some(usb.product) }] } else { Vec::new() },
        release: release.then_some(Release { from: usb.release, to: usb.release }),
        manufacturer: glob(maker, &usb.manufacturer),
        product: glob(product, &usb.name),
        serial: glob(serial, &usb.serial),
        interface: interface.then_some(Interface {
            class,
            sub_class: Some(sub_class),
            protocol: Some(protocol),
        }),
        enabled: true,
        quirks: Quirks { name: name.into(), ..Quirks::default() },
    }
}

fn at(bus: Bus, usb: UsbIdentity) -> Node {
    Node { bus, place: "p".into(), path: "/dev/x".into(), usb: Some(usb), driver: None }
}

proptest! {
    #[test]
    fn an_entry_takes_what_it_describes_and_nothing_that_differs(
        bus in any_bus(), other in any_bus(), usb in any_usb(), asked: Asked, which in 0usize..6,
    ) {
        let entry = about("e", bus, &usb, asked);
        let same = at(bus, usb.clone());
        prop_assert!(entry.matches(&same));
        prop_assert_eq!(entry.matches(&at(other, usb.clone())), bus == other);
        let mut changed = usb;
        match which {
            0 => changed.product ^= 1,
            1 => changed.release ^= 1,
            2 => changed.manufacturer.push('x'),
            3 => changed.name.insert(0, 'x'),
            4 => changed.serial.push('0'),
            _ => {
                let wanted = changed.interfaces[0];
                changed.interfaces.retain(|i| *i != wanted);
            }
        }
        prop_assert_eq!(entry.matches(&at(bus, changed)), !asked[which]);
        let bare = Node { usb: None, ..same };
        prop_assert_eq!(entry.matches(&bare), asked == [false; 6]);
    }

    #[test]
    fn who_asks_for_more_wins_in_any_order(usb in any_usb(), asked: Asked, more in 0usize..6, first: bool) {
        prop_assume!(!asked[more]);
        let mut all = asked;
        all[more] = true;
        let (loose, exact) = (about("loose", Bus::Hid, &usb, asked), about("exact", Bus::Hid, &usb, all));
        let mut book = Book::embedded();
        book.add(if first { vec![exact, loose] } else { vec![loose, exact] });
        let winner = found(&book, &at(Bus::Hid, usb));
        prop_assert_eq!(winner.as_deref(), Some("exact"));
    }
}

#[test]
fn the_built_in_files_know_their_devices() {
    let book = Book::embedded();
    let mut reader = node(Bus::Usb, 0x05ba, 0x000a, "U.are.U 4500");
    assert_eq!(book.find(&reader), None, "without the vendor's interface it is something else");
    reader.usb.as_mut().unwrap().interfaces.push([255, 255, 255]);
    let found = book.find(&reader).unwrap();
    assert!(
        found.driver == "uru4000" && found.enabled && found.quirks.text("make") == Some("DigitalPersona")
    );

    let mut module = node(Bus::Hid, 0x1209, 1, "biotrust FTM module");
    assert_eq!(book.find(&module).unwrap().driver, "ftm-link");
    module.usb.as_mut().unwrap().name = "biotrust scanner".into();
    assert_eq!(book.find(&module).unwrap().driver, "link");
    module.usb.as_mut().unwrap().name = "keyboard".into();
    assert_eq!(book.find(&module), None);
    assert_eq!(book.find(&Node::line("/dev/ttyS0")), None);
}

#[test]
fn what_could_be_anything_waits_for_the_owner() {
    let mut book = Book::embedded();
    let adapter = node(Bus::Serial, 0x0403, 0x6001, "FT232R USB UART");
    let found = book.find(&adapter).unwrap();
    assert_eq!((found.driver.as_str(), found.enabled), ("r30x", false));
    assert!(book.enable(&["r30x-ftdi", "r30x-typo"]).unwrap_err().to_string().contains("uvc-camera"));
    assert!(!book.find(&adapter).unwrap().enabled, "all or nothing");
    book.enable(&["r30x-ftdi"]).unwrap();
    assert!(book.find(&adapter).unwrap().enabled);
    // What is as exact and not enabled does not hide it, wherever it stands.
    let other = "driver = \"link\"\n[[device]]\nname = \"link-ftdi\"\nabout = \"\"\nbus = \"serial\"\n\
                 usb = [\"0403:6001\"]\nenabled = false\n";
    let mut both = self::book(&[other]);
    both.enable(&["r30x-ftdi"]).unwrap();
    assert_eq!(both.find(&adapter).unwrap().driver, "r30x");
}

#[test]
fn the_owner_names_the_driver() {
    let book = Book::embedded();
    let mut adapter = node(Bus::Serial, 0x0403, 0x6001, "FT232R USB UART");
    adapter.driver = Some("r30x".into());
    let found = book.find(&adapter).unwrap();
    assert!(found.enabled && found.quirks.name == "r30x-ftdi");
    adapter.driver = Some("link".into());
    let found = book.find(&adapter).unwrap();
    assert!(found.enabled && found.driver == "link" && found.quirks == Quirks::default());
}
