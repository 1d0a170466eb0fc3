//! `biotrust udev`: the rules that let the daemon open devices, made from the quirk files and compared with what is
//! installed. Reads files, asks nobody, changes nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use biotrust_quirks::installed::{self, Finding};
use biotrust_quirks::{Book, DIRECTORIES, Loaded, hwdb, rules};
use serde::Deserialize;
use serde_json::json;

use crate::Outcome;
use crate::doctor::DEFAULT_CONFIGURATION;
use crate::text::{count, plain};

/// Makes the udev rules for the devices of this host, and says whether the installed ones are current
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print a file for udev
    ///
    /// Exit status: 0 printed, 2 the configuration or a quirk file cannot be used.
    Generate {
        /// Which of the two
        #[arg(value_enum, default_value = "rules")]
        file: File,

        #[command(flatten)]
        from: From,
    },
    /// Compare what is installed with what should be, and name each difference
    ///
    /// Exit status: 0 all is current, 1 something is not, 2 the configuration or a quirk file cannot be used.
    Check {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,

        /// Root directory of the host
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,

        #[command(flatten)]
        from: From,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum File {
    /// 72-biotrust.rules: who may open the devices
    Rules,
    /// 60-biotrust.hwdb: how their power is managed
    Hwdb,
}

/// What is known of devices.
#[derive(clap::Args)]
struct From {
    /// Configuration of the daemon, whose [quirks] count; one that is not there is empty
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIGURATION)]
    config: PathBuf,

    /// Only what the program brings, as the packaged files have it: no configuration, no quirk files of this host
    #[arg(long, conflicts_with = "config")]
    embedded: bool,
}

/// Something is not as it should be.
const FINDINGS: u8 = 1;

pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Generate { file, from } => match from.book(Path::new("/")) {
            Ok(book) => Outcome::new(
                match file {
                    File::Rules => rules::generate(&book),
                    File::Hwdb => hwdb::generate(&book),
                },
                0,
            ),
            Err(why) => Outcome::unusable(false, &why),
        },
        Command::Check { json, root, from } => match from.book(root) {
            Ok(book) => report(*json, &installed::check(root, &book)),
            Err(why) => Outcome::unusable(*json, &why),
        },
    }
}

fn report(json: bool, findings: &[Finding]) -> Outcome {
    let exit_status = if findings.is_empty() { 0 } else { FINDINGS };
    if json {
        let findings: Vec<_> = findings
            .iter()
            .map(|f| json!({ "file": f.file, "what": f.what, "next": f.next, "missing": f.missing, "odd": f.odd }))
            .collect();
        let report = json!({ "current": findings.is_empty(), "findings": findings });
        return Outcome::new(format!("{report:#}\n"), exit_status);
    }
    let mut text = String::new();
    for finding in findings {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{} {}", plain(&finding.file.display().to_string()), plain(&finding.what));
        let marked = finding.missing.iter().map(|l| ('-', l)).chain(finding.odd.iter().map(|l| ('+', l)));
        for (mark, line) in marked {
            let _ = writeln!(text, "  {mark} {}", plain(line));
        }
        let _ = writeln!(text, "  Next: {}", plain(&finding.next));
    }
    text.push_str(&match findings.len() {
        0 => "udev rules, hardware database and group are current.\n".to_owned(),
        many => format!("{}.\n", count(many, "finding")),
    });
    Outcome::new(text, exit_status)
}

/// What a look at the installed files brought.
pub(crate) enum Look {
    /// The daemon looks for devices on no bus, so that no rule matters.
    Unwatched,
    /// These are not as they should be.
    At(Vec<Finding>),
}

/// Compares what is installed below `root` with what the host's configuration and quirk files ask for.
pub(crate) fn look(config: &Path, root: &Path) -> Result<Look, String> {
    let quirks = Quirks::read(&below(root, config))?;
    if !quirks.watching {
        return Ok(Look::Unwatched);
    }
    Ok(Look::At(installed::check(root, &quirks.book(root)?)))
}

impl From {
    fn book(&self, root: &Path) -> Result<Book, String> {
        if self.embedded {
            Ok(Book::embedded())
        } else {
            Quirks::read(&below(root, &self.config))?.book(root)
        }
    }
}

/// An absolute path of the host whose root is `root`; one that is relative is from here.
fn below(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix("/").map_or_else(|_| path.to_owned(), |path| root.join(path))
}

/// `[quirks]` of the daemon's configuration. Whether the rest of it is right is for `biotrust doctor` to say.
struct Quirks {
    directories: Vec<PathBuf>,
    enable: Vec<String>,
    /// `[buses] watch` is not empty.
    watching: bool,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    quirks: Section,
    #[serde(default)]
    buses: Buses,
}

