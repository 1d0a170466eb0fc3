use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use biotrust_certs::{Authority, Order, TestPki, Validity};
use biotrust_model::time::{SystemClock, UtcMillis};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> UtcMillis {
    SystemClock.now()
}

fn pki() -> TestPki {
    TestPki::mint(TestPki::DEFAULT_SPEC, now()).unwrap()
}

/// A certificate of the PKI's provider for the IDA key; its authority does not matter where no anchor is configured.
fn certificate(pki: &TestPki, validity: Validity) -> Vec<u8> {
    let subject = vec!["O=IDA".into(), "CN=IDA-FIR".into()];
    let order = Order::leaf(Authority::DeviceProvider, pki.ida_certificate().spki_der(), subject, validity);
    pki.issue(&order).unwrap().remove(0)
}

/// As a careful administrator does it: complete under another name, then renamed.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn from_file(path: &Path) -> config::Encryption {
    config::Encryption { certificate: Some(path.to_owned()), ..config::Encryption::default() }
}

fn open(config: &config::Encryption) -> anyhow::Result<Keeper> {
    Keeper::open(config, Arc::new(SystemClock), None)
}

fn sha256(der: &[u8]) -> String {
    biotrust_certs::sha256_hex(der)
}

fn thumbprint(encryption: &Encryption) -> String {
    encryption.target("").unwrap().certificate.thumbprint().to_owned()
}

/// A keeper at work, and what it hands over.
struct Rig {
    _home: tempfile::TempDir,
    path: PathBuf,
    keeper: Keeper,
    handed: Receiver<String>,
    stop: CancellationToken,
}

impl Rig {
    async fn start(first: &[u8]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ida.pem");
        std::fs::write(&path, first).unwrap();
        let keeper = open(&from_file(&path)).unwrap();
        let (send, handed) = channel();
        let (stop, running) = (CancellationToken::new(), keeper.clone());
        let stopped = stop.clone();
        let sink: Sink = Arc::new(move |encryption| drop(send.send(thumbprint(&encryption))));
        tokio::spawn(async move { running.run(sink, stopped).await });
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        Self { _home: home, path, keeper, handed, stop }
    }

