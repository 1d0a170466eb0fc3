//! The driver over USB (through USB/IP, with everything that a bus does) and over HID reports.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender};

use biosim_usbip::{
    Connection, Control, Descriptors, Fault, Faulty, Function, Gadget, Identity, LocalPort, Reply, Speed,
    Switch, UsbDevice,
};
use biotrust_driver_api::{Bus, Endpoint, EndpointKind, HidPort, Interface, Node, PipeError, Quirks, Value};

use super::*;
use crate::mctp::{Framing, hid};

const INPUT: u8 = 0x81;
const OUTPUT: u8 = 0x02;

// --- a device on USB --------------------------------------------------------------------------------------------

struct UsbScript {
    descriptors: Descriptors,
    packet: usize,
    role: DeviceRole,
    script: Script,
    /// Transfers to the host; an empty one ends a transfer of whole packets.
    out: VecDeque<Vec<u8>>,
}

impl UsbScript {
    fn new(speed: Speed, class: [u8; 3], script: Script) -> Self {
        let packet: u16 = if speed == Speed::High { 512 } else { 64 };
        let endpoint = |address| Endpoint { address, kind: EndpointKind::Bulk, max_packet: packet };
        let interface = Interface {
            number: 0,
            class: class[0],
            sub_class: class[1],
            protocol: class[2],
            endpoints: vec![endpoint(INPUT), endpoint(OUTPUT)],
        };
        let identity = Identity { vendor: 0x1209, product: 1, ..Identity::default() };
        Self {
            descriptors: Descriptors::new(speed, &identity, &[Function::from(interface)]),
            packet: packet.into(),
            role: DeviceRole::over(Framing::Usb),
            script,
            out: VecDeque::new(),
        }
    }
}

impl UsbDevice for UsbScript {
    fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    fn control(&mut self, _: Control<'_>, _: Instant) -> Reply {
        Reply::Stall
    }

    fn write(&mut self, _: u8, data: &[u8], _: Instant) -> Reply {
        assert!(data.len() <= 512, "a transfer of {} bytes", data.len());
        for incoming in self.role.receive(data) {
            let bytes = match incoming {
                Incoming::Request { ticket, request } => (self.script)(&mut self.role, ticket, request),
                Incoming::Spdm { ticket, .. } => self.role.refuse_spdm(ticket),
                Incoming::Reply(bytes) => bytes,
            };
            for transfer in Framing::Usb.transfers(&bytes) {
                let is_open = transfer.len() < 512 && transfer.len().is_multiple_of(self.packet);
                self.out.push_back(transfer.into_owned());
                self.out.extend(is_open.then(Vec::new));
            }
        }
        Reply::Ack
    }

    fn read(&mut self, _: u8, _: usize, _: Instant) -> Reply {
        match self.out.pop_front() {
            Some(transfer) if transfer.is_empty() => Reply::Ack,
            Some(transfer) => Reply::Data(transfer),
            None => Reply::Nak,
        }
    }
}

struct Plugged {
    port: LocalPort,
    switch: Switch,
    gadget: Gadget<Faulty<UsbScript>>,
    _connection: Connection,
}

fn plug(speed: Speed, script: Script) -> Plugged {
    plug_as(speed, [0x14, 0, 1], script)
}

fn plug_as(speed: Speed, class: [u8; 3], script: Script) -> Plugged {
    let (device, switch) = Faulty::new(UsbScript::new(speed, class, script));
    let gadget = Gadget::new(device).unwrap();
    let (port, _connection) = LocalPort::plug(&gadget).unwrap();
    Plugged { port, switch, gadget, _connection }
}

fn found(bus: Bus) -> Found {
    let node = Node { bus, place: "usb:1-1".into(), path: "/dev/test".into(), usb: None, driver: None };
    Found { node, quirks: Quirks::default() }
}

type Outcome = Result<(Opened, Receiver<DeviceEvent>), DeviceError>;

fn open_port(factory: &LinkFactory, port: Port, timeout: Duration) -> Outcome {
    let (sender, events) = channel();
    let found = found(port.bus());
    Ok((factory.open(port, &found, sink(sender), timeout)?, events))
}

