//! What a stream or a capture looks at.

use biotrust_driver_api::CaptureJob;
use biotrust_model::{BioSubType, Modality, SubId};

use crate::kind::Kind;

/// A part of the scanner and what is asked for there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct View {
    /// Part of the scanner.
    pub(crate) sub_id: SubId,
    /// Fingers or eyes; empty for a face.
    pub(crate) parts: Vec<BioSubType>,
    /// What is kept away; beside a face, what the exception photo is about.
    pub(crate) exceptions: Vec<BioSubType>,
}

impl View {
    /// What is shown while nobody captures.
    pub(crate) fn of_stream(kind: Kind, sub_id: SubId) -> Self {
        Self { sub_id, parts: kind.shown_at(sub_id).to_vec(), exceptions: Vec::new() }
    }

    /// What a capture is about.
    pub(crate) fn of_capture(kind: Kind, job: &CaptureJob) -> Self {
        let parts = if kind.modality() == Modality::Face { Vec::new() } else { job.parts.clone() };
        Self { sub_id: job.sub_id, parts, exceptions: job.exceptions.clone() }
    }

    /// What to ask for as long as nobody is there.
    pub(crate) fn prompt(&self, modality: Modality) -> &'static str {
        match (modality, self.sub_id.0) {
            (Modality::Finger, 1) => "LEFT HAND: PLACE FINGERS",
            (Modality::Finger, 2) => "RIGHT HAND: PLACE FINGERS",
            (Modality::Finger, 3) => "PLACE BOTH THUMBS",
            (Modality::Finger, _) => "PLACE FINGER",
            (Modality::Iris, _) => "LOOK INTO THE DEVICE",
            (Modality::Face, _) => "LOOK AT THE CAMERA",
        }
    }
}
