//! Patterns for texts: `*` is any run of characters, `?` is one.
//!
//! The subset of udev's patterns that means the same here and in a generated rule.

use std::fmt;

/// A pattern, for a whole text, with regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it cannot be one: empty, longer than 126 characters (no USB string is longer), or with characters that mean
    /// something else in a udev rule.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().count() > 126 {
            return Err("a pattern has 1 to 126 characters".into());
        }
        if text.trim() != text {
            return Err("white space around a text is not compared; leave it out of the pattern".into());
        }
        match text.chars().find(|&c| c.is_control() || "[]|\\\"$%".contains(c)) {
            Some(odd) => Err(format!("{odd:?} cannot be in a pattern; ? matches any one character")),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Whether it matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text): (Vec<char>, Vec<char>) = (self.0.chars().collect(), text.chars().collect());
        // Where the last `*` was, and how much of the text it has taken so far.
        let (mut p, mut t, mut star) = (0, 0, None);
        while let Some(&c) = text.get(t) {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(&want) if want == '?' || want == c => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((at, taken)) = star else { return false };
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
            }
        }
        pattern.iter().skip(p).all(|&c| c == '*')
    }

    /// How many characters it fixes: the more, the more exact.
    #[must_use]
    pub fn fixed(&self) -> usize {
        self.0.chars().filter(|c| !"*?".contains(*c)).count()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in words of recursion: slow, and plainly right.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', tail)), _) => (0..=text.len()).any(|n| naive(tail, &text[n..])),
            (Some(('?', tail)), Some((_, text))) => naive(tail, text),
            (Some((want, tail)), Some((c, text))) => want == c && naive(tail, text),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{1,8}", text in "[abc]{0,10}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Glob::new(&pattern).unwrap().matches(&text), expected, "{} {}", pattern, text);
        }

        #[test]
        fn a_text_without_wildcards_matches_itself_alone(text in "[a-zé]{1,3}", other in "[a-zé]{1,3}") {
            let glob = Glob::new(&text).unwrap();
            prop_assert!(glob.matches(&text));
            prop_assert_eq!(glob.matches(&other), text == other);
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let glob = Glob::new(&"*a".repeat(60)).unwrap();
        assert!(!glob.matches(&"a".repeat(59)));
        assert!(glob.matches(&"a".repeat(60)));
    }

    #[test]
    fn what_udev_reads_otherwise_is_refused() {
        for bad in ["", "a|b", "[ab]", "a\\b", "a\"b", "a$b", "a%k", "a\nb", "a ", " a", &"x".repeat(127)] {
            assert!(Glob::new(bad).is_err(), "{bad:?}");
        }
    }
}
