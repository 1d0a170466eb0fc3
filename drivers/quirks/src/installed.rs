//! Compares the rules and the hardware database of a host with what the book asks for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::book::Book;
use crate::{hwdb, rules};

/// Where udev reads rules and database entries, below the root; a file hides those of its name in later directories.
const DIRECTORIES: [&str; 5] = ["etc/udev", "run/udev", "usr/local/lib/udev", "usr/lib/udev", "lib/udev"];

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: a file, below the root.
    pub file: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub next: String,
    /// Lines that should be there and are not.
    pub missing: Vec<String>,
    /// Lines that are there and should not be.
    pub odd: Vec<String>,
}

impl Finding {
    fn new(file: &Path, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            file: Path::new("/").join(file),
            what: what.into(),
            next: next.into(),
            missing: Vec::new(),
            odd: Vec::new(),
        }
    }
}

/// One of the two files.
struct Kind {
    /// `rules.d` or `hwdb.d`.
    directory: &'static str,
    file: &'static str,
    wanted: String,
    /// Name for the command line.
    word: &'static str,
    /// What makes a new one count.
    then: &'static str,
}

/// Looks at the host whose root directory is `root`; nothing found means that all is well. Only reads.
#[must_use]
pub fn check(root: &Path, book: &Book) -> Vec<Finding> {
    let rules = Kind {
        directory: "rules.d",
        file: rules::FILE,
        wanted: rules::generate(book),
        word: "rules",
        then: "udevadm control --reload && udevadm trigger",
    };
    let hwdb = Kind {
        directory: "hwdb.d",
        file: hwdb::FILE,
        wanted: hwdb::generate(book),
        word: "hwdb",
        then: "systemd-hwdb update && udevadm trigger",
    };
    let mut findings: Vec<Finding> =
        [&rules, &hwdb].into_iter().filter_map(|kind| compare(root, kind)).collect();
    findings.extend(former_rules(root));
    findings.extend(compiled_database(root));
    findings.extend(group(root));
    findings
}

fn compare(root: &Path, kind: &Kind) -> Option<Finding> {
    let install = format!(
        "biotrust udev generate {} > /etc/udev/{}/{} && {}",
        kind.word, kind.directory, kind.file, kind.then
    );
    let Some(file) = find(root, kind.directory, kind.file) else {
        let usual = Path::new("usr/lib/udev").join(kind.directory).join(kind.file);
        return Some(Finding::new(&usual, "is not installed", install));
    };
    let text = match fs::read_to_string(root.join(&file)) {
        Ok(text) if text.is_empty() => {
            let next = format!("rm /{} && {}", file.display(), kind.then);
            return Some(Finding::new(&file, "is empty: this turns the whole file off", next));
        }
        Ok(text) => text,
        Err(error) => return Some(Finding::new(&file, format!("cannot be read: {error}"), install)),
    };
    let (wanted, there) = (lines(&kind.wanted), lines(&text));
    if wanted == there {
        return None;
    }
    let (missing, odd) = (without(&wanted, &there), without(&there, &wanted));
    let what = match (missing.len(), odd.len()) {
        (0, 0) => "has its lines in another order".to_owned(),
        (missing, odd) => format!("is not current: lines that are missing: {missing}, that are odd: {odd}"),
    };
    Some(Finding { missing, odd, ..Finding::new(&file, what, install) })
}

/// The file of that name that counts, below the root.
fn find(root: &Path, directory: &str, name: &str) -> Option<PathBuf> {
    let mut files = DIRECTORIES.iter().map(|at| Path::new(at).join(directory).join(name));
    // A link that leads nowhere counts, and is reported as unreadable.
    files.find(|file| fs::symlink_metadata(root.join(file)).is_ok())
}

