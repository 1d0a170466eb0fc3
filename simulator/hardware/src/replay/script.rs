//! What is common to replays on every bus: the entries, where in them one is, and when what comes next is due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use biotrust_pipe::record::{Entry, Mark, Op, Recording};

/// How far a replay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// On the way.
    Running,
    /// Everything has been done again.
    Finished,
    /// The device has gone, as it did then.
    Gone,
    /// The host did something else than it did then.
    Diverged {
        /// Line of the file, counted from 1.
        line: usize,
        /// What was expected, and what came.
        why: String,
    },
}

/// A recording that cannot be played by this kind of device.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Of another bus.
    #[error("it is the recording of a {found} device, and a {wanted} device is to play it")]
    Bus {
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The content was left out.
    #[error(
        "line {0} has been recorded without its content, because the driver has no scrubber: it shows what happened \
         when, and cannot be played"
    )]
    Blank(usize),
    /// It does not say what the device is.
    #[error("it does not say what the device is: {0}")]
    Identity(String),
}

/// An entry and the line that it stands in.
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) entry: Entry,
}

impl Step {
    /// Whether this is something that the device does by itself.
    pub(super) fn is_of_device(&self) -> bool {
        matches!(self.entry.op, Op::In { .. })
    }

    /// Whether the end of a failed step was that of the device.
    pub(super) fn failed(&self) -> Option<&str> {
        self.entry.failed.as_ref().map(|failed| failed.kind.as_str())
    }
}

/// The entries that are still to come.
pub(super) struct Script {
    steps: VecDeque<Step>,
    /// When the step before the next one was done, here and in the recording.
    last: Option<(Instant, u64)>,
    pub(super) progress: Progress,
}

impl Script {
    pub(super) fn new(recording: Recording, wanted: &'static str) -> Result<Self, ReplayError> {
        if recording.header.bus != wanted {
            return Err(ReplayError::Bus { found: recording.header.bus, wanted });
        }
        let mut steps: VecDeque<Step> = VecDeque::new();
        for (index, entry) in recording.entries.into_iter().enumerate() {
            let line = index + 2;
            if entry.mark == Some(Mark::Blank) {
                return Err(ReplayError::Blank(line));
            }
            match &entry.op {
                // The end of the write that was begun before.
                Op::Out { endpoint, .. } if entry.failed.is_some() => {
                    let begun = |step: &&mut Step| matches!(&step.entry.op, Op::Out { endpoint: e, .. } if e == endpoint);
                    if let Some(step) = steps.iter_mut().rev().find(begun) {
                        step.entry.failed = entry.failed;
                    }
                }
                Op::In { .. }
                | Op::Out { .. }
                | Op::ControlIn { .. }
                | Op::ControlOut { .. }
                | Op::FeatureIn { .. }
                | Op::FeatureOut { .. } => steps.push_back(Step { line, entry }),
                // Nothing that a device sees, or nothing that it has to wait for.
                Op::Opened
                | Op::Baud { .. }
                | Op::ClearHalt { .. }
                | Op::Reset
                | Op::Start { .. }
                | Op::Frame { .. }
                | Op::End { .. } => {}
            }
        }
        Ok(Self { steps, last: None, progress: Progress::Running })
    }

    /// The next step.
    pub(super) fn next(&self) -> Option<&Step> {
        self.steps.front().filter(|_| self.progress == Progress::Running)
    }

    /// The steps from here on.
    pub(super) fn ahead(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// The device has power, if it had none yet.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last.get_or_insert((now, 0));
    }

    /// When the next step is due, if it is one of the device.
    pub(super) fn due(&self) -> Option<Instant> {
        let step = self.next().filter(|step| step.is_of_device())?;
        let (at, us) = self.last?;
        Some(at + Duration::from_micros(step.entry.us.saturating_sub(us)))
    }

    /// The next step is done.
    pub(super) fn done(&mut self, now: Instant) -> Option<Step> {
        let step = self.steps.pop_front()?;
        self.last = Some((now, step.entry.us));
        if self.steps.is_empty() && self.progress == Progress::Running {
            self.progress = Progress::Finished;
        }
        Some(step)
    }

    /// The host has left the recording.
    pub(super) fn diverged(&mut self, why: String) {
        if self.progress == Progress::Running {
            let line = self.steps.front().map_or(0, |step| step.line);
            self.progress = Progress::Diverged { line, why };
        } else if self.progress == Progress::Finished {
            self.progress = Progress::Diverged { line: 0, why: format!("behind the end: {why}") };
        }
    }
}

/// Whether what the host said is what it said then. What is random is not compared, but for its length.
pub(super) fn same(step: &Entry, said: &[u8], recorded: &[u8]) -> bool {
    match step.mark {
        Some(Mark::Nonce | Mark::Key) => said.len() == recorded.len(),
        _ => said == recorded,
    }
}

/// The first bytes, for messages.
pub(super) fn some(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
