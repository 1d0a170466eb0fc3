//! Devices that speak the link, on USB: over bulk endpoints (DMTF DSP0283), or in HID reports.
//!
//! What hangs here is whatever reads and writes on a [`Pipe`] in transfers or reports: a reference scanner
//! (`VirtualDevice::attach_to`), or a trust module.

use std::time::Instant;

use biosim_usbip::{Control, Descriptors, Function, Identity, Reply, Speed, UsbDevice, Waker};
use biotrust_driver_api::{Endpoint, EndpointKind, Interface, Pipe, Recipient, RequestKind};
use biotrust_link::Framing;

use crate::channel::{self, BusEnd};
use crate::hid;

const INPUT: u8 = 0x81;
const OUTPUT: u8 = 0x01;
/// Class, sub-class and protocol of MCTP over USB (DSP0283): a device of version 1.
const MCTP: [u8; 3] = [0x14, 0x00, 0x01];
/// Bulk packets of high speed, which is also the longest transfer of the link.
const TRANSFER: u16 = 512;
/// Longest report, its id included.
const REPORT: u16 = 64;

/// The bus side of a device that speaks the link.
pub struct LinkOnUsb {
    descriptors: Descriptors,
    /// Report descriptor, where it is a HID device.
    reports: Option<Vec<u8>>,
    waker: Option<Waker>,
    line: Option<BusEnd>,
}

impl LinkOnUsb {
    /// Over bulk endpoints.
    #[must_use]
    pub fn bulk(identity: &Identity) -> Self {
        let [class, sub_class, protocol] = MCTP;
        let endpoints = pair(EndpointKind::Bulk, TRANSFER);
        let interface = Interface { number: 0, class, sub_class, protocol, endpoints };
        let descriptors = Descriptors::new(Speed::High, identity, &[interface.into()]);
        Self { descriptors, reports: None, waker: None, line: None }
    }

    /// In HID reports that `reports` describes.
    #[must_use]
    pub fn hid(identity: &Identity, reports: Vec<u8>) -> Self {
        let endpoints = pair(EndpointKind::Interrupt, REPORT);
        let interface = Interface { number: 0, class: hid::CLASS, sub_class: 0, protocol: 0, endpoints };
        let function = Function { interface, class_descriptors: hid::descriptor(&reports) };
        let descriptors = Descriptors::new(Speed::High, identity, &[function]);
        Self { descriptors, reports: Some(reports), waker: None, line: None }
    }

    /// What its line carries.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        if self.reports.is_some() { Framing::Hid } else { Framing::Usb }
    }

    /// A new line for the device behind it; the one before is cut. When all handles on it are dropped the device is off
    /// the bus.
    pub fn line(&mut self) -> Box<dyn Pipe> {
        let waker = self.waker.clone().unwrap_or_else(|| Waker::new(|| {}));
        let (device, bus) = channel::line("a virtual USB cable", waker);
        self.line = Some(bus);
        Box::new(device)
    }
}

fn pair(kind: EndpointKind, max_packet: u16) -> Vec<Endpoint> {
    [INPUT, OUTPUT].map(|address| Endpoint { address, kind, max_packet }).to_vec()
}

