//! Pipes over real pseudo-terminals and sockets.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{SerialPipe, TcpPipe, pty};
use biotrust_driver_api::{Pipe, PipeErrorKind};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

fn serial_pair() -> (pty::PtyPipe, SerialPipe) {
    let device = pty::open_pair().unwrap();
    let host = SerialPipe::open(device.slave_path()).unwrap();
    (device, host)
}

fn tcp_pair() -> (TcpPipe, TcpPipe) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = TcpPipe::connect(listener.local_addr().unwrap(), LONG).unwrap();
    (TcpPipe::from_stream(listener.accept().unwrap().0).unwrap(), host)
}

fn read_exactly(pipe: &mut dyn Pipe, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 16_384];
    while all.len() < length {
        let got = pipe.read(&mut buffer, LONG).unwrap();
        all.extend_from_slice(&buffer[..got]);
    }
    all
}

/// Every value of a byte, many times: a terminal that is not raw would eat or change some.
fn load(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8)) as u8).collect()
}

fn carries_everything_both_ways(mut a: impl Pipe + 'static, mut b: impl Pipe + 'static) {
    let length = 1_000_000;
    let mut writer_a = a.try_clone().unwrap();
    let mut writer_b = b.try_clone().unwrap();
    let threads = [
        std::thread::spawn(move || writer_a.write_all(&load(length), LONG).unwrap()),
        std::thread::spawn(move || writer_b.write_all(&load(length), LONG).unwrap()),
        std::thread::spawn(move || assert!(read_exactly(&mut a, length) == load(length))),
        std::thread::spawn(move || assert!(read_exactly(&mut b, length) == load(length))),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
}

fn keeps_its_time_limits(mut pipe: impl Pipe) {
    let start = Instant::now();
    let read = pipe.read(&mut [0; 16], SHORT).unwrap_err();
    assert_eq!(read.kind, PipeErrorKind::TimedOut);
    assert!(start.elapsed() >= SHORT && start.elapsed() < LONG);

    // Nobody reads at the other end, so that this cannot all go into the system's buffers.
    let start = Instant::now();
    let write = pipe.write_all(&load(50_000_000), SHORT).unwrap_err();
    assert_eq!(write.kind, PipeErrorKind::TimedOut, "{write}");
    assert!(start.elapsed() < LONG);
}

#[test]
fn a_serial_line_carries_everything_both_ways() {
    let (device, host) = serial_pair();
    carries_everything_both_ways(device, host);
}

#[test]
fn tcp_carries_everything_both_ways() {
    let (device, host) = tcp_pair();
    carries_everything_both_ways(device, host);
}

#[test]
fn time_limits_hold_when_the_other_end_is_silent_and_deaf() {
    let (_device, host) = serial_pair();
    keeps_its_time_limits(host);
    let (device, _host) = serial_pair();
    keeps_its_time_limits(device);
    let (_device, host) = tcp_pair();
    keeps_its_time_limits(host);
}

#[test]
fn an_end_that_goes_away_is_noticed() {
    let (device, mut host) = serial_pair();
    drop(device);
    assert_eq!(host.read(&mut [0; 16], LONG).unwrap_err().kind, PipeErrorKind::Gone);
    assert_eq!(host.write_all(b"x", LONG).unwrap_err().kind, PipeErrorKind::Gone);
    let (device, mut host) = tcp_pair();
    drop(device);
    assert_eq!(host.read(&mut [0; 16], LONG).unwrap_err().kind, PipeErrorKind::Gone);
}

#[test]
fn a_read_that_waits_is_woken_when_the_other_end_goes_away() {
    let (device, mut host) = serial_pair();
    let reader = std::thread::spawn(move || host.read(&mut [0; 16], LONG).unwrap_err().kind);
    drop(device);
    assert_eq!(reader.join().unwrap(), PipeErrorKind::Gone);
}

#[test]
fn a_host_may_leave_and_come_back_and_finds_nothing_old() {
    let (mut device, host) = serial_pair();
    drop(host);
    assert_eq!(device.read(&mut [0; 16], SHORT).unwrap_err().kind, PipeErrorKind::TimedOut, "no EIO");
    device.write_all(b"stale", LONG).unwrap();
    let mut host = SerialPipe::open(device.slave_path()).unwrap();
    device.write_all(b"new", LONG).unwrap();
    assert_eq!(read_exactly(&mut host, 3), b"new");
}

#[test]
fn a_line_is_held_by_one_program() {
    let (device, host) = serial_pair();
    let error = SerialPipe::open(device.slave_path()).err().unwrap();
    assert_eq!(error.kind, PipeErrorKind::InUse, "{error}");
    let clone = host.try_clone().unwrap();
    drop(host);
    assert!(SerialPipe::open(device.slave_path()).is_err(), "a clone still holds it");
    drop(clone);
    SerialPipe::open(device.slave_path()).unwrap();
}

#[test]
fn a_link_is_followed() {
    let device = pty::open_pair().unwrap();
    let home = tempfile::tempdir().unwrap();
    let link = home.path().join("a.tty");
    std::os::unix::fs::symlink(device.slave_path(), &link).unwrap();
    assert_eq!(SerialPipe::open(&link).unwrap().name(), link.to_str().unwrap());
}

#[test]
fn what_cannot_be_opened_is_named_with_a_reason() {
    let missing = SerialPipe::open(Path::new("/dev/no-such-tty")).err().unwrap();
    assert_eq!(missing.kind, PipeErrorKind::Gone);
    assert!(missing.to_string().contains("/dev/no-such-tty"), "{missing}");
    let not_a_tty = SerialPipe::open(Path::new("/dev/null")).err().unwrap();
    assert_eq!(not_a_tty.kind, PipeErrorKind::Os);
    assert!(not_a_tty.to_string().contains("not a tty"), "{not_a_tty}");
}

#[test]
fn nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(TcpPipe::connect(free, LONG).err().unwrap().kind, PipeErrorKind::Gone);
}

#[test]
fn a_speed_is_set_once_the_line_has_drained_and_what_was_received_is_forgotten() {
    use biotrust_driver_api::SerialPort as _;
    let (mut device, mut host) = serial_pair();
    device.write_all(b"old", LONG).unwrap();
    host.write_all(b"question", LONG).unwrap();
    host.set_baud(57_600).unwrap();
    assert_eq!(device.host_baud().unwrap(), 57_600);
    assert_eq!(read_exactly(&mut device, 8), b"question", "nothing that was written is lost");
    assert_eq!(host.read(&mut [0; 16], SHORT).unwrap_err().kind, PipeErrorKind::TimedOut);
    device.write_all(b"new", LONG).unwrap();
    assert_eq!(read_exactly(&mut host, 3), b"new");
    drop(device);
    assert_eq!(host.set_baud(9600).unwrap_err().kind, PipeErrorKind::Gone);
}
