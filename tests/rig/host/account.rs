//! Users and groups of the guest, and programs that run as them.

use std::fs;
use std::process::Command;

/// Whom a program runs as.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Further groups.
    groups: Vec<u32>,
}

impl Account {
    /// A user of the guest with its own group alone.
    pub(crate) fn named(name: &str) -> Self {
        let fields = entry("/etc/passwd", name);
        let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok()).expect("a number");
        Self { uid: number(2), gid: number(3), groups: vec![number(3)] }
    }

    /// The same user, in this group as well.
    pub(crate) fn and_in(mut self, group: &str) -> Self {
        let gid = entry("/etc/group", group).get(2).and_then(|field| field.parse().ok()).expect("a number");
        self.groups.push(gid);
        self
    }

    /// `program` as this account, with no right of the superuser.
    pub(crate) fn command(&self, program: &str) -> Command {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.uid.to_string(), "--regid", &self.gid.to_string()]);
        command.args(["--groups", &groups.join(","), "--bounding-set", "-all", "--no-new-privs", program]);
        command
    }
}

fn entry(file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{file}: {e}"));
    let line = text.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in {file}")).map(str::to_owned).collect()
}
