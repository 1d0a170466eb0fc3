//! Does our daemon answer on its port? Asks as a client does: MOSIPDISC for all devices.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::Finding;
use crate::report::Report;
use crate::text::count;

const NAME: &str = "port";

/// For each of connecting, writing and reading; clients give up after 1 to 30 s.
const LIMIT: Duration = Duration::from_secs(2);

/// Longest answer that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// The ports that the compliance tool kit looks at; a browser client that is set to fewer than 4501-4600 uses these.
const PREFERRED: std::ops::RangeInclusive<u16> = 4501..=4510;

pub(super) fn check(report: &Report) -> Finding {
    let Some(port) = report.sbi.as_ref().map(|sbi| sbi.port).filter(|port| *port != 0) else {
        return Finding::fail(
            NAME,
            "the daemon has no port",
            "See journalctl -u biotrustd for what holds the ports 4501-4600; end it, then restart the service.",
        );
    };
    let known: BTreeSet<&str> = report
        .devices
        .iter()
        .filter(|device| device.in_discovery)
        .filter_map(|device| device.id.as_deref())
        .collect();
    match discover(port).and_then(|answer| ids(&answer)) {
        Err(why) => Finding::fail(
            NAME,
            format!("127.0.0.1:{port} does not answer MOSIPDISC as it should: {why}"),
            "Check that no firewall stands on the loopback interface, then restart the service.",
        ),
        Ok(found) if found.iter().map(String::as_str).ne(known.iter().copied()) => Finding::warn(
            NAME,
            format!("127.0.0.1:{port} lists {found:?}, the daemon {known:?}"),
            "A device may just have come or gone: try again. If it stays, another program answers on this port.",
        ),
        Ok(found) if !PREFERRED.contains(&port) => Finding::warn(
            NAME,
            format!(
                "127.0.0.1:{port} answers with {}, but is outside 4501-4510",
                count(found.len(), "device")
            ),
            "Some clients look at 4501-4510 only: free one of these ports, then restart the service.",
        ),
        Ok(found) => {
            Finding::ok(NAME, format!("127.0.0.1:{port} answers with {}", count(found.len(), "device")))
        }
    }
}

/// Body of the answer to MOSIPDISC.
fn discover(port: u16) -> Result<Vec<u8>, String> {
    const BODY: &str = r#"{"type":"Biometric Device"}"#;
    let io = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), LIMIT).map_err(io)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(io)?;
    stream.set_write_timeout(Some(LIMIT)).map_err(io)?;
    let request = format!(
        "MOSIPDISC /device HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(request.as_bytes()).map_err(io)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).map_err(io)?;

    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no HTTP answer")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(body),
        _ => Err(format!("HTTP status line {:?}", crate::text::plain(status))),
    }
}

/// Ids of the devices in an answer, in order.
fn ids(answer: &[u8]) -> Result<BTreeSet<String>, String> {
    let devices: Vec<Value> =
        serde_json::from_slice(answer).map_err(|e| format!("no list of devices ({e})"))?;
    devices
        .iter()
        .map(|device| {
            let id = device.get("deviceId").and_then(Value::as_str);
            id.map(str::to_owned).ok_or_else(|| "an entry without deviceId".to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use serde_json::json;
    use std::net::TcpListener;

    /// Answers one connection with `answer` once the request is in; returns the port and what was asked.
    fn serve(answer: &'static str) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (port, server)
    }

    fn report(port: u16) -> Report {
        let device = json!({ "id": "BT0123456789", "in_discovery": true, "status": "Ready" });
        let hidden = json!({ "id": "BT9999999999", "in_discovery": false, "status": "Ready" });
        Report::read(&json!({ "sbi": { "port": port }, "devices": [device, hidden] })).unwrap()
    }

    #[test]
    fn our_daemon_is_known_by_its_devices() {
        let (port, server) = serve("HTTP/1.1 200 OK\r\nX: y\r\n\r\n[{\"deviceId\":\"BT0123456789\"}]");
        let finding = check(&report(port));
        assert!(server.join().unwrap().starts_with("MOSIPDISC /device HTTP/1.1\r\n"));
        // A free port is never one of the preferred ten.
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.text.contains("answers with 1 device"), "{}", finding.text);
    }

    #[test]
    fn somebody_else_on_the_port_is_noticed() {
        for (answer, verdict, word) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", Verdict::Fail, "404"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", Verdict::Fail, "no list"),
            ("SSH-2.0-OpenSSH_9.2\r\n", Verdict::Fail, "no HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\n[{}]", Verdict::Fail, "deviceId"),
            ("HTTP/1.1 200 OK\r\n\r\n[{\"deviceId\":\"1\"}]", Verdict::Warn, "BT0123456789"),
        ] {
            let (port, server) = serve(answer);
            let finding = check(&report(port));
            server.join().unwrap();
            assert_eq!(finding.verdict, verdict, "{answer:?}");
            assert!(finding.text.contains(word), "{}", finding.text);
        }
    }

    #[test]
    fn nobody_on_the_port_is_noticed() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(check(&report(port)).verdict, Verdict::Fail);
        assert_eq!(check(&report(0)).verdict, Verdict::Fail);
    }
}
