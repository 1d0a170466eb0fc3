//! Refusals, in the words that an operator and a technician see.

use biotrust_mgmt::message::Refusal;

/// A refusal that only a person can end.
pub(super) fn refuse(check: &str, text: impl Into<String>, next: &str) -> Refusal {
    Refusal { check: check.to_owned(), text: text.into(), next: next.to_owned(), retry_s: None }
}

/// A refusal that waits for the provider's operator: the device asks again by itself.
pub(super) fn refuse_for_now(check: &str, text: impl Into<String>, next: &str) -> Refusal {
    Refusal { retry_s: Some(900), ..refuse(check, text, next) }
}

/// The keys of the device were ordered to go.
pub(super) fn deregistered() -> Refusal {
    refuse(
        "state",
        "the device was de-registered",
        "have the provider's operator approve it again, then plug it in again",
    )
}
