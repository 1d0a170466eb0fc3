//! Devices that say far too much.

use super::*;

#[test]
fn a_flood_is_held_back_and_answers_still_come() {
    // Longer than the driver ever pauses.
    const PATIENCE: Duration = Duration::from_secs(3);
    for line in LINES {
        let (host, mut end) = line();
        let thread = std::thread::spawn(move || {
            let (mut role, mut buffer, mut honest, mut flooding) =
                (DeviceRole::new(), [0; 4096], honest(Level::L0), false);
            let mut sent = 0u64;
            loop {
                match end.read(&mut buffer, if flooding { Duration::ZERO } else { LONG }) {
                    Ok(length) => {
                        for incoming in role.receive(&buffer[..length]) {
                            let Incoming::Request { ticket, request } = incoming else { panic!("refused") };
                            flooding |= matches!(request, Request::StreamStart(_));
                            let answer = honest(&mut role, ticket, request);
                            if end.write_all(&answer, PATIENCE).is_err() {
                                return sent;
                            }
                        }
                    }
                    Err(error) if error.kind == PipeErrorKind::TimedOut && flooding => {}
                    Err(_) => return sent,
                }
                if flooding {
                    sent += 1;
                    let frame = role.event(Event::Frame(testing::frame(sent, 2000)));
                    if end.write_all(&frame, PATIENCE).is_err() {
                        return sent;
                    }
                }
            }
        });
        let (device, events) = l0(host);
        device.start_stream(StreamJob { sub_id: SubId(1), fps: 30 }, LONG).unwrap();
        let start = Instant::now();
        assert_eq!(device.status(LONG).unwrap(), testing::report());
        assert!(!Cancel::new().wait(Duration::from_millis(500)));
        let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
        let came = events.try_iter().count();
        drop(device);
        let sent = thread.join().unwrap();
        // What was sent and has not come must be what the line itself holds, about 64 kB each way: nothing is queued.
        assert!(came <= seconds * 250, "{came} events in {seconds} s");
        assert!(sent < came as u64 + 250, "{sent} sent, {came} came");
    }
}

/// One of each that a device can send without end and that is no event: a kilobyte that makes sense to nobody.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let line = |vendor: u32, kind, op, owner| {
        let header = [&[0x7F][..], &vendor.to_be_bytes(), &[VERSION, kind, op, 0, 0xEE, 0xEE, 0, 0]].concat();
        let tag = Tag { value: 3, owner };
        let route = Route { source: DEVICE_EID, destination: HOST_EID, tag };
        mctp::encode(Framing::Serial, route, &[header.as_slice(), &[0; 1000]].concat())
    };
    let whole = line(ENTERPRISE_NUMBER, 1, Op::Status.code(), false);
    let first_packet = 2 + whole[1..].iter().position(|byte| *byte == 0x7E).unwrap();
    vec![
        ("an event of no known kind", line(ENTERPRISE_NUMBER, 3, 0x99, true)),
        ("a request", line(ENTERPRISE_NUMBER, 0, Op::Status.code(), true)),
        ("a message of another vendor", line(1, 3, 1, true)),
        ("the beginning of a message", whole[..first_packet].to_vec()),
        ("an answer to nobody", whole),
    ]
}

/// Answers until the first STATUS, then sends `flood` for as long as somebody takes it; ends with how often.
fn flooding(mut end: Box<dyn Pipe>, flood: Vec<u8>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut role, mut buffer, mut honest) = (DeviceRole::new(), [0; 4096], honest(Level::L0));
        let mut asked = false;
        while !asked {
            let length = end.read(&mut buffer, LONG).unwrap();
            for incoming in role.receive(&buffer[..length]) {
                let Incoming::Request { ticket, request } = incoming else { panic!("refused") };
                asked = matches!(request, Request::Status);
                end.write_all(&honest(&mut role, ticket, request), LONG).unwrap();
            }
        }
        std::iter::from_fn(|| end.write_all(&flood, LONG).ok()).count()
    })
}

#[test]
fn a_flood_of_nonsense_is_held_back_too() {
    for (what, message) in nonsense() {
        let (host, end) = memory_pair();
        let length = message.len();
        let thread = flooding(end, message);
        let (device, events) = l0(host);
        device.status(LONG).unwrap();
        let start = Instant::now();
        assert!(!Cancel::new().wait(Duration::from_millis(500)));
        drop(device);
        let sent = thread.join().unwrap();
        let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
        // What is taken in a second, what is read at once, and what the line holds.
        let most = seconds * (150 + 4096 / length) + CHANNEL_ROOM / length + 1;
        assert!((150..=most).contains(&sent), "{what}: {sent} were taken in {seconds} s, not {most}");
        assert_eq!(events.iter().count(), 0);
    }
}

#[test]
fn a_flood_in_place_of_a_hello_is_held_back_until_the_time_limit() {
    for (what, message) in nonsense() {
        let (host, mut end) = memory_pair();
        let length = message.len();
        let thread =
            std::thread::spawn(move || std::iter::from_fn(|| end.write_all(&message, LONG).ok()).count());
        let start = Instant::now();
        let error = factory()
            .open(Port::pipe(host), &Found::line("test"), Box::new(|_| {}), Duration::from_millis(500))
            .err()
            .unwrap();
        assert_eq!(error.kind, DeviceErrorKind::TimedOut);
        let sent = thread.join().unwrap();
        let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
        let most = seconds * (150 + 4096 / length) + CHANNEL_ROOM / length + 1;
        assert!((150..=most).contains(&sent), "{what}: {sent} were taken in {seconds} s, not {most}");
    }
}

#[test]
fn a_flood_of_packets_for_somebody_else_is_held_back_by_its_bytes() {
    let route = Route { source: DEVICE_EID, destination: 77, tag: Tag { value: 0, owner: true } };
    let flood = mctp::encode(Framing::Serial, route, &[0; 30_000]);
    let (host, end) = memory_pair();
    let length = flood.len();
    let thread = flooding(end, flood);
    let (device, _events) = l0(host);
    device.status(LONG).unwrap();
    let start = Instant::now();
    assert!(!Cancel::new().wait(Duration::from_millis(1500)));
    drop(device);
    let sent = length * thread.join().unwrap();
    let seconds = start.elapsed().as_secs_f64().ceil() as usize + 1;
    let most = seconds * 16 * 1024 * 1024 + 2 * CHANNEL_ROOM;
    assert!(sent <= most, "{sent} bytes were taken in {seconds} s, not {most}");
}

#[test]
fn frames_that_nobody_wants_are_not_passed_on() {
    let (host, end) = memory_pair();
    let mut honest = honest(Level::L0);
    let script: Script = Box::new(move |role, ticket, request| {
        let mut bytes = role.event(Event::Frame(testing::frame(1, 10)));
        bytes.extend(role.event(Event::Status(testing::report())));
        bytes.extend(role.event(Event::KeysChanged));
        bytes.extend(honest(role, ticket, request));
        bytes
    });
    let _thread = device(end, script);
    let (device, events) = l0(host);
    device.status(LONG).unwrap();
    let seen: Vec<DeviceEvent> = events.try_iter().collect();
    assert!(matches!(seen[..], [DeviceEvent::Status(_), DeviceEvent::KeysChanged]), "{seen:?}");
}
