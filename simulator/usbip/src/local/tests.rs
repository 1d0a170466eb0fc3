use std::time::{Duration, Instant};

use biotrust_driver_api::{PipeErrorKind, UsbPort as _};

use super::LocalPort;
use crate::testing::{BELL, IN, Loopback, MODE, OUT, PACKET, SILENCE};
use crate::{Connection, Fault, Faulty, Gadget, Switch};

const PATIENCE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(30);

fn plugged() -> (Gadget<Faulty<Loopback>>, Switch, LocalPort, Connection) {
    let (device, switch) = Faulty::new(Loopback::default());
    let gadget = Gadget::new(device).unwrap();
    let (port, connection) = LocalPort::plug(&gadget).unwrap();
    port.claim(0).unwrap();
    (gadget, switch, port, connection)
}

#[test]
fn interfaces_are_read_and_data_goes_both_ways() {
    let (gadget, _, port, connection) = plugged();
    assert!(port.name().contains("1209:0001"));
    assert_eq!(port.interfaces(), gadget.descriptors().interfaces());
    let sent: Vec<u8> = (0..1000u32).map(|i| i.to_le_bytes()[0]).collect();
    port.write(OUT, &sent, PATIENCE).unwrap();
    assert_eq!(port.read(IN, 4096, PATIENCE).unwrap(), sent);
    port.control_out(crate::testing::MODE, &[], PATIENCE).unwrap();
    let mut mode = [9; 4];
    assert_eq!(port.control_in(MODE, &mut mode, PATIENCE).unwrap(), 1);
    assert_eq!(mode, [0, 9, 9, 9]);
    assert!(connection.statistics().completed >= 6);
}

