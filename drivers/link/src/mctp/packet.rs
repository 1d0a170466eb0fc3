//! MCTP packets (DMTF DSP0236): cutting messages into packets and putting them together again.
//!
//! A packet is header version 1, destination, source, flags (start, end, two-bit sequence, tag owner, three-bit tag),
//! then a piece of the message. Pure. The assembler trusts nothing: what it holds is bounded by [`Limits`].

use zeroize::Zeroizing;

use super::Framing;

/// Bytes of the header of a packet.
const HEADER: usize = 4;
const HEADER_VERSION: u8 = 1;
const START: u8 = 0x80;
const END: u8 = 0x40;
const OWNER: u8 = 0x08;
/// The endpoint id that stands for "whoever is at the other end of this line".
const NULL_EID: u8 = 0;

/// Tells one exchange from another: three bits, and whether the sender of the message chose them.
///
/// A request and an event own their tag; a response carries the tag of its request and does not own it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) value: u8,
    pub(crate) owner: bool,
}

/// From whom to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) source: u8,
    pub(crate) destination: u8,
    pub(crate) tag: Tag,
}

/// The bytes on the line for `message`.
pub(crate) fn encode(framing: Framing, route: Route, message: &[u8]) -> Vec<u8> {
    let unit = framing.max_packet() - HEADER;
    let packets = message.len().div_ceil(unit);
    // Frame and packet add 10 bytes; of random bytes one in 128 is escaped.
    let mut line = Vec::with_capacity(message.len() + message.len() / 64 + packets * 10);
    for (index, piece) in message.chunks(unit).enumerate() {
        let start = if index == 0 { START } else { 0 };
        let end = if index + 1 == packets { END } else { 0 };
        let sequence = ((index & 3) as u8) << 4;
        let owner = if route.tag.owner { OWNER } else { 0 };
        let flags = start | end | sequence | owner | (route.tag.value & 7);
        framing.encode([HEADER_VERSION, route.destination, route.source, flags], piece, &mut line);
    }
    line
}

/// What an assembler may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Longest message in bytes that owns its tag: a request or an event.
    pub(crate) owned: usize,
    /// Longest answer in bytes.
    pub(crate) answer: usize,
    /// Unfinished messages; the one that has waited longest makes room for a new one.
    pub(crate) open: usize,
    /// Bytes of memory for all of them, by the same rule.
    pub(crate) room: usize,
}

/// A complete message; wiped when dropped, because it may hold an image.
pub(crate) struct Assembled {
    pub(crate) route: Route,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// A message grew over this limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong(pub(crate) usize);

struct Unfinished {
    route: Route,
    sequence: u8,
    bytes: Zeroizing<Vec<u8>>,
}

/// Puts the packets for one endpoint together, per source and tag.
pub(crate) struct Assembler {
    local: u8,
    limits: Limits,
    /// Least recently fed first.
    unfinished: Vec<Unfinished>,
    /// Messages that were begun and given up.
    lost: u32,
}

impl Assembler {
    /// For the endpoint `local`.
    pub(crate) fn new(local: u8, limits: Limits) -> Self {
        Self { local, limits, unfinished: Vec::new(), lost: 0 }
    }

    /// How many messages were given up since the last call.
    pub(crate) fn take_lost(&mut self) -> u32 {
        std::mem::take(&mut self.lost)
    }

    /// Takes in one packet. Packets for others, out of sequence or without a start are dropped, as DSP0236 says.
    pub(crate) fn push(&mut self, packet: &[u8]) -> Result<Option<Assembled>, TooLong> {
        let Some((&[version, destination, source, flags], piece)) = packet.split_first_chunk::<4>() else {
            return Ok(None);
        };
        if version & 0x0F != HEADER_VERSION || (destination != self.local && destination != NULL_EID) {
            return Ok(None);
        }
        let tag = Tag { value: flags & 7, owner: flags & OWNER != 0 };
        let route = Route { source, destination, tag };
        let sequence = (flags >> 4) & 3;

        let known = self.unfinished.iter().position(|u| u.route.source == source && u.route.tag == tag);
        let known = known.map(|at| self.unfinished.remove(at));
        let mut message = match known {
            Some(message) if flags & START == 0 && message.sequence == sequence => message,
            given_up => {
                self.lost = self.lost.saturating_add(u32::from(given_up.is_some()));
                if flags & START == 0 {
                    return Ok(None);
                }
                Unfinished { route, sequence, bytes: Zeroizing::default() }
            }
        };
        let longest = if tag.owner { self.limits.owned } else { self.limits.answer };
        if message.bytes.len() + piece.len() > longest {
            return Err(TooLong(longest));
        }
        append(&mut message.bytes, piece, longest);
        if flags & END != 0 {
            return Ok(Some(Assembled { route: message.route, bytes: message.bytes }));
        }
        message.sequence = (sequence + 1) & 3;
        while !self.unfinished.is_empty() && !self.has_room(message.bytes.capacity()) {
            self.unfinished.remove(0);
            self.lost = self.lost.saturating_add(1);
        }
        self.unfinished.push(message);
        Ok(None)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.unfinished.len() < self.limits.open && self.held() + bytes <= self.limits.room
    }

