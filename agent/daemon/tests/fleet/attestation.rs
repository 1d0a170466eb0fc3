//! What an L1 device must prove, and what becomes of it where it does not.

use biosim_scanner::{ChipCertificate, Faults, Options};
use biotrust_certs::Certificate;
use biotrust_daemon::fleet::{Attestation, Settings};
use biotrust_daemon::store::{Owner, Store};
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{DeviceStatus, Level, Purpose};

use crate::{Host, built, models, settings};

fn faulty(faults: Faults) -> Options {
    Options { faults, ..Options::default() }
}

fn check<'v>(device: &'v serde_json::Value, name: &str) -> &'v serde_json::Value {
    device["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or(&serde_json::Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_proves_itself_is_l1_and_its_evidence_can_be_had() {
    let host = Host::start(Some(models(Level::L1)));
    let device = built(Purpose::Registration, &Options::default());
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::Ready).await;
    let shown = host.shown(device.serial());
    assert_eq!(
        (&shown["level"], &shown["why_not_l1"]),
        (&"L1".into(), &serde_json::Value::Null),
        "{shown:#}"
    );
    for name in [
        "chip-history",
        "challenge",
        "chip-model",
        "device-key",
        "measurements",
        "device-mode",
        "evidence-keys",
    ] {
        assert_eq!(check(&shown, name)["outcome"], "pass", "{name}: {shown:#}");
    }
    let evidence = host.fleet.evidence(device.serial()).unwrap().unwrap();
    let parsed =
        biotrust_attest::signed::parse("eat+jwt", &evidence, biotrust_attest::evidence::MAX_LENGTH).unwrap();
    assert_eq!(parsed.verify().map(drop), Ok(()));
    let [info, id] = host.info(device.serial()).await.unwrap();
    assert_eq!(info.1["certification"], "L1");
    assert_ne!(info.0, id.0, "the chip signs the digital ID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_is_named_wherever_the_device_is_shown() {
    for (faults, name, also) in [
        // its chip states the mode beside the key as well
        (Faults { debug_mode: true, ..Faults::default() }, "device-key", "device-mode"),
        (Faults { tampered_firmware: true, ..Faults::default() }, "measurements", "measurements"),
    ] {
        let host = Host::start(Some(models(Level::L1)));
        let device = built(Purpose::Registration, &faulty(faults));
        host.plug(&device);
        let shown = host.decided(device.serial()).await;
        assert_eq!(shown["status"], "Not Ready", "{shown:#}");
        assert!(shown["reason"].as_str().unwrap().starts_with(&format!("{name}: ")), "{shown:#}");
        for failed in [name, also] {
            assert_eq!(check(&shown, failed)["outcome"], "fail", "{failed}: {shown:#}");
        }
        let discovery = host.fleet.discovery(None, false);
        let discovery: serde_json::Value = serde_json::from_slice(&discovery).unwrap();
        let error = &discovery[0]["error"];
        assert_eq!(error["errorCode"], "508", "{discovery:#}");
        assert!(error["errorInfo"].as_str().unwrap().contains(name), "{discovery:#}");
        assert!(host.info(device.serial()).await.is_none(), "and it signs nothing for anybody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_proves_nothing_is_l0_or_refused_as_configured() {
    let mute = faulty(Faults { no_attestation: true, ..Faults::default() });
    let host = Host::start(None);
    let device = built(Purpose::Registration, &mute);
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::Ready).await;
    let shown = host.shown(device.serial());
    assert_eq!((&shown["level"], &shown["keys_at"]), (&"L0".into(), &"L1".into()), "{shown:#}");
    assert!(shown["why_not_l1"].as_str().unwrap().contains("it proves nothing"), "{shown:#}");
    let [info, id] = host.info(device.serial()).await.unwrap();
    assert_eq!(info.1["certification"], "L0");
    assert_eq!(info.0, id.0, "at L0 the device key signs the digital ID");
    let discovery: serde_json::Value = serde_json::from_slice(&host.fleet.discovery(None, false)).unwrap();
    assert_eq!(discovery[0]["certification"], "L0");

    let attestation = Attestation { required: true, ..Attestation::default() };
    let host = Host::start_with(Settings { attestation, ..settings() }, None, tempfile::tempdir().unwrap());
    let device = built(Purpose::Registration, &mute);
    host.plug(&device);
    let shown = host.decided(device.serial()).await;
    assert!(shown["reason"].as_str().unwrap().starts_with("granted-level: "), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_certified_l1_is_served_as_l0_until_it_is() {
    let host = Host::start(Some(models(Level::L0)));
    let device = built(Purpose::Registration, &Options::default());
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::Ready).await;
    let shown = host.shown(device.serial());
    assert_eq!(shown["level"], "L0", "{shown:#}");
    assert!(shown["why_not_l1"].is_string());

    host.fleet.set_models(Some(models(Level::L1)));
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    while host.shown(device.serial())["level"] != "L1" {
        assert!(std::time::Instant::now() < deadline, "{:#}", host.shown(device.serial()));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let [info, id] = host.info(device.serial()).await.unwrap();
    assert!(info.1["certification"] == "L1" && info.0 != id.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_number_on_another_chip_is_refused_until_a_technician_forgets_the_device() {
    let host = Host::start(None);
    let (first, second) = (
        built(Purpose::Registration, &Options::default()),
        built(Purpose::Registration, &Options::default()),
    );
    assert_eq!(first.serial(), second.serial());
    let serial = first.serial().to_owned();
    host.plug(&first);
    host.until(&serial, DeviceStatus::Ready).await;
    first.unplug();
    host.plug(&second);
    let shown = host.decided(&serial).await;
    let reason = shown["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("chip-history: ") && reason.contains("device forget"), "{shown:#}");
    // the first one is still good: nothing was learned of the clone
    second.unplug();
    host.plug(&first);
    host.until(&serial, DeviceStatus::Ready).await;
    first.unplug();
    host.plug(&second);
    host.decided(&serial).await;
    assert!(host.fleet.forget(&serial).await.unwrap());
    host.until(&serial, DeviceStatus::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chip_that_was_shown_and_not_proven_is_not_remembered() {
    let host = Host::start(None);
    let mute = built(Purpose::Registration, &faulty(Faults { no_attestation: true, ..Faults::default() }));
    let genuine = built(Purpose::Registration, &Options::default());
    assert_eq!(mute.serial(), genuine.serial());
    let serial = mute.serial().to_owned();
    host.plug(&mute);
    host.until(&serial, DeviceStatus::Ready).await;
    mute.unplug();
    // the owner of that serial number comes, and must not suffer from what somebody else said
    host.plug(&genuine);
    host.until(&serial, DeviceStatus::Ready).await;
    assert_eq!(host.shown(&serial)["level"], "L1", "{:#}", host.shown(&serial));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_proved_itself_and_falls_silent_is_refused_until_it_is_forgotten() {
    let host = Host::start(None);
    let device = built(Purpose::Registration, &Options::default());
    let serial = device.serial().to_owned();
    host.plug(&device);
    host.until(&serial, DeviceStatus::Ready).await;
    device.unplug();
    device.set_faults(Faults { no_attestation: true, ..Faults::default() });
    host.plug(&device);
    let shown = host.decided(&serial).await;
    let reason = shown["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("granted-level: ") && reason.contains("device forget"), "{shown:#}");
    assert!(host.fleet.forget(&serial).await.unwrap());
    host.until(&serial, DeviceStatus::Ready).await;
    assert_eq!(host.shown(&serial)["level"], "L0");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_claim_one_identity_the_one_that_proved_it_is_served() {
    let host = Host::start(None);
    let mute = built(Purpose::Registration, &faulty(Faults { no_attestation: true, ..Faults::default() }));
    let genuine = built(Purpose::Registration, &Options::default());
    let serial = mute.serial().to_owned();
    host.plug(&mute);
    // a line of its own: both would have the same name
    let line = std::fs::read_dir(host.links.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::rename(&line, host.links.path().join("another.tty")).unwrap();
    let shown = loop {
        let shown = host.decided(&serial).await;
        if shown["status"] == "Ready" && shown["link"].as_str().unwrap().ends_with("another.tty") {
            break shown;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(shown["level"], "L0", "{shown:#}");
    host.plug(&genuine);
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    loop {
        let served: serde_json::Value = serde_json::from_slice(&host.fleet.discovery(None, false)).unwrap();
        assert_eq!(served.as_array().unwrap().len(), 1, "{served:#}");
        if served[0]["certification"] == "L1" {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{:#}", host.fleet.status());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_older_than_what_the_chip_ran_is_refused() {
    let host = Host::start(None);
    let device = built(Purpose::Registration, &Options::default());
    let serial = device.serial().to_owned();
    host.plug(&device);
    host.until(&serial, DeviceStatus::Ready).await;
    let [_, id] = host.info(&serial).await.unwrap();
    let chip = Certificate::parse(&id.0).unwrap();
    device.unplug();
    let state = host.stop().await;
    let owner = Owner::new(&device.description().identity.device_provider, &serial);
    {
        let mut store = Store::open(state.path()).unwrap();
        assert_eq!(store.highest_svn(chip.spki_der()).unwrap(), Some(1), "what it runs is remembered");
        store.remember(&owner, chip.spki_der(), Some(2), SystemClock.now()).unwrap();
    }
    let host = Host::start_with(settings(), None, state);
    host.plug(&device);
    let shown = host.decided(&serial).await;
    assert!(shown["reason"].as_str().unwrap().starts_with("svn: "), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chip_that_nobody_vouches_for_and_a_certificate_of_another_chip_are_refused() {
    for (certificate, check) in
        [(ChipCertificate::Foreign, "chip-path"), (ChipCertificate::Cloned, "signature")]
    {
        let host = Host::start(None);
        let device = built(Purpose::Registration, &Options { certificate, ..Options::default() });
        host.plug(&device);
        let shown = host.decided(device.serial()).await;
        assert!(shown["reason"].as_str().unwrap().starts_with(&format!("{check}: ")), "{shown:#}");
        assert!(host.info(device.serial()).await.is_none());
    }
}
