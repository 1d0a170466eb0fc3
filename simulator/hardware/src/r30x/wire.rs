//! Packets as the module reads and writes them, and a line on which bytes take their time.
//!
//! Written from the manual, apart from the driver, so that each checks the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const START: [u8; 2] = [0xEF, 0x01];
/// Bytes of a packet before its content.
pub(super) const HEAD: usize = 9;
pub(super) const COMMAND: u8 = 1;
pub(super) const DATA: u8 = 2;
pub(super) const ACK: u8 = 7;
pub(super) const LAST: u8 = 8;

/// What has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A packet: address, kind, content.
    Packet(u32, u8, Vec<u8>),
    /// One to this address whose sum is wrong.
    Damaged(u32),
}

/// The next packet at the front of `line`, which is taken from it; `None` while there is no whole one.
pub(super) fn next(line: &mut Vec<u8>) -> Option<Heard> {
    loop {
        let start = line.iter().position(|byte| *byte == START[0]).unwrap_or(line.len());
        line.drain(..start);
        let head: [u8; HEAD] = line.get(..HEAD)?.try_into().ok()?;
        let [first, second, a, b, c, d, kind, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if [first, second] != START || !(2..=258).contains(&length) {
            line.drain(..1);
            continue;
        }
        let body: Vec<u8> = line.get(HEAD..HEAD + length)?.to_vec();
        let address = u32::from_be_bytes([a, b, c, d]);
        let (content, told) = body.split_at(length - 2);
        if told != sum(kind, content).to_be_bytes() {
            line.drain(..1);
            return Some(Heard::Damaged(address));
        }
        line.drain(..HEAD + length);
        return Some(Heard::Packet(address, kind, content.to_vec()));
    }
}

/// A packet.
pub(super) fn packet(address: u32, kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = length(content).to_be_bytes();
    let mut packet = [&START[..], &address.to_be_bytes(), &[kind, high, low], content].concat();
    packet.extend(sum(kind, content).to_be_bytes());
    packet
}

fn length(content: &[u8]) -> u16 {
    u16::try_from(content.len() + 2).unwrap_or(u16::MAX)
}

fn sum(kind: u8, content: &[u8]) -> u16 {
    let length = length(content).to_be_bytes();
    let bytes = [kind].into_iter().chain(length).chain(content.iter().copied());
    bytes.fold(0, |sum, byte| sum.wrapping_add(u16::from(byte)))
}

/// Bytes on their way to the host, ten bits each, one after the other.
#[derive(Default)]
pub(super) struct Outgoing {
    /// When each arrives, and the speed at which it was sent.
    bytes: VecDeque<(Instant, u32, u8)>,
    free: Option<Instant>,
}

impl Outgoing {
    /// Sends `bytes` from `at` on, or when the line is free; answers when the last has left.
    pub(super) fn send(&mut self, bytes: &[u8], at: Instant, baud: u32) -> Instant {
        let start = self.free.map_or(at, |free| free.max(at));
        let when =
            |count: usize| start + Duration::from_nanos(count as u64 * 10_000_000_000 / u64::from(baud));
        self.bytes.extend(bytes.iter().enumerate().map(|(index, byte)| (when(index + 1), baud, *byte)));
        let end = when(bytes.len());
        self.free = Some(end);
        end
    }

    /// What has arrived by `now` at a host that has set its end to `baud`.
    pub(super) fn arrived(&mut self, now: Instant, baud: Option<u32>) -> Vec<u8> {
        let count = self.bytes.partition_point(|(at, ..)| *at <= now);
        self.bytes.drain(..count).map(|(_, sent, byte)| heard(byte, sent, baud)).collect()
    }

    /// When the next byte arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.bytes.front().map(|(at, ..)| *at)
    }

    /// When the last byte that was sent arrives.
    pub(super) const fn end(&self) -> Option<Instant> {
        self.free
    }

    /// Takes back what has not arrived.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What a byte is heard as that was sent at one speed, by an end that is set to another; `None` is an end without one.
pub(super) fn heard(byte: u8, sent: u32, set: Option<u32>) -> u8 {
    if set.is_none_or(|set| set == sent) { byte } else { byte.rotate_left(3) ^ 0x66 }
}
