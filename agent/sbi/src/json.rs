//! The strict writer's JSON: members in the given order, and an alphabet that survives every reader.
//!
//! Two readers narrow the alphabet. The desktop client decodes with the platform's character set, so nothing beyond
//! ASCII may occur. The tool kit's page decodes base64url with plain `atob`, which knows neither `-` nor `_`: these
//! digits (62 and 63) arise only where the low six bits of a byte are `11111x`, in ASCII `>`, `?`, `~` and DEL. All of
//! them leave as `\uXXXX`; so do control characters, without short forms such as `\b`, so that escaped text never
//! contains a letter of the original after a single backslash (the `bioValue` rule of [`crate::answer`] needs that).

/// A JSON object under construction.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self::after(String::new())
    }

    /// An object that is written behind what `out` holds already.
    pub(crate) fn after(mut out: String) -> Self {
        out.push('{');
        Self(out)
    }

    /// Makes room for `extra` bytes at once; for the one long member that a payload has.
    pub(crate) fn reserve(mut self, extra: usize) -> Self {
        self.0.reserve(extra);
        self
    }

    /// Adds a member that is a string.
    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        push_string(&mut self.0, value);
        self
    }

    /// Adds a member that is already JSON.
    pub(crate) fn raw(mut self, key: &str, json: &str) -> Self {
        self.key(key);
        self.0.push_str(json);
        self
    }

    /// What has been written so far, to be rewritten.
    pub(crate) fn map(self, rewrite: impl FnOnce(String) -> String) -> Self {
        Self(rewrite(self.0))
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn key(&mut self, key: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        push_string(&mut self.0, key);
        self.0.push(':');
    }
}

/// A JSON array of values that are already JSON.
pub(crate) fn array(values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut out = String::from("[");
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(value.as_ref());
    }
    out.push(']');
    out
}

/// A JSON string.
pub(crate) fn string(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    push_string(&mut out, value);
    out
}

fn push_string(out: &mut String, value: &str) {
    out.push('"');
    // Long values are base64: one pass without a branch, so that the compiler can vectorise it, then one copy.
    if value.bytes().fold(false, |found, byte| found | must_escape(byte)) {
        push_escaped(out, value);
    } else {
        out.push_str(value);
    }
    out.push('"');
}

fn push_escaped(out: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            char if u8::try_from(char).is_ok_and(|byte| !must_escape(byte)) => out.push(char),
            char => push_unicode(out, char),
        }
    }
}

const fn must_escape(byte: u8) -> bool {
    !matches!(byte, b' '..0x7f) || matches!(byte, b'"' | b'\\' | b'>' | b'?' | b'~')
}

fn push_unicode(out: &mut String, char: char) {
    for unit in char.encode_utf16(&mut [0; 2]) {
        out.push_str("\\u");
        out.push_str(&hex::encode(unit.to_be_bytes()));
    }
}

/// Longest part of the reader's message that goes into an error.
const MAX_MESSAGE: usize = 120;

/// What the JSON reader says, fit for a log: it quotes names of members as they are, and whoever wrote the text chose
/// them.
pub(crate) fn message(error: &serde_json::Error) -> String {
    error.to_string().chars().take(MAX_MESSAGE).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_order_and_escapes() {
        let json = Object::new().text("b", "a?\u{e9}\u{1f600}\n\"\\").raw("a", &array(["1", "2"])).finish();
        assert_eq!(json, r#"{"b":"a\u003f\u00e9\ud83d\ude00\u000a\"\\","a":[1,2]}"#);
        assert_eq!(Object::new().finish(), "{}");
    }

    /// Negative control of the property below: without the escapes `atob` does meet its two foreign digits.
    #[test]
    fn unescaped_text_would_break_atob() {
        for text in ["ab>", "ab?", "ab~", "ab\u{7f}", "\u{e9}\u{ff}\u{ff}"] {
            assert!(crate::base64url::encode(text).contains(['-', '_']), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_every_reader(text in any::<String>(), pad in "[a-z]{0,3}") {
            let json = Object::new().text(&pad, &text).finish();
            prop_assert!(json.is_ascii());
            prop_assert!(!crate::base64url::encode(&json).contains(['-', '_']));
            let back: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back[&pad].as_str(), Some(text.as_str()));
        }
    }
}
