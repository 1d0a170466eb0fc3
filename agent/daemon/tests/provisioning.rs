//! The TPM of a host from its factory to a scanner that is Ready by a key in it, and every state of it that needs somebody:
//! what the daemon says of each, what to do, and that doing it helps. The provider's side looks at what it is sent.

// helpers of tests stand outside of test functions
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biosim_scanner::{Issued, Provisioning};
use biosim_swtpm::{Model, Swtpm};
use biotrust_certs::{Domain, TestPki};
use biotrust_daemon::config;
use biotrust_daemon::control::{Care as _, ControlErrorKind, FtmChallenge};
use biotrust_daemon::host::Host;
use biotrust_daemon::run::Devices as _;
use biotrust_daemon::start;
use biotrust_driver_api::IdentityRequest;
use biotrust_model::evidence::{Attested, Binding, CertifiedKey};
use biotrust_model::time::{Clock as _, SystemClock};
use serde_json::Value;

const SERIAL: &str = "FTM-HOST-1";

/// A host with a TPM, and the provider of trust modules.
struct Bench {
    tpm: Swtpm,
    pki: Arc<TestPki>,
    home: tempfile::TempDir,
}

impl Bench {
    fn new(model: Model) -> Self {
        let home = tempfile::tempdir().unwrap();
        let tpm = Swtpm::manufacture_model(&home.path().join("tpm"), model).unwrap();
        let pki = Arc::new(TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap());
        std::fs::create_dir(home.path().join("links")).unwrap();
        Self { tpm, pki, home }
    }

    /// A daemon that believes makers of TPMs by `anchor` (PEM).
    fn host(&self, anchor: Option<&str>) -> Host {
        let home = self.home.path();
        let file = |name: &str, pem: &str| {
            let path = home.join(name);
            std::fs::write(&path, pem).unwrap();
            format!("{:?}", path.display().to_string())
        };
        let device = file("device.pem", &self.pki.anchors_pem(Domain::Device));
        let ftm = file("ftm.pem", &self.pki.anchors_pem(Domain::Ftm));
        let makers = anchor.map(|pem| file("makers.pem", pem)).unwrap_or_default();
        let text = format!(
            "[trust]\ndevice_anchors = [{device}]\nftm_anchors = [{ftm}]\n\
             [ftm]\nbackend = \"tpm\"\ntcti = {:?}\nek_anchors = [{makers}]\n\
             [buses]\nwatch = []\n[serial]\nlinks = {:?}\n[state]\ndirectory = {:?}\n",
            self.tpm.tcti(),
            home.join("links").display().to_string(),
            home.join("state").display().to_string(),
        );
        let file = home.join("biotrust.toml");
        std::fs::write(&file, text).unwrap();
        let config = config::load(&file).unwrap().config;
        Host::start(&config, start::trust(&config).unwrap(), "http://127.0.0.1:4501/").unwrap()
    }

    fn own_host(&self) -> Host {
        self.host(Some(&self.tpm.ek_ca_pem().unwrap()))
    }

    /// The provider's part, from a request that went out to certificates that are installed.
    async fn certify(&self, host: &Host) -> Value {
        let binding = [0x5a; 32];
        let request = host.ftm_request(challenge(Some(hex::encode(binding)))).await.unwrap();
        assert_eq!(request["binding"], hex::encode(binding));
        let maker = biotrust_certs::certificates(self.tpm.ek_ca_pem().unwrap().as_bytes()).unwrap();
        let request = identity_request(&request);
        let other = Provisioning::begin(&request, maker[0].der(), &Binding([0; 32]));
        assert!(other.is_err(), "negative control: an answer to another challenge");
        let begun = Provisioning::begin(&request, maker[0].der(), &Binding(binding)).unwrap();
        let (credential, secret) = begun.credential().unwrap();
        let mut wrong = credential.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(host.ftm_activate(wrong, secret.clone()).await.is_err(), "a changed credential");
        let opened = host.ftm_activate(credential, secret).await.unwrap();
        let opened = STANDARD.decode(opened["secret"].as_str().unwrap()).unwrap();
        let now = SystemClock.now();
        assert!(begun.issue(b"another secret", &self.pki, SERIAL, now).is_err(), "another TPM");
        let Issued { identity, attestation } = begun.issue(&opened, &self.pki, SERIAL, now).unwrap();
        let swapped = host.ftm_install(attestation.clone(), attestation.clone()).await.unwrap_err();
        assert!(
            swapped.kind == ControlErrorKind::Refused && swapped.message.contains("for that key"),
            "{swapped:?}"
        );
        host.ftm_install(identity, attestation).await.unwrap()
    }
}

