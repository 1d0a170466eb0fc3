//! Packets of MCTP over USB (DMTF DSP0283): one transfer carries one or more MCTP packets, each behind a header.
//!
//! ```text
//! 1A B4 | 00 | length | packet
//! ```
//! `length` counts the header too. A packet lies within one transfer, whole; a transfer is 512 bytes at most, whatever
//! the speed of the bus.
//!
//! Pure. It trusts nothing and never fails: USB has a checksum of its own, so what is not a good packet is nonsense of
//! the other end. Then the rest of its transfer is dropped, and decoding goes on with the next one.

/// Longest transfer in bytes.
pub(crate) const MAX_TRANSFER: usize = 512;
/// Longest packet in bytes: what the length can say, without the header.
pub(super) const MAX_PACKET: usize = u8::MAX as usize - HEADER;

const MAGIC: [u8; 2] = [0x1A, 0xB4];
const HEADER: usize = 4;

/// Appends the packet `header` + `payload` to `line`. At most [`MAX_PACKET`] bytes: the one caller cuts messages into
/// packets of that size.
pub(super) fn encode(header: [u8; 4], payload: &[u8], line: &mut Vec<u8>) {
    let length = u8::try_from(HEADER + header.len() + payload.len()).unwrap_or(u8::MAX);
    let [high, low] = MAGIC;
    line.extend_from_slice(&[high, low, 0, length]);
    line.extend_from_slice(&header);
    line.extend_from_slice(payload);
}

/// The first transfer of what [`encode`] has made, and the rest: as many whole packets as fit.
pub(super) fn split_transfer(line: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while let Some(Ok(packet)) = line.get(end..).map(split_packet)
        && let next = end + HEADER + packet.len()
        && next <= MAX_TRANSFER
    {
        end = next;
    }
    // What is no packet goes out as it is: nobody makes such a line.
    line.split_at(if end == 0 { line.len().min(MAX_TRANSFER) } else { end })
}

/// What is wrong with a header.
struct Nonsense;

/// The packet that `bytes` begin with.
fn split_packet(bytes: &[u8]) -> Result<&[u8], Nonsense> {
    let (&[high, low, _, length], rest) = bytes.split_first_chunk::<HEADER>().ok_or(Nonsense)?;
    let length = usize::from(length).checked_sub(HEADER).ok_or(Nonsense)?;
    if [high, low] != MAGIC {
        return Err(Nonsense);
    }
    rest.get(..length).ok_or(Nonsense)
}

/// Finds packets in transfers.
#[derive(Default)]
pub(super) struct Decoder {
    noise: usize,
}

impl Decoder {
    /// Bytes taken in since a transfer with a good packet.
    pub(super) const fn noise(&self) -> usize {
        self.noise
    }

    /// Takes in one transfer and hands each good packet to `deliver`. Empty packets are passed over.
    pub(super) fn push(&mut self, transfer: &[u8], mut deliver: impl FnMut(&[u8])) {
        self.noise = self.noise.saturating_add(transfer.len());
        let mut rest = transfer;
        while let Ok(packet) = split_packet(rest) {
            rest = rest.get(HEADER + packet.len()..).unwrap_or_default();
            if !packet.is_empty() {
                self.noise = 0;
                deliver(packet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(packets: &[Vec<u8>]) -> Vec<u8> {
        let mut line = Vec::new();
        for packet in packets {
            encode(packet[..4].try_into().unwrap(), &packet[4..], &mut line);
        }
        line
    }

    fn transfers(mut line: &[u8]) -> Vec<&[u8]> {
        let mut transfers = Vec::new();
        while !line.is_empty() {
            let (transfer, rest) = split_transfer(line);
            transfers.push(transfer);
            line = rest;
        }
        transfers
    }

    fn decode(transfers: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut decoder, mut packets) = (Decoder::default(), Vec::new());
        transfers.iter().for_each(|transfer| decoder.push(transfer, |p| packets.push(p.to_vec())));
        packets
    }

    #[test]
    fn a_packet_byte_by_byte() {
        assert_eq!(line(&[vec![1, 9, 8, 0xC8, 5]]), [0x1A, 0xB4, 0, 9, 1, 9, 8, 0xC8, 5]);
    }

    #[test]
    fn what_cannot_be_read_costs_the_rest_of_its_transfer() {
        let (a, b) = (vec![1, 2, 3, 4, 5], vec![6, 7, 8, 9, 10]);
        let good = line(&[a.clone(), b.clone()]);
        assert_eq!(decode(&[&good]), [a.clone(), b.clone()], "the control");
        let second = 9;
        for (at, value, what) in [
            (second, 0x1B, "magic"),
            (second + 1, 0xB5, "magic"),
            (second + 3, 3, "shorter than its header"),
            (second + 3, 10, "longer than the transfer"),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(decode(&[&bad, &good]), [a.clone(), a.clone(), b.clone()], "{what}");
        }
        for cut in 1..9 {
            assert_eq!(decode(&[&good[..good.len() - cut], &good]).len(), 3, "{cut} bytes are missing");
        }
        let empty = [&[0x1A, 0xB4, 0, 4][..], &good].concat();
        assert_eq!(decode(&[&empty, &[], &[0x1A]]), [a.clone(), b], "empty packets and transfers");
        let reserved = [&[0x1A, 0xB4, 0xFF, 9][..], &a].concat();
        assert_eq!(decode(&[&reserved]), [a], "a reserved byte is not looked at");
    }

    #[test]
    fn noise_is_counted_and_forgiven() {
        let mut decoder = Decoder::default();
        (0..10).for_each(|_| decoder.push(&[0x55; 512], |_| panic!("a packet")));
        assert_eq!(decoder.noise(), 5120);
        decoder.push(&[0x1A, 0xB4, 0, 4], |_| panic!("a packet"));
        assert_eq!(decoder.noise(), 5124, "an empty packet makes no sense either");
        decoder.push(&line(&[vec![1, 2, 3, 4, 5]]), |_| {});
        assert_eq!(decoder.noise(), 0);
    }

    proptest! {
        #[test]
        fn packets_survive_and_none_spans_two_transfers(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 5..=MAX_PACKET), 0..20),
        ) {
            let line = line(&packets);
            let transfers = transfers(&line);
            prop_assert!(transfers.iter().all(|transfer| transfer.len() <= MAX_TRANSFER));
            prop_assert_eq!(decode(&transfers), packets);
        }

        #[test]
        fn arbitrary_transfers_never_panic(transfers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..8)) {
            let parts: Vec<&[u8]> = transfers.iter().map(Vec::as_slice).collect();
            prop_assert!(decode(&parts).iter().all(|packet| packet.len() <= MAX_PACKET));
        }
    }
}