fn usb(plugged: &Plugged) -> Port {
    Port::Usb(Box::new(plugged.port.clone()))
}

fn l1_of(outcome: Outcome) -> (Arc<dyn biotrust_driver_api::L1Device>, Receiver<DeviceEvent>) {
    match outcome {
        Ok((Opened::L1(device), events)) => (device, events),
        Ok(_) => panic!("not L1"),
        Err(error) => panic!("{error}"),
    }
}

/// All that goes over a line: small and large, both ways, asked and unasked.
fn does_everything(device: &dyn biotrust_driver_api::L1Device, events: &Receiver<DeviceEvent>) {
    assert_eq!(device.status(LONG).unwrap(), testing::report());
    let chain = vec![vec![7; 40_000]; 4];
    assert_eq!(kind(device.install_encryption_certificate("", &chain, LONG)), DeviceErrorKind::Unsupported);
    device.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
    for expected in 1..=3 {
        let event = events.recv_timeout(LONG).unwrap();
        assert!(matches!(&event, DeviceEvent::Frame(f) if f.sequence == expected), "{event:?}");
    }
    let outcome = device.capture(&slap(), &Cancel::new()).unwrap();
    let CaptureOutcome::Done { parts, .. } = outcome else { panic!("{outcome:?}") };
    assert!(parts.len() == 4 && parts.iter().all(|p| p.data.expose() == vec![b'x'; 200_000]));
}

#[test]
fn a_device_on_usb_does_everything_at_both_speeds() {
    for speed in [Speed::Full, Speed::High] {
        let plugged = plug(speed, honest(Level::L1));
        let (device, events) = l1_of(open_port(&factory(), usb(&plugged), LONG));
        does_everything(device.as_ref(), &events);
        drop(device);
        assert_eq!(events.iter().count(), 0, "no word of Gone");
    }
}

#[test]
fn a_request_whose_last_transfer_ends_with_a_whole_packet_is_not_waited_for() {
    // A chain one byte longer each time: all lengths of a last transfer come along.
    let plugged = plug(Speed::Full, honest(Level::L1));
    let (device, _events) = l1_of(open_port(&factory(), usb(&plugged), LONG));
    for length in 1..80 {
        let refused = device.install_encryption_certificate("", &[vec![7; length]], LONG).unwrap_err();
        assert!(refused.message.contains("another anchor"), "{length}: {refused}");
    }
}

#[test]
fn stalls_are_cleared_on_both_endpoints_and_cost_nothing() {
    let plugged = plug(Speed::High, honest(Level::L1));
    let (device, events) = l1_of(open_port(&factory(), usb(&plugged), LONG));
    for times in [1, 2, 1, 2] {
        plugged.switch.set(Some(Fault::Stall(Some(times))));
        assert_eq!(device.status(LONG).unwrap(), testing::report());
    }
    plugged.switch.set(None);
    does_everything(device.as_ref(), &events);
}

#[test]
fn a_device_that_stalls_again_and_again_is_reset_and_after_three_resets_given_up() {
    let factory = factory();
    let mut said = Vec::new();
    for _ in 0..4 {
        let plugged = plug(Speed::High, honest(Level::L1));
        let (device, events) = l1_of(open_port(&factory, usb(&plugged), LONG));
        plugged.switch.set(Some(Fault::Stall(None)));
        let error = device.status(LONG).unwrap_err();
        assert_eq!(error.kind, DeviceErrorKind::Gone, "{error}");
        assert_eq!(gone(&events), DeviceErrorKind::Gone);
        said.push(error.message);
    }
    assert!(said[..3].iter().all(|why| why.contains("was reset")), "{said:?}");
    assert!(said[3].contains("given up"), "{said:?}");
}

#[test]
fn a_wedged_device_is_reset_while_it_is_opened() {
    let plugged = plug(Speed::High, honest(Level::L1));
    plugged.switch.set(Some(Fault::Nak));
    let start = Instant::now();
    let error = open_port(&factory(), usb(&plugged), LONG).err().unwrap();
    assert!(start.elapsed() < LONG, "the time limit was not needed");
    assert!(matches!(error.kind, DeviceErrorKind::Gone | DeviceErrorKind::TimedOut), "{error}");
}

