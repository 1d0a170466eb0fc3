//! The driver against devices made of [`DeviceRole`], over a pipe in memory and over a real pseudo-terminal.

mod buses;
mod flood;
mod rig;
mod trust;

use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use biotrust_driver_api::{Cancel, CaptureOutcome, DeviceEvent, Found, Port, StreamJob};
use biotrust_model::{BioSubType, DeviceStatus, SubId};
use biotrust_pipe::{SerialPipe, pty};

use rig::*;

use super::*;
use crate::device::{DeviceRole, Incoming};
use crate::mctp::{self, DEVICE_EID, Framing, HOST_EID, Route, Tag};
use crate::message::{Captured, ENTERPRISE_NUMBER, Event, Op};
use crate::testing;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

#[test]
fn an_l1_device_does_everything() {
    for line in LINES {
        let (host, end) = line();
        let thread = device(end, honest(Level::L1));
        let (device, events) = l1(host);
        assert_eq!(*device.description(), testing::description(Level::L1));
        assert_eq!(device.status(LONG).unwrap(), testing::report());
        assert_eq!(device.keys(LONG).unwrap().chip_chain.len(), 2);
        assert_eq!(device.signed_info(&info(), LONG).unwrap(), "signed.BT0123456789");
        let refused = device.install_encryption_certificate("", &[vec![1]], LONG).unwrap_err();
        assert_eq!(refused.kind, DeviceErrorKind::Unsupported);
        assert!(refused.message.contains("another anchor"), "{refused}");

        device.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
        for expected in 1..=3 {
            let event = events.recv_timeout(LONG).unwrap();
            assert!(
                matches!(&event, DeviceEvent::Frame(f) if f.sequence == expected && f.jpeg.len() == 30_000),
                "{event:?}"
            );
        }
        device.stop_stream(LONG).unwrap();

        let outcome = device.capture(&slap(), &Cancel::new()).unwrap();
        let CaptureOutcome::Done { parts, reached: false } = outcome else { panic!("{outcome:?}") };
        assert!(parts.len() == 4 && parts.iter().all(|p| p.data.expose() == vec![b'x'; 200_000]));
        drop(device);
        assert_eq!(events.iter().count(), 0);
        assert_eq!(thread.end().len(), 8);
    }
}

#[test]
fn images_of_an_l0_device_are_dated_by_the_host() {
    for line in LINES {
        let (host, end) = line();
        let _thread = device(
            end,
            Box::new(|role, ticket, request| match request {
                Request::Hello(_) => honest(Level::L0)(role, ticket, request),
                _ => {
                    let mut images = [0, 1, u32::MAX]
                        .map(|age_ms| crate::message::Image { age_ms, ..testing::image(None, 9) });
                    // Long enough that an age of one millisecond is not cut.
                    assert!(!Cancel::new().wait(Duration::from_millis(20)));
                    images[0].part = Some(BioSubType::Left);
                    role.respond(
                        ticket,
                        Ok(Response::Capture(Captured::Images { images: images.into(), reached: true })),
                    )
                }
            }),
        );
        let (device, _events) = l0(host);
        let job = testing::capture_job(&BioSubType::LEFT_SLAP[..3], LONG);
        let outcome = device.capture(&job, &Cancel::new()).unwrap();
        let CaptureOutcome::Done { parts, reached: true } = outcome else { panic!("{outcome:?}") };
        let times: Vec<i64> = parts.iter().map(|p| p.captured_at.0).collect();
        assert_eq!(times[..2], [1_000_000, 999_999]);
        assert!(
            (1..20_000).contains(&(1_000_000 - times[2])),
            "no image is older than its capture: {times:?}"
        );
        assert_eq!(parts[0].part, Some(BioSubType::Left));
    }
}