    /// Bytes of memory that unfinished messages hold.
    fn held(&self) -> usize {
        self.unfinished.iter().map(|message| message.bytes.capacity()).sum()
    }
}

/// Appends without leaving a copy behind: a vector that grows by itself frees its old bytes unwiped. No room is made
/// beyond `longest`.
fn append(bytes: &mut Zeroizing<Vec<u8>>, piece: &[u8], longest: usize) {
    if bytes.capacity() - bytes.len() < piece.len() {
        let room = (bytes.capacity() * 2).min(longest).max(bytes.len() + piece.len());
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mctp::framing;

    const UNIT: usize = 251;
    const ROUTE: Route = Route { source: 9, destination: 8, tag: Tag { value: 5, owner: true } };

    fn assembler(message: usize, open: usize) -> Assembler {
        Assembler::new(8, Limits { owned: message, answer: message, open, room: open * message })
    }

    /// Packets of `message`, unframed.
    fn packets(route: Route, message: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let line = encode(Framing::Serial, route, message);
        framing::Decoder::new(Framing::Serial).push(&line, |p| packets.push(p.to_vec()));
        packets
    }

    fn feed(assembler: &mut Assembler, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        packets.iter().filter_map(|p| assembler.push(p).unwrap()).map(|m| m.bytes.to_vec()).collect()
    }

    #[test]
    fn messages_of_all_sizes_come_through() {
        let mut assembler = assembler(4096, 2);
        for length in [1, UNIT - 1, UNIT, UNIT + 1, 4 * UNIT, 4096] {
            let message: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            assert_eq!(feed(&mut assembler, &packets(ROUTE, &message)), [message]);
        }
    }

    #[test]
    fn one_byte_over_the_limit_is_an_error_and_the_next_message_comes_through() {
        let mut assembler = assembler(1000, 2);
        let long = packets(ROUTE, &[1; 1001]);
        let (last, start) = long.split_last().unwrap();
        assert!(feed(&mut assembler, start).is_empty());
        assert_eq!(assembler.push(last).err(), Some(TooLong(1000)));
        assert_eq!(feed(&mut assembler, &packets(ROUTE, &[2; 1000])), [vec![2; 1000]]);
    }

    #[test]
    fn requests_and_events_have_a_limit_of_their_own() {
        let limits = Limits { owned: 300, answer: 1000, open: 2, room: 2000 };
        for (owner, length, good) in
            [(true, 300, true), (true, 301, false), (false, 1000, true), (false, 1001, false)]
        {
            let route = Route { tag: Tag { value: 1, owner }, ..ROUTE };
            let (mut assembler, message) = (Assembler::new(8, limits), vec![3; length]);
            let outcome: Result<Vec<_>, _> =
                packets(route, &message).iter().map(|packet| assembler.push(packet)).collect();
            assert_eq!(outcome.is_ok(), good, "{length} bytes, owner {owner}");
        }
    }

    #[test]
    fn unfinished_messages_share_one_room_and_take_no_more_than_they_may() {
        let limits = Limits { owned: 1000, answer: 5000, open: 4, room: 6500 };
        let mut assembler = Assembler::new(8, limits);
        let routes = [0, 1, 2, 3].map(|value| Route { tag: Tag { value, owner: false }, ..ROUTE });
        let messages = routes.map(|route| packets(route, &[route.tag.value; 5000]));
        let mut most = 0;
        for turn in 0..messages[0].len() - 1 {
            for packets in &messages {
                assert!(assembler.push(&packets[turn]).unwrap().is_none());
                most = most.max(assembler.held());
                assert!(assembler.held() <= limits.room, "{} bytes", assembler.held());
                assert!(assembler.unfinished.iter().all(|u| u.bytes.capacity() <= limits.answer));
            }
        }
        assert!(most > 4000, "the control: the room is used");
        // The message that a device goes on with survives those that it does not.
        let whole: Vec<_> = messages[2].iter().map(|packet| assembler.push(packet).unwrap()).collect();
        assert!(whole.last().unwrap().as_ref().is_some_and(|m| *m.bytes == [2; 5000]));
    }

    #[test]
    fn messages_with_different_tags_interleave() {
        let other = Route { tag: Tag { value: 5, owner: false }, ..ROUTE };
        let (a, b) = (packets(ROUTE, &[1; 600]), packets(other, &[2; 600]));
        let mixed: Vec<_> = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();
        assert_eq!(feed(&mut assembler(4096, 2), &mixed), [vec![1; 600], vec![2; 600]]);
    }

    #[test]
    fn a_lost_packet_costs_its_message_only() {
        let mut all = packets(ROUTE, &[1; 1200]);
        all.remove(2);
        all.extend(packets(ROUTE, &[2; 10]));
        assert_eq!(feed(&mut assembler(4096, 2), &all), [vec![2; 10]]);
    }

    #[test]
    fn a_packet_without_a_start_or_for_somebody_else_is_dropped() {
        let two = packets(ROUTE, &[1; 300]);
        assert!(feed(&mut assembler(4096, 2), &two[1..]).is_empty());
        let stray = packets(Route { destination: 77, ..ROUTE }, b"hello");
        assert!(feed(&mut assembler(4096, 2), &stray).is_empty());
        assert!(assembler(4096, 2).push(&[1, 8]).unwrap().is_none());
    }

    #[test]
    fn messages_that_are_never_finished_do_not_pile_up() {
        let mut assembler = assembler(4096, 3);
        for source in 0..=255 {
            for value in 0..8 {
                let route = Route { source, destination: 8, tag: Tag { value, owner: true } };
                assembler.push(&packets(route, &[0; 600])[0]).unwrap();
                assert!(assembler.unfinished.len() <= 3);
            }
        }
    }
}
