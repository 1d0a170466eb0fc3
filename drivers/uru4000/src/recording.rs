//! What may be written of the traffic with a reader: everything but images and their keys.

use biotrust_pipe::record::{Entry, Mark, Op, Scrub};

use crate::scrub;

/// The endpoint of events, and their length. Whatever comes otherwise may be an image.
const EVENTS: (u8, usize) = (0x81, 64);

/// Cleans the traffic of a reader.
#[derive(Debug, Default)]
pub struct Cleaner;

impl Scrub for Cleaner {
    fn clean(&mut self, mut entry: Entry) -> Vec<Entry> {
        match &mut entry.op {
            Op::In { endpoint, data }
                if !data.0.is_empty() && (*endpoint != EVENTS.0 || data.0.len() > EVENTS.1) =>
            {
                scrub::image(&mut data.0);
                entry.mark = Some(Mark::Synthetic);
            }
            Op::ControlIn { setup, .. } | Op::ControlOut { setup, .. }
                if setup.setup().is_some_and(|setup| scrub::leaves_out(&setup)) =>
            {
                return Vec::new();
            }
            _ => {}
        }
        vec![entry]
    }
}
