//! The USB/IP protocol (Documentation/usb/usbip_protocol.rst of Linux) after a device has been imported: 48-byte headers,
//! big endian, each followed by the data of its transfer.
//!
//! Sans-I/O. The peer is not trusted: lengths are bounded before anything is kept for them.

/// Bytes of a header.
pub const HEADER: usize = 48;
/// Bytes of the longest transfer. Linux lets programs ask for as much as 16 MiB at once; nobody here does.
pub const LONGEST_TRANSFER: usize = 4 << 20;
/// Transfers that may be under way.
pub const MOST_PENDING: usize = 1024;
/// What all pending transfers may hold together, in bytes.
pub(crate) const MOST_HELD: usize = 32 << 20;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;
/// Linux sends 0 packets for what is not isochronous, the document says this.
const NOT_ISOCHRONOUS: u32 = 0xffff_ffff;

/// `errno` of Linux as USB/IP carries them, negated.
pub(crate) mod status {
    pub(crate) const OK: i32 = 0;
    /// ENOENT: no such endpoint.
    pub(crate) const NO_ENDPOINT: i32 = -2;
    /// EPIPE.
    pub(crate) const STALL: i32 = -32;
    /// EOVERFLOW.
    pub(crate) const BABBLE: i32 = -75;
    /// ECONNRESET: called off.
    pub(crate) const UNLINKED: i32 = -104;
    /// ESHUTDOWN.
    pub(crate) const SHUTDOWN: i32 = -108;
}

/// The peer does not keep to the protocol; the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Unknown command.
    #[error("USB/IP command {0} is unknown here")]
    Command(u32),
    /// A transfer that is too long.
    #[error("a transfer of {0} bytes is too long: {LONGEST_TRANSFER} at most")]
    Length(u32),
    /// An isochronous transfer.
    #[error("isochronous transfers are not supported")]
    Isochronous,
    /// An endpoint number over 15.
    #[error("there is no endpoint {0}")]
    Endpoint(u32),
    /// A direction that is neither.
    #[error("{0} is no direction: 0 is out, 1 is in")]
    Direction(u32),
    /// Too much is under way.
    #[error("too many transfers are under way: {MOST_PENDING} at most, with {MOST_HELD} bytes together")]
    Pending,
    /// Two transfers under way with one number.
    #[error("sequence number {0} is in use")]
    Sequence(u32),
    /// An answer to what nobody asked.
    #[error("an answer to transfer {0}, which is not under way, or longer than asked for")]
    Answer(u32),
}

/// A header from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Submit(Submit),
    /// Calls off transfer `victim`.
    Unlink {
        sequence: u32,
        victim: u32,
    },
}

/// A transfer that the host starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Submit {
    pub(crate) sequence: u32,
    /// Address with the direction in bit 7; the control endpoint is 0 both ways.
    pub(crate) endpoint: u8,
    pub(crate) to_host: bool,
    pub(crate) length: usize,
    pub(crate) setup: [u8; 8],
}

impl Submit {
    /// Bytes that follow the header.
    pub(crate) const fn payload(&self) -> usize {
        if self.to_host { 0 } else { self.length }
    }
}

fn word(header: &[u8; HEADER], index: usize) -> u32 {
    let bytes = header.chunks_exact(4).nth(index).and_then(|chunk| chunk.first_chunk());
    bytes.copied().map_or(0, u32::from_be_bytes)
}

/// Reads a header from the host.
pub(crate) fn command(header: &[u8; HEADER]) -> Result<Command, WireError> {
    let sequence = word(header, 1);
    match word(header, 0) {
        CMD_SUBMIT => {
            let (direction, number, length, packets) =
                (word(header, 3), word(header, 4), word(header, 6), word(header, 8));
            let to_host = match direction {
                0 => false,
                1 => true,
                other => return Err(WireError::Direction(other)),
            };
            let number = u8::try_from(number).ok().filter(|n| *n < 16).ok_or(WireError::Endpoint(number))?;
            let endpoint = if to_host && number != 0 { number | 0x80 } else { number };
            if packets != 0 && packets != NOT_ISOCHRONOUS {
                return Err(WireError::Isochronous);
            }
            let length = usize::try_from(length)
                .ok()
                .filter(|length| *length <= LONGEST_TRANSFER)
                .ok_or(WireError::Length(length))?;
            let setup = header.last_chunk().copied().unwrap_or_default();
            Ok(Command::Submit(Submit { sequence, endpoint, to_host, length, setup }))
        }
        CMD_UNLINK => Ok(Command::Unlink { sequence, victim: word(header, 5) }),
        other => Err(WireError::Command(other)),
    }
}

