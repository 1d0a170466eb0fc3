//! Who listens on a port, in words: `/proc/net/tcp*` tells the socket, `/proc/PID/fd` whose it is.
//!
//! Process names come from other users of this host and are shown with everything unusual in them escaped.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;

/// `st` of a listening socket.
const LISTEN: &str = "0A";
/// Local addresses whose listeners stand in the way of 127.0.0.1, as the kernel prints them.
const IN_THE_WAY: [&str; 4] =
    ["0100007F", "00000000", "00000000000000000000000000000000", "0000000000000000FFFF00000100007F"];

/// A listening socket.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    port: u16,
    uid: u32,
    inode: u64,
}

/// Who holds each of `ports`: "`java` (pid 77)".
pub(super) fn each(ports: &[u16]) -> Vec<(u16, String)> {
    let mut sockets = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        sockets.extend(fs::read_to_string(table).unwrap_or_default().lines().filter_map(parse));
    }
    let owners = owners();
    let holder = |port: u16| match sockets.iter().find(|socket| socket.port == port) {
        Some(socket) => match owners.get(&socket.inode) {
            Some((pid, name)) => format!("`{}` (pid {pid})", name.escape_default()),
            None => format!(
                "a process of user id {} that cannot be seen from here (root can see its name)",
                socket.uid
            ),
        },
        None => String::from("a process that cannot be seen from here"),
    };
    ports.iter().map(|&port| (port, holder(port))).collect()
}

/// Who holds `ports`, grouped: "4501-4503 by `java` (pid 77), 4504 by ...". One port alone is not repeated.
pub(super) fn describe(ports: &[u16]) -> String {
    let mut by_holder: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (port, holder) in each(ports) {
        by_holder.entry(holder).or_default().push(port);
    }
    if let ([_], Some((holder, _))) = (ports, by_holder.first_key_value()) {
        return holder.clone();
    }
    let parts = by_holder.iter().map(|(holder, ports)| format!("{} by {holder}", spans(ports)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Reads a line of `/proc/net/tcp` (columns: slot, local, remote, state, queues, timer, retransmits, uid, timeout,
/// inode); `None` unless it is a listener that is in the way.
fn parse(line: &str) -> Option<Listening> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = columns.get(1)?.split_once(':')?;
    if *columns.get(3)? != LISTEN || !IN_THE_WAY.contains(&address) {
        return None;
    }
    Some(Listening {
        port: u16::from_str_radix(port, 16).ok()?,
        uid: columns.get(7)?.parse().ok()?,
        inode: columns.get(9)?.parse().ok()?,
    })
}

/// Process id and name of every socket that this user can see, by inode.
fn owners() -> HashMap<u64, (u32, String)> {
    let mut owners = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let inode = target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                owners.insert(inode, (pid, name.trim_end().to_owned()));
            }
        }
    }
    owners
}

/// Ascending ports as "4501-4503+4505".
fn spans(ports: &[u16]) -> String {
    let runs = ports.chunk_by(|left, right| left.checked_add(1) == Some(*right));
    let mut text = String::new();
    for run in runs {
        let joint = if text.is_empty() { "" } else { "+" };
        let _ = match run {
            [only] => write!(text, "{joint}{only}"),
            [first, .., last] => write!(text, "{joint}{first}-{last}"),
            [] => Ok(()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

    #[test]
    fn listeners_in_the_way_are_read() {
        let line = "   3: 0100007F:1195 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1";
        assert_eq!(parse(line), Some(Listening { port: 4501, uid: 1000, inode: 31337 }));
        let everywhere = line.replace("0100007F", "00000000");
        assert!(parse(&everywhere).is_some());
        let v6 = line.replace("0100007F", "00000000000000000000000000000000");
        assert!(parse(&v6).is_some());
    }

    #[test]
    fn other_lines_are_not() {
        let line = "   3: 0100007F:1195 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1";
        assert_eq!(parse(HEADER), None);
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None, "established, not listening");
        assert_eq!(parse(&line.replace("0100007F", "0200007F")), None, "another address");
        assert_eq!(parse(&line.replace("0100007F", "00000000000000000000000001000000")), None, "::1 alone");
        assert_eq!(parse(""), None);
    }

    #[test]
    fn ports_are_written_as_spans() {
        assert_eq!(spans(&[4501]), "4501");
        assert_eq!(spans(&[4501, 4502, 4503, 4505, 4507, 4508]), "4501-4503+4505+4507-4508");
    }

    #[test]
    fn a_port_that_nobody_seems_to_hold_is_said_to_be_unseen() {
        assert!(describe(&[0]).contains("cannot be seen"));
    }
}
