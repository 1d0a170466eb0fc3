//! Plain scanners (L0) whose keys live in the TPM of the host, which its provider has certified.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use biosim_swtpm::Swtpm;
use biotrust_attest::tpm::{Public, make_credential};
use biotrust_certs::{Csr, Domain, TestPki};
use biotrust_model::Secret;
use biotrust_tests::now;
use biotrust_tests::site::{Plan, Site};
use serde_json::{Value, json};

use crate::{captured, informed, json_of, printed};

/// Ten years.
const CHIP_LIFE: Duration = Duration::from_secs(3650 * 86_400);
const FTM_SERIAL: &str = "FTM-HOST-1";

/// `biotrust ftm provision`; what it wrote for the provider, where it was told to.
#[track_caller]
fn provision(site: &Site, words: &[&str], out: Option<&str>) -> Value {
    let mut all = [&["ftm", "provision"], words].concat();
    let out = out.map(|name| site.path(name).display().to_string());
    all.extend(out.iter().flat_map(|path| ["--out", path]));
    let output = site.cli(&all);
    assert!(output.status.success(), "{words:?}: {}", printed(&output));
    out.map_or(Value::Null, |path| {
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
    })
}

/// The provider certifies the TPM of the host: request, credential activation, certificates.
fn certify(site: &Site, provider: &TestPki) {
    let organisation = provider.organisation(Domain::Ftm);
    let request =
        provision(site, &["--serial", FTM_SERIAL, "--organisation", organisation], Some("request.json"));
    let bytes = |of: &Value, name: &str| STANDARD.decode(of[name].as_str().expect(name)).expect("base64");
    let attestation = Public::parse(&bytes(&request, "attestation_public")).expect("a public area");
    let secret = Secret::new(vec![0x42; 32]);
    let (credential, wrapped) =
        make_credential(&bytes(&request, "ek_public_key"), &attestation.name, &secret).expect("a credential");
    let answer = |name: &str, answer: &Value| {
        std::fs::write(site.path(name), answer.to_string()).expect("a file");
        site.path(name).display().to_string()
    };
    let protected = json!({"credential": STANDARD.encode(credential), "secret": STANDARD.encode(wrapped)});
    let opened = provision(site, &["--answer", &answer("protected.json", &protected)], Some("opened.json"));
    assert_eq!(bytes(&opened, "secret"), secret.expose(), "only this TPM with this key can open it");

    let identity = Csr::verify(&bytes(&request, "identity_request")).expect("a request");
    let identity = provider.issue_chip_certificate(identity.spki_der(), FTM_SERIAL, now(), CHIP_LIFE);
    let attesting = provider.issue_attestation_certificate(&attestation.spki, FTM_SERIAL, now(), CHIP_LIFE);
    let encoded = |chain: Vec<Vec<u8>>| chain.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>();
    let certificates = json!({
        "identity": encoded(identity.expect("certificates")),
        "attestation": encoded(attesting.expect("certificates")),
    });
    provision(site, &["--answer", &answer("certificates.json", &certificates)], None);
}

/// Another FTM provider, trusted by host and management server beside that of the devices.
fn trusted_provider(site: &mut Site) -> TestPki {
    let provider = TestPki::mint(TestPki::DEFAULT_SPEC, now()).expect("authorities");
    for name in ["pki/ftm-anchors.pem", "mgmt/ftm-anchors.pem"] {
        let both = site.text(name) + &provider.anchors_pem(Domain::Ftm);
        std::fs::write(site.path(name), both).expect("a file");
    }
    site.stop_server();
    site.start_server();
    provider
}

fn use_tpm(site: &mut Site, tpm: &Swtpm) {
    std::fs::write(site.path("ek-ca.pem"), tpm.ek_ca_pem().expect("its maker")).expect("a file");
    let anchors = site.path("ek-ca.pem").display().to_string();
    site.configure("ftm", "backend = \"tpm\"");
    site.configure("ftm", &format!("tcti = {:?}", tpm.tcti()));
    site.configure("ftm", &format!("ek_anchors = [{anchors:?}]"));
}

fn manufactured(folder: &Path) -> Swtpm {
    Swtpm::manufacture(folder).expect("a TPM")
}

#[test]
fn keys_of_plain_scanners_live_in_the_tpm_of_the_host_through_kills() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tpm = manufactured(&folder.path().join("own"));
    let mut site = Site::without_daemon(&Plan { level: "l0", ..Plan::default() });
    let provider = trusted_provider(&mut site);
    use_tpm(&mut site, &tpm);
    site.start_daemon();
    let status = site.cli(&["ftm", "status"]);
    assert_eq!(status.status.code(), Some(1), "not certified yet: {}", printed(&status));
    certify(&site, &provider);
    let status = json_of(&site.cli(&["ftm", "status", "--json"]));
    assert_eq!((&status["kind"], &status["provisioned"]), (&json!("tpm"), &json!(true)), "{status:#}");

    // Devices that found no certified TPM try again later; a start does not wait for that.
    site.stop_daemon();
    site.start_daemon();
    let serials = site.serials.clone();
    let register = |serial: &String| {
        site.ready(serial);
        let pair = captured(&site, serial);
        assert_eq!((pair.level.as_str(), &pair), ("L0", &informed(&site, serial)));
        pair
    };
    let pairs: Vec<_> = serials.iter().map(register).collect();
    let evidence = site.path("evidence.jwt").display().to_string();
    let written = site.cli(&["device", "evidence", &serials[0], "--out", &evidence]);
    assert!(written.status.success(), "{}", printed(&written));
    let shown = printed(&site.cli(&["attest", "show", &evidence]));
    assert!(shown.contains(FTM_SERIAL) && shown.contains("TPM device key"), "{shown}");

    for _ in 0..3 {
        site.kill_daemon();
        site.start_daemon();
        for (serial, pair) in serials.iter().zip(&pairs) {
            site.ready(serial);
            assert_eq!(captured(&site, serial), *pair, "the same key, from the same TPM");
        }
    }
    let rotated = site.cli(&["device", "rotate", &serials[0]]);
    assert!(rotated.status.success(), "{}", printed(&rotated));
    assert_ne!(captured(&site, &serials[0]), pairs[0]);

    // The files alone are worth nothing: another TPM does not load them.
    site.stop_daemon();
    site.stop_server();
    drop(tpm);
    let other = manufactured(&folder.path().join("other"));
    use_tpm(&mut site, &other);
    site.start_daemon();
    let shown = site.until(&serials[1], "without its key", |device| device["status"] == "Not Registered");
    assert!(shown["certificate"].is_null(), "{shown:#}");
}
