//! The reader as a sensor: power, a finger that comes, its images, a finger that goes.
//!
//! A finger is announced once, when it comes; as long as it is not announced to have gone, further images may be taken of
//! it. What lies on the reader when nobody looks any more (a forgotten finger, dirt, a print that was left) is not taken
//! for a new finger: it has to go first. Without a job the reader is off; the way back is the whole power-up sequence,
//! as its maker's own driver does it.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, DeviceError, DeviceErrorKind, PipeErrorKind, SelfReport};
use biotrust_imaging::Dpi;
use biotrust_model::DeviceStatus;
use biotrust_sensor::{Seen, Sensor};

use crate::bus::{Bus, slice};
use crate::event::Event;
use crate::image::{Scan, ScanError};
use crate::power::{Outcome, PowerUp, Step};
use crate::register::{Info, Mode};
use crate::scramble::KeyStream;

/// Longest wait without a look at [`Cancel`].
const SLICE: Duration = Duration::from_millis(20);
/// An image is there within 0.2 s of being asked for; one that takes so long does not come.
const IMAGE: Duration = Duration::from_millis(1_500);
/// A finger that is not announced to have gone within this time still lies there.
const STAYS: Duration = Duration::from_millis(60);
/// What lies on the reader for so long, with nobody looking, is to be told.
const LITTER: Duration = Duration::from_secs(30);
/// First seed of the scrambling, and the step to the next one. A seed keeps the key off the bus and nothing else; that it
/// is the same after each start makes recordings of a reader repeatable.
const SEED: (u32, u32) = (0x2545_f491, 0x9e37_79b9);

/// What a reader is known to be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Density of its images.
    pub(crate) density: Dpi,
    /// Its images are upside down.
    pub(crate) turned: bool,
    /// It takes one image of each finger; for more the finger has to come anew.
    pub(crate) single: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody looks.
    Off,
    /// A finger is waited for.
    Clear,
    /// A finger lies there.
    Pressed,
    /// An image was taken, and the finger has not gone.
    Taken,
    /// Something lies there that is not to be taken; since when.
    Littered(Instant),
}

/// The sensor.
pub(crate) struct Reader {
    bus: Bus,
    habits: Habits,
    state: State,
    seed: u32,
    dead: bool,
}

impl Reader {
    /// Brings the reader to power, to see that it works, and off again. Also tells what it is.
    pub(crate) fn start(bus: Bus, habits: Habits, until: Instant) -> Result<(Self, Info), DeviceError> {
        let mut reader = Self { bus, habits, state: State::Off, seed: SEED.0, dead: false };
        if !reader.power_up(until, &Cancel::new())? {
            let why = format!("{}: no power within the time limit", reader.bus.name());
            return Err(DeviceError::new(DeviceErrorKind::TimedOut, why));
        }
        let info = reader.bus.info()?;
        reader.rest()?;
        Ok((reader, info))
    }

    /// Runs the power-up sequence; false when it was called off or is too late.
    fn power_up(&mut self, until: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        self.bus.listen()?;
        let (mut sequence, mut step) = PowerUp::begin();
        loop {
            if cancel.is_cancelled() || Instant::now() >= until {
                return Ok(false);
            }
            let outcome = match step {
                Step::Read => Outcome::Read(self.bus.hw_stat()?),
                Step::Write(stat) => {
                    self.bus.set_hw_stat(stat)?;
                    Outcome::Done
                }
                Step::Pause(pause) => {
                    if cancel.wait(slice(until, pause)) {
                        return Ok(false);
                    }
                    Outcome::Done
                }
                Step::Await(limit) => {
                    let end = until.min(Instant::now() + limit);
                    while !cancel.is_cancelled() && Instant::now() < end {
                        if self.bus.event(slice(end, SLICE))? == Some(Event::Powered) {
                            sequence.powered();
                            break;
                        }
                    }
                    Outcome::Done
                }
                Step::Ready => return Ok(true),
            };
            step = sequence.next(outcome).map_err(|error| {
                let why = format!("{}: {error}; unplug it and plug it in again", self.bus.name());
                DeviceError::caused(DeviceErrorKind::NotReady, why, error)
            })?;
        }
    }

    /// Waits until a finger lies there that may be taken; false when none does.
    fn finger(&mut self, wait: Instant, until: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        let stays = Instant::now() + STAYS;
        loop {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            match self.state {
                State::Off => {
                    if !self.power_up(until, cancel)? {
                        return Ok(false);
                    }
                    self.clear()?;
                }
                State::Pressed => return Ok(true),
                State::Taken if !self.habits.single && Instant::now() >= stays => {
                    self.state = State::Pressed;
                    return Ok(true);
                }
                State::Clear | State::Taken | State::Littered(_) => {}
            }
            // One look at the events even when there is no time: they may have come long ago.
            self.hear(slice(wait, SLICE))?;
            if Instant::now() >= wait && self.state != State::Pressed {
                return Ok(false);
            }
        }
    }

