//! The recorded device at the end of a serial line.

use std::time::Instant;

use biotrust_pipe::record::{Op, Recording};

use super::script::{Progress, ReplayError, Script, same, some};
use crate::serial::SerialDevice;

/// Plays a recording of a serial line. Speeds are not played: what was heard at the wrong one is in the recording.
pub struct SerialReplay {
    script: Script,
    /// What the host has said and no step has taken yet.
    heard: Vec<u8>,
}

impl SerialReplay {
    /// At the beginning of `recording`.
    ///
    /// # Errors
    /// When it is of another bus or without contents.
    pub fn new(recording: Recording) -> Result<Self, ReplayError> {
        Ok(Self { script: Script::new(recording, "serial")?, heard: Vec::new() })
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.script.progress.clone()
    }

    /// Takes what the host has said as far as the recording goes with it.
    fn listen(&mut self, now: Instant) {
        while let Some(step) = self.script.next() {
            let Op::Out { data, .. } = &step.entry.op else { break };
            let length = data.0.len();
            let Some(said) = self.heard.get(..length) else {
                let begins = data.0.starts_with(&self.heard);
                if !begins && step.entry.mark.is_none() {
                    let why = differs(&data.0, &self.heard);
                    self.script.diverged(why);
                }
                return;
            };
            if !same(&step.entry, said, &data.0) {
                let why = differs(&data.0, said);
                self.script.diverged(why);
                return;
            }
            self.heard.drain(..length);
            self.script.done(now);
        }
    }
}

/// What was expected, and what came, from the first difference on.
fn differs(expected: &[u8], said: &[u8]) -> String {
    let at = expected.iter().zip(said).take_while(|(a, b)| a == b).count();
    let some = |bytes: &[u8]| some(bytes.get(at..).unwrap_or_default());
    format!("the host said {} where it had said {} (byte {at})", some(said), some(expected))
}

impl SerialDevice for SerialReplay {
    fn step(&mut self, bytes: &[u8], _: Option<u32>, now: Instant) -> Vec<u8> {
        if self.script.progress != Progress::Running {
            if self.script.progress == Progress::Finished && !bytes.is_empty() {
                self.script.diverged(differs(&[], bytes));
            }
            return Vec::new();
        }
        self.script.begin(now);
        self.heard.extend_from_slice(bytes);
        let mut answer = Vec::new();
        loop {
            self.listen(now);
            // A host that is faster than it was does not wait: it has what it was answered.
            let hurried = !self.heard.is_empty();
            if !self.script.due().is_some_and(|due| hurried || due <= now) {
                return answer;
            }
            let Some(step) = self.script.done(now) else { return answer };
            if step.failed() == Some("gone") {
                self.script.progress = Progress::Gone;
            }
            if let Op::In { data, .. } = step.entry.op {
                answer.extend(data.0);
            }
        }
    }

    fn next_event(&self) -> Option<Instant> {
        self.script.due()
    }

    fn power_up(&mut self, now: Instant) {
        self.script.begin(now);
    }
}
