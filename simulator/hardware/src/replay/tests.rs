//! Replays by hand: what is said again, when, and what is told of a host that leaves the recording.

use std::time::{Duration, Instant};

use biosim_usbip::{Gadget, LocalPort};
use biotrust_driver_api::{PipeErrorKind, Recipient, RequestKind, Setup, UsbPort as _};
use biotrust_pipe::record::Recording;

use super::{Progress, ReplayError, SerialReplay, UsbReplay};
use crate::serial::SerialDevice as _;

const SERIAL: &str = r#"{"biotrust-recording":1,"driver":"x","bus":"serial","place":"/dev/ttyS0"}"#;
const USB: &str = concat!(
    r#"{"biotrust-recording":1,"driver":"x","bus":"usb","place":"usb:1-1","usb":{"vendor":4617,"product":1,"release":1},"#,
    r#""interfaces":[{"number":0,"class":[255,0,0],"endpoints":[[2,false,64],[130,false,64],[129,true,8]]}]}"#
);

fn recording(header: &str, lines: &[&str]) -> Recording {
    Recording::read([&[header], lines].concat().join("\n").as_bytes()).unwrap()
}

/// "ask" at 0 ms, "answer" 40 ms later, "bye", gone.
fn line() -> SerialReplay {
    let lines = [
        r#"{"us":0,"op":"out","data":"YXNr"}"#,
        r#"{"us":40000,"op":"in","data":"YW5zd2Vy"}"#,
        r#"{"us":50000,"op":"out","data":"Ynll"}"#,
        r#"{"us":50001,"op":"in","data":"","failed":{"kind":"gone"}}"#,
    ];
    SerialReplay::new(recording(SERIAL, &lines)).unwrap()
}

#[test]
fn a_line_answers_what_it_answered_with_its_pauses() {
    let (mut device, start) = (line(), Instant::now());
    assert!(device.step(b"as", None, start).is_empty());
    assert_eq!(device.next_event(), None, "it waits for the host");
    assert!(device.step(b"k", None, start).is_empty());
    let due = start + Duration::from_millis(40);
    assert_eq!(device.next_event(), Some(due));
    assert!(device.step(b"", None, due - Duration::from_millis(1)).is_empty());
    assert_eq!(device.step(b"", None, due), b"answer");
    assert_eq!(device.progress(), Progress::Running);
    device.step(b"bye", None, due);
    device.step(b"", None, due + Duration::from_millis(1));
    assert_eq!(device.progress(), Progress::Gone);
}

#[test]
fn a_host_that_says_something_else_is_told_where() {
    let (mut device, now) = (line(), Instant::now());
    device.step(b"asp", None, now);
    let Progress::Diverged { line: 2, why } = device.progress() else { panic!("{:?}", device.progress()) };
    assert!(why.contains("said 70 where it had said 6b"), "{why}");
    assert!(device.step(b"ask", None, now + Duration::from_secs(1)).is_empty(), "silent from then on");
}

