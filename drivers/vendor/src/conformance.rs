//! Checks that a vendor runs against a driver (`biotrust driver check -- COMMAND`).
//!
//! The driver is started as the service starts it, and then met by a service that is slow, rude and gone in the middle.
//! Every check is judged by what the service relies on. Blocking; about ten seconds.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use biotrust_driver_api::{Cancel, DeviceError};
use biotrust_pipe::UnixPipe;

use crate::host::connection::Connection;
use crate::host::process::{Process, RunAs};
use crate::wire::{Failure, FromDriver, Speech, ToDriver};

/// How long anything may take that needs no sensor.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time that a look is given.
const LOOK: Duration = Duration::from_millis(500);
/// What a look may take beyond that.
const LATE: Duration = Duration::from_millis(1500);
/// How soon a look that is called off comes back.
const CALLED_OFF: Duration = Duration::from_millis(500);

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Not so; with what happened and what was expected.
    Failed(String),
    /// Not tried, with the reason.
    Skipped(String),
}

/// A check and how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

/// The names of all checks, in their order.
pub const CHECKS: &[&str] = &[
    "refuses a standard input that is no socket",
    "starts and says who it is",
    "tells what devices there are",
    "answers pings",
    "refuses a device that is not there",
    "opens a device",
    "says how the device is",
    "comes back from a look in time",
    "answers pings during a look",
    "comes back from a look that is called off",
    "survives a service that goes away in a look",
    "opens the device again",
    "survives garbage",
    "survives a frame that claims to be huge",
    "ends when the service goes",
];

type Check = Result<(), String>;

/// Runs all checks on the driver `argv`, in an empty folder `runtime`; `told` hears each finding as it comes and `said`
/// each line of the driver's standard error. A program with a slash in its name is looked for from here, as a shell does it.
/// Answers whether nothing failed.
pub fn run(
    argv: &[String],
    runtime: &Path,
    mut told: impl FnMut(&Finding),
    said: impl Fn(String) + Send + 'static,
) -> bool {
    let argv = from_here(argv);
    let mut bench = Bench {
        argv: argv.clone(),
        socket: runtime.join("driver.sock"),
        process: Err("the driver did not start".to_owned()),
        watch: None,
        device: None,
    };
    let checks: [for<'b> fn(&'b mut Bench) -> Check; 15] = [
        Bench::refuses_stdin,
        Bench::starts,
        Bench::lists,
        Bench::pings,
        Bench::refuses_strangers,
        Bench::opens,
        Bench::status,
        Bench::looks,
        Bench::pings_during_a_look,
        Bench::calls_off,
        Bench::goes_away,
        Bench::opens_again,
        Bench::garbage,
        Bench::huge,
        Bench::ends,
    ];
    let mut said = Some(said);
    let mut good = true;
    for (check, test) in CHECKS.iter().zip(checks) {
        if *check == "starts and says who it is"
            && let Some(said) = said.take()
        {
            bench.process =
                Process::start(&argv, &RunAs::Same, &bench.socket, said).map_err(|error| error.to_string());
        }
        let outcome = match (bench.skips(check), test) {
            (Some(why), _) => Outcome::Skipped(why.to_owned()),
            (None, test) => match test(&mut bench) {
                Ok(()) => Outcome::Passed,
                Err(why) => Outcome::Failed(why),
            },
        };
        good &= !matches!(outcome, Outcome::Failed(_));
        told(&Finding { check, outcome });
    }
    good
}

struct Bench {
    argv: Vec<String>,
    socket: PathBuf,
    /// Why not, where it did not start.
    process: Result<Process, String>,
    /// The connection that watches.
    watch: Option<Connection>,
    /// The first device.
    device: Option<(String, Speech)>,
}

/// The command with the place of its program made absolute: a driver starts in the root directory.
fn from_here(argv: &[String]) -> Vec<String> {
    let mut argv = argv.to_vec();
    if let Some(program) = argv.first_mut().filter(|program| program.contains('/'))
        && let Ok(path) = std::path::absolute(&*program)
    {
        *program = path.to_string_lossy().into_owned();
    }
    argv
}

fn told(error: DeviceError) -> String {
    error.to_string()
}

fn soon(time: Duration) -> Instant {
    Instant::now() + time
}