    async fn handed(&self) -> Option<String> {
        for _ in 0..50 {
            if let Ok(handed) = self.handed.try_recv() {
                return Some(handed);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    async fn notice(&self) -> String {
        for _ in 0..50 {
            if let Some(notice) = self.keeper.notices().pop() {
                return notice;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        String::new()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_new_file_is_in_use_without_a_restart() {
    let pki = pki();
    let (old, new) = (
        certificate(&pki, Validity::starting(now(), DAY)),
        certificate(&pki, Validity::starting(now(), DAY * 2)),
    );
    let rig = Rig::start(&old).await;
    assert_eq!(thumbprint(&rig.keeper.current()), sha256(&old));
    replace(&rig.path, &new);
    assert_eq!(rig.handed().await, Some(sha256(&new)));
    assert!(rig.keeper.notices().is_empty());
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_certificate_and_says_so_until_a_good_one_comes() {
    let pki = pki();
    let old = certificate(&pki, Validity::starting(now(), DAY));
    let rig = Rig::start(&old).await;
    for (bad, says) in [
        (b"not a certificate".to_vec(), "no certificate"),
        (certificate(&pki, Validity::expired(now())), "it ended on"),
        (certificate(&pki, Validity::not_yet(now())), "it is valid from"),
    ] {
        replace(&rig.path, &bad);
        let mut notice = rig.notice().await;
        for _ in 0..50 {
            if notice.contains(says) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            notice = rig.notice().await;
        }
        assert!(notice.contains(says) && notice.contains("the one before is used, until"), "{notice}");
        assert_eq!(thumbprint(&rig.keeper.current()), sha256(&old));
    }
    let new = certificate(&pki, Validity::starting(now(), DAY * 3));
    replace(&rig.path, &new);
    assert_eq!(rig.handed().await, Some(sha256(&new)), "nothing was handed over in between");
    assert!(rig.keeper.notices().is_empty());
}

#[test]
fn at_the_start_a_file_must_be_usable_at_some_time() {
    let pki = pki();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ida.pem");
    std::fs::write(&path, "nonsense").unwrap();
    let error = format!("{:#}", open(&from_file(&path)).err().unwrap());
    assert!(error.contains("ida.pem") && error.contains("no certificate"), "{error}");
    let expired = certificate(&pki, Validity::expired(now()));
    std::fs::write(&path, &expired).unwrap();
    assert_eq!(
        thumbprint(&open(&from_file(&path)).unwrap().current()),
        sha256(&expired),
        "a capture is told that it has ended"
    );
}

#[test]
fn a_certificate_must_lead_to_an_anchor_where_there_is_one() {
    let pki = pki();
    let home = tempfile::tempdir().unwrap();
    let (path, anchor) = (home.path().join("ida.pem"), home.path().join("adopter.pem"));
    std::fs::write(&anchor, pki.adopter_anchor_pem()).unwrap();
    let config = config::Encryption { anchors: vec![anchor], ..from_file(&path) };
    std::fs::write(&path, pki.ida_certificate_pem()).unwrap();
    assert!(open(&config).is_ok());
    std::fs::write(&path, certificate(&pki, Validity::starting(now(), DAY))).unwrap();
    let error = format!("{:#}", open(&config).err().unwrap());
    assert!(error.contains("not in the trust store"), "{error}");
}

/// Nobody looks at the path again when its time has come.
#[test]
fn a_certificate_before_or_after_its_time_must_lead_to_the_anchor_too() {
    let pki = pki();
    let home = tempfile::tempdir().unwrap();
    let (path, anchor) = (home.path().join("ida.pem"), home.path().join("adopter.pem"));
    std::fs::write(&anchor, pki.adopter_anchor_pem()).unwrap();
    let config = config::Encryption { anchors: vec![anchor], ..from_file(&path) };
    let by = |authority, validity| {
        let subject = vec!["O=IDA".into(), "CN=IDA-FIR".into()];
        let order = Order::leaf(authority, pki.ida_certificate().spki_der(), subject, validity);
        pki.issue(&order).unwrap().remove(0)
    };
    for validity in [Validity::not_yet(now()), Validity::expired(now())] {
        std::fs::write(&path, by(Authority::Adopter, validity)).unwrap();
        assert!(open(&config).is_ok(), "{validity:?}");
        std::fs::write(&path, by(Authority::DeviceProvider, validity)).unwrap();
        let error = format!("{:#}", open(&config).err().expect("refused"));
        assert!(error.contains("not in the trust store"), "{error}");
        // nor is it taken while the daemon runs and has nothing better
        let anchors = AdopterStore::load(&config.anchors).unwrap();
        let mut slots = Slots::new(&config, anchors);
        assert!(!slots.look_at_files(now()));
        assert!(slots.current().target("").is_none());
    }
}

/// The authentication server: a login, then the certificate. Counts what is asked of it.
struct Ida {
    url: String,
    logins: Arc<std::sync::atomic::AtomicU32>,
    /// Certificates (PEM) that it hands out, one after the other; the last one for ever.
    certificates: Arc<Mutex<Vec<String>>>,
}

impl Ida {
    async fn start(pki: &TestPki) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (chain, key) = pki.tls_server(&["127.0.0.1"], UtcMillis(now().0 - 60_000)).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.expose().to_vec());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.into_iter().map(Into::into).collect(), key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (logins, certificates) = (Arc::<AtomicU32>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (counted, handed) = (Arc::clone(&logins), Arc::clone(&certificates));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = vec![0; 64 * 1024];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let mut request = String::from_utf8_lossy(&request[..length]).into_owned();
                if request.starts_with("POST") && !request.contains("secretKey") {
                    let mut more = vec![0; 64 * 1024];
                    let length = stream.read(&mut more).await.unwrap_or_default();
                    request.push_str(&String::from_utf8_lossy(&more[..length]));
                }
                let reply = |status: &str, header: &str, body: &str| {
                    format!(
                        "HTTP/1.1 {status}\r\n{header}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                };
                // each login makes the tokens before it worthless
                let token = format!("Authorization=token-{}", counted.load(Ordering::Relaxed));
                let answer = if request.starts_with("POST /login") {
                    let good = request.contains("\"secretKey\":\"s3cret\"")
                        && request.contains("\"clientId\":\"me\"");
                    match good {
                        true => {
                            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
                            let cookie =
                                format!("Set-Cookie: Authorization=token-{number}; Path=/; HttpOnly\r\n");
                            reply("200 OK", &cookie, r#"{"response":{"status":"Success"},"errors":[]}"#)
                        }
                        false => reply(
                            "200 OK",
                            "",
                            r#"{"response":null,"errors":[{"errorCode":"KER-ATH-003","message":"wrong secret"}]}"#,
                        ),
                    }
                } else if request.to_lowercase().contains(&format!("cookie: {}", token.to_lowercase())) {
                    let mut certificates = handed.lock().unwrap();
                    let pem =
                        if certificates.len() > 1 { certificates.remove(0) } else { certificates[0].clone() };
                    let body = serde_json::json!({ "response": { "certificate": pem }, "errors": null });
                    reply("200 OK", "", &body.to_string())
                } else {
                    reply(
                        "401 Unauthorized",
                        "",
                        r#"{"errors":[{"errorCode":"KER-ATH-401","message":"Authentication Failed"}]}"#,
                    )
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, logins, certificates }
    }
}

#[tokio::test]
async fn a_certificate_is_fetched_after_a_login_remembered_and_replaced() {
    use std::sync::atomic::Ordering;
    let pki = pki();
    let ida = Ida::start(&pki).await;
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let token = config::Token {
        url: format!("{}/login", ida.url).parse().unwrap(),
        client_id: "me".into(),
        secret_file: file("secret", "s3cret\n"),
        app_id: "regproc".into(),
    };
    let config = config::Encryption {
        fetch: Some(config::Fetch {
            url: Some(format!("{}/getCertificate?applicationId=IDA", ida.url).parse().unwrap()),
            domains: Default::default(),
            anchors: vec![file("anchors.pem", &pki.anchors_pem(biotrust_certs::Domain::Device))],
            token: Some(token),
            interval: Duration::from_secs(3600),
        }),
        ..config::Encryption::default()
    };
    let set_mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(home.path().join("secret"), permissions).unwrap();
    };
    set_mode(0o600);
    crate::store::Store::open(home.path()).unwrap();
    let keeper = || {
        let ledger = Ledger::open(home.path()).unwrap();
        Keeper::open(&config, Arc::new(SystemClock), Some(ledger)).unwrap()
    };
    let (first, second) = (
        certificate(&pki, Validity::starting(now(), DAY)),
        certificate(&pki, Validity::starting(now(), DAY * 2)),
    );
    let pem = |der: &[u8]| biotrust_certs::Certificate::parse(der).unwrap().to_pem();
    *ida.certificates.lock().unwrap() = vec![pem(&first)];

    let fetched = keeper();
    assert!(fetched.current().target("").is_none());
    assert!(fetched.notices()[0].contains("not fetched yet"), "{:?}", fetched.notices());
    let look = |keeper: &Keeper| {
        let (keeper, now) = (keeper.clone(), now());
        async move {
            let fetcher = keeper.0.fetcher.as_ref().unwrap();
            let (domain, url) = fetcher.targets().next().unwrap();
            let outcome = fetcher.fetch(url, now).await.map_err(|error| error.to_string());
            keeper.0.slots().fetched(domain, outcome, keeper.0.ledger.as_ref(), now)
        }
    };
    assert!(look(&fetched).await, "a new one");
    assert_eq!(thumbprint(&fetched.current()), sha256(&first));
    assert!(!look(&fetched).await, "the same again");
    assert_eq!(ida.logins.load(Ordering::Relaxed), 1, "a token is used as long as it is good");

    // a token that is worth nothing any more
    ida.logins.fetch_add(1, Ordering::Relaxed);
    *ida.certificates.lock().unwrap() = vec![pem(&second)];
    assert!(look(&fetched).await);
    assert_eq!(thumbprint(&fetched.current()), sha256(&second));

    // an expired one, and then no server at all, leave what there is
    *ida.certificates.lock().unwrap() = vec![pem(&certificate(&pki, Validity::expired(now())))];
    assert!(!look(&fetched).await);
    assert!(fetched.notices()[0].contains("it ended on"), "{:?}", fetched.notices());
    assert_eq!(thumbprint(&fetched.current()), sha256(&second));
    drop(fetched);
    assert_eq!(thumbprint(&keeper().current()), sha256(&second), "remembered over a restart");

    // a secret that everybody can read is not used
    set_mode(0o644);
    let public = keeper();
    look(&public).await;
    let notice = public.notices().remove(0);
    assert!(notice.contains("others can read it"), "{notice}");
    set_mode(0o600);

    // by the clock of the daemon the server's certificate has ended, whatever the host's own clock says
    struct Later;
    impl Clock for Later {
        fn now(&self) -> UtcMillis {
            now().plus(DAY * 3650)
        }
    }
    let later = Keeper::open(&config, Arc::new(Later), None).unwrap();
    assert!(!look(&later).await);
    let notice = later.notices().remove(0);
    assert!(notice.contains("not the server that it should be"), "{notice}");

    // a wrong secret is told, without the secret
    std::fs::write(home.path().join("secret"), "wrong-s3cret").unwrap();
    let again = keeper();
    look(&again).await;
    let notice = again.notices().remove(0);
    assert!(notice.contains("KER-ATH-003 (wrong secret)") && !notice.contains("wrong-s3cret"), "{notice}");
}
