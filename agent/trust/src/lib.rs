//! Evidence appraisal without I/O: is this device what it says it is, is this block what was asked for.
//!
//! [`appraisal`] judges the certificates that a device shows and the evidence of its trust module, once per connection,
//! after every change of keys, and from time to time. What passes is a value of type [`AppraisedL0`] or [`AppraisedL1`]; there is no other way to get one, and no way from one to the
//! other. [`block`] holds everything that an L1 device signs later against that value and against the request, before
//! it leaves the host.
//!
//! Trusted: the anchors in the stores, and the time that is handed in. Not trusted: every byte from a device. Nothing
//! here blocks or waits: a block costs two RSA verifications and one pass over its record.

pub mod appraisal;
pub mod block;

#[cfg(test)]
mod workshop;

pub use appraisal::{
    Appraisal, AppraisedL0, AppraisedL1, Check, CheckName, FailedCheck, History, Outcome, appraise_l0,
    appraise_l1,
};
