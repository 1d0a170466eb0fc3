//! How a device stands with its provider, for status, log and the decision whether it may be used.

use biotrust_model::time::UtcMillis;

use super::state::Work;
use super::{Moment, State};
use crate::message::Refusal;

/// How a device stands with its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// It has a certificate.
    pub registered: bool,
    /// What is being done, in words; `None` when nothing is.
    pub doing: Option<&'static str>,
    /// Days that it goes on working without word from the server; `None` while there was word in the last day.
    pub offline_days_left: Option<u32>,
    /// Why it may not be used; for people.
    pub blocked: Option<String>,
    /// Why the server certifies nothing, until somebody has done something.
    pub refusal: Option<Refusal>,
    /// When its next certificate is asked for.
    pub renewal: Option<UtcMillis>,
}

impl State {
    /// How the device stands at this moment.
    #[must_use]
    pub fn standing(&self, at: &Moment<'_>) -> Standing {
        let silent = self.silence.days(at.now);
        let allowed = i64::from(at.policy.offline_days);
        let offline_days_left = (silent >= 1 && self.held.is_some())
            .then(|| u32::try_from((allowed - silent).max(0)).unwrap_or(u32::MAX));
        let blocked = (self.held.is_some() && silent >= allowed.max(1)).then(|| {
            format!("no word from the management server for {silent} days; connect this host to it")
        });
        Standing {
            registered: self.held.is_some(),
            doing: self.doing(),
            offline_days_left,
            blocked,
            refusal: self.refused.clone(),
            renewal: self.renew_at.map(UtcMillis),
        }
    }

    const fn doing(&self) -> Option<&'static str> {
        match &self.work {
            Work::Idle => None,
            Work::Time => Some("setting the clock"),
            Work::Poll { .. } => Some("asking for orders"),
            Work::Confirm => Some("reporting the new key"),
            Work::Update => Some("updating the firmware"),
            Work::Enrol(_) if self.held.is_some() => Some("rotating the device key"),
            Work::Enrol(_) => Some("registering"),
            Work::Farewell(_) => Some("de-registering"),
        }
    }
}