#[derive(Default, Deserialize)]
struct Buses {
    watch: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Section {
    directories: Option<Vec<PathBuf>>,
    enable: Option<Vec<String>>,
}

impl Quirks {
    /// Reads the file and the drop-ins in `conf.d` beside it, of which later ones win.
    fn read(file: &Path) -> Result<Self, String> {
        let mut quirks =
            Self { directories: DIRECTORIES.map(PathBuf::from).to_vec(), enable: Vec::new(), watching: true };
        let mut files = vec![file.to_owned()];
        files.extend(drop_ins(&file.with_file_name("conf.d"))?);
        for file in files {
            let text = match std::fs::read_to_string(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(|error| format!("cannot read {}: {error}", file.display()))?,
            };
            let configuration: Configuration =
                toml::from_str(&text).map_err(|error| format!("{}: {}", file.display(), error.message()))?;
            let Section { directories, enable } = configuration.quirks;
            quirks.directories = directories.unwrap_or(quirks.directories);
            quirks.enable = enable.unwrap_or(quirks.enable);
            quirks.watching = configuration.buses.watch.map_or(quirks.watching, |watch| !watch.is_empty());
        }
        Ok(quirks)
    }

    /// A file of quirks that cannot be read ends it: rules that lack its devices would lock the daemon out of them.
    fn book(&self, root: &Path) -> Result<Book, String> {
        let directories: Vec<PathBuf> = self.directories.iter().map(|path| below(root, path)).collect();
        let Loaded { mut book, skipped } = Book::load(&directories);
        if let Some(error) = skipped.first() {
            return Err(error.to_string());
        }
        book.enable(&self.enable).map_err(|error| format!("[quirks] enable: {error}"))?;
        Ok(book)
    }
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| format!("cannot read {}: {error}", directory.display()))?,
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn from(config: &str) -> From {
        From { config: config.into(), embedded: false }
    }

    #[test]
    fn the_rules_have_what_the_owner_enables() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        let rules = |from: &From| from.book(root).map(|book| rules::generate(&book));
        let configured = from("/etc/biotrust/biotrust.toml");
        let packaged = rules(&configured).unwrap();
        assert_eq!(packaged, rules::generate(&Book::embedded()));
        write(root, "etc/biotrust/biotrust.toml", "[quirks]\nenable = [\"uvc-camera\"]\n[sbi]\nports = 1\n");
        assert!(rules(&configured).unwrap().contains("uvc-camera"));
        assert!(!packaged.contains("uvc-camera"));
        write(root, "etc/biotrust/conf.d/9.toml", "[quirks]\nenable = [\"r30x-ftdi\"]\n");
        let rules_now = rules(&configured).unwrap();
        assert!(rules_now.contains("r30x-ftdi") && !rules_now.contains("uvc-camera"), "the drop-in wins");
        write(root, "etc/biotrust/conf.d/9.toml", "[quirks]\nenable = [\"webcam\"]\n");
        assert!(rules(&configured).unwrap_err().contains("no quirk file has an entry \"webcam\""));
    }

    #[test]
    fn a_bad_quirk_file_ends_it_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), "etc/biotrust/quirks.d/acme.toml", "driver = \"acme\"\ndevice = []\n");
        let why = from("/etc/biotrust/biotrust.toml").book(home.path()).unwrap_err();
        assert!(why.contains("etc/biotrust/quirks.d/acme.toml:1:10: there is no driver"), "{why}");
    }

    #[test]
    fn findings_are_told_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let args = |json| Args {
            command: Command::Check {
                json,
                root: home.path().into(),
                from: from("/etc/biotrust/biotrust.toml"),
            },
        };
        let outcome = run(&args(false));
        assert_eq!(outcome.exit_status, FINDINGS);
        assert!(
            outcome.output.contains("72-biotrust.rules is not installed\n  Next: biotrust udev generate")
        );
        assert!(outcome.output.ends_with("3 findings.\n"), "{}", outcome.output);

        let book = Book::embedded();
        write(home.path(), "usr/lib/udev/rules.d/72-biotrust.rules", &rules::generate(&book));
        write(home.path(), "usr/lib/udev/hwdb.d/60-biotrust.hwdb", &hwdb::generate(&book));
        write(home.path(), "etc/udev/hwdb.bin", "");
        write(home.path(), "etc/group", "biotrust:x:998:\n");
        let outcome = run(&args(true));
        let report: serde_json::Value = serde_json::from_str(&outcome.output).unwrap();
        assert_eq!((outcome.exit_status, &report["current"]), (0, &json!(true)), "{report}");
    }
}
