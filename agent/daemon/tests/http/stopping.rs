//! The daemon stops: everybody is told, nobody is waited for longer than two seconds.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use crate::client::{connect, read_answer, read_to_end, request};
use crate::fake::{Capture, Rig};
use crate::requests::{DESKTOP, STREAM};

#[tokio::test]
async fn everybody_is_told_and_nobody_new_is_taken() {
    let rig = Rig::start().await;
    rig.script(Capture::Hang);
    let mut capture = connect(rig.address).await;
    capture.write_all(&request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).bytes()).await.unwrap();
    let mut stream = connect(rig.address).await;
    stream.write_all(&request(rig.address, "STREAM", "/stream").body(STREAM).bytes()).await.unwrap();
    let mut body = connect(rig.address).await;
    let half = request(rig.address, "CAPTURE", "/capture").header("Content-Length: 100");
    body.write_all(&half.bytes()).await.unwrap();
    let mut idle = connect(rig.address).await;
    rig.until("both run", |counts| (counts.captures, counts.streams) == (1, 1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    let stopped = Instant::now();
    rig.stop.cancel();
    assert_eq!(read_answer(&mut capture).await.capture_error_code(), "510");
    assert_eq!(read_answer(&mut body).await.capture_error_code(), "510");
    let answer = read_answer(&mut idle).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "510"));
    assert!(read_to_end(&mut stream).await.ends_with(b"\r\n\r\n"), "ends between frames");
    drop((capture, stream, body, idle));
    rig.server.await.unwrap().unwrap();
    assert!(stopped.elapsed() < Duration::from_millis(1_500), "{:?}", stopped.elapsed());

    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err(), "the port is free");
    let counts = *rig.fake.counts.borrow();
    assert_eq!((counts.captures_dropped, counts.streams_dropped), (1, 1));
}

#[tokio::test]
async fn what_is_nearly_answered_is_answered() {
    let rig = Rig::start().await;
    *rig.fake.info_delay.lock().unwrap() = Duration::from_millis(500);
    let mut socket = connect(rig.address).await;
    socket.write_all(&request(rig.address, "MOSIPDINFO", "/info").bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.stop.cancel();
    assert_eq!(read_answer(&mut socket).await.text(), "[]");
}

/// A request that never ends and a peer that never reads: two seconds, not more.
#[tokio::test]
async fn two_seconds_are_the_limit() {
    let rig = Rig::start().await;
    *rig.fake.info_delay.lock().unwrap() = Duration::from_secs(60);
    let mut hangs = connect(rig.address).await;
    hangs.write_all(&request(rig.address, "MOSIPDINFO", "/info").bytes()).await.unwrap();
    rig.script(Capture::Answer(vec![b' '; 32 << 20].into()));
    let mut deaf = connect(rig.address).await;
    deaf.write_all(&request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).bytes()).await.unwrap();
    rig.until("the answer is on its way", |counts| counts.captures_dropped == 1).await;

    let stopped = Instant::now();
    rig.stop.cancel();
    rig.server.await.unwrap().unwrap();
    let took = stopped.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(4)).contains(&took), "{took:?}");
    drop((hangs, deaf));
}