#[test]
fn signing_and_status_do_not_wait_for_a_capture() {
    for line in LINES {
        let (host, end) = line();
        let mut capture = None;
        let mut honest = honest(Level::L1);
        // Answers the capture after the third request that came later.
        let script: Script = Box::new(move |role, ticket, request| {
            if matches!(request, Request::Capture(_)) {
                capture = Some((ticket, 3));
                return Vec::new();
            }
            let mut bytes = honest(role, ticket, request);
            if let Some((_, left)) = &mut capture {
                *left -= 1;
            }
            if let Some((ticket, _)) = capture.take_if(|(_, left)| *left == 0) {
                bytes.extend(role.respond(ticket, Ok(Response::Capture(captured(Level::L1, 4, 100)))));
            }
            bytes
        });
        let _thread = device(end, script);
        let (device, _events) = l1(host);
        let capturing = Arc::clone(&device);
        let capture = std::thread::spawn(move || capturing.capture(&slap(), &Cancel::new()));
        // Until the capture has been sent there is nothing to overtake.
        let mut rounds = 0;
        while !capture.is_finished() {
            assert_eq!(device.status(LONG).unwrap(), testing::report());
            assert!(device.signed_info(&info(), LONG).is_ok());
            rounds += 1;
            assert!(rounds < 10_000);
        }
        assert!(matches!(capture.join().unwrap(), Ok(CaptureOutcome::Done { .. })));
    }
}

#[test]
fn a_line_on_which_nobody_answers() {
    for line in LINES {
        let (host, _end) = line();
        let start = Instant::now();
        let error =
            factory().open(Port::pipe(host), &Found::line("test"), Box::new(|_| {}), SHORT).err().unwrap();
        assert_eq!(error.kind, DeviceErrorKind::TimedOut);
        assert!(error.message.contains("says nothing"), "{error}");
        assert!(start.elapsed() < LONG);
    }
}

#[test]
fn a_device_that_falls_silent_costs_each_call_its_time_limit() {
    for line in LINES {
        let (host, end) = line();
        let thread = device(end, honest_but(Level::L1, |r| (!matches!(r, Request::Hello(_))).then(Vec::new)));
        let (device, events) = l1(host);
        assert_eq!(kind(device.status(SHORT)), DeviceErrorKind::TimedOut);
        assert_eq!(kind(device.signed_info(&info(), SHORT)), DeviceErrorKind::TimedOut);
        let start = Instant::now();
        let job = testing::capture_job(&[], SHORT);
        assert_eq!(kind(device.capture(&job, &Cancel::new())), DeviceErrorKind::TimedOut);
        let took = start.elapsed();
        assert!(took >= SHORT + Duration::from_millis(1500) && took < Duration::from_secs(5), "{took:?}");
        drop(device);
        assert_eq!(events.iter().count(), 0, "silence is not the end of a line");
        let seen = thread.end();
        assert!(matches!(seen.last(), Some(Request::CaptureCancel { .. })), "{seen:?}");
    }
}

#[test]
fn a_capture_is_cancelled_at_once_even_when_the_device_is_silent() {
    for line in LINES {
        let (host, end) = line();
        let (captures, started) = channel();
        let thread = device(
            end,
            honest_but(Level::L0, move |request| match request {
                Request::Capture(_) => captures.send(()).ok().map(|()| Vec::new()),
                Request::CaptureCancel { .. } => Some(Vec::new()),
                _ => None,
            }),
        );
        let (device, _events) = l0(host);
        let rounds = [(); 3].map(|()| {
            let cancel = Cancel::new();
            let (capturing, flag) = (Arc::clone(&device), cancel.clone());
            let capture =
                std::thread::spawn(move || (kind(capturing.capture(&slap(), &flag)), Instant::now()));
            started.recv_timeout(LONG).unwrap();
            let start = Instant::now();
            cancel.cancel();
            let (result, end) = capture.join().unwrap();
            assert_eq!(result, DeviceErrorKind::Cancelled);
            assert_eq!(kind(device.capture(&slap(), &cancel)), DeviceErrorKind::Cancelled, "set already");
            end - start
        });
        // One of three, because a busy machine may hold up a thread for longer than that.
        assert!(rounds.iter().min() < Some(&Duration::from_millis(100)), "{rounds:?}");
        assert_eq!(device.status(LONG).unwrap(), testing::report(), "the line is as good as before");
        drop(device);
        let seen = thread.end();
        let cancels = seen.iter().filter(|r| matches!(r, Request::CaptureCancel { .. })).count();
        assert_eq!(cancels, 3, "{seen:?}");
    }
}

