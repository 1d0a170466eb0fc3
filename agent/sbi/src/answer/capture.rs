//! CAPTURE and RCAPTURE, and the one answer of STREAM that is JSON.

use biotrust_model::{Language, Problem, SPEC_VERSION};

use crate::error::ErrorObject;
use crate::hash_chain;
use crate::json::Object;

/// A capture answer under construction, its records in the order of the hash chain.
///
/// Records go straight into the answer: they are large, and each copy of one costs.
pub struct CaptureWriter(String);

impl Default for CaptureWriter {
    fn default() -> Self {
        Self(String::from(r#"{"biometrics":["#))
    }
}

impl CaptureWriter {
    /// An answer that has room for `bytes` of records already.
    #[must_use]
    pub fn with_room_for(bytes: usize) -> Self {
        let mut writer = Self::default();
        writer.0.reserve(bytes);
        writer
    }

    /// Adds a record of a registration: `data` is the signed payload, `hash` its link of the chain.
    ///
    /// No further member: the desktop client drops the answer, the compliance kit refuses even an empty `sessionKey`.
    pub fn registration(&mut self, data: &str, hash: &[u8; 32]) {
        self.0 = self.record(data, &hash_chain::to_hex(hash)).raw("error", &success()).finish();
    }

    /// Adds a record of an authentication: `session_key` and `thumbprint` go in here, the encrypted record is in the
    /// payload behind `data`.
    pub fn auth(&mut self, data: &str, hash: &[u8; 32], session_key: &str, thumbprint: &str) {
        self.0 = self
            .record(data, &hash_chain::to_hex(hash))
            .text("sessionKey", session_key)
            .text("thumbprint", thumbprint)
            .raw("error", &success())
            .finish();
    }

    /// The answer.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push_str("]}");
        self.0
    }

    fn record(&mut self, data: &str, hash: &str) -> Object {
        let mut out = std::mem::take(&mut self.0);
        if out.ends_with('}') {
            out.push(',');
        }
        Object::after(out)
            .reserve(data.len() + 768)
            .text("specVersion", SPEC_VERSION)
            .text("data", data)
            .text("hash", hash)
    }
}

fn success() -> String {
    ErrorObject::of(None, Language::En).to_json()
}

/// The answer of a capture that failed, or whose request cannot be read: one entry, in the same form for both uses.
///
/// `data` and `hash` are empty strings (the kit's page throws on null), the error is never at the top level (fatal for
/// the desktop client). `sessionKey` and `thumbprint` are left out for an authentication too: its clients look at the
/// error only, and the compliance kit requires neither.
#[must_use]
pub fn capture_error(problem: &Problem, language: Language) -> String {
    let mut writer = CaptureWriter::default();
    writer.0 =
        writer.record("", "").raw("error", &ErrorObject::of(Some(problem), language).to_json()).finish();
    writer.finish()
}

/// The answer to a STREAM request that gets no frames.
#[must_use]
pub fn stream_error(problem: &Problem, language: Language) -> String {
    Object::new().raw("error", &ErrorObject::of(Some(problem), language).to_json()).finish()
}
