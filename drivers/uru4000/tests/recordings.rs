//! A recording of a reader, and what the driver makes of its replay. The kept one lies in tests/recordings; it is made
//! anew with `BIOTRUST_RECORD=1 cargo test -p biotrust-uru4000 --test recordings`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test; it fails where something is not as it should be"
)]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biosim_hardware::replay::{Progress, UsbReplay};
use biosim_hardware::uru4000::Uru4000;
use biosim_image::Subject;
use biosim_usbip::{Gadget, LocalPort};
use biotrust_driver_api::{
    Bus, Cancel, CaptureJob, CaptureOutcome, DriverFactory, Found, Node, Opened, Port, Quirks, UsbIdentity,
    Value,
};
use biotrust_model::time::SystemClock;
use biotrust_model::{BioSubType, Env, Purpose, Score, SubId};
use biotrust_pipe::record::{Mark, Op, Recorder, Recording};
use biotrust_uru4000::Uru4000Factory;
use biotrust_uru4000::recording::Cleaner;

const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an image before its rows.
const HEADER: usize = 64;

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

fn found() -> Found {
    let usb = UsbIdentity {
        vendor: 0x05ba,
        product: 0x000a,
        release: 0x0102,
        serial: "UNIT-4711".into(),
        ..UsbIdentity::default()
    };
    let settings = [("dpi".into(), Value::Number(512)), ("turned".into(), Value::Flag(true))];
    Found {
        node: Node {
            bus: Bus::Usb,
            place: "usb:1-1".into(),
            path: "/dev/bus/usb/001/002".into(),
            usb: Some(usb),
            driver: None,
        },
        quirks: Quirks { name: "uru4500".into(), settings: settings.into_iter().collect() },
    }
}

/// Opens the reader, takes one finger and closes it. How it ended, and the image.
fn session(port: Port, found: &Found) -> Result<Vec<u8>, String> {
    let factory = Uru4000Factory::new(Arc::new(SystemClock));
    let opened = factory.open(port, found, Box::new(|_| ()), LIMIT).map_err(|e| format!("{:?}", e.kind))?;
    let Opened::L0(device) = opened else { panic!("a plain reader is never L1") };
    let job = CaptureJob {
        parts: vec![BioSubType::LeftThumb],
        exceptions: Vec::new(),
        sub_id: SubId(0),
        requested_score: Score::clamped(1.0),
        requested_score_text: "1".into(),
        finish_within: LIMIT,
        purpose: Purpose::Auth,
        auth: None,
        transaction_id: "t".into(),
        env: Env::Developer,
        spec_version: "0.9.5".into(),
        service_version: "0".into(),
        previous_hash: [0; 32],
        append_chip_certificate: false,
        digital_id_key: Default::default(),
    };
    match device.capture(&job, &Cancel::new()).map_err(|e| format!("{:?}", e.kind))? {
        CaptureOutcome::Done { parts, .. } => Ok(parts[0].image.expose().to_vec()),
        CaptureOutcome::Nothing => Err("nothing".into()),
    }
}

/// Records a session in which a finger is taken.
fn record() -> (Vec<u8>, Vec<u8>) {
    let mut reader = Uru4000::new("UNIT-4711");
    reader.press(Subject::new(11, None).finger(BioSubType::LeftThumb, 1, 1.0).unwrap());
    let gadget = Gadget::new(reader).unwrap();
    let (port, _connection) = LocalPort::plug(&gadget).unwrap();
    let tape = Tape::default();
    let recorder = Recorder::new(Box::new(tape.clone()), Box::new(Cleaner), u64::MAX);
    // The driver takes no finger that lies there already.
    let finger = std::thread::spawn({
        let gadget = gadget.clone();
        move || {
            gadget.with(Uru4000::lift);
            while !gadget.with(|reader| reader.awaits_finger()) {
                let _ = Cancel::new().wait(Duration::from_millis(2));
            }
            let print = Subject::new(11, None).finger(BioSubType::LeftThumb, 1, 1.0).unwrap();
            gadget.with(|reader| reader.press(print));
        }
    });
    let port = recorder.wrap("uru4000", &found(), Port::Usb(Box::new(port))).unwrap();
    let image = session(port, &found()).unwrap();
    finger.join().unwrap();
    recorder.finish().unwrap();
    let bytes = tape.0.lock().unwrap().clone();
    (bytes, image)
}

fn replay(recording: Recording) -> (Result<Vec<u8>, String>, Progress) {
    let found = Found { quirks: recording.header.quirks(), ..found() };
    let gadget = Gadget::new(UsbReplay::new(recording).unwrap()).unwrap();
    let (port, _connection) = LocalPort::plug(&gadget).unwrap();
    let end = session(Port::Usb(Box::new(port)), &found);
    (end, gadget.with(|device| device.progress()))
}

#[test]
fn a_capture_is_recorded_without_the_finger_and_replayed() {
    let (bytes, live) = record();
    let recording = Recording::read(bytes.as_slice()).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("UNIT-4711"), "the serial number");
    let images: Vec<_> = recording
        .entries
        .iter()
        .filter_map(|entry| match &entry.op {
            Op::In { endpoint: 0x82, data } => Some((&data.0, entry.mark)),
            _ => None,
        })
        .collect();
    assert!(!images.is_empty(), "negative control: an image was sent");
    for (image, mark) in images {
        assert_eq!(mark, Some(Mark::Synthetic));
        // A finger and the noise around it have many more greys than the waves that stand for it.
        let ground = image[HEADER..].iter().filter(|grey| **grey == 16).count();
        assert!(ground > image.len() / 4, "{ground} of {}", image.len());
    }

    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings/uru4000-capture.jsonl");
    if std::env::var_os("BIOTRUST_RECORD").is_some() {
        std::fs::write(&kept, &bytes).unwrap();
    }
    for recording in [recording, Recording::read(std::fs::read(&kept).unwrap().as_slice()).unwrap()] {
        let (end, progress) = replay(recording);
        assert!(!matches!(progress, Progress::Diverged { .. }), "{progress:?}");
        let image = end.unwrap();
        assert!(image.len() > 1000 && image != live, "another finger");
    }
}

#[test]
fn a_replay_that_is_not_for_this_driver_is_told() {
    let (bytes, _) = record();
    let mut recording = Recording::read(bytes.as_slice()).unwrap();
    // A reader that did not take the power-up sequence then.
    recording.entries.retain(|entry| !matches!(entry.op, Op::ControlOut { .. }));
    let (end, progress) = replay(recording);
    assert!(end.is_err());
    assert!(matches!(progress, Progress::Diverged { .. }), "{progress:?}");
}
