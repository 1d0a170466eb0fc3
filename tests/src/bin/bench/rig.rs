//! The programs under measurement: `biosim serve` with its devices, and a `biotrustd` of our own beside it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

/// Virtual devices that outlive the daemons that are measured.
pub(crate) struct Devices {
    directory: TempDir,
    child: Child,
}

/// A device as the daemon's status tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) serial: String,
}

/// A running daemon.
pub(crate) struct Rig {
    child: Child,
    control: PathBuf,
    pub(crate) port: u16,
}

/// A program that was built beside this one.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: cargo build --release --bins", path.display());
    }
    Ok(path)
}

/// Looks again every few milliseconds.
#[allow(clippy::disallowed_methods)] // a benchmark measures from outside: there is nothing to be woken by
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("{what}: not within {limit:?}");
        }
        pause(Duration::from_millis(2));
    }
}

impl Devices {
    pub(crate) fn start(profile: &str, level: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("links"))?;
        std::fs::create_dir(at("pki"))?;
        let child = Command::new(program("biosim")?)
            .args(["serve", "--profile", profile, "--level", level])
            .arg("--links")
            .arg(at("links"))
            .arg("--control")
            .arg(at("biosim.sock"))
            .arg("--agent-control")
            .arg(at("control.sock"))
            .arg("--pki-out")
            .arg(at("pki"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("biosim.log"))?)
            .spawn()?;
        let devices = Self { directory, child };
        until("virtual devices", Duration::from_secs(60), || {
            (std::fs::read_dir(devices.at("links")).ok()?.count() >= 6).then_some(())
        })?;
        Ok(devices)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, sbi: &str) -> Result<PathBuf> {
        let pki = |name: &str| self.at("pki").join(name).display().to_string();
        let text = format!(
            "[sbi]\nport = 0\nallow_l0_auth = true\n{sbi}\n\
             [trust]\ndevice_anchors = [{:?}]\nftm_anchors = [{:?}]\n\
             [encryption]\ncertificate = {:?}\n\
             [buses]\nwatch = []\n[serial]\nlinks = {:?}\n[state]\ndirectory = {:?}\n[control]\nsocket = {:?}\n[log]\nfilter = \"warn\"\n",
            pki("device-anchors.pem"),
            pki("ftm-anchors.pem"),
            pki("ida-certificate.pem"),
            self.at("links").display().to_string(),
            self.at("state").display().to_string(),
            self.at("control.sock").display().to_string(),
        );
        let file = self.at("biotrust.toml");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    fn daemon(&self, sbi: &str, ready: &Path) -> Result<Child> {
        let _ = std::fs::remove_file(ready);
        Command::new(program("biotrustd")?)
            .arg("--config")
            .arg(self.config(sbi)?)
            .arg("--ready-file")
            .arg(ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.at("biotrustd.log"))?)
            .spawn()
            .context("cannot start biotrustd")
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

impl Rig {
    pub(crate) fn start(devices: &Devices, sbi: &str) -> Result<Self> {
        let ready = devices.at("ready.json");
        let child = devices.daemon(sbi, &ready)?;
        let mut rig = Self { child, control: devices.at("control.sock"), port: 0 };
        let text = until("biotrustd", Duration::from_secs(20), || std::fs::read_to_string(&ready).ok())
            .with_context(|| std::fs::read_to_string(devices.at("biotrustd.log")).unwrap_or_default())?;
        let value: Value = serde_json::from_str(&text)?;
        let url = value["sbi"].as_str().context("no sbi in the ready file")?;
        rig.port = url.trim_end_matches('/').rsplit(':').next().context("no port")?.parse()?;
        Ok(rig)
    }

    /// From starting the program to the first connection that is accepted, on a fixed port.
    pub(crate) fn time_to_port(devices: &Devices) -> Result<Duration> {
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = devices.config("")?;
        let text = std::fs::read_to_string(&file)?.replace("port = 0", &format!("port = {free}"));
        std::fs::write(&file, text)?;
        let started = Instant::now();
        let mut child = Command::new(program("biotrustd")?)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let open = loop {
            if TcpStream::connect(("127.0.0.1", free)).is_ok() {
                break Ok(started.elapsed());
            }
            if started.elapsed() > Duration::from_secs(10) {
                break Err(anyhow::anyhow!("the port did not open within 10 s"));
            }
            std::hint::spin_loop();
        };
        stop(&mut child);
        open
    }

    fn ask(&self, request: &str) -> Result<Value> {
        let mut socket = UnixStream::connect(&self.control)?;
        writeln!(socket, "{request}")?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        let value: Value = serde_json::from_str(&line)?;
        if value["ok"] != true {
            bail!("the daemon refused {request}: {line}");
        }
        Ok(value["result"].clone())
    }

    fn devices(&self) -> Result<Vec<Value>> {
        Ok(self.ask(r#"{"op":"status"}"#)?["devices"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until `count` devices are ready.
    pub(crate) fn ready(&self, count: usize) -> Result<()> {
        until("devices", Duration::from_secs(60), || {
            let devices = self.devices().ok()?;
            (devices.iter().filter(|d| d["status"] == "Ready").count() >= count).then_some(())
        })
    }

    /// The device of a kind.
    pub(crate) fn device(&self, kind: &str, sub_type: &str) -> Result<Device> {
        let devices = self.devices()?;
        let found = devices.iter().find(|d| d["type"] == kind && d["sub_type"] == sub_type);
        let found = found.with_context(|| format!("no device {kind} {sub_type}"))?;
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        Ok(Device { id: text("id"), serial: text("serial") })
    }

    /// What the host spent on the last capture of a device, after the device had delivered.
    pub(crate) fn host_time(&self, serial: &str) -> Result<Duration> {
        let devices = self.devices()?;
        let found = devices.iter().find(|d| d["serial"] == serial).context("the device is gone")?;
        let millis = found["last_capture"]["host_ms"].as_f64().context("no capture yet")?;
        Ok(Duration::from_secs_f64(millis / 1e3))
    }

    /// Four captures that can run at once: slap, irises, single finger, single iris.
    pub(crate) fn registration_and_auth(&self) -> Result<Vec<(Device, &'static str, String)>> {
        let slap = self.device("Finger", "Slap")?;
        let eyes = self.device("Iris", "Double")?;
        let finger = self.device("Finger", "Single")?;
        let eye = self.device("Iris", "Single")?;
        Ok(vec![
            (slap.clone(), "RCAPTURE", left_slap(&slap.id)),
            (eyes.clone(), "RCAPTURE", registration(&eyes.id, "Iris", 2, 3)),
            (finger.clone(), "CAPTURE", authentication(&finger.id, "Finger")),
            (eye.clone(), "CAPTURE", authentication(&eye.id, "Iris")),
        ])
    }

    /// Resident bytes now.
    pub(crate) fn rss(&self) -> Result<u64> {
        memory(self.child.id())
    }

    /// The most resident bytes seen while `work` runs.
    pub(crate) fn peak_while(&self, work: impl FnOnce() -> Result<()>) -> Result<u64> {
        let (pid, done) = (self.child.id(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut peak = 0;
                while !done.load(Ordering::Relaxed) {
                    peak = peak.max(memory(pid).unwrap_or(0));
                    pause(Duration::from_millis(2));
                }
                peak
            });
            let worked = work();
            done.store(true, Ordering::Relaxed);
            let peak = watch.join().ok().context("the watcher failed")?;
            worked.map(|()| peak)
        })
    }

    /// Processor time used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // after the name in parentheses: field 3 is the state, 14 and 15 are user and system time in ticks
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Duration::from_secs_f64((ticks(11) + ticks(12)) / per_second))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn stop(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let ended = until("end", Duration::from_secs(5), || child.try_wait().ok().flatten());
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// The machine, for the head of the report.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    name.trim_start_matches(['\t', ' ', ':']).to_owned()
}

/// Median time to start and end the smallest program.
pub(crate) fn process_floor() -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..11 {
        let started = Instant::now();
        Command::new("/bin/true").status()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[5])
}

/// RCAPTURE of the left four fingers.
pub(crate) fn left_slap(device: &str) -> String {
    registration(device, "Finger", 4, 1)
}

fn registration(device: &str, kind: &str, count: u8, sub_id: u8) -> String {
    format!(
        r#"{{"env":"Staging","purpose":"Registration","specVersion":"0.9.5","timeout":"10000","captureTime":null,
        "transactionId":"bench-0001","bio":[{{"type":"{kind}","count":"{count}","bioSubType":null,"exception":[],
        "requestedScore":"20","deviceId":"{device}","deviceSubId":"{sub_id}","previousHash":null}}],"customOpts":null}}"#
    )
}

fn authentication(device: &str, kind: &str) -> String {
    format!(
        r#"{{"env":"Staging","purpose":"Auth","specVersion":"0.9.5","timeout":"10000","captureTime":null,
        "domainUri":"https://bench.example","transactionId":"bench00001","bio":[{{"type":"{kind}","count":"1",
        "bioSubType":["UNKNOWN"],"requestedScore":"20","deviceId":"{device}","deviceSubId":"0","previousHash":""}}],
        "customOpts":null}}"#
    )
}
