//! The sequence that brings the scanner to power, without I/O: told what came of a step, it says the next one.
//!
//! The state of the power supply is read first. A reader that reports a fault and no power at once is confused, and is
//! talked to until its logic runs. Then its power is taken, given, and read until it is there; the reader confirms with
//! an interrupt, which sometimes never comes: the whole is then begun anew, three times at most. Interrupts may arrive
//! at any time, hence [`PowerUp::powered`] beside the steps.

use std::time::Duration;

use crate::register::HwStat;

/// How often each part is tried before it has failed.
const TRIES: u32 = 100;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the interrupt may take.
const CONFIRMATION: Duration = Duration::from_millis(300);
/// How often the whole sequence is begun.
const ROUNDS: u32 = 3;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read the state; answer with [`Outcome::Read`].
    Read,
    /// Write the state; answer with [`Outcome::Done`].
    Write(HwStat),
    /// Wait so long; answer with [`Outcome::Done`].
    Pause(Duration),
    /// Wait for the interrupt, so long at most; answer with [`Outcome::Done`].
    Await(Duration),
    /// The scanner has power.
    Ready,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The state that was read.
    Read(HwStat),
    /// The step is done, or its time is over.
    Done,
}

/// Why there is no power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    /// The logic does not start.
    #[error("the reader's logic does not start (HWSTAT {:#04x} after {TRIES} tries)", .0.0)]
    Dead(HwStat),
    /// The scanner stays without power.
    #[error("the reader's scanner stays without power (HWSTAT {:#04x} after {TRIES} tries)", .0.0)]
    NoPower(HwStat),
    /// The reader does not say that it has power.
    #[error("the reader does not confirm that its scanner has power, tried {ROUNDS} times")]
    Unconfirmed,
}

/// Where the sequence is: each state names the step that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    WakeWritten { tries: u32 },
    WakeRead { tries: u32 },
    WakePaused { tries: u32 },
    DownWritten { up: HwStat },
    UpWritten { up: HwStat, tries: u32 },
    UpRead { up: HwStat, tries: u32 },
    UpPaused { up: HwStat, tries: u32 },
    Awaiting,
    Ready,
}

/// The sequence.
#[derive(Debug)]
pub struct PowerUp {
    state: State,
    confirmed: bool,
    rounds: u32,
}

impl PowerUp {
    /// The sequence and its first step.
    #[must_use]
    pub fn begin() -> (Self, Step) {
        (Self { state: State::Begin, confirmed: false, rounds: 0 }, Step::Read)
    }

    /// The interrupt has come that says the scanner has power.
    pub fn powered(&mut self) {
        self.confirmed = true;
    }

    /// The next step. An outcome that does not belong to the last step repeats it.
    ///
    /// # Errors
    /// [`PowerError`] when the sequence has failed for good.
    pub fn next(&mut self, outcome: Outcome) -> Result<Step, PowerError> {
        match (self.state, outcome) {
            (State::Begin, Outcome::Read(read)) if read.low_power() && read.fault() => {
                self.go(State::WakeWritten { tries: TRIES }, Step::Write(read.powered_up()))
            }
            (State::Begin, Outcome::Read(read)) => self.take_power(read),

            (State::WakeWritten { tries } | State::WakePaused { tries }, Outcome::Done) => {
                self.go(State::WakeRead { tries }, Step::Read)
            }
            (State::WakeRead { .. }, Outcome::Read(read)) if read.alive() => self.take_power(read),
            (State::WakeRead { tries: 0 | 1 }, Outcome::Read(read)) => Err(PowerError::Dead(read)),
            (State::WakeRead { tries }, Outcome::Read(_)) => {
                self.go(State::WakePaused { tries: tries - 1 }, Step::Pause(PAUSE))
            }

            (State::DownWritten { up }, Outcome::Done) => self.give_power(up, TRIES),
            (State::UpPaused { up, tries }, Outcome::Done) => self.give_power(up, tries),
            (State::UpWritten { up, tries }, Outcome::Done) => {
                self.go(State::UpRead { up, tries }, Step::Read)
            }
            (State::UpRead { .. }, Outcome::Read(read)) if !read.low_power() => {
                self.go(State::Awaiting, Step::Await(CONFIRMATION))
            }
            (State::UpRead { tries: 0 | 1, .. }, Outcome::Read(read)) => Err(PowerError::NoPower(read)),
            (State::UpRead { up, tries }, Outcome::Read(_)) => {
                self.go(State::UpPaused { up, tries: tries - 1 }, Step::Pause(PAUSE))
            }

            (State::Awaiting, Outcome::Done) if self.confirmed => self.go(State::Ready, Step::Ready),
            (State::Awaiting, Outcome::Done) => {
                self.rounds += 1;
                if self.rounds >= ROUNDS {
                    return Err(PowerError::Unconfirmed);
                }
                self.go(State::Begin, Step::Read)
            }
            (State::Ready, _) => Ok(Step::Ready),
            (_, Outcome::Done) => Ok(Step::Read),
            (_, Outcome::Read(_)) => Ok(Step::Pause(PAUSE)),
        }
    }