#[test]
fn what_cannot_be_played_is_refused() {
    assert!(matches!(UsbReplay::new(recording(SERIAL, &[])), Err(ReplayError::Identity(_))));
    assert!(matches!(SerialReplay::new(recording(USB, &[])), Err(ReplayError::Bus { .. })));
    let blank = [r#"{"us":0,"op":"in","data":"AAAA","mark":"blank"}"#];
    assert!(matches!(SerialReplay::new(recording(SERIAL, &blank)), Err(ReplayError::Blank(2))));
}

const fn ask(request: u8) -> Setup {
    Setup { kind: RequestKind::Vendor, recipient: Recipient::Device, request, value: 0, index: 0 }
}

const LONG: Duration = Duration::from_secs(10);

/// Two looks at register 4, a write, an event, a stall, and the end.
const STORY: [&str; 7] = [
    r#"{"us":0,"op":"control-in","setup":{"kind":64,"request":4,"value":0,"index":0},"length":1,"data":"AQ=="}"#,
    r#"{"us":9,"op":"control-in","setup":{"kind":64,"request":4,"value":0,"index":0},"length":1,"data":"Ag=="}"#,
    r#"{"us":10,"op":"out","endpoint":2,"data":"Z28="}"#,
    r#"{"us":20,"op":"in","endpoint":129,"data":"AQE="}"#,
    r#"{"us":30,"op":"control-in","setup":{"kind":64,"request":5,"value":0,"index":0},"length":1,"data":"","failed":{"kind":"stalled"}}"#,
    r#"{"us":40,"op":"control-out","setup":{"kind":64,"request":6,"value":0,"index":0},"data":""}"#,
    r#"{"us":50,"op":"in","endpoint":130,"data":"","failed":{"kind":"gone"}}"#,
];

fn plug(lines: &[&str]) -> (Gadget<UsbReplay>, LocalPort, biosim_usbip::Connection) {
    let gadget = Gadget::new(UsbReplay::new(recording(USB, lines)).unwrap()).unwrap();
    let (port, connection) = LocalPort::plug(&gadget).unwrap();
    port.claim(0).unwrap();
    (gadget, port, connection)
}

#[test]
fn a_usb_device_does_again_what_it_did() {
    let (gadget, port, _connection) = plug(&STORY);
    let look = |request| {
        let mut answer = [0];
        port.control_in(ask(request), &mut answer, LONG).map(|_| answer[0])
    };
    assert_eq!(look(4).unwrap(), 1);
    assert_eq!(look(4).unwrap(), 2);
    assert_eq!(look(4).unwrap(), 2, "once more than it was asked then");
    port.write(2, b"go", LONG).unwrap();
    assert_eq!(port.read(0x81, 8, LONG).unwrap(), [1, 1]);
    assert_eq!(look(5).unwrap_err().kind, PipeErrorKind::Stalled);
    port.submit(0x82, 64).unwrap();
    port.control_out(ask(6), &[], LONG).unwrap();
    assert_eq!(port.complete(0x82, LONG).unwrap_err().kind, PipeErrorKind::Gone);
    assert_eq!(gadget.with(|device| device.progress()), Progress::Gone);
}

#[test]
fn questions_may_be_left_out_and_nothing_else() {
    let (gadget, port, _connection) = plug(&STORY);
    port.write(2, b"go", LONG).unwrap();
    assert_eq!(gadget.with(|device| device.progress()), Progress::Running, "it did not look twice");
    assert_eq!(port.write(2, b"no", LONG).unwrap_err().kind, PipeErrorKind::Stalled);
    let progress = gadget.with(|device| device.progress());
    assert!(
        matches!(&progress, Progress::Diverged { why, .. } if why.contains("2 bytes to 02h")),
        "{progress:?}"
    );
}

#[test]
fn a_write_that_was_not_taken_is_not_taken_again() {
    let lines = [
        r#"{"us":0,"op":"out","endpoint":2,"data":"Z28="}"#,
        r#"{"us":30000,"op":"out","endpoint":2,"data":"","failed":{"kind":"timed-out"}}"#,
        r#"{"us":40000,"op":"out","endpoint":2,"data":"Z28="}"#,
    ];
    let (gadget, port, _connection) = plug(&lines);
    let short = Duration::from_millis(30);
    assert_eq!(port.write(2, b"go", short).unwrap_err().kind, PipeErrorKind::TimedOut);
    port.write(2, b"go", LONG).unwrap();
    assert_eq!(gadget.with(|device| device.progress()), Progress::Finished);
}

#[test]
fn a_transfer_of_whole_packets_ends_where_it_ended() {
    let sixty_four =
        format!(r#"{{"us":0,"op":"in","endpoint":130,"data":"{}"}}"#, "AAAA".repeat(21) + "AA==");
    let (_gadget, port, _connection) = plug(&[&sixty_four]);
    assert_eq!(port.read(0x82, 640, LONG).unwrap().len(), 64);
}
