//! Recordings of modules, and what the driver makes of their replays. The kept ones lie in tests/recordings; they are
//! made anew with `BIOTRUST_RECORD=1 cargo test -p biotrust-r30x --test recordings`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test; it fails where something is not as it should be"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use biosim_hardware::r30x::pty::OnPty;
use biosim_hardware::r30x::{Fault, R30x, Settings};
use biosim_hardware::replay::{Progress, ReplayOnPty, SerialReplay};
use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, DeviceError, DigitalIdKey, DriverFactory, Found,
    L0Device, Opened, Port, Value,
};
use biotrust_imaging::Gray;
use biotrust_model::time::SystemClock;
use biotrust_model::{BioSubType, Env, Purpose, Score, SubId};
use biotrust_pipe::record::{Entry, Mark, Op, Recorder, Recording};
use biotrust_r30x::R30xFactory;
use biotrust_r30x::recording::Cleaner;

const OPEN: Duration = Duration::from_secs(6);
const CAPTURE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A finger of which no two bytes in a row are like the synthetic one: all its nibbles are 6 to 9.
fn print() -> Gray {
    let pixel = |x: u32, y: u32| {
        let phase = (2 * x + y) as f32 * std::f32::consts::TAU / 17.0;
        (127.0 + 25.0 * phase.sin()) as u8
    };
    Gray::new(320, 400, (0..320 * 400).map(|i| pixel(i % 320, i / 320)).collect()).unwrap()
}

fn found(path: &Path) -> Found {
    let mut found = Found::line(path);
    found.quirks.name = "r30x-module".into();
    found.quirks.settings.insert("purpose".into(), Value::Text("Registration".into()));
    found.quirks.settings.insert("password".into(), Value::Number(0x5ec2_e7aa));
    found
}

fn open(port: Port, found: &Found) -> Result<Arc<dyn L0Device>, DeviceError> {
    let factory = R30xFactory::new(Arc::new(SystemClock));
    match factory.open(port, found, Box::new(|_| ()), OPEN)? {
        Opened::L0(device) => Ok(device),
        Opened::L1(_) => panic!("never more than L0"),
    }
}

fn capture(device: &dyn L0Device) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
    let job = CaptureJob {
        parts: vec![BioSubType::RightIndexFinger],
        exceptions: Vec::new(),
        sub_id: SubId(0),
        requested_score: Score::new(1.0).unwrap(),
        requested_score_text: "1".into(),
        finish_within: CAPTURE,
        purpose: Purpose::Registration,
        auth: None,
        transaction_id: "1".into(),
        env: Env::Developer,
        spec_version: "0.9.5".into(),
        service_version: "1".into(),
        previous_hash: [0; 32],
        append_chip_certificate: false,
        digital_id_key: DigitalIdKey::Device,
    };
    device.capture(&job, &Cancel::new())
}

/// How a session ends that opens the device, captures once and closes it.
fn session(port: Port, found: &Found) -> Result<Vec<u8>, String> {
    let device = open(port, found).map_err(|error| format!("{:?}", error.kind))?;
    match capture(&*device).map_err(|error| format!("{:?}", error.kind))? {
        CaptureOutcome::Done { parts, .. } => Ok(parts[0].image.expose().to_vec()),
        CaptureOutcome::Nothing => Err("nothing".into()),
    }
}

/// Records a session with a module that is at its fastest already, so that it is a short one.
fn record(fault: Option<Fault>) -> (Vec<u8>, Result<Vec<u8>, String>) {
    let settings = Settings { speed: 12, data_size: 3, password: 0x5ec2_e7aa, ..Settings::default() };
    let mut module = R30x::new(settings);
    module.press(print());
    let line = OnPty::plug(Arc::new(Mutex::new(module))).unwrap();
    let _ = Cancel::new().wait(Duration::from_millis(600)); // it has power
    line.module().set_fault(fault, Instant::now());
    let found = found(line.path());
    let tape = Tape::default();
    let recorder = Recorder::new(Box::new(tape.clone()), Box::new(Cleaner::default()), u64::MAX);
    let port = recorder.wrap("r30x", &found, biotrust_pipe::ports::open(&found.node).unwrap()).unwrap();
    let end = session(port, &found);
    recorder.finish().unwrap();
    let bytes = tape.0.lock().unwrap().clone();
    (bytes, end)
}

/// What comes of the session when the recorded device plays its part again.
fn replay(recording: Recording) -> (Result<Vec<u8>, String>, Progress) {
    let mut found = found(Path::new("/dev/replay"));
    found.quirks = recording.header.quirks();
    let line = ReplayOnPty::plug(SerialReplay::new(recording).unwrap()).unwrap();
    found.node.path = line.path().to_owned();
    let end = session(biotrust_pipe::ports::open(&found.node).unwrap(), &found);
    (end, line.progress())
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings").join(name)
}

/// The kept recording of this name; what is recorded now, where it is to be made anew.
fn keep(name: &str, now: &[u8]) -> Recording {
    if std::env::var_os("BIOTRUST_RECORD").is_some() {
        std::fs::write(kept(name), now).unwrap();
    }
    let file = std::fs::read(kept(name)).unwrap();
    Recording::read(file.as_slice()).unwrap()
}

#[test]
fn a_capture_is_recorded_without_the_finger_and_replayed() {
    let (bytes, live) = record(None);
    let live = live.unwrap();
    let recording = Recording::read(bytes.as_slice()).unwrap();
    let mut image = Vec::new();
    for entry in &recording.entries {
        match (&entry.op, entry.mark) {
            (Op::In { data, .. }, Some(Mark::Synthetic)) => image.extend_from_slice(&data.0),
            (Op::In { data, .. }, mark) => assert!(mark.is_none() && data.0.len() < 300),
            _ => {}
        }
    }
    // 256 x 288 pixels of four bits, in 144 packets of 256 bytes
    assert!(image.len() >= 144 * (256 + 11), "{}", image.len());
    let row = &R30x::seen(&print())[256 * 100..256 * 101];
    let packed: Vec<u8> = row.chunks(2).map(|p| ((p[0] / 17) << 4) | (p[1] / 17)).collect();
    assert!(!image.windows(8).any(|w| packed.windows(8).any(|p| p == w)), "a part of the finger is in it");
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(!text.contains("password") && !text.contains("1589831594"), "the setting of the password");
    let said = [0x13, 0x5e, 0xc2, 0xe7, 0xaa];
    let holds =
        |entry: &Entry| matches!(&entry.op, Op::Out { data, .. } if data.0.windows(5).any(|w| w == said));
    assert!(!recording.entries.iter().any(holds), "the password as it was said");
    let password = recording.entries.iter().filter(|entry| entry.mark == Some(Mark::Key)).count();
    assert!(password >= 1, "negative control: it was said");

    for recording in [recording, keep("r30x-capture.jsonl", &bytes)] {
        let (end, progress) = replay(recording);
        assert!(matches!(progress, Progress::Finished | Progress::Running), "{progress:?}");
        let image = end.unwrap();
        assert!(image.len() > 1000 && image != live, "another finger");
    }
}

#[test]
fn a_fault_in_the_field_becomes_a_test() {
    let (bytes, live) = record(Some(Fault::CutsImage));
    let live = live.unwrap_err();
    for recording in [Recording::read(bytes.as_slice()).unwrap(), keep("r30x-cut-image.jsonl", &bytes)] {
        let (end, progress) = replay(recording);
        assert_eq!(end.unwrap_err(), live, "{progress:?}");
        assert!(!matches!(progress, Progress::Diverged { .. }), "{progress:?}");
    }
}
