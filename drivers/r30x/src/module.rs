//! A module on its line: found at whatever speed it has, raised to the fastest, and left as it was found.
//!
//! Speed and packet size are kept in the module's flash. A session that ended without putting them back leaves a module
//! that is fast from the start: it is found at that speed, used, and left so.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, Found, SerialPort};
use biotrust_imaging::Gray;

use crate::command::{Code, Command, DataSize, Parameters, Speed};
use crate::image::{self, Assembly};
use crate::line::{Answer, Failure, Line};

/// The longest that a module thinks about a command, and about one that works on the image.
const THINKS: Duration = Duration::from_secs(1);
const WORKS: Duration = Duration::from_secs(2);
/// How long a module may take to answer when it is looked for, beside the time on the line.
const PROBE: Duration = Duration::from_millis(80);
/// Bytes on the line, there and back, of a probe; ten bits each.
const PROBE_BITS: u64 = (16 + 12) * 10;
/// How often a module is probed at its new speed before it is taken for one that has kept the old one.
const SWITCHES: u32 = 3;
/// Images that may be damaged in a row.
const BAD_IMAGES: u32 = 3;
/// How long a module that is well takes to write its flash.
const ANSWERS_STILL: Duration = Duration::from_millis(300);
/// How long the module may be waited for in parting, so that its settings can be put back.
const PARTING: Duration = Duration::from_secs(4);

/// What is known of a module beforehand, from its quirk entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) address: u32,
    pub(crate) password: u32,
    /// The speed to raise it to.
    pub(crate) speed: Speed,
}

impl Known {
    /// Settings `address`, `password` (0 to FFFFFFFFh) and `baud`.
    pub(crate) fn of(found: &Found) -> Self {
        let number = |name, default| {
            found.quirks.number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
        };
        Self {
            address: number("address", u32::MAX),
            password: number("password", 0),
            speed: Speed::at_most(number("baud", Speed::FASTEST.baud())),
        }
    }
}

/// What the sensor has.
pub(crate) enum Taken {
    Finger,
    Nothing,
    /// There was something, and no image of it.
    Failed,
}

/// A module that answers.
pub(crate) struct Module {
    line: Line,
    known: Known,
    /// As it was found.
    found: Parameters,
    speed: Speed,
    /// It was told another speed than the one that it was found at.
    raised: bool,
    data_size: DataSize,
    bad_images: u32,
}

impl Module {
    /// Finds the module by `deadline`: at the speed that it has, and once more from the first, because a module says
    /// nothing for half a second after it gets power.
    pub(crate) fn find(port: Box<dyn SerialPort>, known: Known, deadline: Instant) -> Result<Self, Failure> {
        let mut line = Line::new(port, known.address);
        let speed = seek(&mut line, known, deadline)?;
        let answer = ok(line.ask(Command::ReadSysPara, THINKS, &Cancel::new())?, Command::ReadSysPara)?;
        let found = Parameters::read(&answer.rest).ok_or(Failure::Settings)?;
        let data_size = found.data_size;
        Ok(Self { line, known, found, speed, raised: false, data_size, bad_images: 0 })
    }

    /// Makes it as fast as it can be. A module that will not be raised is used as it is.
    pub(crate) fn raise(&mut self, deadline: Instant) -> Result<(), Failure> {
        if self.data_size != DataSize::LARGEST {
            self.set_data_size(DataSize::LARGEST)?;
        }
        // its own word: what this end is set to means nothing where the line has no speed
        if self.found.speed.baud() < self.known.speed.baud() {
            self.raised = true;
            self.set_speed(self.known.speed, deadline)?;
        }
        Ok(())
    }

    /// Leaves it as it was found, as far as it answers.
    pub(crate) fn restore(&mut self) {
        let deadline = Instant::now() + PARTING;
        if self.data_size != self.found.data_size {
            // waits first for the end of an image that was called off; a module that says nothing is left alone
            let command = Command::SetDataSize(self.found.data_size);
            match self.line.ask_once(command, ANSWERS_STILL, &Cancel::new()) {
                Ok(_) | Err(Failure::Damaged(_)) => {}
                Err(_) => return,
            }
        }
        if self.raised {
            let _ = self.set_speed(self.found.speed, deadline);
        }
    }

    fn set_data_size(&mut self, size: DataSize) -> Result<(), Failure> {
        let answer = self.line.ask(Command::SetDataSize(size), THINKS, &Cancel::new())?;
        if answer.code == Code::OK {
            self.data_size = size;
        }
        Ok(())
    }

