//! What others say, fit for a report and a log: short, in one line, and unable to steer a terminal.

/// Most characters that are shown of one value.
const MAX_VALUE: usize = 100;

/// Most characters that are shown of one sentence.
const MAX_SENTENCE: usize = 600;

/// One value.
pub(crate) fn value(text: &str) -> String {
    cut(text, MAX_VALUE)
}

/// One sentence; its quotation marks stay.
pub(crate) fn sentence(text: &str) -> String {
    cut(text, MAX_SENTENCE)
}

fn cut(text: &str, limit: usize) -> String {
    let escape = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    let mut shown: String = text.chars().take(limit).map(escape).collect();
    if text.chars().nth(limit).is_some() {
        shown.push_str("...");
    }
    shown
}
