//! A capture belongs to its connection: when the client goes, it ends within 100 ms, however the client goes.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::{connect, read_answer, request, reset};
use crate::fake::{Capture, Rig};
use crate::requests::DESKTOP;

const AT_ONCE: Duration = Duration::from_millis(100);

/// Starts a capture that hangs.
async fn begin(rig: &Rig, after_the_request: &[u8]) -> TcpStream {
    rig.script(Capture::Hang);
    let begun = rig.fake.counts.borrow().captures;
    let mut socket = connect(rig.address).await;
    socket.write_all(&request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).bytes()).await.unwrap();
    socket.write_all(after_the_request).await.unwrap();
    rig.until("the capture begins", |counts| counts.captures == begun + 1).await;
    // negative control: it does not end by itself
    tokio::time::sleep(AT_ONCE).await;
    let counts = *rig.fake.counts.borrow();
    assert_eq!(counts.captures_dropped, begun);
    socket
}

/// The quickest of three, so that a busy machine does not decide.
async fn quickest(rig: &Rig, after_the_request: &[u8], leave: fn(TcpStream)) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let socket = begin(rig, after_the_request).await;
        let all = rig.fake.counts.borrow().captures;
        let left = Instant::now();
        leave(socket);
        rig.until("the capture ends", |counts| counts.captures_dropped == all).await;
        quickest = quickest.min(left.elapsed());
    }
    quickest
}

#[tokio::test]
async fn closing_cancels_the_capture_at_once() {
    let rig = Rig::start().await;
    let took = quickest(&rig, b"", drop).await;
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn resetting_cancels_the_capture_at_once() {
    let rig = Rig::start().await;
    let took = quickest(&rig, b"", reset).await;
    assert!(took < AT_ONCE, "{took:?}");
}

/// A line end too many, or a whole second request, must not hide that the client has gone.
#[tokio::test]
async fn leaving_is_noticed_behind_whatever_else_was_sent() {
    let rig = Rig::start().await;
    let second = request(rig.address, "MOSIPDINFO", "/info").bytes();
    let flood = vec![b'x'; 1 << 20];
    for more in [b"\r\n".as_slice(), &second, &flood] {
        for leave in [drop as fn(TcpStream), reset] {
            let took = quickest(&rig, more, leave).await;
            assert!(took < AT_ONCE, "{took:?}");
        }
    }
}

#[tokio::test]
async fn half_closing_cancels_the_capture_and_is_told_so() {
    let rig = Rig::start().await;
    let mut socket = begin(&rig, b"").await;
    let left = Instant::now();
    socket.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut socket).await.capture_error_code(), "509");
    assert_eq!(rig.fake.counts.borrow().captures_dropped, 1);
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

/// A client that sends its request and closes its side at once still gets quick answers.
#[tokio::test]
async fn quick_answers_reach_a_client_that_has_half_closed() {
    let rig = Rig::start().await;
    *rig.fake.info_delay.lock().unwrap() = Duration::from_millis(100);
    let mut socket = connect(rig.address).await;
    socket.write_all(&request(rig.address, "MOSIPDINFO", "/info").bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut socket).await.text(), "[]");
}

/// Other captures are not touched.
#[tokio::test]
async fn only_the_capture_of_the_one_who_left_ends() {
    let rig = Rig::start().await;
    let stays = begin(&rig, b"").await;
    let mut leaves = connect(rig.address).await;
    leaves.write_all(&request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).bytes()).await.unwrap();
    rig.until("both run", |counts| counts.captures == 2).await;
    drop(leaves);
    rig.until("one ends", |counts| counts.captures_dropped == 1).await;
    tokio::time::sleep(AT_ONCE).await;
    assert_eq!(rig.fake.counts.borrow().captures_dropped, 1);
    drop(stays);
}

/// The answer is on its way when the client resets.
#[tokio::test]
async fn resetting_while_being_answered_does_no_harm() {
    let rig = Rig::start().await;
    rig.script(Capture::Answer(vec![b' '; 8 << 20].into()));
    for _ in 0..20 {
        let mut socket = connect(rig.address).await;
        socket.write_all(&request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).bytes()).await.unwrap();
        socket.readable().await.unwrap();
        reset(socket);
    }
    rig.script(Capture::Answer("{}".into()));
    let answer = request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).send(rig.address).await;
    assert_eq!(answer.text(), "{}");
}
