use std::time::{Duration, Instant};

use biotrust_driver_api::{PipeError, PipeErrorKind, UsbPort as _};

use super::*;
use crate::testing::{IN, Loopback, MODE, OUT, PACKET};
use crate::{Connection, Gadget, LocalPort};

const PATIENCE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(30);

struct Bench {
    gadget: Gadget<Faulty<Loopback>>,
    switch: Switch,
    port: LocalPort,
    _connection: Connection,
}

fn bench() -> Bench {
    let (device, switch) = Faulty::new(Loopback::default());
    let gadget = Gadget::new(device).unwrap();
    let (port, connection) = LocalPort::plug(&gadget).unwrap();
    port.claim(0).unwrap();
    Bench { gadget, switch, port, _connection: connection }
}

impl Bench {
    /// What comes back of `length` bytes under a fault.
    fn read(&self, fault: Option<Fault>, length: usize, timeout: Duration) -> Result<Vec<u8>, PipeError> {
        self.switch.set(None);
        self.port.write(OUT, &vec![0x11; length], PATIENCE).unwrap();
        self.switch.set(fault);
        self.port.read(IN, 4 * usize::from(PACKET), timeout)
    }
}

#[test]
fn without_a_fault_nothing_is_changed() {
    let bench = bench();
    assert_eq!(bench.read(None, 100, PATIENCE).unwrap(), [0x11; 100]);
    assert_eq!(bench.switch.fault(), None);
}

#[test]
fn each_fault_shows() {
    assert_eq!(bench().read(Some(Fault::Short), 100, PATIENCE).unwrap(), [0x11; 50]);
    let garbage = bench().read(Some(Fault::Garbage), 100, PATIENCE).unwrap();
    assert!(garbage.len() == 100 && garbage != [0x11; 100]);
    assert_eq!(bench().read(Some(Fault::Babble), 100, PATIENCE).unwrap_err().os, Some(75), "EOVERFLOW");
    let stalled = bench().read(Some(Fault::Stall(None)), 100, PATIENCE).unwrap_err();
    assert_eq!(stalled.kind, PipeErrorKind::Stalled);
    let silent = bench().read(Some(Fault::Nak), 100, SOON).unwrap_err();
    assert_eq!(silent.kind, PipeErrorKind::TimedOut);
}

#[test]
fn a_device_that_has_nak_ked_goes_on_where_it_was() {
    let bench = bench();
    assert!(bench.read(Some(Fault::Nak), 10, SOON).is_err());
    assert_eq!(bench.port.write(OUT, b"x", SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
    assert_eq!(bench.port.control_out(MODE, &[], SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
    bench.switch.set(None);
    assert_eq!(bench.port.complete(IN, PATIENCE).unwrap(), [0x11; 10], "the transfer was still under way");
}

#[test]
fn stalls_can_be_counted() {
    let bench = bench();
    bench.switch.set(Some(Fault::Stall(Some(2))));
    for _ in 0..2 {
        assert_eq!(bench.port.write(OUT, b"x", PATIENCE).unwrap_err().kind, PipeErrorKind::Stalled);
        bench.port.clear_halt(OUT).unwrap();
    }
    bench.port.write(OUT, b"x", PATIENCE).unwrap();
    assert_eq!(bench.switch.fault(), None);
}

#[test]
fn a_slow_device_takes_its_time_for_each_transfer() {
    let bench = bench();
    let delay = Duration::from_millis(60);
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(bench.read(Some(Fault::Slow(delay)), 10, PATIENCE).unwrap(), [0x11; 10]);
        assert!(began.elapsed() >= delay);
    }
}

#[test]
fn a_device_that_falls_off_the_bus_in_a_transfer_comes_back_when_it_is_plugged_in() {
    for length in [10, 3 * usize::from(PACKET)] {
        let bench = bench();
        let lost = bench.read(Some(Fault::Disconnect), length, PATIENCE).unwrap_err();
        assert_eq!(lost.kind, PipeErrorKind::Gone);
        let give_up = Instant::now() + PATIENCE;
        while bench.gadget.is_plugged() && Instant::now() < give_up {
            std::thread::yield_now();
        }
        let (port, _connection) = LocalPort::plug(&bench.gadget).unwrap();
        port.claim(0).unwrap();
        assert_eq!(bench.switch.fault(), None, "it is whole again");
        port.write(OUT, b"back", PATIENCE).unwrap();
        let back = port.read(IN, 4 * usize::from(PACKET), PATIENCE).unwrap();
        assert!(back.ends_with(b"back"));
    }
}

#[test]
fn faults_have_names() {
    for (name, fault) in [
        ("stall", Fault::Stall(None)),
        ("stall:3", Fault::Stall(Some(3))),
        ("nak", Fault::Nak),
        ("short", Fault::Short),
        ("garbage", Fault::Garbage),
        ("babble", Fault::Babble),
        ("slow:250", Fault::Slow(Duration::from_millis(250))),
        ("disconnect", Fault::Disconnect),
    ] {
        assert_eq!(name.parse(), Ok(fault));
    }
    for unknown in ["", "slow", "slow:", "slow:-1", "stall:x", "nak:1", "Nak"] {
        assert!(unknown.parse::<Fault>().is_err(), "{unknown}");
    }
}