fn challenge(binding: Option<String>) -> FtmChallenge {
    FtmChallenge { common_name: SERIAL.into(), organisation: "Example Silicon".into(), binding }
}

/// What went to the provider, as it reads it.
fn identity_request(request: &Value) -> IdentityRequest {
    let bytes = |name: &str| STANDARD.decode(request[name].as_str().expect(name)).unwrap();
    IdentityRequest {
        ek_certificate: bytes("ek_certificate"),
        ek_public_key: bytes("ek_public_key"),
        attestation_public: bytes("attestation_public"),
        attestation_request: bytes("attestation_request"),
        identity: CertifiedKey {
            public: bytes("identity_public"),
            attested: Attested { attest: bytes("identity_attest"), signature: bytes("identity_signature") },
        },
        identity_request: bytes("identity_request"),
    }
}

async fn end(host: Host) {
    host.stop();
    host.closed(Duration::from_secs(10)).await;
}

/// Usable, provisioned, and what there is to say.
async fn state(host: &Host) -> (bool, bool, String) {
    let report = host.ftm_status().await.unwrap();
    assert_eq!(report["kind"], "tpm");
    let is = |name: &str| report[name].as_bool().unwrap();
    (is("usable"), is("provisioned"), report["notices"].to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tpm_is_certified_locked_freed_cleared_and_certified_again() {
    let bench = Bench::new(Model::Certified);
    let host = bench.own_host();
    let (usable, provisioned, notices) = state(&host).await;
    assert!(usable && !provisioned && notices.contains("biotrust ftm provision"), "{notices}");
    let report = bench.certify(&host).await;
    assert_eq!((&report["provisioned"], &report["notices"]), (&true.into(), &Value::Array(vec![])));
    assert!(report["certificate"]["subject"].as_str().unwrap().contains(SERIAL), "{report:#}");
    end(host).await;

    // what was installed is there after a start; wrong passwords are told, and stop nothing
    bench.tpm.set_lockout(true).unwrap();
    let host = bench.own_host();
    let (usable, provisioned, notices) = state(&host).await;
    assert!(usable && provisioned && notices.contains("lockout"), "{notices}");
    end(host).await;
    bench.tpm.set_lockout(false).unwrap();
    let host = bench.own_host();
    assert_eq!(state(&host).await, (true, true, "[]".into()));
    end(host).await;

    bench.tpm.clear().unwrap();
    let host = bench.own_host();
    let (usable, provisioned, notices) = state(&host).await;
    assert!(usable && !provisioned && notices.contains("not provisioned"), "{notices}");
    bench.certify(&host).await;
    assert_eq!(state(&host).await, (true, true, "[]".into()));
    end(host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tpm_that_nobody_vouches_for_is_not_used_and_the_daemon_says_so() {
    let (bench, other) = (Bench::new(Model::Certified), Bench::new(Model::Uncertified));
    let stranger = Swtpm::manufacture(&bench.home.path().join("stranger")).unwrap();
    for (bench, anchor, says, next) in [
        (&bench, stranger.ek_ca_pem().unwrap(), "none of the configured EK anchors", "[ftm] ek_anchors"),
        (&other, stranger.ek_ca_pem().unwrap(), "no certificate of its endorsement key", "maker"),
    ] {
        let host = bench.host(Some(&anchor));
        let (usable, provisioned, notices) = state(&host).await;
        assert!(!usable && !provisioned && notices.contains(says) && notices.contains(next), "{notices}");
        assert_eq!(notices.matches(says).count(), 1, "said once: {notices}");
        let refused = host.ftm_request(challenge(None)).await.unwrap_err();
        assert!(refused.kind == ControlErrorKind::Refused && refused.message.contains(says), "{refused:?}");
        end(host).await;
    }
    // negative control: the right anchor; and none, which is told
    let host = bench.own_host();
    assert!(state(&host).await.0);
    end(host).await;
    let host = bench.host(None);
    let (usable, _, notices) = state(&host).await;
    assert!(usable && notices.contains("no EK anchors are configured"), "{notices}");
    end(host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tpm_that_comes_late_is_used_without_a_restart() {
    let mut bench = Bench::new(Model::Certified);
    let maker = bench.tpm.ek_ca_pem().unwrap();
    bench.tpm.cut_power();
    let host = bench.host(Some(&maker));
    let (usable, _, notices) = state(&host).await;
    assert!(!usable && notices.contains("no TPM answers"), "{notices}");
    bench.tpm.power_on().unwrap();
    let late = async {
        while !state(&host).await.0 {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), late).await.unwrap();
    bench.certify(&host).await;
    end(host).await;
}
