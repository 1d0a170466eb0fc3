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