impl UsbDevice for LinkOnUsb {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, request: Control<'_>, now: Instant) -> Reply {
        let Some(reports) = &self.reports else { return Reply::Stall };
        match request {
            // A report that comes by the control endpoint.
            Control::Out { setup, data }
                if setup.kind == RequestKind::Class
                    && setup.recipient == Recipient::Interface
                    && setup.request == hid::SET_REPORT =>
            {
                self.write(OUTPUT, data, now)
            }
            other => hid::control(other, reports),
        }
    }

    fn write(&mut self, _: u8, data: &[u8], _: Instant) -> Reply {
        match &self.line {
            Some(line) if !line.is_alive() => Reply::Disconnect,
            Some(line) if line.offer(data) => Reply::Ack,
            _ => Reply::Nak,
        }
    }

    fn read(&mut self, _: u8, room: usize, _: Instant) -> Reply {
        let Some(line) = &self.line else { return Reply::Nak };
        match line.fetch(room) {
            Some(message) => Reply::Data(message),
            None if line.is_alive() => Reply::Nak,
            None => Reply::Disconnect,
        }
    }

    fn reset(&mut self, _: Instant) {
        if let Some(line) = &self.line {
            line.clear();
        }
    }

    fn powered(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use biosim_usbip::{Gadget, LocalPort};
    use biotrust_driver_api::{PipeErrorKind, UsbPort as _};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn transfers_go_both_ways_as_they_are() {
        let gadget = Gadget::new(LinkOnUsb::bulk(&Identity::default())).unwrap();
        let mut line = gadget.with(LinkOnUsb::line);
        let (port, connection) = LocalPort::plug(&gadget).unwrap();
        assert_eq!([port.interfaces()[0].class, port.interfaces()[0].protocol], [0x14, 1]);
        port.claim(0).unwrap();
        port.submit(INPUT, TRANSFER.into()).unwrap();
        line.write_all(b"event", PATIENCE).unwrap();
        assert_eq!(port.complete(INPUT, PATIENCE).unwrap(), b"event");
        // The longest transfer is one whole packet: nothing short follows it.
        line.write_all(&[7; 512], PATIENCE).unwrap();
        line.write_all(b"next", PATIENCE).unwrap();
        assert_eq!(port.read(INPUT, 512, PATIENCE).unwrap(), [7; 512]);
        assert_eq!(port.read(INPUT, 512, PATIENCE).unwrap(), b"next");
        port.write(OUTPUT, &[9; 512], PATIENCE).unwrap();
        let mut buffer = [0; 1024];
        assert_eq!(line.read(&mut buffer, PATIENCE).unwrap(), 512);

        port.submit(INPUT, TRANSFER.into()).unwrap();
        drop(line);
        assert_eq!(port.complete(INPUT, PATIENCE).unwrap_err().kind, PipeErrorKind::Gone);
        drop(connection);
        let mut line = gadget.with(LinkOnUsb::line);
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        line.write_all(b"again", PATIENCE).unwrap();
        assert_eq!(port.read(INPUT, 512, PATIENCE).unwrap(), b"again");
    }

    #[test]
    fn a_host_that_writes_faster_than_the_device_reads_has_to_wait() {
        let gadget = Gadget::new(LinkOnUsb::bulk(&Identity::default())).unwrap();
        let mut line = gadget.with(LinkOnUsb::line);
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        let written =
            (0..100).take_while(|_| port.write(OUTPUT, b"x", Duration::from_millis(300)).is_ok()).count();
        assert!(written < 100, "{written}");
        let writer = std::thread::spawn(move || port.write(OUTPUT, b"y", PATIENCE));
        let mut seen = Vec::new();
        while !seen.ends_with(b"y") {
            let mut buffer = [0; 8];
            let length = line.read(&mut buffer, PATIENCE).unwrap();
            seen.extend_from_slice(&buffer[..length]);
        }
        writer.join().unwrap().unwrap();
        assert_eq!(seen.len(), written + 1, "what had timed out was called off");
    }

    #[test]
    fn a_hid_device_tells_its_reports_and_takes_them_both_ways() {
        let reports = biotrust_link::hid::descriptor(biotrust_link::hid::USAGE_DEVICE);
        let gadget = Gadget::new(LinkOnUsb::hid(&Identity::default(), reports.clone())).unwrap();
        let mut line = gadget.with(LinkOnUsb::line);
        let (port, _connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        let mut told = [0; 256];
        let length = port.control_in(hid::tests::REPORT_DESCRIPTOR, &mut told, PATIENCE).unwrap();
        assert_eq!(told[..length], reports);
        port.write(OUTPUT, &[1; 64], PATIENCE).unwrap();
        port.control_out(hid::tests::OUTPUT_REPORT, &[2; 64], PATIENCE).unwrap();
        let mut buffer = [0; 64];
        for first in [1, 2] {
            assert_eq!(line.read(&mut buffer, PATIENCE).unwrap(), 64);
            assert_eq!(buffer[0], first);
        }
        line.write_all(&[3; 64], PATIENCE).unwrap();
        assert_eq!(port.read(INPUT, 64, PATIENCE).unwrap(), [3; 64]);
    }
}
