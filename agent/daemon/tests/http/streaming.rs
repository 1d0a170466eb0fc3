//! The live preview as the desktop client reads it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use biotrust_model::{ProblemKind, SubId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{PATIENCE, connect, read_answer, read_to_end, request, reset};
use crate::desktop::{DesktopParser, Stuck};
use crate::fake::{Rig, jpeg};
use crate::requests::{DESKTOP, STREAM};

async fn open(rig: &Rig, body: &str) -> TcpStream {
    let mut socket = connect(rig.address).await;
    socket.write_all(&request(rig.address, "STREAM", "/stream").body(body).bytes()).await.unwrap();
    socket
}

/// Reads the head, byte by byte so that nothing of the body is lost.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(PATIENCE, socket.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Fact 1 too: chunks would make the client's window hang when it closes.
#[tokio::test]
async fn r24_fact1_stream_is_close_delimited_with_content_length_per_part() {
    let rig = Rig::start().await;
    let mut socket = open(&rig, STREAM).await;
    let head = head(&mut socket).await;
    let mut lines = head.trim_end().split("\r\n");
    assert_eq!(lines.next(), Some("HTTP/1.0 200 OK"));
    let headers: Vec<&str> = lines.collect();
    assert!(
        headers.contains(&"Content-Type: multipart/x-mixed-replace; boundary=--BoundaryString"),
        "{head}"
    );
    assert!(headers.contains(&"Connection: close"), "{head}");
    let lower = head.to_lowercase();
    assert!(!lower.contains("transfer-encoding") && !lower.contains("content-length"), "{head}");

    let part_head = b"--BoundaryString\r\nContent-Type: image/jpeg\r\nContent-Length: 20000\r\n\r\n";
    let mut part = vec![0; part_head.len() + 20_000 + 4];
    for sequence in 1..=3 {
        socket.read_exact(&mut part).await.unwrap();
        assert!(part.starts_with(part_head), "part {sequence}");
        assert_eq!(part[part_head.len()..part.len() - 4], *jpeg(sequence, 20_000), "part {sequence}");
        assert!(part.ends_with(b"\xff\xd9\r\n\r\n"));
    }
}

#[tokio::test]
async fn r24_the_desktop_parser_reads_every_frame_on_time() {
    let rig = Rig::start().await;
    *rig.fake.frames.lock().unwrap() = (Duration::from_millis(500), 30_000);
    let asked = Instant::now();
    let socket = open(&rig, STREAM).await;
    let mut parser = DesktopParser::new(socket, Duration::from_secs(10));
    for sequence in 1..=4 {
        let image = parser.image().await.unwrap();
        assert_eq!(image[..30_000], *jpeg(sequence, 30_000));
        assert_eq!(image.len(), 30_001, "with the one byte beyond");
        // shown one frame late, as without the line end after the image, it would be 500 ms late
        let due = Duration::from_millis(500 * (sequence - 1));
        let took = asked.elapsed();
        assert!(took < due + Duration::from_millis(400), "frame {sequence}: {took:?}");
    }
}

/// From closing to the end of the preview, the quickest of three, so that a busy machine does not decide.
async fn quickest_end(rig: &Rig, read_first: usize, close: fn(TcpStream)) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let mut socket = open(rig, STREAM).await;
        head(&mut socket).await;
        let mut some = vec![0; read_first];
        socket.read_exact(&mut some).await.unwrap();
        let counts = *rig.fake.counts.borrow();
        assert_eq!(counts.streams, counts.streams_dropped + 1, "negative control: it does not end by itself");
        let closed = Instant::now();
        close(socket);
        rig.until("the preview ends", |counts| counts.streams_dropped == counts.streams).await;
        quickest = quickest.min(closed.elapsed());
    }
    quickest
}