/// Lines that mean something.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Lines of the first that the second does not have, with regard to how often.
fn without(first: &[&str], second: &[&str]) -> Vec<String> {
    let mut there: BTreeMap<&str, usize> = BTreeMap::new();
    second.iter().for_each(|line| *there.entry(line).or_default() += 1);
    let missing = first.iter().filter(|line| match there.get_mut(**line) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    missing.map(|line| (*line).to_owned()).collect()
}

fn former_rules(root: &Path) -> Option<Finding> {
    let file = find(root, "rules.d", rules::FORMER_FILE)?;
    let next = format!("rm /{} && udevadm control --reload", file.display());
    Some(Finding::new(&file, format!("is of an earlier version; {} replaces it", rules::FILE), next))
}

/// udev reads the database in the form that `systemd-hwdb update` makes of all files.
fn compiled_database(root: &Path) -> Option<Finding> {
    let source = find(root, "hwdb.d", hwdb::FILE)?;
    let changed = |file: &Path| fs::metadata(root.join(file)).and_then(|meta| meta.modified()).ok();
    let compiled = DIRECTORIES.iter().map(|at| Path::new(at).join("hwdb.bin")).find(|f| changed(f).is_some());
    let next = "systemd-hwdb update && udevadm trigger";
    let Some(compiled) = compiled else {
        return Some(Finding::new(Path::new("etc/udev/hwdb.bin"), "has not been made", next));
    };
    let stale = changed(&compiled) < changed(&source).filter(|time| *time > SystemTime::UNIX_EPOCH);
    stale.then(|| {
        Finding::new(&compiled, format!("is older than {}", Path::new("/").join(&source).display()), next)
    })
}

/// udevd leaves out the group of a rule when there is no such group: the daemon would be locked out.
fn group(root: &Path) -> Option<Finding> {
    let file = Path::new("etc/group");
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let there = text.lines().any(|line| line.split(':').next() == Some(rules::GROUP));
    (!there).then(|| {
        let what = format!("has no group {}: udevd ignores rules that name it", rules::GROUP);
        Finding::new(file, what, "systemd-sysusers && udevadm control --reload && udevadm trigger")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(tempfile::TempDir);

    impl Root {
        /// A host on which all is well.
        fn good() -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            let book = Book::embedded();
            root.write("usr/lib/udev/rules.d/72-biotrust.rules", &rules::generate(&book));
            root.write("usr/lib/udev/hwdb.d/60-biotrust.hwdb", &hwdb::generate(&book));
            root.write("etc/udev/hwdb.bin", "compiled");
            root.write("etc/group", "root:x:0:\nbiotrust:x:998:\n");
            assert_eq!(root.check(), []);
            root
        }

        fn path(&self, file: &str) -> PathBuf {
            self.0.path().join(file)
        }

        fn write(&self, file: &str, text: &str) {
            fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
            fs::write(self.path(file), text).unwrap();
        }

        fn check(&self) -> Vec<Finding> {
            check(self.0.path(), &Book::embedded())
        }

        /// Exactly one thing is wrong.
        fn finding(&self) -> Finding {
            let findings = self.check();
            assert_eq!(findings.len(), 1, "{findings:?}");
            findings.into_iter().next().unwrap()
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named_with_what_to_run() {
        let root = Root::good();
        fs::remove_file(root.path("usr/lib/udev/rules.d/72-biotrust.rules")).unwrap();
        let finding = root.finding();
        assert_eq!(finding.file, Path::new("/usr/lib/udev/rules.d/72-biotrust.rules"));
        assert!(
            finding.what.contains("not installed") && finding.next.contains("biotrust udev generate rules")
        );
    }

    #[test]
    fn each_difference_is_named() {
        let root = Root::good();
        let file = "usr/lib/udev/rules.d/72-biotrust.rules";
        let text = fs::read_to_string(root.path(file)).unwrap();
        root.write(file, &(text.replace("000a", "000b") + "# a remark is no difference\n"));
        let finding = root.finding();
        assert!(!finding.missing.is_empty() && finding.missing.len() == finding.odd.len());
        assert!(finding.missing.iter().all(|l| l.contains("000a")), "{finding:?}");
        assert!(finding.odd.iter().all(|l| l.contains("000b")), "{finding:?}");
    }

    #[test]
    fn an_old_copy_in_etc_hides_the_current_one() {
        let root = Root::good();
        root.write("etc/udev/rules.d/72-biotrust.rules", "");
        let finding = root.finding();
        assert_eq!(finding.file, Path::new("/etc/udev/rules.d/72-biotrust.rules"));
        assert!(finding.what.contains("empty"));
        root.write("etc/udev/rules.d/72-biotrust.rules", &rules::generate(&Book::embedded()));
        assert_eq!(root.check(), []);
    }

    #[test]
    fn lines_that_are_shuffled_are_told() {
        let root = Root::good();
        let file = "usr/lib/udev/rules.d/72-biotrust.rules";
        let text = fs::read_to_string(root.path(file)).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.reverse();
        root.write(file, &lines.join("\n"));
        assert!(root.finding().what.contains("another order"));
    }

    #[test]
    fn a_left_over_a_missing_group_and_a_stale_database_are_told() {
        let root = Root::good();
        root.write("lib/udev/rules.d/70-biotrust.rules", "x");
        assert!(root.finding().next.contains("rm /lib/udev/rules.d/70-biotrust.rules"));
        fs::remove_file(root.path("lib/udev/rules.d/70-biotrust.rules")).unwrap();

        root.write("etc/group", "biotrust-not:x:1:\n");
        assert!(root.finding().what.contains("no group"));
        root.write("etc/group", "biotrust:x:1:\n");

        let old = fs::File::options().write(true).open(root.path("etc/udev/hwdb.bin")).unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(root.finding().what.contains("older"));
        fs::remove_file(root.path("etc/udev/hwdb.bin")).unwrap();
        assert!(root.finding().what.contains("has not been made"));
    }
}
