//! Text from elsewhere, made fit for a terminal.

/// Longest text that is shown of anything.
const LONGEST: usize = 500;

/// `text` without anything that steers a terminal or reorders a line: names come from devices, and devices may lie.
pub(crate) fn plain(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// "1 device", "2 devices".
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("ACME\u{1b}[2J\u{7}\nX\u{202e}"), "ACME\u{fffd}[2J\u{fffd} X\u{fffd}");
        assert_eq!(plain("Société الجهاز"), "Société الجهاز");
        assert_eq!(plain(&"x".repeat(600)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn nouns_are_counted() {
        assert_eq!((count(1, "device"), count(0, "device")), ("1 device".into(), "0 devices".into()));
    }
}
