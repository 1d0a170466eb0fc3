//! The emulator's monitor (QMP), by which a guest plugs devices into itself: they are made by people who know nothing of us.
//!
//! It is the third serial line of the guest. The monitor may have said something before anybody listened; what is no whole
//! answer is passed over.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};

use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use serde_json::{Value, json};

const LINE: &str = "/dev/ttyS2";
/// The bus of the controller that `cargo xtask rig` gives this guest.
const BUS: &str = "usb.0";
/// A byte that is in no JSON: the monitor forgets what it has heard before it.
const FORGET: &[u8] = &[0xFF];
/// Seconds of silence before the monitor is given up; an emulated machine is slow.
const PATIENCE: u32 = 30;

pub(crate) struct Monitor {
    line: BufReader<File>,
    /// Of a line that is not whole yet.
    said: String,
    orders: u64,
}

impl Monitor {
    pub(crate) fn open() -> Self {
        let line =
            File::options().read(true).write(true).open(LINE).unwrap_or_else(|e| panic!("{LINE}: {e}"));
        let mut raw = tcgetattr(&line).expect("a terminal");
        raw.make_raw();
        // A read that nothing comes to ends after a second: a monitor that is silent must not stop the guest.
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 10;
        tcsetattr(&line, OptionalActions::Flush, &raw).expect("a terminal");
        let mut monitor = Self { line: BufReader::new(line), said: String::new(), orders: 0 };
        // A terminal echoes what has come until it is told not to, and so the monitor may hear a part of its own greeting
        // before our first words: it complains of both, or takes ours for the rest of that and says nothing.
        let first = json!({"execute": "qmp_capabilities", "id": 0});
        for _ in 0..PATIENCE {
            monitor.line.get_mut().write_all(FORGET).expect("the monitor listens");
            monitor.send(&first);
            while let Some(answer) = monitor.receive() {
                if answer["id"] == 0 && answer.get("error").is_none() {
                    return monitor;
                }
            }
        }
        panic!("the monitor does not answer, although it was asked {PATIENCE} times");
    }

    /// The other end of a line, where nobody is.
    pub(crate) fn nowhere(&mut self, name: &str) {
        let backend = json!({"type": "null", "data": {}});
        self.order(json!({"execute": "chardev-add", "arguments": {"id": name, "backend": backend}}));
    }

    /// Plugs a device of the emulator in, under this name.
    pub(crate) fn plug(&mut self, driver: &str, name: &str, more: &Value) {
        let mut arguments = json!({"driver": driver, "id": name, "bus": BUS});
        let object = arguments.as_object_mut().expect("an object");
        object.extend(more.as_object().cloned().unwrap_or_default());
        self.order(json!({"execute": "device_add", "arguments": arguments}));
    }

    /// Pulls it out.
    pub(crate) fn pull(&mut self, name: &str) {
        self.order(json!({"execute": "device_del", "arguments": {"id": name}}));
    }

    fn order(&mut self, mut order: Value) {
        self.orders += 1;
        order["id"] = json!(self.orders);
        self.send(&order);
        for _ in 0..PATIENCE {
            while let Some(answer) = self.receive() {
                if answer["id"] == order["id"] {
                    assert!(answer.get("error").is_none(), "{order}: {answer}");
                    return;
                }
            }
        }
        panic!("the monitor does not answer within {PATIENCE} s: {order}");
    }

    fn send(&mut self, order: &Value) {
        writeln!(self.line.get_mut(), "{order}").expect("the monitor listens");
    }

    /// The next thing that can be understood; `None` when nothing came for a second.
    fn receive(&mut self) -> Option<Value> {
        loop {
            // Half a line is kept for the next call.
            if self.line.read_line(&mut self.said).expect("the monitor answers") == 0 {
                return None;
            }
            if !self.said.ends_with('\n') {
                continue;
            }
            if let Ok(value) = serde_json::from_str(std::mem::take(&mut self.said).trim()) {
                return Some(value);
            }
        }
    }
}
