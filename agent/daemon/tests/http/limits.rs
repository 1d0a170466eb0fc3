//! What one peer can use up, and that everybody is answered.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Answer, PATIENCE, Request, connect, read_answer, read_to_end, request};
use crate::fake::{CAPTURED, Capture, DISCOVERY, Rig};
use crate::requests::{DESKTOP, DISCOVER_ALL, STREAM};

/// Bodies of every operation that reads one.
const WITH_BODY: [(&str, &str); 4] =
    [("MOSIPDISC", "/device"), ("CAPTURE", "/capture"), ("RCAPTURE", "/capture"), ("STREAM", "/stream")];

/// The code, wherever the operation's envelope has it; always with status 200.
fn envelope_code(verb: &str, answer: &Answer) -> String {
    answer.check_shape();
    assert_eq!(answer.status, 200);
    match verb {
        "MOSIPDISC" => answer.json()[0]["error"]["errorCode"].as_str().unwrap().to_owned(),
        "STREAM" => answer.error_code(),
        _ => answer.capture_error_code(),
    }
}

#[tokio::test]
async fn two_gigabytes_are_refused_by_their_announcement() {
    let rig = Rig::start().await;
    for (verb, path) in WITH_BODY {
        let asked = Instant::now();
        let ask = request(rig.address, verb, path).header("Content-Length: 2147483648").raw_body("{");
        let answer = ask.send(rig.address).await;
        assert_eq!(envelope_code(verb, &answer), "501");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
}

/// A client that writes all of its body before it reads must still get the answer.
#[tokio::test]
async fn an_answer_reaches_a_peer_that_is_still_writing() {
    let rig = Rig::start().await;
    let body = vec![b' '; 30 << 20];
    let mut socket = connect(rig.address).await;
    socket.write_all(&request(rig.address, "RCAPTURE", "/capture").body(body).bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(read_answer(&mut socket).await.capture_error_code(), "501");
}

#[tokio::test]
async fn a_body_without_an_announced_length_is_cut_at_the_limit() {
    let rig = Rig::start().await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for (verb, path) in WITH_BODY {
        // no last chunk: whoever waits for the end waits for ever
        let ask =
            request(rig.address, verb, path).header("Transfer-Encoding: chunked").raw_body(chunk.repeat(5));
        let answer = ask.send(rig.address).await;
        assert_eq!(envelope_code(verb, &answer), "501");
    }
}

#[tokio::test]
async fn the_limit_itself_is_allowed() {
    let rig = Rig::start().await;
    let body = |bytes: usize| format!("{DESKTOP}{}", " ".repeat(bytes - DESKTOP.len()));
    let answer = request(rig.address, "RCAPTURE", "/capture").body(body(262_144)).send(rig.address).await;
    assert_eq!(answer.text(), CAPTURED);
    let answer = request(rig.address, "RCAPTURE", "/capture").body(body(262_145)).send(rig.address).await;
    assert_eq!(answer.capture_error_code(), "501");
}

#[tokio::test]
async fn a_slow_body_is_given_up_and_told_so() {
    let rig = Rig::with(|settings| settings.limits.idle = Duration::from_millis(400)).await;
    for (verb, path) in WITH_BODY {
        let mut socket = connect(rig.address).await;
        let ask = request(rig.address, verb, path).header("Content-Length: 100");
        socket.write_all(&ask.bytes()).await.unwrap();
        let begun = Instant::now();
        let (mut reader, mut writer) = socket.into_split();
        // a byte now and then does not buy more time
        let drip = tokio::spawn(async move {
            while writer.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, reader.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let took = begun.elapsed();
        drip.abort();
        assert_eq!(envelope_code(verb, &Answer::parse(&bytes)), "501");
        assert!((Duration::from_millis(350)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn slow_loris_is_given_up_and_told_so() {
    let rig = Rig::with(|settings| settings.limits.header = Duration::from_millis(400)).await;
    for drip in [None, Some(Duration::from_millis(50))] {
        let begun = Instant::now();
        let (mut reader, mut writer) = connect(rig.address).await.into_split();
        let slow = tokio::spawn(async move {
            let Some(drip) = drip else { return std::future::pending().await };
            writer.write_all(b"MOSIPDINFO /info HTTP/1.1\r\n").await.unwrap();
            while writer.write_all(b"X-A: b\r\n").await.is_ok() {
                tokio::time::sleep(drip).await;
            }
        });
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, reader.read_to_end(&mut bytes)).await.unwrap().unwrap();
        slow.abort();
        let answer = Answer::parse(&bytes);
        assert_eq!((answer.status, answer.error_code().as_str()), (408, "513"));
        let took = begun.elapsed();
        assert!((Duration::from_millis(350)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_in_json() {
    let rig = Rig::start().await;
    let fits = request(rig.address, "MOSIPDISC", "/device").header(format!("X-Long: {}", "x".repeat(16_000)));
    assert_eq!(fits.body(DISCOVER_ALL).send(rig.address).await.text(), DISCOVERY);
    for too_much in [
        request(rig.address, "MOSIPDISC", "/device").header(format!("X-Long: {}", "x".repeat(17_000))),
        request(rig.address, "MOSIPDISC", &format!("/device?{}", "x".repeat(17_000))),
        (0..200).fold(request(rig.address, "MOSIPDISC", "/device"), |ask, n| ask.header(format!("X-{n}: 1"))),
    ] {
        let answer = too_much.body(DISCOVER_ALL).send(rig.address).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (431, "513"));
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let rig = Rig::with(|settings| settings.limits.connections = 8).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(connect(rig.address).await);
    }
    for _ in 0..3 {
        let answer = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "514"));
    }
    // as soon as there is room, there is service
    drop(idle.pop());
    let begun = Instant::now();
    loop {
        let answer = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
        if answer.status == 200 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
    }
}

/// Far more than there is room for, all at once, and a real client in between.
#[tokio::test]
async fn a_flood_is_survived_and_answered() {
    let rig = Rig::with(|settings| {
        settings.limits.connections = 100;
        settings.limits.header = Duration::from_millis(500);
    })
    .await;
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let address = rig.address;
        flood.spawn(async move { read_answer(&mut connect(address).await).await.status });
    }
    let mut refused = std::collections::BTreeMap::<u16, usize>::new();
    while let Some(status) = flood.join_next().await {
        *refused.entry(status.expect("every connection is answered")).or_default() += 1;
    }
    assert_eq!(refused.values().sum::<usize>(), 400);
    assert!(refused.keys().all(|status| [408, 503].contains(status)), "{refused:?}");
    assert!(refused[&408] >= 100, "{refused:?}");
    let answer = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(answer.text(), DISCOVERY);
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_is_given_up() {
    let rig = Rig::with(|settings| {
        settings.limits.idle = Duration::from_millis(300);
        settings.limits.connections = 8;
    })
    .await;
    *rig.fake.info.lock().unwrap() = vec![b' '; 32 << 20].into();
    let mut stubborn = Vec::new();
    for _ in 0..8 {
        let mut socket = connect(rig.address).await;
        socket.write_all(&request(rig.address, "MOSIPDINFO", "/info").bytes()).await.unwrap();
        stubborn.push(socket);
    }
    // negative control: right now there is no room
    let full = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(full.status, 503);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let answer = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(answer.text(), DISCOVERY);
}

/// A byte now and then does not buy more time, except for previews, which have an end of their own.
#[tokio::test]
async fn a_peer_that_reads_its_answer_drop_by_drop_is_given_up() {
    let rig = Rig::with(|settings| settings.limits.answer = Duration::from_millis(600)).await;
    *rig.fake.info.lock().unwrap() = vec![b' '; 32 << 20].into();
    let ask = request(rig.address, "MOSIPDINFO", "/info");
    let (took, read) = drop_by_drop(&rig, &ask).await;
    assert!((Duration::from_millis(550)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert!(read < 32 << 20, "{read}");

    // negative controls: a quick reader gets all of it, and a preview goes on for the time it was asked for
    assert_eq!(ask.send(rig.address).await.body.len(), 32 << 20);
    let ask = request(rig.address, "STREAM", "/stream").body(STREAM.replace("10000", "1500"));
    let (took, _) = drop_by_drop(&rig, &ask).await;
    assert!((Duration::from_millis(1_450)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

/// The time for an answer begins with the answer, not with what is written before it.
#[tokio::test]
async fn a_capture_may_take_longer_than_its_answer() {
    let rig = Rig::with(|settings| settings.limits.answer = Duration::from_millis(300)).await;
    rig.script(Capture::After(Duration::from_millis(800), Bytes::from_static(CAPTURED.as_bytes())));
    let mut socket = connect(rig.address).await;
    let ask = request(rig.address, "RCAPTURE", "/capture").header("Expect: 100-continue").body(DESKTOP);
    socket.write_all(&ask.bytes()).await.unwrap();
    let all = read_to_end(&mut socket).await;
    let answer = all.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n".as_slice()).expect("it is invited");
    assert_eq!(Answer::parse(answer).text(), CAPTURED);
}

/// Sends `ask`, reads little and often, and tells how long the other side bore it and how much was read.
async fn drop_by_drop(rig: &Rig, ask: &Request) -> (Duration, usize) {
    let mut socket = connect(rig.address).await;
    socket.write_all(&ask.bytes()).await.unwrap();
    let begun = Instant::now();
    let (mut drop, mut read) = (vec![0; 64 * 1024], 0);
    while let Ok(more @ 1..) = socket.read(&mut drop).await {
        read += more;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(begun.elapsed() < PATIENCE, "it is borne for ever");
    }
    (begun.elapsed(), read)
}
