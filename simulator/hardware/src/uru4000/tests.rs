use biotrust_driver_api::{Recipient, Setup};

use super::*;

fn setup(register: u16) -> Setup {
    Setup {
        kind: RequestKind::Vendor,
        recipient: Recipient::Device,
        request: ACCESS,
        value: register,
        index: 0,
    }
}

fn write(reader: &mut Uru4000, register: u16, data: &[u8], now: Instant) {
    assert_eq!(reader.control(Control::Out { setup: setup(register), data }, now), Reply::Ack);
}

fn read(reader: &mut Uru4000, register: u16, length: u16) -> Vec<u8> {
    match reader.control(Control::In { setup: setup(register), length }, Instant::now()) {
        Reply::Data(data) => data,
        other => panic!("{other:?}"),
    }
}

fn event(reader: &mut Uru4000, now: Instant) -> Option<[u8; 2]> {
    match reader.read(EVENTS, 64, now) {
        Reply::Data(packet) => {
            assert_eq!(packet.len(), 64);
            Some([packet[0], packet[1]])
        }
        Reply::Nak => None,
        other => panic!("{other:?}"),
    }
}

/// A reader with power, and the time.
fn on() -> (Uru4000, Instant) {
    let mut reader = Uru4000::new("");
    let now = Instant::now();
    write(&mut reader, register::HWSTAT, &[0x01], now);
    assert_eq!(event(&mut reader, now), None, "power takes its time");
    let now = reader.next_event().unwrap();
    assert_eq!(event(&mut reader, now), Some([0x56, 0xaa]));
    (reader, now)
}

#[test]
fn power_is_confirmed_and_fingers_are_announced() {
    let (mut reader, now) = on();
    write(&mut reader, register::MODE, &[0x10], now);
    assert_eq!(event(&mut reader, now), None);
    reader.press(Gray::filled(320, 400, 100).unwrap());
    assert_eq!(event(&mut reader, now), Some([1, 1]));
    write(&mut reader, register::MODE, &[0x12], now);
    assert_eq!(event(&mut reader, now), None);
    reader.lift();
    assert_eq!(event(&mut reader, now), Some([2, 0]));
}

#[test]
fn without_power_there_is_nothing() {
    let mut reader = Uru4000::new("");
    let now = Instant::now();
    write(&mut reader, register::MODE, &[0x20], now);
    reader.press(Gray::filled(320, 400, 100).unwrap());
    assert_eq!(event(&mut reader, now + Duration::from_secs(1)), None);
    assert_eq!(reader.read(IMAGES, 64, now + Duration::from_secs(1)), Reply::Nak);
}

#[test]
fn an_image_comes_in_pieces_and_ends_with_an_empty_packet() {
    let (mut reader, now) = on();
    reader.press(Gray::filled(320, 400, 100).unwrap());
    write(&mut reader, register::MODE, &[0x20], now);
    assert_eq!(reader.read(IMAGES, 111_424, now), Reply::Nak);
    let now = reader.next_event().unwrap();
    let mut image = Vec::new();
    loop {
        match reader.read(IMAGES, 50_000, now) {
            Reply::Data(piece) => image.extend(piece),
            Reply::Ack => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(image.len(), 111_040, "what a real 4500 sends");
    assert_eq!(image[4..6], [0x21, 0x01]);
    assert_eq!(reader.read(IMAGES, 64, now), Reply::Nak, "the next one is not ready");
    assert_eq!(reader.images(), 1);
}

#[test]
fn a_key_is_given_mixed_with_the_seed() {
    let (mut reader, now) = on();
    write(&mut reader, register::SCRAMBLE_INDEX, &[3, 0, 0, 0, 0], now);
    let plain = read(&mut reader, register::SCRAMBLE_KEY, 4);
    assert_eq!(plain, scramble::key(3).to_le_bytes());
    write(&mut reader, register::SCRAMBLE_INDEX, &[3, 0xff, 0, 0, 0x0f], now);
    let mixed = read(&mut reader, register::SCRAMBLE_KEY, 4);
    assert_eq!(mixed, [plain[0] ^ 0xff, plain[1], plain[2], plain[3] ^ 0x0f]);
}

#[test]
fn a_confused_reader_takes_one_hint_and_a_dead_one_none() {
    let mut reader = Uru4000::new("");
    for (fault, after) in [(Fault::Confused, 0x01), (Fault::Dead, 0x84)] {
        reader.set_fault(Some(fault));
        assert_eq!(read(&mut reader, register::HWSTAT, 1), [0x84]);
        write(&mut reader, register::HWSTAT, &[0x04], Instant::now());
        assert_eq!(read(&mut reader, register::HWSTAT, 1), [after]);
    }
}

#[test]
fn requests_that_it_does_not_know_are_refused() {
    let mut reader = Uru4000::new("");
    let strange = Setup { request: 0x05, ..setup(register::HWSTAT) };
    assert_eq!(reader.control(Control::In { setup: strange, length: 1 }, Instant::now()), Reply::Stall);
    assert_eq!(reader.read(0x83, 64, Instant::now()), Reply::Stall);
}

#[test]
fn faults_have_names() {
    for (name, fault) in Fault::ALL {
        assert_eq!(name.parse(), Ok(*fault));
    }
    let unknown = "sleepy".parse::<Fault>().unwrap_err().to_string();
    assert!(unknown.contains("garbage-header"), "{unknown}");
}
