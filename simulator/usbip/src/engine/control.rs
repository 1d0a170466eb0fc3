//! The control endpoint: standard requests (USB 2.0, 9.4) are answered here, all others by the device.

use std::time::Instant;

use biotrust_driver_api::{Recipient, RequestKind, Setup};

use super::{Engine, Pending, Progress};
use crate::wire::status;
use crate::{Control, Reply, UsbDevice};

const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const GET_INTERFACE: u8 = 10;
const SET_INTERFACE: u8 = 11;
/// Feature of an endpoint: it has halted.
const ENDPOINT_HALT: u16 = 0;
/// The hub's request that Linux sends in place of a reset, which is no request: SET_FEATURE(PORT_RESET) to a port.
pub(crate) const PORT_RESET: [u8; 8] = [0x23, SET_FEATURE, 4, 0, 0, 0, 0, 0];

impl Engine {
    pub(super) fn control(
        &mut self,
        pending: &mut Pending,
        device: &mut (impl UsbDevice + ?Sized),
        now: Instant,
    ) -> Progress {
        let [kind, request, value_low, value_high, index_low, index_high, length_low, length_high] =
            pending.submit.setup;
        if pending.submit.setup == PORT_RESET {
            self.forget(device, now);
            return Progress::Done(status::OK);
        }
        let Some(setup) = setup(
            kind,
            request,
            u16::from_le_bytes([value_low, value_high]),
            u16::from_le_bytes([index_low, index_high]),
        ) else {
            return Progress::Done(status::STALL);
        };
        let to_host = kind & 0x80 != 0;
        let asked = u16::from_le_bytes([length_low, length_high]);
        let most = usize::from(asked).min(pending.submit.length);
        // The direction is told twice, and both must say the same where there is data.
        if most > 0 && to_host != pending.submit.to_host {
            return Progress::Done(status::STALL);
        }
        let reply = if to_host {
            self.asked(setup, device)
                .unwrap_or_else(|| device.control(Control::In { setup, length: asked }, now))
        } else {
            self.told(setup, device, now)
                .unwrap_or_else(|| device.control(Control::Out { setup, data: &pending.data }, now))
        };
        match reply {
            Reply::Data(data) if to_host => {
                pending.data = data;
                pending.data.truncate(most);
                Progress::Done(status::OK)
            }
            Reply::Data(_) | Reply::Ack => Progress::Done(status::OK),
            Reply::Nak => Progress::Waits,
            Reply::Stall => Progress::Done(status::STALL),
            Reply::Disconnect => {
                self.disconnected = true;
                Progress::Waits
            }
        }
    }

    /// Standard requests that ask for something.
    fn asked(&self, setup: Setup, device: &(impl UsbDevice + ?Sized)) -> Option<Reply> {
        if setup.kind != RequestKind::Standard {
            return None;
        }
        let answer = match (setup.recipient, setup.request) {
            (Recipient::Device, GET_DESCRIPTOR) => device.descriptors().get(setup.value),
            (Recipient::Device, GET_CONFIGURATION) => Some(vec![self.configuration]),
            (Recipient::Device | Recipient::Interface, GET_STATUS) => Some(vec![0, 0]),
            (Recipient::Interface, GET_INTERFACE) => Some(vec![0]),
            (Recipient::Endpoint, GET_STATUS) => {
                Some(vec![u8::from(self.halted.contains(&endpoint(setup))), 0])
            }
            (Recipient::Interface, _) => return None,
            (Recipient::Device | Recipient::Endpoint, _) => None,
        };
        Some(answer.map_or(Reply::Stall, Reply::Data))
    }

    /// Standard requests that change something.
    fn told(&mut self, setup: Setup, device: &mut (impl UsbDevice + ?Sized), now: Instant) -> Option<Reply> {
        if setup.kind != RequestKind::Standard {
            return None;
        }
        let known = match (setup.recipient, setup.request) {
            (Recipient::Device, SET_ADDRESS | CLEAR_FEATURE | SET_FEATURE) => true,
            (Recipient::Device, SET_CONFIGURATION) => {
                let value = setup.value.to_le_bytes()[0];
                let known = value == 0 || value == device.descriptors().configuration_value();
                if known {
                    self.forget(device, now);
                    self.configuration = value;
                }
                known
            }
            // The first setting is the only one.
            (Recipient::Interface, SET_INTERFACE) => {
                let number = setup.index.to_le_bytes()[0];
                let interface = device.descriptors().interfaces().iter().find(|i| i.number == number);
                for endpoint in interface.into_iter().flat_map(|i| &i.endpoints) {
                    self.halted.remove(&endpoint.address);
                }
                interface.is_some() && setup.value == 0
            }
            (Recipient::Endpoint, CLEAR_FEATURE | SET_FEATURE) => {
                let endpoint = endpoint(setup);
                let known = setup.value == ENDPOINT_HALT
                    && (endpoint & 0x7f == 0 || device.descriptors().endpoint(endpoint).is_some());
                // The control endpoint never stays halted.
                if known && endpoint & 0x7f != 0 {
                    if setup.request == SET_FEATURE {
                        self.halted.insert(endpoint);
                    } else {
                        self.halted.remove(&endpoint);
                        device.halt_cleared(endpoint);
                    }
                }
                known
            }
            (Recipient::Interface, _) => return None,
            (Recipient::Device | Recipient::Endpoint, _) => false,
        };
        Some(if known { Reply::Ack } else { Reply::Stall })
    }

    /// As a reset does.
    fn forget(&mut self, device: &mut (impl UsbDevice + ?Sized), now: Instant) {
        self.configuration = 0;
        self.halted.clear();
        device.reset(now);
    }
}

const fn endpoint(setup: Setup) -> u8 {
    setup.index.to_le_bytes()[0]
}

/// A request by its bmRequestType, where that has a meaning.
const fn setup(kind: u8, request: u8, value: u16, index: u16) -> Option<Setup> {
    let recipient = match kind & 0x1f {
        0 => Recipient::Device,
        1 => Recipient::Interface,
        2 => Recipient::Endpoint,
        _ => return None,
    };
    let kind = match (kind >> 5) & 3 {
        0 => RequestKind::Standard,
        1 => RequestKind::Class,
        2 => RequestKind::Vendor,
        _ => return None,
    };
    Some(Setup { kind, recipient, request, value, index })
}

/// A request as it stands on the wire.
pub(crate) fn setup_bytes(setup: Setup, to_host: bool, length: u16) -> [u8; 8] {
    let kind = match setup.kind {
        RequestKind::Standard => 0,
        RequestKind::Class => 1 << 5,
        RequestKind::Vendor => 2 << 5,
    };
    let recipient = match setup.recipient {
        Recipient::Device => 0,
        Recipient::Interface => 1,
        Recipient::Endpoint => 2,
    };
    let direction = if to_host { 0x80 } else { 0 };
    let [value_low, value_high] = setup.value.to_le_bytes();
    let [index_low, index_high] = setup.index.to_le_bytes();
    let [length_low, length_high] = length.to_le_bytes();
    [
        direction | kind | recipient,
        setup.request,
        value_low,
        value_high,
        index_low,
        index_high,
        length_low,
        length_high,
    ]
}