impl Bench {
    /// Why a check cannot be made.
    fn skips(&self, check: &str) -> Option<&'static str> {
        let needs_sensor = check.contains("look") || check.contains("says how the device");
        match check {
            "refuses a standard input that is no socket" | "starts and says who it is" => None,
            _ if self.process.is_err() => Some("the driver did not start"),
            "tells what devices there are" | "ends when the service goes" => None,
            _ if self.watch.is_none() => Some("the driver did not say who it is"),
            "opens a device" | "opens the device again" if self.device.is_none() => {
                Some("it tells of no device: plug one in")
            }
            _ if needs_sensor => match &self.device {
                Some((_, Speech::Sensor)) => None,
                Some((_, Speech::Link)) => Some("the device speaks the link protocol"),
                None => Some("it tells of no device: plug one in"),
            },
            _ => None,
        }
    }

    fn connect(&self) -> Result<Connection, String> {
        let pipe = UnixPipe::connect(&self.socket).map_err(|error| error.to_string())?;
        Connection::greet(Box::new(pipe), soon(PATIENCE)).map(|(connection, _)| connection).map_err(told)
    }

    fn sensor(&self) -> Result<Connection, String> {
        let mut connection = self.connect()?;
        let name = self.device.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        connection.send(&ToDriver::Open { name }, soon(PATIENCE)).map_err(told)?;
        match connection.next(soon(PATIENCE)).map_err(told)? {
            FromDriver::OpenedSensor(_) | FromDriver::OpenedLink => Ok(connection),
            FromDriver::Refused(_, why) => Err(format!("the device is not opened: {why}")),
            _ => Err("OPEN is answered with something else".to_owned()),
        }
    }

    fn refuses_stdin(&mut self) -> Check {
        let Some((program, args)) = self.argv.split_first() else { return Err("no command".to_owned()) };
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let end = soon(PATIENCE);
        loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => {
                    return Err("it ends with exit status 0, as if all had been well".to_owned());
                }
                Some(_) => return Ok(()),
                None if Instant::now() >= end => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err("it runs on without a socket".to_owned());
                }
                None => pause(),
            }
        }
    }

    fn starts(&mut self) -> Check {
        if let Err(why) = &self.process {
            return Err(why.clone());
        }
        let mut connection = self.connect()?;
        connection.send(&ToDriver::Watch, soon(PATIENCE)).map_err(told)?;
        self.watch = Some(connection);
        Ok(())
    }

    fn watching(&mut self) -> Result<&mut Connection, String> {
        self.watch.as_mut().ok_or_else(|| "the driver is not watched".to_owned())
    }

    fn lists(&mut self) -> Check {
        let end = soon(PATIENCE * 2);
        let mut first = None;
        loop {
            match self.watching()?.next(end).map_err(told)? {
                FromDriver::Present { name, speech } => {
                    first.get_or_insert((name, speech));
                }
                FromDriver::Absent { .. } => {}
                FromDriver::Listed => break,
                _ => return Err("WATCH is answered with something else".to_owned()),
            }
        }
        self.device = first;
        Ok(())
    }

    fn ping(&mut self, within: Duration) -> Check {
        let end = soon(within);
        self.watching()?.send(&ToDriver::Ping(7), end).map_err(told)?;
        loop {
            match self.watching()?.next(end).map_err(told)? {
                FromDriver::Pong(7) => return Ok(()),
                FromDriver::Present { .. } | FromDriver::Absent { .. } => {}
                _ => return Err("PING is answered with something else".to_owned()),
            }
        }
    }

    fn pings(&mut self) -> Check {
        self.ping(Duration::from_secs(1))
    }

    fn refuses_strangers(&mut self) -> Check {
        let mut connection = self.connect()?;
        let name = "no such device".to_owned();
        connection.send(&ToDriver::Open { name }, soon(PATIENCE)).map_err(told)?;
        match connection.next(soon(PATIENCE)).map_err(told)? {
            FromDriver::Refused(Failure::Gone, why) if !why.is_empty() => Ok(()),
            FromDriver::Refused(failure, why) => {
                Err(format!("it is refused as {failure:?} ({why:?}); Gone with a reason is expected"))
            }
            _ => Err("it is opened".to_owned()),
        }
    }

    fn opens(&mut self) -> Check {
        self.sensor().map(drop)
    }

    fn status(&mut self) -> Check {
        let mut sensor = self.sensor()?;
        sensor.send(&ToDriver::Status { id: 1 }, soon(PATIENCE)).map_err(told)?;
        match sensor.next(soon(Duration::from_secs(2))).map_err(told)? {
            FromDriver::Status { id: 1, ready: false, reason } if reason.is_empty() => {
                Err("it is not ready and does not say why".to_owned())
            }
            FromDriver::Status { id: 1, .. } | FromDriver::Failed { id: 1, .. } => Ok(()),
            _ => Err("STATUS is answered with something else, or with another number".to_owned()),
        }
    }

    fn seen(sensor: &mut Connection, id: u32, end: Instant) -> Check {
        match sensor.next(end).map_err(told)? {
            FromDriver::Seen { id: of, .. } if of == id => Ok(()),
            FromDriver::Failed { id: of, why, .. } if of == id => Err(format!("it fails: {why}")),
            _ => Err("LOOK is answered with something else, or with another number".to_owned()),
        }
    }

    fn look(sensor: &mut Connection, id: u32, within: Duration) -> Check {
        let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        sensor.send(&ToDriver::Look { id, within_ms }, soon(PATIENCE)).map_err(told)
    }

    fn looks(&mut self) -> Check {
        let mut sensor = self.sensor()?;
        // Several times: what an SDK keeps from one look to the next shows in the second.
        for id in 1..=5 {
            Self::look(&mut sensor, id, LOOK)?;
            Self::seen(&mut sensor, id, soon(LOOK + LATE))?;
        }
        sensor.send(&ToDriver::Rest, soon(PATIENCE)).map_err(told)
    }

    fn pings_during_a_look(&mut self) -> Check {
        let mut sensor = self.sensor()?;
        Self::look(&mut sensor, 1, LOOK)?;
        self.ping(Duration::from_secs(1))?;
        Self::seen(&mut sensor, 1, soon(LOOK + LATE))
    }

    fn calls_off(&mut self) -> Check {
        let mut sensor = self.sensor()?;
        Self::look(&mut sensor, 9, Duration::from_secs(20))?;
        sensor.send(&ToDriver::Cancel { id: 9 }, soon(PATIENCE)).map_err(told)?;
        Self::seen(&mut sensor, 9, soon(CALLED_OFF))?;
        // One that is over already is nothing to call off.
        sensor.send(&ToDriver::Cancel { id: 9 }, soon(PATIENCE)).map_err(told)?;
        Self::look(&mut sensor, 10, LOOK)?;
        Self::seen(&mut sensor, 10, soon(LOOK + LATE))
    }

    fn goes_away(&mut self) -> Check {
        let mut sensor = self.sensor()?;
        Self::look(&mut sensor, 1, Duration::from_secs(20))?;
        drop(sensor);
        self.ping(Duration::from_secs(1))
    }

    fn opens_again(&mut self) -> Check {
        let end = soon(Duration::from_secs(2));
        loop {
            match self.sensor() {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() >= end => return Err(why),
                Err(_) => pause(),
            }
        }
    }

    /// Sends bytes that are no order, on a connection of their own; the driver must live on.
    fn rude(&mut self, bytes: &[u8]) -> Check {
        let mut stream = UnixStream::connect(&self.socket).map_err(|error| error.to_string())?;
        stream.write_all(bytes).map_err(|error| error.to_string())?;
        pause();
        drop(stream);
        self.ping(Duration::from_secs(1))
    }

    fn garbage(&mut self) -> Check {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[3, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0x77], &[0, 0, 0, 0]]
        {
            self.rude(bytes)?;
        }
        Ok(())
    }

    fn huge(&mut self) -> Check {
        self.rude(&[0xFF, 0xFF, 0xFF, 0xFF, 1])
    }

    fn ends(&mut self) -> Check {
        self.watch = None;
        let Ok(process) = self.process.as_mut() else { return Err("it did not start".to_owned()) };
        let end = soon(Duration::from_secs(2));
        loop {
            match process.ended() {
                Some(how) if how == "it ended with exit status 0" => return Ok(()),
                Some(how) => return Err(how),
                None if Instant::now() >= end => return Err("it runs on".to_owned()),
                None => pause(),
            }
        }
    }
}

fn pause() {
    let _ = Cancel::new().wait(Duration::from_millis(20));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_directory_starts() {
        let argv = ["./driver", "--option", "./x"].map(str::to_owned);
        let here = from_here(&argv);
        let expected = std::env::current_dir().unwrap().join("driver");
        assert_eq!(here.first().map(String::as_str), expected.to_str());
        assert_eq!(here.get(1..), argv.get(1..));
        assert_eq!(from_here(&["driver".to_owned()]), ["driver"], "one of PATH");
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::BTreeSet<_> = CHECKS.iter().collect();
        assert_eq!(names.len(), CHECKS.len());
    }
}