    fn take_power(&mut self, read: HwStat) -> Result<Step, PowerError> {
        let up = read.powered_up();
        if read.low_power() {
            self.give_power(up, TRIES)
        } else {
            self.go(State::DownWritten { up }, Step::Write(read.powered_down()))
        }
    }

    fn give_power(&mut self, up: HwStat, tries: u32) -> Result<Step, PowerError> {
        self.go(State::UpWritten { up, tries }, Step::Write(up))
    }

    fn go(&mut self, state: State, step: Step) -> Result<Step, PowerError> {
        self.state = state;
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A power supply: what each write makes of its state, and what it answers.
    struct Supply {
        stat: u8,
        /// Reads after which a write takes effect.
        slow: u32,
        confirms_from_round: u32,
        log: Vec<Step>,
    }

    impl Supply {
        fn new(stat: u8) -> Self {
            Self { stat, slow: 0, confirms_from_round: 1, log: Vec::new() }
        }

        fn run(&mut self) -> Result<(), PowerError> {
            let (mut sequence, mut step) = PowerUp::begin();
            let mut written = None;
            let mut rounds = 0;
            loop {
                self.log.push(step);
                assert!(self.log.len() < 2_000, "it ends");
                let outcome = match step {
                    Step::Ready => return Ok(()),
                    Step::Read => {
                        if let Some(value) = written.filter(|_| self.slow == 0) {
                            self.stat = value;
                        }
                        self.slow = self.slow.saturating_sub(1);
                        Outcome::Read(HwStat(self.stat))
                    }
                    Step::Write(value) => {
                        written = Some(value.0 | 0x01);
                        Outcome::Done
                    }
                    Step::Pause(_) => Outcome::Done,
                    Step::Await(_) => {
                        rounds += 1;
                        if rounds >= self.confirms_from_round {
                            sequence.powered();
                        }
                        Outcome::Done
                    }
                };
                step = sequence.next(outcome)?;
            }
        }
    }

    #[test]
    fn a_running_reader_is_powered_down_and_up() {
        let mut supply = Supply::new(0x01);
        supply.run().unwrap();
        let expected = [
            Step::Read,
            Step::Write(HwStat(0x81)),
            Step::Write(HwStat(0x01)),
            Step::Read,
            Step::Await(CONFIRMATION),
            Step::Ready,
        ];
        assert_eq!(supply.log, expected);
    }

    #[test]
    fn a_sleeping_reader_is_only_powered_up() {
        let mut supply = Supply::new(0x80);
        supply.run().unwrap();
        assert_eq!(supply.log[1], Step::Write(HwStat(0x00)));
        assert!(!supply.log.contains(&Step::Write(HwStat(0x80))));
    }

    #[test]
    fn a_confused_reader_is_woken_first() {
        let mut supply = Supply::new(0x84);
        supply.slow = 5;
        supply.run().unwrap();
        assert_eq!(supply.log[1], Step::Write(HwStat(0x04)));
        let pauses = supply.log.iter().filter(|step| **step == Step::Pause(PAUSE)).count();
        assert_eq!(pauses, 4, "until its logic runs");
    }

    #[test]
    fn slow_power_is_waited_for_and_no_power_is_an_error() {
        let mut supply = Supply::new(0x80);
        supply.slow = 40;
        supply.run().unwrap();
        let mut supply = Supply::new(0x81);
        supply.slow = u32::MAX;
        assert_eq!(supply.run(), Err(PowerError::NoPower(HwStat(0x81))));
        let mut supply = Supply::new(0x84);
        supply.slow = u32::MAX;
        assert_eq!(supply.run(), Err(PowerError::Dead(HwStat(0x84))));
        assert!(supply.log.len() < 300);
    }

    #[test]
    fn a_lost_confirmation_begins_the_sequence_anew_three_times_at_most() {
        let mut supply = Supply::new(0x01);
        supply.confirms_from_round = 3;
        supply.run().unwrap();
        let mut supply = Supply::new(0x01);
        supply.confirms_from_round = 4;
        assert_eq!(supply.run(), Err(PowerError::Unconfirmed));
        assert_eq!(supply.log.iter().filter(|step| matches!(step, Step::Await(_))).count(), 3);
    }

    #[test]
    fn an_early_confirmation_counts() {
        let (mut sequence, _) = PowerUp::begin();
        let done = |sequence: &mut PowerUp| sequence.next(Outcome::Done).unwrap();
        sequence.next(Outcome::Read(HwStat(0x81))).unwrap();
        assert_eq!(done(&mut sequence), Step::Read);
        sequence.powered();
        assert_eq!(sequence.next(Outcome::Read(HwStat(0x01))), Ok(Step::Await(CONFIRMATION)));
        assert_eq!(done(&mut sequence), Step::Ready);
    }
}