#[test]
fn a_device_that_does_not_read_is_given_up_in_time() {
    for line in LINES {
        let (host, mut end) = line();
        let opening = std::thread::spawn(move || {
            let (mut role, mut buffer) = (DeviceRole::new(), [0; 4096]);
            let length = end.read(&mut buffer, LONG).unwrap();
            let Some(Incoming::Request { ticket, .. }) = role.receive(&buffer[..length]).pop() else {
                panic!("no HELLO")
            };
            let answer = role.respond(ticket, Ok(Response::Hello(testing::description(Level::L1))));
            end.write_all(&answer, LONG).unwrap();
            end
        });
        let (device, events) = l1(host);
        let _deaf = opening.join().unwrap();
        let start = Instant::now();
        let certificate = vec![vec![0; 1_000_000]];
        assert_eq!(
            kind(device.install_encryption_certificate("", &certificate, SHORT)),
            DeviceErrorKind::TimedOut
        );
        assert!(start.elapsed() < LONG / 4);
        assert_eq!(gone(&events), DeviceErrorKind::TimedOut);
        assert_eq!(kind(device.status(LONG)), DeviceErrorKind::Gone);
    }
}

#[test]
fn what_is_left_on_the_line_is_passed_over() {
    for line in LINES {
        let (host, mut end) = line();
        // Half a frame of an earlier session, one of its answers and one of its events.
        let mut old = DeviceRole::new();
        let mut stale = old.event(Event::Frame(testing::frame(7, 1000)));
        let half = stale.split_off(stale.len() - 40);
        let mut line = half;
        line.extend(&stale);
        line.extend(old.event(Event::KeysChanged));
        end.write_all(&line, LONG).unwrap();
        let _thread = device(end, honest(Level::L1));
        let (device, events) = l1(host);
        assert_eq!(device.status(LONG).unwrap(), testing::report());
        assert!(events.try_recv().is_err());
    }
}

#[test]
fn something_else_at_the_other_end_is_not_a_device() {
    let (host, mut end) = pty_pair();
    end.write_all(b"login: ", LONG).unwrap();
    let chatter = std::thread::spawn(move || {
        while end.write_all(b"\r\nlogin: ", SHORT).is_ok() {
            assert!(!Cancel::new().wait(Duration::from_millis(5)));
        }
    });
    let error =
        factory().open(Port::pipe(host), &Found::line("test"), Box::new(|_| {}), SHORT).err().unwrap();
    assert!(
        error.kind == DeviceErrorKind::TimedOut && error.message.contains("is this a biotrust device"),
        "{error}"
    );
    drop(chatter);
}

#[test]
fn a_device_that_refuses_hello_says_why() {
    let (host, end) = memory_pair();
    let _thread = device(
        end,
        Box::new(|role, ticket, _| role.respond(ticket, Err((DeviceErrorKind::Tampered, "opened".into())))),
    );
    let error = factory().open(Port::pipe(host), &Found::line("test"), Box::new(|_| {}), LONG).err().unwrap();
    assert!(error.kind == DeviceErrorKind::Tampered && error.message.contains("opened"), "{error}");
}

#[test]
fn a_hello_that_was_lost_is_said_again() {
    let (host, end) = memory_pair();
    let mut hellos = 0;
    let thread = device(
        end,
        honest_but(Level::L0, move |request| {
            hellos += u32::from(matches!(request, Request::Hello(_)));
            (hellos == 1).then(Vec::new)
        }),
    );
    let (device, _events) = l0(host);
    assert_eq!(device.status(LONG).unwrap(), testing::report());
    drop(device);
    assert_eq!(thread.end().len(), 3);
}

#[test]
fn a_line_that_is_cut_in_the_middle_of_a_message_is_reported_once() {
    for line in LINES {
        let (host, end) = line();
        let mut honest = honest(Level::L0);
        let (mut pipe, mut role) = (end, DeviceRole::new());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = pipe.read(&mut buffer, LONG) {
                for incoming in role.receive(&buffer[..length]) {
                    let Incoming::Request { ticket, request } = incoming else { panic!("refused") };
                    let capture = matches!(request, Request::Capture(_));
                    let bytes = honest(&mut role, ticket, request);
                    if capture {
                        pipe.write_all(&bytes[..bytes.len() / 2], LONG).unwrap();
                        return;
                    }
                    pipe.write_all(&bytes, LONG).unwrap();
                }
            }
        });
        let (device, events) = l0(host);
        assert_eq!(kind(device.capture(&slap(), &Cancel::new())), DeviceErrorKind::Gone);
        thread.join().unwrap();
        assert_eq!(gone(&events), DeviceErrorKind::Gone);
        assert_eq!(kind(device.status(LONG)), DeviceErrorKind::Gone);
    }
}

