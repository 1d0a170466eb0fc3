//! The emulator's monitor (QMP), by which a guest plugs devices into itself: they are made by people who know nothing of us.
//!
//! It is the third serial line of the guest. The monitor may have said something before anybody listened; what is no whole
//! answer is passed over.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

const LINE: &str = "/dev/ttyS2";
/// The bus of the controller that `cargo xtask rig` gives this guest.
const BUS: &str = "usb.0";

pub(crate) struct Monitor {
    line: BufReader<File>,
    orders: u64,
}

impl Monitor {
    pub(crate) fn open() -> Self {
        let line =
            File::options().read(true).write(true).open(LINE).unwrap_or_else(|e| panic!("{LINE}: {e}"));
        let mut raw = tcgetattr(&line).expect("a terminal");
        raw.make_raw();
        tcsetattr(&line, OptionalActions::Flush, &raw).expect("a terminal");
        let mut monitor = Self { line: BufReader::new(line), orders: 0 };
        // A terminal echoes what has come until it is told not to, and so the monitor may hear a part of its own greeting
        // before our first words, and complain of both.
        let first = json!({"execute": "qmp_capabilities", "id": 0});
        monitor.send(&first);
        loop {
            let answer = monitor.receive();
            if answer["id"] == 0 {
                break;
            }
            if answer.get("error").is_some() {
                monitor.send(&first);
            }
        }
        monitor
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
        loop {
            let answer = self.receive();
            if answer["id"] == order["id"] {
                assert!(answer.get("error").is_none(), "{order}: {answer}");
                return;
            }
        }
    }

    fn send(&mut self, order: &Value) {
        writeln!(self.line.get_mut(), "{order}").expect("the monitor listens");
    }

    /// The next thing that can be understood.
    fn receive(&mut self) -> Value {
        loop {
            let mut said = String::new();
            self.line.read_line(&mut said).expect("the monitor answers");
            if let Ok(value) = serde_json::from_str(said.trim()) {
                return value;
            }
        }
    }
}
