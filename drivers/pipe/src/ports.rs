//! Opens the node at which a device was found, whatever bus it is on.

use biotrust_driver_api::{Bus, Node, PipeError, PipeErrorKind, Port};

use crate::{SerialPipe, hid, usb, video};

/// Opens `node` in the way of its bus. Blocks for milliseconds.
///
/// # Errors
/// `PermissionDenied` that says what to do, `Gone`, `InUse`; `Os` also for a vendor's process, which is no node.
pub fn open(node: &Node) -> Result<Port, PipeError> {
    match node.bus {
        Bus::Serial => SerialPipe::open(&node.path).map(|line| Port::Serial(Box::new(line))),
        Bus::Usb => usb::open(&node.path, &usb_name(node)).map(Port::Usb),
        Bus::Hid => hid::open(&node.path).map(Port::Hid),
        Bus::Video => video::open(&node.path).map(Port::Video),
        Bus::Vendor => Err(PipeError {
            kind: PipeErrorKind::Os,
            os: None,
            doing: format!("opening {} (it belongs to a vendor's process and has no node)", node.place),
        }),
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
    use biotrust_driver_api::{Found, UsbIdentity};

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
        assert_eq!(open(&Node { bus: Bus::Vendor, ..usb_node() }).unwrap_err().kind, PipeErrorKind::Os);
    }

    #[test]
    fn a_usb_device_is_named_by_its_ports_and_ids() {
        assert_eq!(usb_name(&usb_node()), "usb 1-1.2 (05ba:000a)");
    }
}
