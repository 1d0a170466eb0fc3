//! De-registration: the device keys are destroyed, and the server is told so.
//!
//! The key of an L0 device signs its last message before it is destroyed, for nothing can sign for the device afterwards.
//! That message says nothing but that this key is gone, so it does no harm that it lies about for a moment.

use biotrust_model::Level;
use serde::{Deserialize, Serialize};

use super::state::{Work, told};
use super::{Answer, Effect, Job, Moment, State};
use crate::Sha256;
use crate::message::{ReplyBody, RequestBody, Retry};

/// How far it is. None of it is begun anew: once the server has said so, the keys go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Farewell {
    /// L0: the last message is signed.
    Sign(Sha256),
    /// The keys are destroyed.
    Destroy { spki: Sha256, signed: Option<String> },
    /// The server is told.
    Say { spki: Sha256, signed: Option<String> },
}

impl Farewell {
    /// The job of this step.
    pub(super) fn job(&self) -> Job {
        let said = |spki: &Sha256| RequestBody::Deregistered { destroyed_spki_sha256: *spki };
        match self {
            Self::Sign(spki) => Job::Sign(said(spki)),
            Self::Destroy { .. } => Job::DestroyKeys,
            Self::Say { signed: Some(signed), .. } => Job::Post(signed.clone()),
            Self::Say { spki, signed: None } => Job::Send(said(spki)),
        }
    }
}

impl State {
    /// Nothing to do where there is no certificate.
    pub(super) fn begin_farewell(&mut self) -> Option<Job> {
        self.deregister = false;
        let Some(held) = &self.held else {
            self.gone = true;
            return None;
        };
        let farewell = match self.level {
            Level::L0 => Farewell::Sign(held.spki),
            Level::L1 => Farewell::Destroy { spki: held.spki, signed: None },
        };
        let job = farewell.job();
        self.work = Work::Farewell(farewell);
        Some(job)
    }

    pub(super) fn farewell_done(
        &mut self,
        farewell: Farewell,
        answer: Answer,
        at: &Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let next = match (farewell, answer) {
            (Farewell::Sign(spki), Answer::Signed(signed)) => {
                Farewell::Destroy { spki, signed: Some(signed) }
            }
            (Farewell::Destroy { spki, signed }, Answer::Destroyed) => {
                self.held = None;
                self.forget();
                effects.push(Effect::Tell("the device keys are destroyed: de-registered".to_owned()));
                Farewell::Say { spki, signed }
            }
            (Farewell::Say { .. }, Answer::Replied(ReplyBody::Ack {})) => return self.contacting.reset(),
            (Farewell::Say { spki, signed }, Answer::Replied(ReplyBody::Refused(refusal))) => {
                effects.push(Effect::Tell(told("the server does not note the de-registration", &refusal)));
                let Retry::After(seconds) = refusal.retry() else { return };
                self.contacting.wait(seconds, at);
                Farewell::Say { spki, signed }
            }
            (farewell, _) => return self.misplaced(&Work::Farewell(farewell), at, effects),
        };
        self.work = Work::Farewell(next);
    }
}
