//! A management server that answers as it is told to, over real TLS; most of the ways are wrong ones.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use biotrust_attest::Challenge;
use biotrust_attest::time_token::TimeToken;
use biotrust_certs::{Authority, SignerPurpose, TestPki, TestSigner};
use biotrust_mgmt::Bytes;
use biotrust_mgmt::envelope::{self, open_request};
use biotrust_mgmt::message::{Command, Refusal, Reply, ReplyBody, RequestBody, RequestKind};
use biotrust_model::time::{Clock as _, SystemClock, UtcMillis};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How it behaves, once the connection is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Good,
    /// Its answers are signed by a management signer of another provider.
    OtherProvider,
    /// Its answers are no JWS.
    Garbage,
    /// It reads and says nothing.
    Silent,
    /// It sends a byte now and then.
    Slow,
    /// It sends without an end.
    Endless,
    /// 503.
    Busy,
    /// 302 to where a good answer would be.
    Elsewhere,
    /// It certifies nothing.
    Refuses,
    /// It answers with the reply to another message.
    Replays,
}

/// Which certificate and protocol it has in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    Good,
    /// Of a root that nobody trusts.
    Stranger,
    /// For another host name.
    OtherName,
    /// Of the right authority, in TLS 1.2 only.
    Old,
}

pub(super) struct World {
    pub(super) pki: TestPki,
    signer: TestSigner,
    other: TestSigner,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        let yesterday = UtcMillis(SystemClock.now().0 - 86_400_000);
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, yesterday).unwrap();
        let signer = pki.signer(SignerPurpose::Management, yesterday).unwrap();
        let other = pki.signer_by(Authority::OtherProvider, SignerPurpose::Management, yesterday).unwrap();
        Arc::new(Self { pki, signer, other })
    }
}

pub(super) struct Server {
    world: Arc<World>,
    mode: Mutex<Mode>,
    /// Kinds of the messages that came in, in order.
    pub(super) asked: Mutex<Vec<RequestKind>>,
    orders: Mutex<Vec<Command>>,
    last: Mutex<Option<String>>,
    pub(super) url: String,
}

impl Server {
    pub(super) async fn start(world: &Arc<World>, tls: Tls, mode: Mode) -> Arc<Self> {
        let names: &[&str] = if tls == Tls::OtherName { &["mgmt.example"] } else { &["127.0.0.1"] };
        let by = if tls == Tls::Stranger { Authority::Stranger } else { Authority::DeviceProvider };
        let (chain, key) =
            world.pki.tls_server_by(by, names, UtcMillis(SystemClock.now().0 - 3_600_000)).unwrap();
        let version = if tls == Tls::Old { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    chain.into_iter().map(CertificateDer::from).collect(),
                    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().to_vec())),
                )
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = Arc::new(Self {
            world: Arc::clone(world),
            mode: Mutex::new(mode),
            asked: Mutex::default(),
            orders: Mutex::default(),
            last: Mutex::default(),
            url,
        });
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        server.connection(stream).await;
                    }
                });
            }
        });
        server
    }

    pub(super) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(super) fn order(&self, command: Command) {
        self.orders.lock().unwrap().push(command);
    }

    pub(super) fn count(&self, kind: RequestKind) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| **asked == kind).count()
    }

    async fn connection(&self, mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        while let Some(body) = read_request(&mut stream).await {
            let mode = *self.mode.lock().unwrap();
            let reply = match mode {
                Mode::Silent => return std::future::pending().await,
                Mode::Busy => response("503 Service Unavailable", "later", ""),
                Mode::Elsewhere => response("302 Found", "", "Location: https://127.0.0.1:1/v1/message\r\n"),
                Mode::Garbage => response("200 OK", "<html>Welcome to the hotel</html>", ""),
                Mode::Endless => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                    while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                    return;
                }
                Mode::Slow => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n").await;
                    loop {
                        if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                Mode::Good | Mode::OtherProvider | Mode::Refuses | Mode::Replays => {
                    response("200 OK", &self.reply(&body, mode), "")
                }
            };
            if stream.write_all(reply.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }

    fn reply(&self, message: &str, mode: Mode) -> String {
        let received = open_request(message).unwrap();
        let request = received.request;
        self.asked.lock().unwrap().push(request.body.kind());
        let now = SystemClock.now();
        let pki = &self.world.pki;
        let refuse = mode == Mode::Refuses;
        let body = match &request.body {
            RequestBody::Challenge { purpose } => {
                ReplyBody::Challenge { challenge: Challenge::new([7; 32], "a test", *purpose, now) }
            }
            RequestBody::Register { .. } | RequestBody::Rotate { .. } if refuse => {
                ReplyBody::Refused(Refusal {
                    check: "approved".into(),
                    text: "nobody has approved this device".into(),
                    next: "approve it at the provider's".into(),
                    retry_s: None,
                })
            }
            RequestBody::Register { csr, .. } | RequestBody::Rotate { csr, .. } => {
                let from = UtcMillis(now.0 - 60_000);
                let chain =
                    pki.issue_device_certificate(&csr.0, from, Duration::from_secs(30 * 86_400)).unwrap();
                ReplyBody::Certificate { chain: chain.into_iter().map(Bytes).collect() }
            }
            RequestBody::Confirm { .. } | RequestBody::Deregistered { .. } => ReplyBody::Ack {},
            RequestBody::Time { nonce, .. } => {
                let token = TimeToken {
                    nonce: nonce.0,
                    utc: now,
                    exp: UtcMillis(now.0 + 60_000),
                    aud: request.serial.clone(),
                };
                let unsigned = token.prepare(&self.world.signer.chain).unwrap();
                let signature = self.world.signer.sign_rs256(unsigned.signing_input());
                ReplyBody::Time { token: unsigned.attach(&signature) }
            }
            RequestBody::Poll(_) => ReplyBody::Commands {
                commands: std::mem::take(&mut *self.orders.lock().unwrap()),
                next_poll_s: 10,
            },
        };
        let reply = Reply { re: request.id, at: now, digital_id: request.digital_id, body };
        let signer = if mode == Mode::OtherProvider { &self.world.other } else { &self.world.signer };
        let unsigned = envelope::prepare_reply(&reply, &signer.chain).unwrap();
        let signature = signer.sign_rs256(unsigned.signing_input());
        let compact = unsigned.attach(&signature);
        let before = self.last.lock().unwrap().replace(compact.clone());
        match (mode, before) {
            (Mode::Replays, Some(before)) => before,
            _ => compact,
        }
    }
}

fn response(status: &str, body: &str, header: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The body of the next request; `None` at the end.
async fn read_request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if read.len() >= head + 4 + length {
                return Some(String::from_utf8(read[head + 4..head + 4 + length].to_vec()).unwrap());
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&piece[..count]),
        }
    }
}
