//! Recordings of a line: what is in them, what is not, and files that are none.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_driver_api::{Found, Pipe, Port, SerialPort};

use super::{Blank, Entry, FormatError, Mark, Op, Recorder, Recording, Scrub};
use crate::{SerialPipe, pty};

const LONG: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    fn recording(&self) -> Recording {
        Recording::read(&self.bytes()[..]).unwrap()
    }
}

/// Takes everything as it is.
struct Trusting;

impl Scrub for Trusting {
    fn clean(&mut self, entry: Entry) -> Vec<Entry> {
        vec![entry]
    }
}

/// Something is said both ways, over a line that is recorded.
fn talk(recorder: &Recorder) -> (pty::PtyPipe, Box<dyn SerialPort>) {
    let mut device = pty::open_pair().unwrap();
    let line = Port::Serial(Box::new(SerialPipe::open(device.slave_path()).unwrap()));
    let found = Found::line(device.slave_path());
    let Port::Serial(mut host) = recorder.wrap("test", &found, line).unwrap() else { unreachable!() };
    let mut buffer = [0; 64];
    host.set_baud(57_600).unwrap();
    host.write_all(b"secret question", LONG).unwrap();
    device.read(&mut buffer, LONG).unwrap();
    assert!(host.read(&mut buffer, Duration::from_millis(5)).is_err(), "nothing yet");
    device.write_all(b"secret answer", LONG).unwrap();
    let mut got = Vec::new();
    while got.len() < 13 {
        let length = host.read(&mut buffer, LONG).unwrap();
        got.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(got, b"secret answer", "what is recorded is passed on unchanged");
    (device, host)
}

fn contents(recording: &Recording) -> (Vec<u8>, Vec<u8>) {
    let (mut sent, mut came) = (Vec::new(), Vec::new());
    for entry in &recording.entries {
        match &entry.op {
            Op::Out { data, .. } => sent.extend_from_slice(&data.0),
            Op::In { data, .. } => came.extend_from_slice(&data.0),
            _ => {}
        }
    }
    (sent, came)
}

#[test]
fn what_went_both_ways_is_in_the_file_and_an_end_too() {
    let file = File::default();
    let recorder = Recorder::new(Box::new(file.clone()), Box::new(Trusting), u64::MAX);
    let (device, mut host) = talk(&recorder);
    drop(device);
    assert!(host.read(&mut [0; 4], LONG).is_err());
    let summary = recorder.finish().unwrap();
    let recording = file.recording();
    assert_eq!((recording.header.driver.as_str(), recording.header.bus.as_str()), ("test", "serial"));
    assert_eq!(recording.entries.len() as u64, summary.entries);
    assert_eq!(file.bytes().len() as u64, summary.bytes);
    assert!(recording.entries.is_sorted_by_key(|entry| entry.us));
    assert_eq!(recording.entries[0].op, Op::Baud { baud: 57_600 });
    assert_eq!(contents(&recording), (b"secret question".to_vec(), b"secret answer".to_vec()));
    let last = recording.entries.last().unwrap();
    assert_eq!(last.failed.as_ref().unwrap().kind, "gone");
    assert!(!recording.entries.iter().any(|e| e.failed.as_ref().is_some_and(|f| f.kind == "timed-out")));
}

#[test]
fn without_a_scrubber_there_are_no_contents() {
    let file = File::default();
    let recorder = Recorder::new(Box::new(file.clone()), Box::new(Blank), u64::MAX);
    let _ends = talk(&recorder);
    recorder.finish().unwrap();
    let recording = file.recording();
    assert_eq!(contents(&recording), (vec![0; 15], vec![0; 13]), "lengths are kept");
    let data = recording.entries.iter().filter(|entry| matches!(entry.op, Op::In { .. } | Op::Out { .. }));
    assert!(data.into_iter().all(|entry| entry.mark == Some(Mark::Blank)));
}

#[test]
fn a_recording_has_a_limit_and_says_when_it_is_cut() {
    let file = File::default();
    let recorder = Recorder::new(Box::new(file.clone()), Box::new(Trusting), 1);
    let (_device, mut host) = talk(&recorder);
    host.write_all(b"more", LONG).unwrap();
    assert!(recorder.finish().unwrap().cut);
    let entries = file.recording().entries;
    assert!(matches!(&entries[..], [Entry { op: Op::End { .. }, .. }]), "{entries:?}");
}

#[test]
fn a_port_that_outlives_its_recording_works_on() {
    let file = File::default();
    let recorder = Recorder::new(Box::new(file.clone()), Box::new(Trusting), u64::MAX);
    let (_device, mut host) = talk(&recorder);
    recorder.finish().unwrap();
    let length = file.bytes().len();
    host.write_all(b"not recorded", LONG).unwrap();
    assert_eq!(file.bytes().len(), length);
    assert!(recorder.finish().is_err(), "it ends once");
}

#[test]
fn what_is_no_recording_is_refused() {
    let read = |text: &str| Recording::read(text.as_bytes());
    assert!(matches!(read(""), Err(FormatError::Line { line: 1, .. })));
    assert!(matches!(read("garbage\n"), Err(FormatError::Line { line: 1, .. })));
    let header = r#"{"biotrust-recording":1,"driver":"x","bus":"usb","place":"usb:1"}"#;
    assert!(read(header).unwrap().entries.is_empty());
    assert!(matches!(read(&header.replace(":1,", ":2,")), Err(FormatError::Version(2))));
    let third = format!("{header}\n{{\"us\":1,\"op\":\"reset\"}}\n{{\"us\":2,\"op\":\"dance\"}}\n");
    assert!(matches!(read(&third), Err(FormatError::Line { line: 3, .. })));
}

#[test]
fn the_manual_names_everything_that_may_be_in_a_file() {
    let manual = include_str!("../../../../docs/developers/recordings.md");
    let entry = |op: &str| {
        let setup = r#""setup":{"kind":0,"request":0,"value":0,"index":0}"#;
        let rest =
            r#""endpoint":1,"data":"","baud":1,"length":0,"format":"","width":0,"height":0,"reason":"""#;
        serde_json::from_str::<Entry>(&format!(r#"{{"us":0,"op":"{op}",{setup},{rest}}}"#))
    };
    let unknown = entry("unknown").unwrap_err().to_string();
    // serde names all that there are.
    let ops: Vec<_> = unknown.split('`').skip(3).step_by(2).collect();
    assert!(ops.len() >= 13 && ops.contains(&"control-in"), "{unknown}");
    for op in ops {
        entry(op).unwrap();
        assert!(manual.contains(&format!("`{op}`")), "the manual does not name {op}");
    }
    for mark in [Mark::Synthetic, Mark::Key, Mark::Nonce, Mark::Blank] {
        let name = serde_json::to_string(&mark).unwrap().replace('"', "`");
        assert!(manual.contains(&name), "the manual does not name {name}");
    }
}
