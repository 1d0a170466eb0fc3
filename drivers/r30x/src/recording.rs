//! What may be written of the traffic with a module: everything but fingers and passwords.

use biotrust_pipe::record::{Bytes, Entry, Mark, Op, Scrub};
use zeroize::Zeroize as _;

use crate::scrub::Scrubber;

/// Cleans both directions of a line.
#[derive(Default)]
pub struct Cleaner {
    from_module: Scrubber,
    to_module: Scrubber,
    /// What is held back as it came, to see whether it was changed, and when its last piece came.
    raw: Vec<u8>,
    held: u64,
}

impl Cleaner {
    /// What may be written now.
    fn came(&mut self, clean: Vec<u8>) -> Option<Entry> {
        let mut raw: Vec<u8> = self.raw.drain(..clean.len().min(self.raw.len())).collect();
        let mark = (clean != raw).then_some(Mark::Synthetic);
        raw.zeroize();
        let entry =
            Entry { us: self.held, op: Op::In { endpoint: 0, data: Bytes(clean) }, failed: None, mark };
        (!matches!(&entry.op, Op::In { data, .. } if data.0.is_empty())).then_some(entry)
    }

    /// What was held back: the line is quiet, or another thing happens on it.
    fn flush(&mut self) -> Option<Entry> {
        let held = std::mem::take(&mut self.from_module).finish();
        self.came(held)
    }
}

impl Scrub for Cleaner {
    fn clean(&mut self, mut entry: Entry) -> Vec<Entry> {
        match &mut entry.op {
            Op::In { data, .. } if entry.failed.is_none() => {
                self.held = entry.us;
                self.raw.extend_from_slice(&data.0);
                let clean = self.from_module.push(&data.0);
                self.came(clean).into_iter().collect()
            }
            Op::Out { data, .. } => {
                // A command is one write; one that is none ends with the write, too.
                let mut clean = self.to_module.push(&data.0);
                clean.extend(std::mem::take(&mut self.to_module).finish());
                entry.mark = (clean != data.0).then_some(Mark::Key);
                data.0 = clean;
                self.flush().into_iter().chain([entry]).collect()
            }
            _ => self.flush().into_iter().chain([entry]).collect(),
        }
    }

    fn finish(&mut self) -> Vec<Entry> {
        self.flush().into_iter().collect()
    }
}
