//! What all HID devices have in common (Device Class Definition for HID 1.11): the HID descriptor and the requests of the
//! class that need no state.

use biosim_usbip::{Control, Reply};
use biotrust_driver_api::{Recipient, RequestKind};

/// bInterfaceClass.
pub(crate) const CLASS: u8 = 3;
/// Sends a report by the control endpoint.
pub(crate) const SET_REPORT: u8 = 0x09;
const SET_IDLE: u8 = 0x0a;
const SET_PROTOCOL: u8 = 0x0b;
const GET_DESCRIPTOR: u8 = 6;
/// Type of the HID descriptor.
const HID: u8 = 0x21;
/// Type of the report descriptor.
const REPORT: u8 = 0x22;

/// The HID descriptor of a device with this report descriptor.
pub(crate) fn descriptor(reports: &[u8]) -> Vec<u8> {
    let [low, high] = u16::try_from(reports.len()).unwrap_or(u16::MAX).to_le_bytes();
    // Version 1.11, no country, one descriptor: that of the reports.
    vec![9, HID, 0x11, 0x01, 0, 1, REPORT, low, high]
}

/// Answers the requests that need no state.
pub(crate) fn control(request: Control<'_>, reports: &[u8]) -> Reply {
    let setup = request.setup();
    let [kind, _] = setup.value.to_be_bytes();
    match (request, setup.kind, setup.recipient, setup.request) {
        (Control::In { .. }, RequestKind::Standard, Recipient::Interface, GET_DESCRIPTOR) => match kind {
            HID => Reply::Data(descriptor(reports)),
            REPORT => Reply::Data(reports.to_vec()),
            _ => Reply::Stall,
        },
        (Control::Out { .. }, RequestKind::Class, Recipient::Interface, SET_IDLE | SET_PROTOCOL) => {
            Reply::Ack
        }
        _ => Reply::Stall,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use biotrust_driver_api::Setup;

    pub(crate) const REPORT_DESCRIPTOR: Setup = Setup {
        kind: RequestKind::Standard,
        recipient: Recipient::Interface,
        request: GET_DESCRIPTOR,
        value: (REPORT as u16) << 8,
        index: 0,
    };
    pub(crate) const OUTPUT_REPORT: Setup = Setup {
        kind: RequestKind::Class,
        recipient: Recipient::Interface,
        request: SET_REPORT,
        value: 0x0201,
        index: 0,
    };

    #[test]
    fn the_requests_of_the_class() {
        let reports = [1, 2, 3];
        let asked = |value| {
            control(Control::In { setup: Setup { value, ..REPORT_DESCRIPTOR }, length: 64 }, &reports)
        };
        assert_eq!(asked(0x2200), Reply::Data(vec![1, 2, 3]));
        assert_eq!(asked(0x2100), Reply::Data(vec![9, 0x21, 0x11, 1, 0, 1, 0x22, 3, 0]));
        assert_eq!(asked(0x2300), Reply::Stall);
        let told = |request| {
            control(Control::Out { setup: Setup { request, ..OUTPUT_REPORT }, data: &[] }, &reports)
        };
        assert_eq!((told(SET_IDLE), told(SET_REPORT)), (Reply::Ack, Reply::Stall));
    }
}