#[test]
fn a_device_that_takes_everything_and_says_nothing_is_reset() {
    let plugged = plug(Speed::High, Box::new(|_, _, _| Vec::new()));
    let error = open_port(&factory(), usb(&plugged), LONG).err().unwrap();
    assert_eq!(error.kind, DeviceErrorKind::Gone);
    assert!(error.message.contains("was reset"), "{error}");
}

#[test]
fn a_device_that_falls_silent_is_reset_after_three_requests() {
    let plugged = plug(Speed::High, honest_but(Level::L1, |r| matches!(r, Request::Status).then(Vec::new)));
    let (device, events) = l1_of(open_port(&factory(), usb(&plugged), LONG));
    let wait = Duration::from_millis(600);
    assert_eq!([(); 2].map(|()| kind(device.status(wait))), [DeviceErrorKind::TimedOut; 2]);
    assert!(device.keys(LONG).is_ok(), "an answer in between forgives");
    assert_eq!([(); 2].map(|()| kind(device.status(wait))), [DeviceErrorKind::TimedOut; 2]);
    assert_eq!(kind(device.status(SHORT)), DeviceErrorKind::TimedOut, "too short to say anything");
    assert_eq!(kind(device.status(wait)), DeviceErrorKind::TimedOut);
    assert_eq!(gone(&events), DeviceErrorKind::Gone);
    assert_eq!(kind(device.status(LONG)), DeviceErrorKind::Gone);
}

#[test]
fn nonsense_in_one_transfer_costs_no_other() {
    let plugged = plug(Speed::High, honest(Level::L1));
    let (device, _events) = l1_of(open_port(&factory(), usb(&plugged), LONG));
    for fault in [Fault::Garbage, Fault::Short] {
        plugged.switch.set(Some(fault));
        assert_eq!(kind(device.status(SHORT)), DeviceErrorKind::TimedOut, "{fault:?}");
        plugged.switch.set(None);
        assert_eq!(device.status(LONG).unwrap(), testing::report(), "after {fault:?}");
    }
}

#[test]
fn pulled_in_the_middle_of_an_answer() {
    let plugged = plug(Speed::High, honest(Level::L1));
    let (device, events) = l1_of(open_port(&factory(), usb(&plugged), LONG));
    plugged.switch.set(Some(Fault::Disconnect));
    let start = Instant::now();
    let error = device.capture(&slap(), &Cancel::new()).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::Gone);
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    assert_eq!(gone(&events), DeviceErrorKind::Gone);
}

#[test]
fn a_device_without_an_mctp_interface_is_told_from_one() {
    let plugged = plug_as(Speed::High, [0xFF, 0, 0], honest(Level::L1));
    let error = open_port(&factory(), usb(&plugged), LONG).err().unwrap();
    assert_eq!(error.kind, DeviceErrorKind::Unsupported);
    assert!(error.message.contains("no MCTP interface"), "{error}");
    assert!(plugged.gadget.is_plugged(), "and left alone");
}

// --- a device on HID --------------------------------------------------------------------------------------------

/// Reports through channels.
struct HidEnd {
    to: Sender<Vec<u8>>,
    from: Arc<Mutex<Receiver<Vec<u8>>>>,
    descriptor: Vec<u8>,
}

fn hid_error(kind: PipeErrorKind) -> PipeError {
    PipeError { kind, os: None, doing: "using reports".into() }
}

impl HidPort for HidEnd {
    fn name(&self) -> &str {
        "hid"
    }

