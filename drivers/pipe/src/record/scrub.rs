//! Taking out of an entry what must not be in a file.

use super::format::{Entry, Mark, Op};

/// Takes out of the traffic of one driver what must not leave the host: biometrics, keys, passwords. A driver brings its
/// own, because only it knows where they are.
pub trait Scrub: Send {
    /// What may be written of `entry`: it, changed; nothing; or something later, where its end must be known first. Bytes
    /// of biometrics are replaced by synthetic ones of the same number, so that the driver takes them.
    fn clean(&mut self, entry: Entry) -> Vec<Entry>;

    /// What was kept back, at the end.
    fn finish(&mut self) -> Vec<Entry> {
        Vec::new()
    }
}

/// Leaves out all contents: for drivers that bring no scrubber of their own.
#[derive(Debug, Default)]
pub struct Blank;

impl Scrub for Blank {
    fn clean(&mut self, mut entry: Entry) -> Vec<Entry> {
        match &mut entry.op {
            Op::In { data, .. }
            | Op::Out { data, .. }
            | Op::ControlIn { data, .. }
            | Op::ControlOut { data, .. }
            | Op::FeatureIn { data }
            | Op::FeatureOut { data } => {
                data.0.fill(0);
                entry.mark = Some(Mark::Blank);
            }
            Op::Opened
            | Op::Baud { .. }
            | Op::ClearHalt { .. }
            | Op::Reset
            | Op::Start { .. }
            | Op::Frame { .. }
            | Op::End { .. } => {}
        }
        vec![entry]
    }
}
