use std::time::Instant;

use super::*;
use crate::testing::{BELL, IN, Loopback, OUT};
use crate::wire::{MOST_PENDING, push_command};

/// A host that speaks to an engine.
struct Host {
    engine: Engine,
    device: Loopback,
    now: Instant,
    sequence: u32,
}

/// Number, status, data or length.
type Answered = (u32, i32, Vec<u8>);

impl Host {
    fn new() -> Self {
        let mut device = Loopback::default();
        let now = Instant::now();
        Self { engine: Engine::new(&mut device, now), device, now, sequence: 0 }
    }

    fn message(
        &mut self,
        endpoint: u8,
        to_host: bool,
        length: usize,
        setup: [u8; 8],
        data: &[u8],
    ) -> Vec<u8> {
        self.sequence += 1;
        let submit = Submit { sequence: self.sequence, endpoint, to_host, length, setup };
        let mut bytes = Vec::new();
        push_command(&mut bytes, 1, Command::Submit(submit));
        bytes.extend_from_slice(data);
        bytes
    }

    fn give(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.engine.receive(bytes, &mut self.device, self.now)
    }

    fn read(&mut self, endpoint: u8, length: usize) -> u32 {
        let message = self.message(endpoint, true, length, [0; 8], &[]);
        self.give(&message).unwrap();
        self.sequence
    }

    fn write(&mut self, data: &[u8]) -> u32 {
        let message = self.message(OUT, false, data.len(), [0; 8], data);
        self.give(&message).unwrap();
        self.sequence
    }

    fn control(&mut self, setup: [u8; 8]) -> Answered {
        let to_host = setup[0] & 0x80 != 0 && setup[6] != 0;
        let length = usize::from(setup[6]);
        let message = self.message(0, to_host, if to_host { length } else { 0 }, setup, &[]);
        self.give(&message).unwrap();
        self.answers([(self.sequence, to_host)]).remove(0)
    }

    fn unlink(&mut self, victim: u32) -> i32 {
        self.sequence += 1;
        let mut bytes = Vec::new();
        push_command(&mut bytes, 1, Command::Unlink { sequence: self.sequence, victim });
        self.give(&bytes).unwrap();
        let output = self.engine.take_output();
        assert_eq!(output.len(), HEADER, "one answer and nothing else");
        match wire::answer(output.first_chunk().unwrap()).unwrap() {
            Answer::Unlink { sequence, status } if sequence == self.sequence => status,
            other => panic!("{other:?}"),
        }
    }

    /// What was answered; `to_host` says of which transfers data follows.
    fn answers(&mut self, expected: impl IntoIterator<Item = (u32, bool)>) -> Vec<Answered> {
        let output = self.engine.take_output();
        let mut rest = output.as_slice();
        let mut answered = Vec::new();
        for (number, to_host) in expected {
            let (header, after) = rest.split_first_chunk().expect("an answer");
            let Answer::Submit { sequence, status, length } = wire::answer(header).unwrap() else {
                panic!("not of a transfer")
            };
            assert_eq!(sequence, number);
            let (data, after) = after.split_at(if to_host { length } else { 0 });
            rest = after;
            answered.push((sequence, status, if to_host { data.to_vec() } else { vec![0; length] }));
        }
        assert!(rest.is_empty(), "more answers than expected");
        answered
    }
}

#[test]
fn input_in_pieces_of_any_size_is_the_same() {
    let mut host = Host::new();
    let mut stream = host.message(OUT, false, 5, [0; 8], b"hello");
    stream.extend(host.message(IN, true, 64, [0; 8], &[]));
    for piece in [1, 7, 48, stream.len()] {
        host.engine = Engine::new(&mut host.device, host.now);
        stream.chunks(piece).for_each(|bytes| host.give(bytes).unwrap());
        let answers = host.answers([(1, false), (2, true)]);
        assert_eq!(answers, [(1, 0, vec![0; 5]), (2, 0, b"hello".to_vec())]);
    }
}

#[test]
fn a_pending_transfer_completes_when_the_device_has_something() {
    let mut host = Host::new();
    let bell = host.read(BELL, 8);
    assert!(host.engine.take_output().is_empty());
    host.device.rings = 3;
    let (device, now) = (&mut host.device, host.now);
    host.engine.poll(device, now);
    assert_eq!(host.answers([(bell, true)]), [(bell, 0, vec![3])]);
}

#[test]
fn what_is_called_off_is_never_answered_and_what_was_answered_cannot_be_called_off() {
    let mut host = Host::new();
    let first = host.read(IN, 64);
    let second = host.read(IN, 64);
    assert_eq!(host.unlink(first), status::UNLINKED);
    let write = host.write(b"for the second");
    // The order of answers is that of the endpoints' turns: the write comes first.
    let answers = host.answers([(write, false), (second, true)]);
    assert_eq!(answers[1].2, b"for the second");
    assert_eq!(host.unlink(second), status::OK, "too late");
    assert_eq!(host.unlink(12345), status::OK, "never heard of");
}

