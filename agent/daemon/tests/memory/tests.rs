use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::client::{connect, read_answer, request};
use crate::fake::{DISCOVERY, Rig};
use crate::requests::DISCOVER_ALL;

static ALONE: Mutex<()> = Mutex::const_new(());

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

/// Ten of them, each of which goes on writing what it has announced for as long as it is let.
#[tokio::test]
async fn two_gigabytes_do_not_get_in() {
    let _alone = ALONE.lock().await;
    let rig = Rig::start().await;
    let before = resident();
    let mut peers = tokio::task::JoinSet::new();
    for chunked in [false, true] {
        for _ in 0..5 {
            let address = rig.address;
            peers.spawn(async move {
                let ask = request(address, "RCAPTURE", "/capture");
                let (ask, piece) = match chunked {
                    false => (ask.header("Content-Length: 2147483648"), " ".repeat(0x10000)),
                    true => {
                        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
                        (ask.header("Transfer-Encoding: chunked"), chunk)
                    }
                };
                let mut socket = connect(address).await;
                socket.write_all(&ask.bytes()).await.unwrap();
                for _ in 0..64 {
                    if socket.write_all(piece.as_bytes()).await.is_err() {
                        break;
                    }
                }
                read_answer(&mut socket).await.capture_error_code()
            });
        }
    }
    while let Some(code) = peers.join_next().await {
        assert_eq!(code.unwrap(), "501");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{} KiB", grown >> 10);
}

/// One-byte chunks must not cost more memory than they hold.
#[tokio::test]
async fn tiny_chunks_are_cheap() {
    let _alone = ALONE.lock().await;
    let rig = Rig::start().await;
    let before = resident();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = connect(rig.address).await;
        let body = "1\r\n \r\n".repeat(200_000);
        let ask =
            request(rig.address, "RCAPTURE", "/capture").header("Transfer-Encoding: chunked").raw_body(body);
        socket.write_all(&ask.bytes()).await.unwrap();
        sockets.push(socket);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 << 20, "{} KiB for 20 bodies of 200 KB", grown >> 10);
}

#[tokio::test]
async fn idle_connections_cost_next_to_nothing() {
    let _alone = ALONE.lock().await;
    let rig = Rig::with(|settings| settings.limits.connections = 700).await;
    connect(rig.address).await;
    let before = resident();
    let mut idle = Vec::new();
    for _ in 0..600 {
        let mut socket = connect(rig.address).await;
        socket.write_all(b"MOSIPDINFO /info HTTP/1.1\r\nHost").await.unwrap();
        idle.push(socket);
    }
    // the 601st is served, so all of them have been accepted
    let answer = request(rig.address, "MOSIPDISC", "/device").body(DISCOVER_ALL).send(rig.address).await;
    assert_eq!(answer.text(), DISCOVERY);
    let each = resident().saturating_sub(before) / 600;
    assert!(each < 40 << 10, "{each} bytes each, both ends together");
}