    /// Takes notice of an event, should one come within `wait`.
    fn hear(&mut self, wait: Duration) -> Result<(), DeviceError> {
        match (self.bus.event(wait)?, self.state) {
            (Some(Event::FingerOn), State::Clear) => self.state = State::Pressed,
            (Some(Event::FingerOff), State::Pressed | State::Taken | State::Littered(_)) => self.clear()?,
            // It was without power for a moment and has forgotten what it was to do.
            (Some(Event::Powered), State::Clear | State::Pressed) => self.clear()?,
            (Some(Event::Powered), State::Taken | State::Littered(_)) => {
                self.bus.set_mode(Mode::AwaitFingerOff)?;
            }
            (Some(Event::FailureImminent), _) => {
                self.state = State::Off;
                self.bus.bad_image(PipeErrorKind::Os, "the reader announces that it will fail".to_owned())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits for the next finger.
    fn clear(&mut self) -> Result<(), DeviceError> {
        self.state = State::Clear;
        self.bus.set_mode(Mode::AwaitFingerOn)
    }

    /// Takes an image of the finger that lies there.
    fn take(&mut self, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, DeviceError> {
        while let Some(transfer) = self.transfer(until, cancel)? {
            match self.unscramble(transfer) {
                Ok(scan) => {
                    let image = scan.picture(self.habits.turned).map_err(|error| {
                        DeviceError::caused(DeviceErrorKind::Internal, "no picture of an image", error)
                    })?;
                    self.bus.good_image();
                    self.bus.set_mode(Mode::AwaitFingerOff)?;
                    self.state = State::Taken;
                    return Ok(Some(Seen::Finger { image, density: self.habits.density }));
                }
                Err(Failed::Image(error)) => {
                    self.bus.bad_image(PipeErrorKind::Os, format!("reading an image: {error}"))?;
                }
                Err(Failed::Device(error)) => return Err(error),
            }
        }
        self.bus.drop_image();
        if self.state == State::Pressed {
            self.bus.set_mode(Mode::AwaitFingerOff)?;
            self.state = State::Taken;
        }
        Ok(None)
    }

    /// The transfer of an image; `None` when it is called off, too late, or the finger went.
    fn transfer(&mut self, until: Instant, cancel: &Cancel) -> Result<Option<Vec<u8>>, DeviceError> {
        loop {
            self.bus.ask_image()?;
            self.bus.set_mode(Mode::Capture)?;
            let end = Instant::now() + IMAGE;
            while self.bus.awaits_image() && Instant::now() < end {
                if cancel.is_cancelled() || Instant::now() >= until {
                    return Ok(None);
                }
                if let Some(transfer) = self.bus.image(slice(end.min(until), SLICE))? {
                    return Ok(Some(transfer));
                }
            }
            if self.bus.awaits_image() {
                self.bus.drop_image();
                let what = format!("waiting {} ms for an image", IMAGE.as_millis());
                self.bus.bad_image(PipeErrorKind::TimedOut, what)?;
            }
            self.hear(Duration::ZERO)?;
            if self.state != State::Pressed {
                return Ok(None);
            }
        }
    }

    /// Takes the scrambling off, with the keys that the reader gives.
    fn unscramble(&mut self, transfer: Vec<u8>) -> Result<Scan, Failed> {
        let mut scan = Scan::parse(transfer).map_err(Failed::Image)?;
        while let Some(number) = scan.wanted_key() {
            let seed = self.seed;
            self.seed = seed.wrapping_add(SEED.1);
            let answer = self.bus.key(number, seed).map_err(Failed::Device)?;
            scan.unlock(KeyStream::from_answer(answer, seed));
        }
        Ok(scan)
    }

    /// Remembers that there is nobody left to be switched off.
    fn note<T>(&mut self, result: Result<T, DeviceError>) -> Result<T, DeviceError> {
        if let Err(error) = &result {
            self.dead |= matches!(error.kind, DeviceErrorKind::Gone);
            self.state = State::Off;
        }
        result
    }

    fn report(&mut self) -> Result<SelfReport, DeviceError> {
        let stat = self.bus.hw_stat()?;
        self.hear(Duration::ZERO)?;
        if self.state == State::Clear {
            self.switch_off()?;
        }
        let reason = match self.state {
            // Without power the bit says nothing.
            _ if stat.fault() && !stat.low_power() => {
                format!("the reader reports a fault (HWSTAT {:#04x})", stat.0)
            }
            State::Littered(since) if since.elapsed() >= LITTER => {
                "something lies on the reader: lift the finger or clean the glass".to_owned()
            }
            _ => String::new(),
        };
        let status = if reason.is_empty() { DeviceStatus::Ready } else { DeviceStatus::NotReady };
        Ok(SelfReport { status, reason })
    }

    fn switch_off(&mut self) -> Result<(), DeviceError> {
        self.state = State::Off;
        self.bus.set_mode(Mode::Off)
    }

    fn end(&mut self) -> Result<(), DeviceError> {
        self.bus.drop_image();
        match self.state {
            State::Littered(_) => Ok(()),
            State::Pressed | State::Taken => {
                self.state = State::Littered(Instant::now());
                self.bus.set_mode(Mode::AwaitFingerOff)
            }
            State::Off | State::Clear => self.switch_off(),
        }
    }
}

/// Why a transfer did not become an image.
enum Failed {
    /// It is none.
    Image(ScanError),
    /// The reader did not give the key.
    Device(DeviceError),
}

impl Sensor for Reader {
    fn look(&mut self, wait: Duration, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, DeviceError> {
        let wait = Instant::now().checked_add(wait).map_or(until, |end| end.min(until));
        let looked = match self.finger(wait, until, cancel) {
            Ok(true) => self.take(until, cancel),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        self.note(looked)
    }

    fn is_clear(&mut self, until: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        let stays = until.min(Instant::now() + STAYS);
        while !matches!(self.state, State::Clear | State::Off)
            && Instant::now() < stays
            && !cancel.is_cancelled()
        {
            let heard = self.hear(slice(stays, SLICE));
            self.note(heard)?;
        }
        Ok(matches!(self.state, State::Clear | State::Off))
    }

    fn status(&mut self) -> Result<SelfReport, DeviceError> {
        let report = self.report();
        self.note(report)
    }

    fn rest(&mut self) -> Result<(), DeviceError> {
        let ended = self.end();
        self.note(ended)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.dead {
            // Its light stays on otherwise, which does no harm.
            let _ = self.bus.set_mode(Mode::Off);
        }
    }
}
