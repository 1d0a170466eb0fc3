//! What the reader says unasked: packets of the interrupt endpoint, each of 64 bytes, the first two its type.

/// Length of a packet in bytes.
pub const PACKET: usize = 64;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The scanner has power.
    Powered,
    /// A finger lies on it.
    FingerOn,
    /// The finger is gone.
    FingerOff,
    /// The next image will fail: the reader wants to be powered anew.
    FailureImminent,
    /// Something of which no meaning is known.
    Other(u16),
}

impl Event {
    /// Reads a packet; `None` when there is no type in it.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let kind = u16::from_be_bytes(*packet.first_chunk()?);
        Some(match kind {
            0x56aa => Self::Powered,
            0x0101 => Self::FingerOn,
            0x0200 => Self::FingerOff,
            0x0800 => Self::FailureImminent,
            other => Self::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_big_endian() {
        let packet = |a, b| {
            let mut packet = [0; PACKET];
            packet[..2].copy_from_slice(&[a, b]);
            Event::parse(&packet)
        };
        assert_eq!(packet(0x56, 0xaa), Some(Event::Powered));
        assert_eq!(packet(0x01, 0x01), Some(Event::FingerOn));
        assert_eq!(packet(0x02, 0x00), Some(Event::FingerOff));
        assert_eq!(packet(0x08, 0x00), Some(Event::FailureImminent));
        assert_eq!(packet(0x00, 0x02), Some(Event::Other(2)), "not a finger that goes");
    }

    #[test]
    fn a_packet_without_a_type_says_nothing() {
        assert_eq!(Event::parse(&[]), None);
        assert_eq!(Event::parse(&[0x01]), None);
    }
}