/// Writes a header to the device.
pub(crate) fn push_command(out: &mut Vec<u8>, devid: u32, command: Command) {
    match command {
        Command::Submit(submit) => {
            let number = u32::from(submit.endpoint & 0x0f);
            let length = u32::try_from(submit.length).unwrap_or(u32::MAX);
            let words =
                [CMD_SUBMIT, submit.sequence, devid, u32::from(submit.to_host), number, 0, length, 0, 0, 0];
            out.extend(words.into_iter().flat_map(u32::to_be_bytes));
            out.extend(submit.setup);
        }
        Command::Unlink { sequence, victim } => {
            let words = [CMD_UNLINK, sequence, devid, 0, 0, victim, 0, 0, 0, 0, 0, 0];
            out.extend(words.into_iter().flat_map(u32::to_be_bytes));
        }
    }
}

/// A header from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Submit { sequence: u32, status: i32, length: usize },
    Unlink { sequence: u32, status: i32 },
}

/// Reads a header from the device.
pub(crate) fn answer(header: &[u8; HEADER]) -> Result<Answer, WireError> {
    let sequence = word(header, 1);
    let status = word(header, 5).cast_signed();
    match word(header, 0) {
        RET_SUBMIT => {
            let length = word(header, 6);
            let length = usize::try_from(length)
                .ok()
                .filter(|length| *length <= LONGEST_TRANSFER)
                .ok_or(WireError::Length(length))?;
            Ok(Answer::Submit { sequence, status, length })
        }
        RET_UNLINK => Ok(Answer::Unlink { sequence, status }),
        other => Err(WireError::Command(other)),
    }
}

/// Writes a header to the host. `length` is the number of bytes that were carried, in either direction.
pub(crate) fn push_answer(out: &mut Vec<u8>, answer: Answer) {
    let words = match answer {
        Answer::Submit { sequence, status, length } => {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            [RET_SUBMIT, sequence, 0, 0, 0, status.cast_unsigned(), length, 0, 0, 0, 0, 0]
        }
        Answer::Unlink { sequence, status } => {
            [RET_UNLINK, sequence, 0, 0, 0, status.cast_unsigned(), 0, 0, 0, 0, 0, 0]
        }
    };
    out.extend(words.into_iter().flat_map(u32::to_be_bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: Command) -> [u8; HEADER] {
        let mut bytes = Vec::new();
        push_command(&mut bytes, 0x10002, command);
        bytes.try_into().unwrap()
    }

    #[test]
    fn commands_and_answers_survive_the_wire() {
        let submit = Submit { sequence: 7, endpoint: 0x82, to_host: true, length: 512, setup: [0; 8] };
        let control = Submit {
            sequence: 8,
            endpoint: 0,
            to_host: true,
            length: 18,
            setup: [0x80, 6, 0, 1, 0, 0, 18, 0],
        };
        for sent in
            [Command::Submit(submit), Command::Submit(control), Command::Unlink { sequence: 9, victim: 7 }]
        {
            assert_eq!(command(&header(sent)), Ok(sent));
        }
        for sent in [
            Answer::Submit { sequence: 7, status: status::STALL, length: 0 },
            Answer::Unlink { sequence: 9, status: status::UNLINKED },
        ] {
            let mut bytes = Vec::new();
            push_answer(&mut bytes, sent);
            assert_eq!(answer(bytes.first_chunk().unwrap()), Ok(sent));
        }
    }

    #[test]
    fn a_header_is_laid_out_as_linux_has_it() {
        let submit = Submit { sequence: 1, endpoint: 0x02, to_host: false, length: 3, setup: [9; 8] };
        let bytes = header(Command::Submit(submit));
        assert_eq!(bytes[..8], [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(bytes[12..20], [0, 0, 0, 0, 0, 0, 0, 2], "direction, endpoint");
        assert_eq!(bytes[24..28], [0, 0, 0, 3], "length");
        assert_eq!(bytes[40..], [9; 8], "setup");
    }

    #[test]
    fn a_hostile_host_is_refused() {
        let good = header(Command::Submit(Submit {
            sequence: 1,
            endpoint: 1,
            to_host: false,
            length: 1,
            setup: [0; 8],
        }));
        let with = |index: usize, value: u32| {
            let mut bytes = good;
            bytes[index * 4..index * 4 + 4].copy_from_slice(&value.to_be_bytes());
            command(&bytes)
        };
        assert_eq!(with(0, 5), Err(WireError::Command(5)));
        assert_eq!(with(3, 2), Err(WireError::Direction(2)));
        assert_eq!(with(4, 16), Err(WireError::Endpoint(16)));
        assert_eq!(with(6, u32::MAX), Err(WireError::Length(u32::MAX)));
        assert_eq!(with(8, 3), Err(WireError::Isochronous));
        assert!(with(8, NOT_ISOCHRONOUS).is_ok());
    }
}