#[test]
fn a_transfer_that_has_not_ended_in_time_stays_under_way() {
    let (gadget, _, port, _connection) = plugged();
    assert_eq!(port.read(IN, 64, SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
    assert_eq!(port.pending(IN), 1);
    gadget.with(|device| device.device().stored.extend(b"late"));
    assert_eq!(port.complete(IN, PATIENCE).unwrap(), b"late", "nothing was lost");
    assert_eq!(port.pending(IN), 0);
    assert_eq!(port.complete(IN, SOON).unwrap_err().kind, PipeErrorKind::Os, "nothing is asked for");
}

#[test]
fn whole_packets_do_not_end_a_transfer_and_a_short_one_does() {
    let (gadget, _, port, _connection) = plugged();
    port.submit(IN, 256).unwrap();
    gadget.with(|device| device.device().stored.extend([7; 2 * PACKET as usize]));
    assert_eq!(port.complete(IN, SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
    gadget.with(|device| device.device().stored.extend([8; 3]));
    assert_eq!(port.complete(IN, PATIENCE).unwrap().len(), 2 * usize::from(PACKET) + 3);
}

#[test]
fn transfers_complete_in_order_and_what_is_called_off_brings_nothing() {
    let (gadget, _, port, connection) = plugged();
    for _ in 0..3 {
        port.submit(BELL, 8).unwrap();
    }
    port.cancel(BELL);
    assert_eq!(port.pending(BELL), 0);
    port.submit(BELL, 8).unwrap();
    port.submit(BELL, 8).unwrap();
    // A control transfer is answered after all of these have arrived.
    port.control_out(MODE, &[], PATIENCE).unwrap();
    gadget.with(|device| device.device().rings = 1);
    assert_eq!(port.complete(BELL, PATIENCE).unwrap(), [1]);
    gadget.with(|device| device.device().rings = 2);
    assert_eq!(port.complete(BELL, PATIENCE).unwrap(), [2]);
    assert_eq!(connection.statistics().unlinked, 3);
}

#[test]
fn a_stalled_endpoint_stays_so_until_its_halt_is_cleared() {
    let (_gadget, switch, port, _connection) = plugged();
    switch.set(Some(Fault::Stall(Some(1))));
    assert_eq!(port.read(IN, 64, PATIENCE).unwrap_err().kind, PipeErrorKind::Stalled);
    switch.set(None);
    assert_eq!(port.read(IN, 64, PATIENCE).unwrap_err().kind, PipeErrorKind::Stalled, "still");
    port.write(OUT, b"x", PATIENCE).unwrap();
    port.clear_halt(IN).unwrap();
    assert_eq!(port.read(IN, 64, PATIENCE).unwrap(), b"x");
}

#[test]
fn requests_that_are_unknown_stall_and_those_without_an_answer_time_out() {
    let (_gadget, _, port, connection) = plugged();
    let unknown = biotrust_driver_api::Setup { request: 9, ..MODE };
    assert_eq!(port.control_in(unknown, &mut [0; 8], PATIENCE).unwrap_err().kind, PipeErrorKind::Stalled);
    assert_eq!(port.control_in(SILENCE, &mut [0; 8], SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
    port.control_out(MODE, &[], PATIENCE).unwrap();
    assert_eq!(connection.statistics().unlinked, 1, "what has timed out was called off");
}

#[test]
fn a_device_that_takes_nothing_makes_writing_time_out() {
    let (gadget, _, port, _connection) = plugged();
    gadget.with(|device| device.device().capacity = 2);
    assert_eq!(port.write(OUT, b"abc", SOON).unwrap_err().kind, PipeErrorKind::TimedOut);
    gadget.with(|device| device.device().capacity = 100);
    port.write(OUT, b"de", PATIENCE).unwrap();
    assert_eq!(port.read(IN, 64, PATIENCE).unwrap(), b"de", "what was called off never arrives");
}

#[test]
fn pulling_the_plug_ends_what_is_under_way_at_once() {
    let (gadget, _, port, connection) = plugged();
    port.submit(IN, 64).unwrap();
    let waiting = port.clone();
    let reader = std::thread::spawn(move || {
        let began = Instant::now();
        (waiting.complete(IN, PATIENCE).unwrap_err().kind, began.elapsed())
    });
    connection.yank();
    let (kind, took) = reader.join().unwrap();
    assert_eq!(kind, PipeErrorKind::Gone);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(port.write(OUT, b"x", PATIENCE).unwrap_err().kind, PipeErrorKind::Gone);
    assert_eq!(port.claim(0).unwrap_err().kind, PipeErrorKind::Gone);
    assert!(!gadget.is_plugged());
    let (again, _connection) = LocalPort::plug(&gadget).unwrap();
    again.claim(0).unwrap();
    again.write(OUT, b"back", PATIENCE).unwrap();
    assert_eq!(again.read(IN, 64, PATIENCE).unwrap(), b"back");
}

#[test]
fn a_reset_is_the_end_of_the_port_and_the_device_is_found_anew() {
    let (gadget, _, port, connection) = plugged();
    let before = gadget.with(|device| device.device().resets);
    port.reset().unwrap();
    assert_eq!(gadget.with(|device| device.device().resets), before + 1);
    assert_eq!(port.read(IN, 64, PATIENCE).unwrap_err().kind, PipeErrorKind::Gone);
    connection.yank();
    assert!(LocalPort::plug(&gadget).is_ok());
}

#[test]
fn a_device_is_plugged_in_at_one_place_only() {
    let (gadget, _, _port, connection) = plugged();
    assert_eq!(LocalPort::plug(&gadget).err().unwrap().kind, PipeErrorKind::InUse);
    drop(connection);
    assert!(LocalPort::plug(&gadget).is_ok());
}

#[test]
fn endpoints_are_used_as_their_interface_allows() {
    let gadget = Gadget::new(Loopback::default()).unwrap();
    let (port, _connection) = LocalPort::plug(&gadget).unwrap();
    assert_eq!(port.submit(IN, 64).unwrap_err().kind, PipeErrorKind::Os, "not claimed");
    assert_eq!(port.claim(1).unwrap_err().kind, PipeErrorKind::Os);
    port.claim(0).unwrap();
    assert_eq!(port.submit(OUT, 64).unwrap_err().kind, PipeErrorKind::Os);
    assert_eq!(port.write(IN, b"x", PATIENCE).unwrap_err().kind, PipeErrorKind::Os);
    assert_eq!(port.submit(0x85, 64).unwrap_err().kind, PipeErrorKind::Os);
}

#[test]
fn a_device_may_be_pulled_at_any_moment() {
    let (device, _) = Faulty::new(Loopback::default());
    let gadget = Gadget::new(device).unwrap();
    let mut most_done = 0;
    for round in 0..200u64 {
        let (port, connection) = LocalPort::plug(&gadget).unwrap();
        port.claim(0).unwrap();
        let began = Instant::now();
        let done = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut done = 0;
                loop {
                    match port.read(IN, 512, SOON) {
                        Ok(_) => done += 1,
                        Err(error) if error.kind == PipeErrorKind::TimedOut => port.cancel(IN),
                        Err(error) => return (error.kind, done),
                    }
                }
            });
            let writer = scope.spawn(|| {
                loop {
                    if let Err(error) = port.write(OUT, &[7; 100], PATIENCE) {
                        return error.kind;
                    }
                }
            });
            let asker = scope.spawn(|| {
                loop {
                    if let Err(error) = port.control_out(MODE, &[], PATIENCE) {
                        return error.kind;
                    }
                }
            });
            // At another moment each time, from before the first transfer to well into them.
            let moment = Instant::now() + Duration::from_micros(round * 37 % 2000);
            while Instant::now() < moment {
                std::hint::spin_loop();
            }
            connection.yank();
            assert_eq!(writer.join().unwrap(), PipeErrorKind::Gone);
            assert_eq!(asker.join().unwrap(), PipeErrorKind::Gone);
            let (kind, done) = reader.join().unwrap();
            assert_eq!(kind, PipeErrorKind::Gone);
            done
        });
        most_done = most_done.max(done);
        assert!(began.elapsed() < Duration::from_secs(5), "round {round} took {:?}", began.elapsed());
        assert!(!gadget.is_plugged());
    }
    assert!(most_done > 0, "some of it was in the middle of the traffic");
}