#[test]
fn a_device_that_answers_as_the_other_level_loses_its_line_and_no_other_does() {
    for (claimed, real) in [(Level::L0, Level::L1), (Level::L1, Level::L0)] {
        for line in LINES {
            let (host, end) = line();
            let mut as_real = honest(real);
            let script: Script = Box::new(move |role, ticket, request| match request {
                Request::Hello(_) => honest(claimed)(role, ticket, request),
                _ => as_real(role, ticket, request),
            });
            let _liar = device(end, script);
            let (neighbour_host, neighbour_end) = line();
            let _neighbour = device(neighbour_end, honest(Level::L0));
            let (neighbour, neighbour_events) = l0(neighbour_host);

            let (opened, events) = open(host);
            let refused = match &opened {
                Opened::L0(device) => kind(device.capture(&slap(), &Cancel::new())),
                Opened::L1(device) => kind(device.capture(&slap(), &Cancel::new())),
            };
            assert_eq!(refused, DeviceErrorKind::Protocol);
            assert_eq!(gone(&events), DeviceErrorKind::Protocol);
            assert_eq!(kind(opened.device().status(LONG)), DeviceErrorKind::Gone);
            assert!(neighbour.capture(&slap(), &Cancel::new()).is_ok());
            assert!(neighbour_events.try_recv().is_err());
        }
    }
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    let (host, end) = memory_pair();
    let mut late = None;
    let script: Script = Box::new(move |role, ticket, request| match request {
        Request::Status if late.is_none() => {
            late = Some(ticket);
            Vec::new()
        }
        Request::Status => {
            let wrong = biotrust_driver_api::SelfReport { status: DeviceStatus::Busy, reason: "late".into() };
            let mut bytes =
                late.take().map_or_else(Vec::new, |old| role.respond(old, Ok(Response::Status(wrong))));
            bytes.extend(role.respond(ticket, Ok(Response::Status(testing::report()))));
            bytes
        }
        _ => honest(Level::L0)(role, ticket, request),
    });
    let _thread = device(end, script);
    let (device, _events) = l0(host);
    assert_eq!(kind(device.status(SHORT)), DeviceErrorKind::TimedOut);
    assert_eq!(device.status(LONG).unwrap(), testing::report());
}

#[test]
fn dropping_the_handle_ends_the_thread_quiets_the_device_and_frees_the_line() {
    for line in LINES {
        let (host, end) = line();
        let thread = device(end, honest(Level::L1));
        let (device, events) = l1(host);
        device.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
        drop(device);
        // The sink is dropped with the line, and the line with the thread.
        assert!(events.iter().all(|event| matches!(event, DeviceEvent::Frame(_))));
        let seen = thread.end();
        assert!(matches!(seen.last(), Some(Request::StreamStop)), "{seen:?}");
    }
}

#[test]
fn a_pseudo_terminal_is_opened_again_while_the_device_still_streams() {
    let end = pty::open_pair().unwrap();
    let path = end.slave_path().to_owned();
    let mut pusher = end.try_clone().unwrap();
    let thread = device(Box::new(end), honest(Level::L0));
    let first = l0(Box::new(SerialPipe::open(&path).unwrap()));
    first.0.start_stream(StreamJob { sub_id: SubId(1), fps: 15 }, LONG).unwrap();
    drop(first);
    // As after a host that was killed: the device has filled the line with frames that nobody took.
    let frames = DeviceRole::new().event(Event::Frame(testing::frame(1, 1_000_000)));
    assert!(pusher.write_all(&frames, SHORT).is_err());
    let (second, events) = l0(Box::new(SerialPipe::open(&path).unwrap()));
    assert_eq!(second.status(LONG).unwrap(), testing::report());
    assert!(events.try_recv().is_err());
    drop(thread);
}
