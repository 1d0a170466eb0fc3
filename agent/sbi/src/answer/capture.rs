//! CAPTURE and RCAPTURE, and the one answer of STREAM that is JSON.

use biotrust_model::{Language, Problem, SPEC_VERSION};

use crate::error::ErrorObject;
use crate::hash_chain;
use crate::json::{Object, array};
use crate::session::Encrypted;

/// One record of a registration answer: `data` is the signed payload, `hash` its link of the chain.
///
/// No further member: the desktop client drops the answer, the compliance kit refuses even an empty `sessionKey`.
#[must_use]
pub fn capture_entry_registration(data: &str, hash: &[u8; 32]) -> String {
    entry(data, hash).raw("error", &success()).finish()
}

/// One record of an authentication answer. Of `encrypted`, the key and the thumbprint go in here, the record into the
/// payload behind `data`.
#[must_use]
pub fn capture_entry_auth(data: &str, hash: &[u8; 32], encrypted: &Encrypted) -> String {
    entry(data, hash)
        .text("sessionKey", &encrypted.session_key)
        .text("thumbprint", &encrypted.thumbprint)
        .raw("error", &success())
        .finish()
}

fn entry(data: &str, hash: &[u8; 32]) -> Object {
    Object::new()
        .reserve(data.len() + 768)
        .text("specVersion", SPEC_VERSION)
        .text("data", data)
        .text("hash", &hash_chain::to_hex(hash))
}

fn success() -> String {
    ErrorObject::of(None, Language::En).to_json()
}

/// A capture answer, its entries in the order of the hash chain.
#[must_use]
pub fn capture_answer(entries: &[impl AsRef<str>]) -> String {
    Object::new().raw("biometrics", &array(entries)).finish()
}

/// The answer of a capture that failed, or whose request cannot be read: one entry, in the same form for both uses.
///
/// `data` and `hash` are empty strings (the kit's page throws on null), the error is never at the top level (fatal for
/// the desktop client). `sessionKey` and `thumbprint` are left out for an authentication too: its clients look at the
/// error only, and the compliance kit requires neither.
#[must_use]
pub fn capture_error(problem: &Problem, language: Language) -> String {
    let entry = Object::new()
        .text("specVersion", SPEC_VERSION)
        .text("data", "")
        .text("hash", "")
        .raw("error", &ErrorObject::of(Some(problem), language).to_json())
        .finish();
    capture_answer(&[entry])
}

/// The answer to a STREAM request that gets no frames.
#[must_use]
pub fn stream_error(problem: &Problem, language: Language) -> String {
    Object::new().raw("error", &ErrorObject::of(Some(problem), language).to_json()).finish()
}
