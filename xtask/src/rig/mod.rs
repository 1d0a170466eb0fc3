//! `cargo xtask rig`: the installed daemon on a real Linux kernel, in virtual machines.
//!
//! Prepares kernel, emulator and first root, then runs guests two at a time. What happens in a guest is the program `rig`
//! of tests/rig. A guest that cannot start fails the run; only the switch turns the stage off.

mod apt;
mod bzimage;
mod guest;
mod initramfs;
mod kernel;
mod qemu;
mod tpm;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use guest::{Parts, Plan};

use crate::build;
use crate::step::{Failure, say, span};

/// Turns the stage off where it is "off", for machines that cannot run it.
const SWITCH: &str = "BIOTRUST_RIG";
/// As many as share a small machine.
const AT_A_TIME: usize = 2;
/// What a cycle of the soak may add to a guest's limit.
const PER_CYCLE: Duration = Duration::from_secs(90);

const fn plan(name: &'static str, about: &'static str) -> Plan {
    Plan { name, about, tpm: false, monitor: false, limit: Duration::from_secs(170) }
}

/// The long ones first, so that both ends of the queue end together.
const PLANS: &[Plan] = &[
    Plan {
        limit: Duration::from_secs(300),
        ..plan("buses", "every supported device on its bus; a storm of plugs and pulls while captures run")
    },
    Plan { tpm: true, ..plan("systemd", "the shipped service unit and its sandbox, under systemd") },
    Plan { tpm: true, ..plan("tpm", "the TPM module and the daemon on the kernel's /dev/tpmrm0") },
    plan("ports", "what opens, watches and recovers devices, on nodes of the kernel"),
    Plan {
        monitor: true,
        ..plan("strangers", "devices of others: left alone, and opened where the owner says so")
    },
];

/// Tests of crates that are run (again) in a guest, on the devices of its kernel.
const TESTS: [(&str, &[&str]); 2] =
    [("drivers/ftm-tpm", &["life", "proof"]), ("drivers/pipe", &["kernel", "hotplug"])];

/// Programs that guests run.
const PROGRAMS: [&str; 4] = ["rig", "biotrustd", "biotrust", "biosim"];

/// Runs the guests that `args` name, or all.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
        say(format_args!("rig: NOT run, {SWITCH} is off"));
        return Ok(());
    }
    let request = Request::read(args)?;
    let start = Instant::now();
    if request.build {
        build::all(true)?;
    }
    let parts = parts(&request)?;
    say(format_args!("rig: {} on {}", parts.rig.display(), parts.kernel.release));

    let queue: Mutex<VecDeque<Plan>> = Mutex::new(request.plans.iter().copied().collect());
    let failures = Mutex::new(Vec::new());
    let place = build::target()?.join("rig");
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(plan) = next else { return };
            if let Err(failure) = guest::run(&plan, &parts, &place.join(plan.name)) {
                say(&failure);
                failures.lock().unwrap_or_else(PoisonError::into_inner).push(plan.name);
            }
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..AT_A_TIME {
            threads.spawn(work);
        }
    });
    let _ = std::fs::remove_file(&parts.initramfs);
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (count, took) = (request.plans.len(), span(start.elapsed()));
    if failures.is_empty() {
        say(format_args!("rig: {count} guests passed in {took}; what they left is in {}", place.display()));
        return Ok(());
    }
    let names = failures.join(", ");
    Err(Failure::new(format!(
        "rig: {} of {count} guests failed in {took}: {names}; see {}",
        failures.len(),
        place.display()
    )))
}

/// Everything that guests are made of.
fn parts(request: &Request) -> Result<Parts, Failure> {
    let kernel = kernel::Kernel::provide(request.kernel.as_deref())?;
    let qemu = qemu::Qemu::provide()?;
    let script = build::root()?.join("tests/rig/guest/init");
    let script = std::fs::read_to_string(&script)
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", script.display())))?;
    let initramfs = build::tools()?.join(format!("initramfs-{}-{}", kernel.release, std::process::id()));
    std::fs::create_dir_all(build::tools()?)
        .map_err(|e| Failure::new(format!("cannot make a directory: {e}")))?;
    initramfs::write(&kernel, &script, &initramfs)?;
    let mut tests = Vec::new();
    for (package, names) in TESTS {
        tests.extend(build::tests(package, names)?);
    }
    let place = build::target()?.join("rig/programs");
    let built = build::programs()?;
    let programs = PROGRAMS.iter().map(|name| ((*name).to_owned(), built.join(name)));
    keep(programs.chain(tests.iter().cloned()), &place)?;
    let tests = tests.iter().map(|(name, _)| format!("test_{name}={}", place.join(name).display()));
    let cycles = request.cycles.map(|cycles| format!("cycles={cycles}"));
    let rig = place.join("rig");
    Ok(Parts { qemu, kernel, initramfs, rig, words: cycles.into_iter().chain(tests).collect() })
}

