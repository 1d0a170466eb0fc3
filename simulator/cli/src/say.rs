//! What people see: results on standard output, progress and complaints on standard error.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A result. A closed pipe is nobody's fault and ends nothing.
pub(crate) fn result(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Something that somebody should know.
pub(crate) fn complaint(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "biosim: {text}");
}

/// A spinner with what is going on; invisible unless a person is watching.
#[derive(Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// One that is shown, if standard error is a terminal, unless `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// What is going on now.
    pub(crate) fn now(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// Nothing any more; the line is wiped.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
