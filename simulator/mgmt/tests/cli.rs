//! The command line: a set-up is made, and an operator's orders arrive.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests

mod common;

use std::os::unix::fs::PermissionsExt as _;

use biotrust_attest::manifest::{self, Component, Manifest};
use biotrust_attest::signed::{self, Signer};
use biotrust_certs::SignerPurpose;
use biotrust_mgmt::Sha256;
use biotrust_mgmt::message::{Command, ReplyBody, RequestBody};
use biotrust_model::DeviceIdentity;
use biotrust_model::time::{Clock as _, SystemClock};
use clap::Parser as _;
use common::{Rig, TestDevice, WORLD};

/// Runs a command as `biosim mgmt` would; what it wrote, or its complaint.
async fn mgmt(words: &[&str]) -> Result<String, String> {
    let words: Vec<String> =
        std::iter::once("mgmt").chain(words.iter().copied()).map(str::to_owned).collect();
    let run = move || {
        let args = biosim_mgmt::Args::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        biosim_mgmt::run(args, &mut out).map_err(|error| format!("{error:#}"))?;
        Ok(String::from_utf8(out).unwrap())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_set_up_that_runs_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("trial");
    let words = ["init", "--dir", folder.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let said = mgmt(&words).await.unwrap();
    assert!(said.contains("mgmt.toml"), "{said}");
    for name in ["issuer.key", "signer.key", "tls.key"] {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let config = biosim_mgmt::Config::load(&folder.join("mgmt.toml")).unwrap();
    let running = biosim_mgmt::serve(config, tokio_util::sync::CancellationToken::new()).await.unwrap();
    assert_ne!(running.address.port(), 0);
    running.stop().await;
    let again = mgmt(&words).await.unwrap_err();
    assert!(again.contains("cannot write"), "{again}");

    // A key that others can read stops the server.
    std::fs::set_permissions(folder.join("issuer.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = biosim_mgmt::Config::load(&folder.join("mgmt.toml")).unwrap();
    let error = biosim_mgmt::serve(config, tokio_util::sync::CancellationToken::new()).await.err().unwrap();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_from_the_command_line_to_the_device() {
    let rig = Rig::start().await;
    let config = rig.dir.path().join("server/mgmt.toml");
    let config = config.to_str().unwrap();
    let mut device = TestDevice::l1(&rig);

    let nobody = mgmt(&["--config", config, "rotate", "SN0000000001"]).await.unwrap_err();
    assert!(nobody.contains("no registered device SN0000000001"), "{nobody}");
    device.enrol(&rig).await.unwrap();
    let table = mgmt(&["--config", config, "devices"]).await.unwrap();
    assert!(table.contains("SN0000000001") && table.contains("registered"), "{table}");

    for order in ["rotate", "report"] {
        mgmt(&["--config", config, order, "SN0000000001"]).await.unwrap();
    }
    let files = rig.dir.path();
    let signed = manifest(&device.identity, &[1, 2, 3]);
    std::fs::write(files.join("manifest"), format!("{signed}\n")).unwrap();
    std::fs::write(files.join("other"), [1, 2, 4]).unwrap();
    std::fs::write(files.join("image"), [1, 2, 3]).unwrap();
    std::fs::write(files.join("empty"), []).unwrap();
    let path = |name: &str| files.join(name).to_str().unwrap().to_owned();
    let update = ["--config", config, "update", "SN0000000001", "--manifest", &path("manifest"), "--image"];
    let empty = mgmt(&[&update[..], &[path("empty").as_str()]].concat()).await.unwrap_err();
    assert!(empty.contains("0 bytes"), "{empty}");
    let other = mgmt(&[&update[..], &[path("other").as_str()]].concat()).await.unwrap_err();
    assert!(other.contains("other"), "another image than the manifest's: {other}");
    mgmt(&[&update[..], &[path("image").as_str()]].concat()).await.unwrap();

    let ReplyBody::Commands { commands, .. } = device.say(&rig, RequestBody::Poll(device.report())).await
    else {
        panic!("no commands");
    };
    let [Command::Rotate {}, Command::Report {}, Command::Update { manifest, image }] = commands.as_slice()
    else {
        panic!("{commands:?}");
    };
    assert_eq!(*manifest, signed);
    assert_eq!(rig.client.get(rig.url(image)).send().await.unwrap().bytes().await.unwrap(), [1, 2, 3][..]);

    mgmt(&["--config", config, "deregister", "SN0000000001"]).await.unwrap();
    let reply = device.say(&rig, RequestBody::Poll(device.report())).await;
    assert!(matches!(reply, ReplyBody::Commands { commands, .. } if commands == [Command::Deregister {}]));

    let json = mgmt(&["--config", config, "devices", "--json"]).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["state"], "deregistering");
    assert_eq!(json[0]["updates"][0]["state"], "ordered");
    let events = mgmt(&["--config", config, "events", "--json", "--serial", "SN0000000001"]).await.unwrap();
    let operator = events.lines().filter(|line| line.contains(r#""kind":"operator""#)).count();
    assert_eq!(operator, 4, "{events}");
    let plain = mgmt(&["--config", config, "events", "--last", "1"]).await.unwrap();
    assert_eq!(plain.lines().count(), 1, "{plain}");
}

/// A signed manifest for an image.
fn manifest(identity: &DeviceIdentity, image: &[u8]) -> String {
    let now = SystemClock.now();
    let content = Manifest {
        sequence: 1,
        vendor: identity.device_provider.clone(),
        make: identity.make.clone(),
        model: identity.model.clone(),
        component: Component::Firmware,
        version: "1.2.4".to_owned(),
        svn: 4,
        size: image.len() as u64,
        sha256: Sha256::of(image).0,
        precursors: Vec::new(),
        dependencies: Vec::new(),
        issued_at: now,
        best_before: None,
    };
    let signer = WORLD.pki.signer(SignerPurpose::Firmware, WORLD.now).unwrap();
    let unsigned = signed::prepare(manifest::TYP, &Signer::Chain(&signer.chain), &content.to_json()).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    unsigned.attach(&signature)
}
