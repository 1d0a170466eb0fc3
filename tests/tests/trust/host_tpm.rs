//! Plain scanners (L0) whose keys live in the TPM of the host.

use biosim_swtpm::Swtpm;
use biotrust_tests::site::{Plan, Site};

use crate::{captured, informed, json_of, printed};

#[test]
fn keys_of_plain_scanners_live_in_the_tpm_of_the_host_through_kills() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tpm = Swtpm::manufacture(folder.path()).expect("a TPM");
    let mut site = Site::without_daemon(&Plan { level: "l0", ..Plan::default() });
    std::fs::write(site.path("ek-ca.pem"), tpm.ek_ca_pem().expect("its maker")).expect("a file");
    site.configure("ftm", "backend = \"tpm\"");
    site.configure("ftm", &format!("tcti = {:?}", tpm.tcti()));
    site.configure("ftm", &format!("ek_anchors = [{:?}]", site.path("ek-ca.pem").display().to_string()));
    site.start_daemon();
    let serials = site.serials.clone();
    let pairs: Vec<_> = serials
        .iter()
        .map(|serial| {
            site.ready(serial);
            let pair = captured(&site, serial);
            assert_eq!((pair.level.as_str(), &pair), ("L0", &informed(&site, serial)));
            pair
        })
        .collect();
    let state = json_of(&site.cli(&["ftm", "status", "--json"]));
    assert!(state.to_string().to_lowercase().contains("tpm"), "{state:#}");

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
    drop(tpm);
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let other = Swtpm::manufacture(elsewhere.path()).expect("a TPM");
    std::fs::write(site.path("ek-ca.pem"), other.ek_ca_pem().expect("its maker")).expect("a file");
    site.configure("ftm", &format!("tcti = {:?}", other.tcti()));
    site.start_daemon();
    let shown = site.until(&serials[1], "without a key", |device| {
        device["serial"] == serials[1].as_str()
            && device["certificate"]["sha256"] != pairs[1].certificate.as_str()
    });
    assert_ne!(shown["status"], "Ready", "{shown:#}");
}
