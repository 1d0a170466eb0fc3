//! A certificate for a new device key: the first one, or that of a rotation.

use biotrust_attest::Challenge;
use biotrust_model::evidence::EvidencePurpose;
use serde::{Deserialize, Serialize};

use super::state::{Work, told};
use super::{Answer, Effect, Failure, Held, Job, Moment, State};
use crate::message::{ReplyBody, RequestBody, Retry};
use crate::{Bytes, Sha256};

/// How far it is. Each step has one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Enrol {
    /// The next key is made.
    Key,
    /// The time is asked for, without which no answer could be judged.
    Clock(NextKey),
    /// A challenge is asked for.
    Challenge(NextKey),
    /// Evidence is made.
    Prove { key: NextKey, challenge: Challenge },
    /// The certificate is asked for.
    Apply { key: NextKey, evidence: String },
    /// The certificate is here. From now on it is finished, not begun anew.
    Install { held: Held, chain: Vec<Bytes> },
}

/// The key to be certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NextKey {
    csr: Bytes,
    spki: Sha256,
}

impl Enrol {
    /// Whether a restart goes on here.
    pub(super) const fn lasts(&self) -> bool {
        matches!(self, Self::Install { .. })
    }

    /// Whether this installs the certificate that a device holds now.
    pub(super) fn installs(&self, held: &Held) -> bool {
        matches!(self, Self::Install { held: new, .. } if new == held)
    }

    /// The job of this step.
    pub(super) fn job(&self, registered: bool) -> Option<Job> {
        Some(match self {
            Self::Key => Job::MakeKey,
            Self::Clock(_) => Job::SyncTime,
            Self::Challenge(_) => Job::Send(RequestBody::Challenge { purpose: EvidencePurpose::DeviceKey }),
            Self::Prove { challenge, .. } => Job::Prove(challenge.clone()),
            Self::Apply { key, evidence } => {
                let (evidence, csr) = (evidence.clone(), key.csr.clone());
                Job::Send(if registered {
                    RequestBody::Rotate { evidence, csr }
                } else {
                    RequestBody::Register { evidence, csr }
                })
            }
            Self::Install { chain, .. } => Job::Install { chain: chain.clone() },
        })
    }
}

impl State {
    pub(super) fn begin_enrolment(&mut self) -> Job {
        self.work = Work::Enrol(Enrol::Key);
        Job::MakeKey
    }

    pub(super) fn enrol_done(
        &mut self,
        enrol: Enrol,
        answer: Answer,
        at: &Moment<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let next = match (enrol, answer) {
            (Enrol::Key, Answer::KeyMade { csr, spki }) => {
                let key = NextKey { csr, spki };
                if at.trusted { Enrol::Challenge(key) } else { Enrol::Clock(key) }
            }
            (Enrol::Clock(key), Answer::TimeSet) => Enrol::Challenge(key),
            (Enrol::Challenge(key), Answer::Replied(ReplyBody::Challenge { challenge }))
                if challenge.purpose == EvidencePurpose::DeviceKey =>
            {
                Enrol::Prove { key, challenge }
            }
            (Enrol::Prove { key, .. }, Answer::Proven(evidence)) => Enrol::Apply { key, evidence },
            (Enrol::Apply { key, .. }, Answer::Replied(ReplyBody::Certificate { chain })) => {
                match chain.first().map(|leaf| Held::read(&leaf.0)) {
                    Some(Ok(held)) if held.spki == key.spki => Enrol::Install { held, chain },
                    _ => {
                        let why =
                            "the certificate that came is not for the key that was asked for".to_owned();
                        effects.push(Effect::Tell(Failure::Distrusted(why).to_string()));
                        return self.enrolling.failed(at);
                    }
                }
            }
            (Enrol::Install { held, .. }, Answer::Installed) => {
                self.contacting.reset();
                return self.installed(held, at, effects);
            }
            (_, Answer::Replied(ReplyBody::Refused(refusal))) => {
                let what = if self.held.is_some() { "no new certificate" } else { "not registered" };
                effects.push(Effect::Tell(told(what, &refusal)));
                match refusal.retry() {
                    Retry::After(seconds) => self.enrolling.wait(seconds, at),
                    Retry::ByHand => {
                        self.refused = Some(refusal);
                        // a server that orders it all the same, in every answer, is not obeyed as often
                        self.enrolling.failed(at);
                    }
                }
                return;
            }
            (enrol, _) => {
                self.enrolling.failed(at);
                return self.misplaced(&Work::Enrol(enrol), at, effects);
            }
        };
        self.work = Work::Enrol(next);
    }

    /// Begins anew after a pause. The key in use is as it was; the device replaces a next key that was not finished.
    pub(super) fn enrol_failed(&mut self, _enrol: Enrol, failure: &Failure, at: &Moment<'_>) {
        self.enrolling.failed(at);
        if matches!(failure, Failure::Unreachable(_) | Failure::Distrusted(_)) {
            self.contacting.failed(at);
        }
    }
}