#[test]
fn halts_are_set_told_and_cleared_by_standard_requests() {
    let mut host = Host::new();
    let in_low = IN;
    assert_eq!(host.control([0x82, 0, 0, 0, in_low, 0, 2, 0]).2, [0, 0]);
    assert_eq!(host.control([0x02, 3, 0, 0, in_low, 0, 0, 0]).1, 0, "SET_FEATURE(ENDPOINT_HALT)");
    assert_eq!(host.control([0x82, 0, 0, 0, in_low, 0, 2, 0]).2, [1, 0]);
    let read = host.read(IN, 64);
    assert_eq!(host.answers([(read, true)])[0].1, status::STALL);
    assert_eq!(host.control([0x02, 1, 0, 0, in_low, 0, 0, 0]).1, 0, "CLEAR_FEATURE");
    let read = host.read(IN, 64);
    let write = host.write(b"y");
    assert_eq!(host.answers([(write, false), (read, true)])[1].2, b"y");
    assert_eq!(host.control([0x02, 1, 0, 0, 0x8f, 0, 0, 0]).1, status::STALL, "no such endpoint");
    for clears in [[0, 9, 1, 0, 0, 0, 0, 0], [1, 11, 0, 0, 0, 0, 0, 0], control::PORT_RESET] {
        host.control([0x02, 3, 0, 0, in_low, 0, 0, 0]);
        assert_eq!(host.control(clears).1, 0);
        assert_eq!(host.control([0x82, 0, 0, 0, in_low, 0, 2, 0]).2, [0, 0], "{clears:?}");
    }
}

#[test]
fn standard_requests_are_answered_as_the_specification_says() {
    let mut host = Host::new();
    let device = host.control([0x80, 6, 0, 1, 0, 0, 64, 0]).2;
    assert_eq!(device, host.device.descriptors().device());
    assert_eq!(host.control([0x80, 6, 0, 1, 0, 0, 8, 0]).2, device[..8], "cut to what was asked for");
    assert_eq!(host.control([0x80, 6, 0, 6, 0, 0, 10, 0]).1, status::STALL, "no device qualifier");
    assert_eq!(host.control([0x80, 8, 0, 0, 0, 0, 1, 0]).2, [0]);
    assert_eq!(host.control([0x00, 9, 1, 0, 0, 0, 0, 0]).1, 0);
    assert_eq!(host.control([0x80, 8, 0, 0, 0, 0, 1, 0]).2, [1]);
    assert_eq!(host.control([0x00, 9, 2, 0, 0, 0, 0, 0]).1, status::STALL, "no such configuration");
    assert_eq!(host.control([0x81, 10, 0, 0, 0, 0, 1, 0]).2, [0]);
    assert_eq!(host.control([0x01, 11, 1, 0, 0, 0, 0, 0]).1, status::STALL, "no such setting");
    assert_eq!(host.control([0xe0, 1, 0, 0, 0, 0, 1, 0]).1, status::STALL, "reserved kind of request");
    assert_eq!(host.control([0xc0, 1, 0, 0, 0, 0, 1, 0]).2, [0], "the device's own");
}

#[test]
fn endpoints_that_are_not_there_are_told() {
    let mut host = Host::new();
    let read = host.read(0x85, 64);
    assert_eq!(host.answers([(read, true)])[0].1, status::NO_ENDPOINT);
}

#[test]
fn a_hostile_host_cannot_fill_the_memory() {
    let mut host = Host::new();
    for _ in 0..MOST_PENDING {
        host.read(BELL, 8);
    }
    let one_more = host.message(BELL, true, 8, [0; 8], &[]);
    assert_eq!(host.give(&one_more), Err(WireError::Pending));

    let mut host = Host::new();
    host.device.capacity = 0;
    let large = vec![0; wire::LONGEST_TRANSFER];
    for _ in 0..MOST_HELD / large.len() {
        host.write(&large);
    }
    let header = host.message(OUT, false, 1, [0; 8], &[]);
    assert_eq!(host.give(&header), Err(WireError::Pending), "before its data has come");

    let mut host = Host::new();
    host.read(BELL, 8);
    host.sequence = 0;
    let again = host.message(BELL, true, 8, [0; 8], &[]);
    assert_eq!(host.give(&again), Err(WireError::Sequence(1)));
}

#[test]
fn any_input_ends_in_an_answer_or_an_error() {
    // A small generator is enough: what matters is that lengths, numbers and directions are all over the place.
    let mut state = 0x1234_5678_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let (mut served, mut refused) = (0, 0);
    for _ in 0..2000 {
        let mut host = Host::new();
        let mut bytes = Vec::new();
        for _ in 0..4 {
            let words =
                [1 + next() % 2, next() % 8, 0, next() % 3, next() % 17, next() % 8, next() % 64, 0, 0, 0];
            bytes.extend(words.into_iter().flat_map(u32::to_be_bytes));
            bytes.extend(std::iter::repeat_with(|| next().to_le_bytes()[1]).take(8));
        }
        match host.give(&bytes) {
            Ok(()) => served += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(served > 100 && refused > 100, "both ways are taken: {served}, {refused}");
}