#[tokio::test]
async fn r24_closing_is_noticed_within_a_frame() {
    let rig = Rig::start().await;
    for close in [drop as fn(TcpStream), reset] {
        let took = quickest_end(&rig, 50_000, close).await;
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}

/// Between two frames that are far apart, too.
#[tokio::test]
async fn r24_closing_is_noticed_without_a_frame() {
    let rig = Rig::start().await;
    *rig.fake.frames.lock().unwrap() = (Duration::from_secs(60), 20_000);
    for close in [drop as fn(TcpStream), reset] {
        let took = quickest_end(&rig, 20_000, close).await;
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}

#[tokio::test]
async fn r24_stream_ends_at_its_timeout_and_nothing_follows() {
    let rig = Rig::start().await;
    let begun = Instant::now();
    let mut socket = open(&rig, &STREAM.replace("10000", "500")).await;
    let bytes = read_to_end(&mut socket).await;
    let took = begun.elapsed();
    assert!((Duration::from_millis(450)..Duration::from_secs(2)).contains(&took), "{took:?}");
    assert!(bytes.ends_with(b"\xff\xd9\r\n\r\n"), "the last part is whole and the last");
    let heads = bytes.windows(5).filter(|window| window == b"HTTP/").count();
    assert_eq!(heads, 1, "no second answer behind the frames");
    rig.until("the preview ends", |counts| counts.streams_dropped == 1).await;
}

/// The whole minutes of the default would be too long for a test; that there is no end before is what can be seen.
#[tokio::test]
async fn r24_stream_without_a_timeout_goes_on() {
    let rig = Rig::start().await;
    let body = r#"{"deviceId":"BT0000000001","deviceSubId":"0"}"#;
    let mut parser = DesktopParser::new(open(&rig, body).await, Duration::from_secs(1));
    for _ in 0..30 {
        parser.image().await.unwrap();
    }
    assert_eq!(rig.fake.counts.borrow().streams_dropped, 0);
}

/// R25 belongs to the fleet; that HTTP serves both at once is shown here.
#[tokio::test]
async fn r25_a_capture_runs_beside_the_preview() {
    let rig = Rig::start().await;
    let mut parser = DesktopParser::new(open(&rig, STREAM).await, Duration::from_secs(10));
    parser.image().await.unwrap();
    let answer = request(rig.address, "RCAPTURE", "/capture").body(DESKTOP).send(rig.address).await;
    assert_eq!(answer.text(), crate::fake::CAPTURED);
    parser.image().await.unwrap();
    assert_eq!(rig.fake.request.lock().unwrap().as_ref().unwrap().bio.sub_id, SubId(1));
}

#[tokio::test]
async fn r24_an_error_is_json_with_a_length_and_the_end() {
    let rig = Rig::start().await;
    for kind in [ProblemKind::DeviceNotFound, ProblemKind::NotReady, ProblemKind::TooManyStreams] {
        *rig.fake.stream_problem.lock().unwrap() = Some(kind.into());
        let answer = request(rig.address, "STREAM", "/stream").body(STREAM).send(rig.address).await;
        assert_eq!((answer.status, answer.error_code()), (200, kind.code().to_string()));
        // what the desktop client makes of it: nothing, and at once
        let mut parser = DesktopParser::new(open(&rig, STREAM).await, Duration::from_secs(10));
        assert!(matches!(parser.image().await, Err(Stuck::EndOfFile)));
    }
    *rig.fake.stream_problem.lock().unwrap() = None;
    let mut socket = open(&rig, "{").await;
    assert_eq!(read_answer(&mut socket).await.error_code(), "501");
    assert_eq!(rig.fake.counts.borrow().streams, 0);
}

/// What waits for a peer that does not read is two frames of ours and what fits into the kernel's buffers.
#[tokio::test]
async fn r24_a_peer_that_does_not_read_is_not_sent_old_frames() {
    const FRAME: usize = 200_000;
    let rig = Rig::start().await;
    *rig.fake.frames.lock().unwrap() = (Duration::from_millis(2), FRAME);
    let socket = open(&rig, STREAM).await;
    let mut taken = 0;
    // until nothing more is taken for a while
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = rig.fake.frames_taken.load(Ordering::Relaxed);
        if now == taken {
            break;
        }
        taken = now;
    }
    let pending = rustix::net::sockopt::socket_recv_buffer_size(&socket).unwrap() / FRAME + 1;
    assert!(taken <= pending as u64 + 3, "{taken} frames taken, the peer's own buffer holds {pending}");
    assert_eq!(rig.fake.counts.borrow().streams_dropped, 0, "it is given some time");
}

#[tokio::test]
async fn r24_a_peer_that_never_reads_is_given_up() {
    let rig = Rig::with(|settings| settings.limits.idle = Duration::from_millis(300)).await;
    *rig.fake.frames.lock().unwrap() = (Duration::from_millis(2), 200_000);
    let socket = open(&rig, STREAM).await;
    rig.until("the preview ends", |counts| counts.streams_dropped == 1).await;
    drop(socket);
}
