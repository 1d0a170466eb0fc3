//! Tags of the host's requests, each of which comes back with its answer.
//!
//! A line has eight of them, and the packets of two answers with one tag cannot be told apart: what a device still sends
//! in answer to a request that nobody waits for would spoil the next answer under its tag. So a tag rests for as long as
//! the others last, and that of an abandoned request until its answer came or no other tag is left. Pure.

use std::collections::VecDeque;

/// Tag of HELLO and CAPTURE_CANCEL, which must get through however many requests are open.
const URGENT: u8 = 7;

/// Who has which tag.
pub(super) struct Tags {
    /// To be given out, longest at rest first.
    resting: VecDeque<u8>,
    /// Of requests whose answer nobody waits for, by the id that it will have; longest abandoned first.
    abandoned: VecDeque<(u32, u8)>,
}

impl Tags {
    pub(super) fn new() -> Self {
        Self { resting: (0..URGENT).collect(), abandoned: VecDeque::new() }
    }

    /// The tag of a request that must get through.
    pub(super) const fn urgent() -> u8 {
        URGENT
    }

    /// A tag for any other request; `None` when all of them are in open requests.
    pub(super) fn take(&mut self) -> Option<u8> {
        self.resting.pop_front().or_else(|| Some(self.abandoned.pop_front()?.1))
    }

    /// The request with this tag has been answered.
    pub(super) fn release(&mut self, tag: u8) {
        if tag != URGENT {
            self.resting.push_back(tag);
        }
    }

    /// Nobody waits any more for the answer to the request `id` with this tag.
    pub(super) fn abandon(&mut self, id: u32, tag: u8) {
        if tag != URGENT {
            self.abandoned.push_back((id, tag));
        }
    }

    /// An answer to `id` came that nobody waited for.
    pub(super) fn answered_late(&mut self, id: u32) {
        self.recover(|(of, _)| *of == id);
    }

    /// An answer without an id came under `tag` that nobody waited for.
    pub(super) fn answered_late_under(&mut self, tag: u8) {
        self.recover(|(_, of)| *of == tag);
    }

    fn recover(&mut self, is_it: impl Fn(&(u32, u8)) -> bool) {
        if let Some(at) = self.abandoned.iter().position(is_it)
            && let Some((_, tag)) = self.abandoned.remove(at)
        {
            self.release(tag);
        }
    }
}
