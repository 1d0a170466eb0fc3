//! The line to a module: asks, and waits for the answer; each wait has its limit and can be called off.
//!
//! Answers carry no number. So whatever is still owed for a question that was called off is waited for, and thrown away,
//! before the next one is asked; what lies around unasked is thrown away too. Blocks on the port, in slices.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, DeviceError, DeviceErrorKind, PipeError, PipeErrorKind, SerialPort};

use crate::command::{Code, Command, Speed};
use crate::image::ImageError;
use crate::packet::{self, Decoder, Found, Kind, Packet};

/// The longest that a wait goes without looking whether it is called off.
const SLICE: Duration = Duration::from_millis(20);
/// A module that falls silent for so long in the middle of an image has given it up.
const QUIET: Duration = Duration::from_millis(500);
/// Writing a command takes no longer, or the line does not drain.
const WRITE: Duration = Duration::from_millis(500);
/// Bytes that may lie around unasked before a question: a whole image, and as much again.
const LITTER: usize = 80 * 1024;
/// So long a line may go on without a pause for that.
const LITTERS: Duration = Duration::from_secs(2);
/// What may still come after an answer that was damaged or late: no answer is taken for that of the next question.
const AFTERMATH: Duration = Duration::from_millis(150);
/// How often a question is asked when its answer is damaged or missing.
const TRIES: u32 = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The port has failed.
    #[error(transparent)]
    Port(#[from] PipeError),
    /// It was called off, or its time was over.
    #[error("called off")]
    Cancelled,
    /// Nothing came in time.
    #[error("no answer to {0}")]
    Silent(&'static str),
    /// Another module answers.
    #[error("a module at address {0:08X}h answers; say so in the quirk setting `address`")]
    Address(u32),
    /// The answer was damaged on the way.
    #[error("the answer to {0} is damaged")]
    Damaged(&'static str),
    /// It talks without being asked.
    #[error("it talks without being asked; is this a fingerprint module?")]
    Babbles,
    /// It will not.
    #[error("{0}: {1}")]
    Refused(&'static str, Code),
    /// Its data are no image.
    #[error("the image is damaged: {0}")]
    Image(#[from] ImageError),
    /// Its settings make no sense.
    #[error("its settings make no sense")]
    Settings,
}

impl Failure {
    /// As the device's error.
    pub(crate) fn on(self, name: &str) -> DeviceError {
        let kind = match &self {
            Self::Port(error) => match error.kind {
                PipeErrorKind::TimedOut => DeviceErrorKind::TimedOut,
                PipeErrorKind::PermissionDenied => DeviceErrorKind::PermissionDenied,
                PipeErrorKind::InUse => DeviceErrorKind::InUse,
                PipeErrorKind::Gone | PipeErrorKind::Stalled | PipeErrorKind::Os => DeviceErrorKind::Gone,
            },
            Self::Cancelled => DeviceErrorKind::Cancelled,
            Self::Silent(_) => DeviceErrorKind::TimedOut,
            Self::Refused(_, Code::WRONG_PASSWORD) => DeviceErrorKind::NotReady,
            Self::Refused(..) => DeviceErrorKind::Internal,
            Self::Address(_) | Self::Damaged(_) | Self::Babbles | Self::Image(_) | Self::Settings => {
                DeviceErrorKind::Protocol
            }
        };
        DeviceError::caused(kind, format!("{name}: {self}"), self)
    }
}

/// An acknowledgement.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Code,
    /// What follows the code.
    pub(crate) rest: zeroize::Zeroizing<Vec<u8>>,
}

/// What is still to come for a question that nobody waits for any more.
#[derive(Clone, Copy)]
enum Owed {
    Nothing,
    /// An acknowledgement, by then at the latest.
    Ack(Instant),
    /// Data, until the last packet or silence, by then at the latest.
    Data(Instant),
}

/// The line.
pub(crate) struct Line {
    port: Box<dyn SerialPort>,
    address: u32,
    decoder: Decoder,
    inbox: VecDeque<Found>,
    owed: Owed,
    /// Nothing is waited for beyond this, as if it were called off then.
    limit: Option<Instant>,
    /// How long the line must be quiet before the next question.
    quiet: Duration,
    /// Another address that was seen since the last question.
    stranger: Option<u32>,
}

impl Line {
    pub(crate) fn new(port: Box<dyn SerialPort>, address: u32) -> Self {
        let (decoder, inbox) = (Decoder::new(), VecDeque::new());
        Self {
            port,
            address,
            decoder,
            inbox,
            owed: Owed::Nothing,
            limit: None,
            quiet: Duration::ZERO,
            stranger: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.port.name()
    }

    /// Sets the speed of this end.
    pub(crate) fn set_speed(&mut self, speed: Speed) -> Result<(), PipeError> {
        self.decoder.reset();
        self.inbox.clear();
        self.port.set_baud(speed.baud())
    }

    /// Calls off at `limit` what is being waited for.
    pub(crate) const fn set_limit(&mut self, limit: Option<Instant>) {
        self.limit = limit;
    }

    /// Asks until the answer has arrived whole, each time for `within`.
    pub(crate) fn ask(
        &mut self,
        command: Command,
        within: Duration,
        cancel: &Cancel,
    ) -> Result<Answer, Failure> {
        let mut failed = Failure::Silent(command.name());
        for attempt in 0..TRIES {
            let answer = self.ask_once(command, within, cancel);
            if attempt > 0 {
                self.quiet = AFTERMATH;
            }
            match answer {
                Ok(answer) if answer.code == Code::RECEIVE_ERROR => {
                    failed = Failure::Refused(command.name(), answer.code);
                }
                Err(error @ (Failure::Silent(_) | Failure::Damaged(_))) => failed = error,
                other => return other,
            }
        }
        Err(failed)
    }

    /// Asks once.
    pub(crate) fn ask_once(
        &mut self,
        command: Command,
        within: Duration,
        cancel: &Cancel,
    ) -> Result<Answer, Failure> {
        self.settle(cancel)?;
        let mut bytes = Vec::with_capacity(16);
        packet::encode(self.address, Command::KIND, &command.content(), &mut bytes);
        self.port.write_all(&bytes, WRITE)?;
        let mut until = Instant::now() + within;
        let mut damaged = false;
        self.owed = Owed::Ack(until);
        loop {
            match self.next(until, cancel)? {
                Some(Found::Packet(packet)) if packet.kind == Kind::Ack => {
                    self.owed = Owed::Nothing;
                    return answer(&packet).ok_or(Failure::Damaged(command.name()));
                }
                // of an image that was called off
                Some(Found::Packet(_)) => {}
                // noise, and the answer comes behind it; or the answer
                Some(Found::Damaged) => {
                    damaged = true;
                    until = until.min(Instant::now() + AFTERMATH);
                }
                None => {
                    self.owed = Owed::Nothing;
                    return Err(match self.stranger {
                        Some(address) => Failure::Address(address),
                        None if damaged => Failure::Damaged(command.name()),
                        None => Failure::Silent(command.name()),
                    });
                }
            }
        }
    }

    /// Takes the data that an acknowledgement has announced, and hands each packet to `take`. They are on the line for
    /// `transfer`.
    pub(crate) fn data(
        &mut self,
        transfer: Duration,
        cancel: &Cancel,
        mut take: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), Failure> {
        self.owed = Owed::Data(Instant::now() + 2 * transfer + QUIET);
        loop {
            let quiet = Instant::now() + QUIET;
            match self.next(quiet, cancel)? {
                Some(Found::Packet(packet)) if packet.kind == Kind::Data => take(&packet.content)?,
                Some(Found::Packet(packet)) if packet.kind == Kind::End => {
                    self.owed = Owed::Nothing;
                    return Ok(take(&packet.content)?);
                }
                Some(_) => return Err(Failure::Damaged("UpImage")),
                None => {
                    self.owed = Owed::Nothing;
                    return Err(Failure::Silent("UpImage"));
                }
            }
        }
    }

    /// Waits for what is owed, and throws away what lies around.
    fn settle(&mut self, cancel: &Cancel) -> Result<(), Failure> {
        loop {
            let until = match self.owed {
                Owed::Nothing => break,
                Owed::Ack(until) => until,
                Owed::Data(until) => until.min(Instant::now() + QUIET),
            };
            match (self.owed, self.next(until, cancel)?) {
                (Owed::Ack(_), Some(Found::Packet(packet))) if packet.kind != Kind::Ack => {}
                (Owed::Data(end), Some(Found::Packet(packet)))
                    if packet.kind != Kind::End && Instant::now() < end => {}
                (Owed::Data(end), Some(Found::Damaged)) if Instant::now() < end => {}
                _ => self.owed = Owed::Nothing,
            }
        }
        let mut litter = 0;
        let end = Instant::now() + LITTERS;
        while litter <= LITTER && Instant::now() < end {
            if self.is_over(cancel) {
                return Err(Failure::Cancelled);
            }
            match self.read(self.quiet) {
                Ok(length) => litter += length,
                Err(error) if error.kind == PipeErrorKind::TimedOut => {
                    self.decoder.reset();
                    self.inbox.clear();
                    self.stranger = None;
                    self.quiet = Duration::ZERO;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::Babbles)
    }

    /// The next packet for us; `None` when `until` is over.
    fn next(&mut self, until: Instant, cancel: &Cancel) -> Result<Option<Found>, Failure> {
        loop {
            while let Some(found) = self.inbox.pop_front() {
                match found {
                    Found::Packet(packet) if packet.address != self.address => {
                        self.stranger = Some(packet.address);
                    }
                    found => return Ok(Some(found)),
                }
            }
            if self.is_over(cancel) {
                return Err(Failure::Cancelled);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            match self.read(left.min(SLICE)) {
                Ok(_) => {}
                Err(error) if error.kind == PipeErrorKind::TimedOut => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether what is being waited for has been called off, or its time is over.
    fn is_over(&self, cancel: &Cancel) -> bool {
        cancel.is_cancelled() || self.limit.is_some_and(|limit| Instant::now() >= limit)
    }

    fn read(&mut self, timeout: Duration) -> Result<usize, PipeError> {
        let mut buffer = zeroize::Zeroizing::new([0; 512]);
        let length = self.port.read(buffer.as_mut_slice(), timeout)?;
        let inbox = &mut self.inbox;
        self.decoder.push(buffer.get(..length).unwrap_or_default(), |found| inbox.push_back(found));
        Ok(length)
    }
}

fn answer(packet: &Packet) -> Option<Answer> {
    let (code, rest) = packet.content.split_first()?;
    Some(Answer { code: Code(*code), rest: rest.to_vec().into() })
}

#[cfg(test)]
mod tests {
    use biotrust_driver_api::Pipe;

    use super::*;

    /// A line on which a byte comes every 50 ms, whatever is sent.
    struct Drip;

    impl Pipe for Drip {
        fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, PipeError> {
            let _ = biotrust_driver_api::Cancel::new().wait(timeout.min(Duration::from_millis(50)));
            if timeout < Duration::from_millis(50) {
                return Err(PipeError { kind: PipeErrorKind::TimedOut, os: None, doing: "reading".into() });
            }
            *buffer.first_mut().unwrap() = 0xEF;
            Ok(1)
        }

        fn write_all(&mut self, _: &[u8], _: Duration) -> Result<(), PipeError> {
            Ok(())
        }

        fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
            Ok(Box::new(Self))
        }

        fn name(&self) -> &str {
            "a test"
        }
    }

    impl SerialPort for Drip {
        fn set_baud(&mut self, _: u32) -> Result<(), PipeError> {
            Ok(())
        }

        fn try_clone_serial(&self) -> Result<Box<dyn SerialPort>, PipeError> {
            Ok(Box::new(Self))
        }
    }

    #[test]
    fn a_line_that_never_falls_silent_outlasts_no_limit() {
        let mut line = Line::new(Box::new(Drip), u32::MAX);
        line.quiet = AFTERMATH;
        let start = Instant::now();
        line.set_limit(Some(start + Duration::from_millis(300)));
        let failed = line.ask_once(Command::GenImg, Duration::from_secs(1), &Cancel::new()).unwrap_err();
        assert!(matches!(failed, Failure::Cancelled), "{failed}");
        assert!(start.elapsed() < LITTERS, "{:?}", start.elapsed());

        line.set_limit(None);
        let failed = line.ask_once(Command::GenImg, Duration::from_secs(1), &Cancel::new()).unwrap_err();
        assert!(matches!(failed, Failure::Babbles), "{failed}");
        assert!(start.elapsed() < 3 * LITTERS, "{:?}", start.elapsed());
    }
}
