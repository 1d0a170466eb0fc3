//! Recovery of USB devices over the in-process port: what is done about each fault, and that it helps or ends.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // what a test may, its helpers may

mod bench;

use std::time::{Duration, Instant};

use bench::{IN, Loopback, OUT};
use biosim_usbip::{Connection, Fault, Faulty, Gadget, LocalPort, Switch};
use biotrust_driver_api::{PipeError, PipeErrorKind, UsbPort};
use biotrust_pipe::recover::{Resets, UsbRecovery};

const SOON: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(10);

type Device = Gadget<Faulty<Loopback>>;

fn device() -> (Device, Switch) {
    let (device, switch) = Faulty::new(Loopback::default());
    (Gadget::new(device).unwrap(), switch)
}

fn plug(device: &Device) -> (LocalPort, Connection) {
    let (port, connection) = LocalPort::plug(device).unwrap();
    port.claim(0).unwrap();
    (port, connection)
}

/// What a driver does: asks, and has failures treated until there is an answer or the device is given up.
fn echo(port: &dyn UsbPort, recovery: &mut UsbRecovery) -> Result<Vec<u8>, PipeError> {
    loop {
        let attempt = port
            .write(OUT, b"hello", SOON)
            .map_err(|e| (OUT, e))
            .and_then(|()| port.read(IN, 512, SOON).map_err(|e| (IN, e)));
        match attempt {
            Ok(answer) => {
                recovery.worked();
                return Ok(answer);
            }
            Err((endpoint, error)) => recovery.treat(port, endpoint, &error, Instant::now())?,
        }
    }
}

#[test]
fn a_device_that_works_needs_nothing() {
    let (device, _) = device();
    let (port, _connection) = plug(&device);
    let resets = device.with(|d| d.device().resets);
    let mut recovery = UsbRecovery::new(Resets::default(), "usb:1-1");
    assert_eq!(echo(&port, &mut recovery).unwrap(), b"hello");
    assert_eq!(device.with(|d| d.device().resets), resets);
}

#[test]
fn a_halt_is_ended_and_the_work_goes_on() {
    let (device, switch) = device();
    let (port, _connection) = plug(&device);
    switch.set(Some(Fault::Stall(Some(2))));
    let mut recovery = UsbRecovery::new(Resets::default(), "usb:1-1");
    assert!(echo(&port, &mut recovery).unwrap().starts_with(b"hello"));
}

#[test]
fn a_device_that_halts_for_ever_is_reset_three_times_and_then_given_up() {
    let (device, switch) = device();
    switch.set(Some(Fault::Stall(None)));
    let resets = Resets::default();
    for round in 1..=4 {
        let (port, connection) = plug(&device);
        let before = device.with(|d| d.device().resets);
        let mut recovery = UsbRecovery::new(resets.clone(), "usb:1-1");
        let error = echo(&port, &mut recovery).unwrap_err();
        assert_eq!(error.kind, PipeErrorKind::Gone, "{error}");
        let was_reset = device.with(|d| d.device().resets) - before;
        assert_eq!(was_reset, u32::from(round <= 3), "round {round}: {error}");
        assert_eq!(error.to_string().contains("given up"), round == 4, "{error}");
        if round <= 3 {
            let dead = port.write(OUT, b"x", SOON).unwrap_err();
            assert_eq!(dead.kind, PipeErrorKind::Gone, "a port is dead after the reset: {dead}");
        }
        drop(connection);
    }
}

#[test]
fn a_wedged_device_is_reset_and_works_again() {
    let (device, switch) = device();
    let (port, connection) = plug(&device);
    switch.set(Some(Fault::Nak));
    let resets = Resets::default();
    let start = Instant::now();
    let error = echo(&port, &mut UsbRecovery::new(resets.clone(), "usb:1-1")).unwrap_err();
    assert_eq!(error.kind, PipeErrorKind::Gone);
    assert!(error.to_string().contains("it was reset because of"), "{error}");
    assert!(start.elapsed() < LONG);
    switch.set(None);
    drop(connection);
    let (port, _connection) = plug(&device);
    assert_eq!(echo(&port, &mut UsbRecovery::new(resets, "usb:1-1")).unwrap(), b"hello");
}

#[test]
fn a_device_that_falls_off_the_bus_is_gone_at_once_and_not_reset() {
    let (device, switch) = device();
    let (port, _connection) = plug(&device);
    let resets = device.with(|d| d.device().resets);
    port.write(OUT, b"hello", LONG).unwrap();
    switch.set(Some(Fault::Disconnect));
    let start = Instant::now();
    let mut recovery = UsbRecovery::new(Resets::default(), "usb:1-1");
    let error = port.read(IN, 512, LONG).unwrap_err();
    assert!(start.elapsed() < LONG / 10);
    let error = recovery.treat(&port, IN, &error, Instant::now()).unwrap_err();
    assert_eq!(error.kind, PipeErrorKind::Gone);
    assert_eq!(device.with(|d| d.device().resets), resets);
}
