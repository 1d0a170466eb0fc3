//! Files that say they are recordings: what can be read is written so that it reads the same.
#![no_main]

use biotrust_pipe::record::{Op, Recording};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(recording) = Recording::read(bytes) else { return };
    let _ = (recording.header.quirks(), recording.header.interfaces());
    for entry in &recording.entries {
        if let Op::ControlIn { setup, .. } | Op::ControlOut { setup, .. } = &entry.op {
            let _ = setup.setup();
        }
    }
    let mut again = serde_json::to_vec(&recording.header).expect("it was read");
    for entry in &recording.entries {
        again.push(b'\n');
        again.extend(serde_json::to_vec(entry).expect("it was read"));
    }
    assert_eq!(Recording::read(again.as_slice()).expect("what was written can be read"), recording);
});
