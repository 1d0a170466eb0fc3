//! Are the udev rules those that the devices of this host need?

use std::path::Path;

use super::Finding;
use crate::text::plain;
use crate::udev;

const NAME: &str = "udev rules";

pub(super) fn check(config: &Path, root: &Path) -> Finding {
    match udev::look(config, root) {
        Ok(udev::Look::Unwatched) => Finding::skip(NAME, "no bus is watched ([buses] watch)"),
        Ok(udev::Look::At(findings)) => match findings.first() {
            None => Finding::ok(NAME, "they are current"),
            Some(first) => Finding::warn(
                NAME,
                format!("{} {}", plain(&first.file.display().to_string()), plain(&first.what)),
                "biotrust udev check names every difference and what to run.",
            ),
        },
        Err(why) => Finding::warn(NAME, plain(&why), "Correct the file, then run biotrust udev check."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn rules_that_are_missing_are_told_unless_no_bus_is_watched() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("etc/biotrust/biotrust.toml");
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        let verdict = |text: &str| {
            std::fs::write(&config, text).unwrap();
            check(Path::new("/etc/biotrust/biotrust.toml"), home.path())
        };
        let missing = verdict("");
        assert!(missing.verdict == Verdict::Warn && missing.text.contains("is not installed"), "{missing:?}");
        assert_eq!(verdict("[buses]\nwatch = []\n").verdict, Verdict::Skip);
        assert!(verdict("[quirks]\nenable = [\"x\"]\n").text.contains("no quirk file has an entry"));
    }
}