    fn read_report(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
        use std::sync::mpsc::RecvTimeoutError;
        let report = self.from.lock().unwrap().recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => hid_error(PipeErrorKind::TimedOut),
            RecvTimeoutError::Disconnected => hid_error(PipeErrorKind::Gone),
        })?;
        buffer[..report.len()].copy_from_slice(&report);
        Ok(report.len())
    }

    fn write_report(&mut self, report: &[u8], _: Duration) -> Result<(), PipeError> {
        assert_eq!((report.len(), report[0]), (hid::REPORT, hid::REPORT_ID));
        self.to.send(report.to_vec()).map_err(|_| hid_error(PipeErrorKind::Gone))
    }

    fn feature(&mut self, _: &mut [u8], _: Duration) -> Result<usize, PipeError> {
        Err(hid_error(PipeErrorKind::Stalled))
    }

    fn set_feature(&mut self, _: &[u8], _: Duration) -> Result<(), PipeError> {
        Err(hid_error(PipeErrorKind::Stalled))
    }

    fn descriptor(&mut self) -> Result<Vec<u8>, PipeError> {
        Ok(self.descriptor.clone())
    }

    fn try_clone(&self) -> Result<Box<dyn HidPort>, PipeError> {
        let (to, from) = (self.to.clone(), Arc::clone(&self.from));
        Ok(Box::new(Self { to, from, descriptor: self.descriptor.clone() }))
    }
}

/// A device that answers on a thread until the host's end is gone. `spoil` sees each report to the host by its number.
fn hid_device(
    usage: u8,
    mut script: Script,
    mut spoil: impl FnMut(usize, Vec<u8>) -> Option<Vec<u8>> + Send + 'static,
) -> Port {
    let ((to_device, at_device), (to_host, at_host)) = (channel::<Vec<u8>>(), channel());
    std::thread::spawn(move || {
        let (mut role, mut number) = (DeviceRole::over(Framing::Hid), 0);
        for report in at_device {
            for incoming in role.receive(&report) {
                let Incoming::Request { ticket, request } = incoming else { panic!("{incoming:?}") };
                let bytes = script(&mut role, ticket, request);
                for report in Framing::Hid.transfers(&bytes) {
                    if let Some(report) = spoil(number, report.into_owned()) {
                        let _ = to_host.send(report);
                    }
                    number += 1;
                }
            }
        }
    });
    let from = Arc::new(Mutex::new(at_host));
    Port::Hid(Box::new(HidEnd { to: to_device, from, descriptor: hid::descriptor(usage) }))
}

#[test]
fn a_device_on_hid_does_everything() {
    let port = hid_device(hid::USAGE_DEVICE, honest(Level::L1), |_, report| Some(report));
    let (device, events) = l1_of(open_port(&factory(), port, LONG));
    does_everything(device.as_ref(), &events);
}

#[test]
fn a_report_that_is_lost_or_makes_no_sense_costs_one_answer() {
    // The answer to HELLO is in the first ten reports.
    for spoiled in [None, Some(vec![1, 63]), Some(vec![2; 64]), Some(Vec::new()), Some(vec![1, 62, 0x7E])] {
        let what = format!("{spoiled:?}");
        let spoil = move |number, report| if number == 12 { spoiled.clone() } else { Some(report) };
        let port = hid_device(hid::USAGE_DEVICE, honest(Level::L1), spoil);
        let (device, _events) = l1_of(open_port(&factory(), port, LONG));
        let mut lost = 0;
        for _ in 0..12 {
            lost += u32::from(device.status(SHORT).is_err());
        }
        assert_eq!(lost, 1, "{what}");
    }
}

#[test]
fn a_stranger_on_hid_is_not_written_to() {
    let silent: Script = Box::new(|_, _, request| panic!("{request:?}"));
    let port = hid_device(hid::USAGE_MODULE, silent, |_, report| Some(report));
    let error = open_port(&factory(), port, LONG).err().unwrap();
    assert_eq!(error.kind, DeviceErrorKind::Unsupported);
}

// --- a serial line ----------------------------------------------------------------------------------------------

#[test]
fn a_slow_serial_line_leaves_the_device_less_time() {
    let (host, end) = memory_pair();
    let thread = device(end, honest(Level::L1));
    let mut found = found(Bus::Serial);
    found.quirks.settings.insert("baud".into(), Value::Number(921_600));
    let opened = factory().open(Port::pipe(host), &found, Box::new(|_| {}), LONG).unwrap();
    let Opened::L1(device) = opened else { panic!("not L1") };
    device.capture(&slap(), &Cancel::new()).unwrap();
    drop(device);
    let told = thread.end().into_iter().find_map(|request| match request {
        Request::Capture(job) => Some(job.finish_within),
        _ => None,
    });
    assert!(told.is_some_and(|told| told < slap().finish_within), "{told:?}");
}