/// Keeps programs as they are now: a guest maps them from the host's disk, and dies of a build that replaces them.
fn keep(programs: impl Iterator<Item = (String, PathBuf)>, place: &Path) -> Result<(), Failure> {
    let _ = std::fs::remove_dir_all(place);
    std::fs::create_dir_all(place)
        .map_err(|e| Failure::new(format!("cannot make {}: {e}", place.display())))?;
    for (name, from) in programs {
        // A second name is enough, as a build writes to a new file.
        let kept = std::fs::hard_link(&from, place.join(&name));
        let kept = kept.or_else(|_| std::fs::copy(&from, place.join(&name)).map(|_| ()));
        kept.map_err(|e| {
            Failure::new(format!("cannot keep {}: {e}; build without --no-build", from.display()))
        })?;
    }
    Ok(())
}

/// A command line of the rig, read.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    plans: Vec<Plan>,
    kernel: Option<String>,
    cycles: Option<u32>,
    /// Or take the programs that were built last.
    build: bool,
}

impl Request {
    fn read(args: &[String]) -> Result<Self, Failure> {
        let mut request = Self { plans: Vec::new(), kernel: None, cycles: None, build: true };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| Failure::usage(format!("{arg} needs a value")));
            match arg.as_str() {
                "--no-build" => request.build = false,
                "--kernel" => request.kernel = Some(value()?.clone()),
                "--cycles" => {
                    let cycles = value()?;
                    let number = cycles.parse().ok().filter(|number| *number > 0);
                    request.cycles = Some(
                        number.ok_or_else(|| Failure::usage(format!("{cycles:?} is no number of cycles")))?,
                    );
                }
                name => {
                    let plan = PLANS.iter().find(|plan| plan.name == name);
                    request.plans.push(
                        *plan.ok_or_else(|| {
                            Failure::usage(format!("there is no guest {name:?}:\n{}", list()))
                        })?,
                    );
                }
            }
        }
        if request.plans.is_empty() {
            request.plans = PLANS.to_vec();
        }
        for plan in &mut request.plans {
            plan.limit += PER_CYCLE * request.cycles.unwrap_or(0);
        }
        Ok(request)
    }
}

/// The guests, with what each shows.
fn list() -> String {
    PLANS.iter().map(|plan| format!("  {:<10} {}\n", plan.name, plan.about)).collect()
}

/// Between two looks at a process: neither the emulator nor swtpm tells when it is there or gone.
#[allow(clippy::disallowed_methods)] // the one home
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, Failure> {
        Request::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn all_guests_unless_some_are_named() {
        assert_eq!(read("").unwrap().plans.len(), PLANS.len());
        let request = read("tpm --cycles 10 --kernel linux-image-6").unwrap();
        assert_eq!((request.plans.len(), request.cycles), (1, Some(10)));
        assert_eq!(request.kernel.as_deref(), Some("linux-image-6"));
        assert!(
            request.plans.iter().all(|plan| plan.limit > Duration::from_secs(170)),
            "more time for more cycles"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["moon", "--cycles", "--cycles 0", "--cycles x", "--kernel"] {
            assert_eq!(read(line).unwrap_err().exit_status, 64, "{line}");
        }
        assert!(read("moon").unwrap_err().to_string().contains("/dev/tpmrm0"), "it lists what there is");
    }

    #[test]
    fn the_switch_is_documented() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/developers/rig.md"))
            .unwrap();
        assert!(page.contains(&format!("`{SWITCH}=off`")));
        assert!(PLANS.iter().all(|plan| page.contains(&format!("`{}`", plan.name))));
    }
}
