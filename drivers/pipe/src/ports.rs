//! Opens the node at which a device was found, whatever bus it is on.

use biotrust_driver_api::{Bus, Node, PipeError, Port};

use crate::{SerialPipe, UnixPipe, hid, usb, video};

/// Opens `node` in the way of its bus. Blocks for milliseconds.
///
/// # Errors
/// `PermissionDenied` that says what to do, `Gone`, `InUse`, `Os`.
pub fn open(node: &Node) -> Result<Port, PipeError> {
    match node.bus {
        Bus::Serial => SerialPipe::open(&node.path).map(|line| Port::Serial(Box::new(line))),
        Bus::Usb => usb::open(&node.path, &usb_name(node)).map(Port::Usb),
        Bus::Hid => hid::open(&node.path).map(Port::Hid),
        Bus::Video => video::open(&node.path).map(Port::Video),
        // The socket of a vendor's driver.
        Bus::Vendor => UnixPipe::connect(&node.path).map(|pipe| Port::pipe(Box::new(pipe))),
    }
}

/// Such as `usb 1-1.2 (05ba:000a)`.
fn usb_name(node: &Node) -> String {
    let place = node.place.strip_prefix("usb:").unwrap_or(&node.place);
    match &node.usb {
        Some(usb) => format!("usb {place} ({:04x}:{:04x})", usb.vendor, usb.product),
        None => format!("usb {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use biotrust_driver_api::{Found, PipeErrorKind, UsbIdentity};

    fn usb_node() -> Node {
        Node {
            bus: Bus::Usb,
            place: "usb:1-1.2".into(),
            path: "/dev/bus/usb/999/999".into(),
            usb: Some(UsbIdentity { vendor: 0x05ba, product: 0x000a, ..UsbIdentity::default() }),
            driver: None,
        }
    }

    #[test]
    fn each_bus_opens_in_its_own_way() {
        let line = crate::pty::open_pair().unwrap();
        let port = open(&Found::line(line.slave_path()).node).unwrap();
        assert_eq!(port.bus(), Bus::Serial);
        for bus in [Bus::Usb, Bus::Hid, Bus::Video] {
            let error = open(&Node { bus, ..usb_node() }).unwrap_err();
            assert_eq!(error.kind, PipeErrorKind::Gone, "{error}");
        }
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("driver.sock");
        let socket = || Node { bus: Bus::Vendor, path: path.clone(), ..usb_node() };
        assert_eq!(open(&socket()).unwrap_err().kind, PipeErrorKind::Gone, "nobody listens");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(open(&socket()).unwrap().bus(), Bus::Serial);
    }

    #[test]
    fn a_usb_device_is_named_by_its_ports_and_ids() {
        assert_eq!(usb_name(&usb_node()), "usb 1-1.2 (05ba:000a)");
    }
}
