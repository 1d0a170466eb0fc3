//! What can be wrong with the configuration, always in one line that says where.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or `conf.d` could not be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that cannot be.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What, and what is allowed.
        message: String,
    },
    /// Each file is good, but not all of them together.
    #[error("{}: {message}", path.display())]
    Conflict {
        /// The file that began it: the others are merged over it.
        path: PathBuf,
        /// Which keys, and what to do.
        message: String,
    },
}

impl ConfigError {
    pub(super) fn invalid(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let (line, column) = position(text, error.span());
        let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
        Self::Invalid { path: path.to_owned(), line, column, message }
    }
}

/// Line and column of where `span` begins; the end of the text where nothing is known.
fn position(text: &str, span: Option<Range<usize>>) -> (usize, usize) {
    let at = span.map_or(text.len(), |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        assert_eq!(position("ab\ncd", Some(0..1)), (1, 1));
        assert_eq!(position("ab\n\u{e9}d", Some(5..6)), (2, 2), "the two bytes of \u{e9} are one column");
        assert_eq!(position("ab\n", None), (2, 1));
        assert_eq!(position("ab", Some(7..9)), (1, 3), "a span outside the text is its end");
    }
}