    fn set_speed(&mut self, speed: Speed, deadline: Instant) -> Result<(), Failure> {
        let command = Command::SetSpeed(speed);
        // the answer comes at the old speed; where it is lost, the module may have switched all the same
        match self.line.ask_once(command, THINKS, &Cancel::new()) {
            Ok(answer) if answer.code != Code::OK => return Ok(()),
            // a module that understood nothing has switched nothing, and is found below
            Ok(_) | Err(Failure::Silent(_) | Failure::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        let old = std::mem::replace(&mut self.speed, speed);
        for candidate in [speed, old] {
            self.line.set_speed(candidate)?;
            for _ in 0..SWITCHES {
                match probe(&mut self.line, self.known, candidate) {
                    Ok(true) => {
                        self.speed = candidate;
                        return Ok(());
                    }
                    Ok(false) | Err(Failure::Damaged(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.speed = seek(&mut self.line, self.known, deadline)?;
        Ok(())
    }

    /// Calls off at `limit` whatever it is asked.
    pub(crate) const fn set_limit(&mut self, limit: Option<Instant>) {
        self.line.set_limit(limit);
    }

    pub(crate) fn name(&self) -> &str {
        self.line.name()
    }

    /// What it said of itself when it was found.
    pub(crate) const fn parameters(&self) -> Parameters {
        self.found
    }

    /// Asks whether it is well.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let answer = self.ask(Command::ReadSysPara, THINKS, &Cancel::new())?;
        Parameters::read(&answer.rest).map(|_| ()).ok_or(Failure::Settings)
    }

    /// Has it take an image.
    pub(crate) fn take(&mut self, cancel: &Cancel) -> Result<Taken, Failure> {
        match self.ask(Command::GenImg, WORKS, cancel) {
            Ok(_) => Ok(Taken::Finger),
            Err(Failure::Refused(_, Code::NO_FINGER)) => Ok(Taken::Nothing),
            Err(Failure::Refused(_, Code::IMAGE_FAILED)) => Ok(Taken::Failed),
            Err(error) => Err(error),
        }
    }

    /// What is wrong with the image that it took, in its own judgement.
    pub(crate) fn judge(&mut self, cancel: &Cancel) -> Result<Option<&'static str>, Failure> {
        match self.ask(Command::Img2Tz, WORKS, cancel) {
            Ok(_) => Ok(None),
            Err(Failure::Refused(_, Code(0x06))) => Ok(Some("WIPE AND PRESS AGAIN")),
            Err(Failure::Refused(_, Code(0x07))) => Ok(Some("PRESS HARDER")),
            Err(Failure::Refused(_, Code(0x15))) => Ok(Some("PRESS AGAIN")),
            Err(error) => Err(error),
        }
    }

    /// How long its image is on the line.
    pub(crate) fn transfer(&self) -> Duration {
        let packets = image::BYTES.div_ceil(self.data_size.bytes());
        let bits = (image::BYTES + packets * 11) as u64 * 10;
        Duration::from_millis(bits * 1000 / u64::from(self.speed.baud()))
    }

    /// Gets the image; `None` when it was damaged on the way. A line that damages one after the other is given up.
    pub(crate) fn image(&mut self, cancel: &Cancel) -> Result<Option<Gray>, Failure> {
        self.ask(Command::UpImage, THINKS, cancel)?;
        let mut assembly = Assembly::default();
        let got = match self.line.data(self.transfer(), cancel, |content| assembly.push(content)) {
            Ok(()) => assembly.finish().map_err(Failure::from),
            Err(error) => Err(error),
        };
        match got {
            Ok(image) => {
                self.bad_images = 0;
                Ok(Some(image))
            }
            Err(error @ (Failure::Damaged(_) | Failure::Image(_) | Failure::Silent(_))) => {
                self.bad_images += 1;
                if self.bad_images < BAD_IMAGES { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for something that must be granted; tells the password again to a module that has lost its power.
    fn ask(&mut self, command: Command, within: Duration, cancel: &Cancel) -> Result<Answer, Failure> {
        let answer = self.line.ask(command, within, cancel)?;
        if answer.code != Code::LOCKED {
            return ok(answer, command);
        }
        let password = Command::VfyPwd(self.known.password);
        ok(self.line.ask(password, THINKS, cancel)?, password)?;
        ok(self.line.ask(command, within, cancel)?, command)
    }
}

/// The answer, where it is a yes.
fn ok(answer: Answer, command: Command) -> Result<Answer, Failure> {
    if answer.code == Code::OK { Ok(answer) } else { Err(Failure::Refused(command.name(), answer.code)) }
}

/// Looks for the module at every speed, again and again until `deadline`.
fn seek(line: &mut Line, known: Known, deadline: Instant) -> Result<Speed, Failure> {
    let mut last = Failure::Silent("VfyPwd at any speed");
    loop {
        for speed in Speed::ALL {
            if Instant::now() >= deadline {
                return Err(last);
            }
            match line.set_speed(speed) {
                Ok(()) => {}
                // not every adapter has every speed
                Err(error) if error.kind == biotrust_driver_api::PipeErrorKind::Os => continue,
                Err(error) => return Err(error.into()),
            }
            match probe(line, known, speed) {
                Ok(true) => return Ok(speed),
                Ok(false) => {}
                Err(error @ (Failure::Address(_) | Failure::Babbles | Failure::Damaged(_))) => last = error,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a module answers at this speed.
fn probe(line: &mut Line, known: Known, speed: Speed) -> Result<bool, Failure> {
    let within = PROBE + Duration::from_millis(PROBE_BITS * 1000 / u64::from(speed.baud()));
    let command = Command::VfyPwd(known.password);
    match line.ask_once(command, within, &Cancel::new()) {
        Ok(answer) if answer.code == Code::RECEIVE_ERROR => Ok(false),
        Ok(answer) => ok(answer, command).map(|_| true),
        Err(Failure::Silent(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
