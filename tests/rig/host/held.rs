//! What a process holds: the quantities that must not grow over months.

use std::fs;

use serde_json::{Value, json};

/// Resources of a process at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Open files.
    pub(crate) files: usize,
    pub(crate) threads: usize,
    /// Memory that is in use by it alone, KiB: files of programs do not count.
    pub(crate) memory_kib: usize,
}

impl Held {
    /// What process `pid` holds now.
    pub(crate) fn by(pid: u32) -> Self {
        let count = |what: &str| {
            let directory = format!("/proc/{pid}/{what}");
            fs::read_dir(&directory).unwrap_or_else(|e| panic!("{directory}: {e}")).count()
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let memory_kib = memory.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok());
        Self {
            files: count("fd"),
            threads: count("task"),
            memory_kib: memory_kib.unwrap_or_else(|| panic!("no RssAnon in {status}")),
        }
    }

    /// For figures.
    pub(crate) fn json(self) -> Value {
        json!({"files": self.files, "threads": self.threads, "memory_kib": self.memory_kib})
    }
}
