//! Plain scanners beside a host with a TPM or a trust module: their keys live in it, or are sealed to it, and they stay L0.

use std::time::Duration;

use biosim_scanner::{Kind, ModuleDevice, Spec, VirtualDevice};
use biosim_swtpm::Swtpm;
use biotrust_daemon::catalog::{FtmSettings, ModuleSettings, TpmSettings, host_ftm};
use biotrust_driver_api::FtmError;
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{DeviceStatus, Level, Purpose};
use tempfile::TempDir;

use crate::{Host, settings, workshop};

/// A TPM of our own, with the CA that its endorsement key is believed under.
fn tpm(directory: &TempDir) -> (Swtpm, TpmSettings) {
    let tpm = Swtpm::manufacture(&directory.path().join("tpm")).unwrap();
    let pem = tpm.ek_ca_pem().unwrap();
    let anchors = biotrust_certs::certificates(pem.as_bytes()).unwrap();
    let ek_anchors = anchors.iter().map(|anchor| anchor.der().to_vec()).collect();
    let settings = TpmSettings { tcti: tpm.tcti(), ek_anchors };
    (tpm, settings)
}

fn camera() -> VirtualDevice {
    let spec = Spec { kind: Kind::Face, level: Level::L0, purpose: Purpose::Registration };
    VirtualDevice::build(spec, workshop()).unwrap()
}

async fn register(host: &Host, serial: &str) -> String {
    let request = host.fleet.begin_rotation(serial).await.unwrap();
    let lifetime = Duration::from_secs(86_400);
    let chain = workshop().pki.issue_device_certificate(&request, SystemClock.now(), lifetime).unwrap();
    host.fleet.finish_rotation(serial, chain).await.unwrap().certificate_sha256
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_hosts_tpm_survive_a_restart_and_make_nothing_better_than_l0() {
    let directory = tempfile::tempdir().unwrap();
    let (_tpm, tpm) = tpm(&directory);
    let (device, ftm) = (camera(), FtmSettings::Tpm(tpm));
    let host = Host::start_on(&ftm, settings(), None, tempfile::tempdir().unwrap());
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    let certificate = register(&host, device.serial()).await;
    host.until(device.serial(), DeviceStatus::Ready).await;
    let shown = host.shown(device.serial());
    let checks = shown["checks"].as_array().unwrap();
    let granted = checks.iter().find(|check| check["name"] == "granted-level").unwrap();
    let text = granted["text"].as_str().unwrap();
    assert!(text.contains("keys in the host's TPM; the level stays L0 because"), "{shown:#}");
    assert_eq!(shown["level"], "L0");
    let [info, _] = host.info(device.serial()).await.unwrap();
    assert_eq!(info.1["certification"], "L0");
    device.unplug();

    let host = Host::start_on(&ftm, settings(), None, host.stop().await);
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::Ready).await;
    assert_eq!(host.shown(device.serial())["certificate"]["sha256"], certificate);
}

/// The whole way of a key in a module beside a sensor: made, certified, used, away while the module is, and back with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_beside_a_sensor_holds_its_key_and_makes_nothing_better_than_l0() {
    let pki = &workshop().pki;
    let module = ModuleDevice::build("FTM-BESIDE-1", pki, &SystemClock).unwrap();
    let cables = tempfile::tempdir().unwrap();
    module.plug(cables.path()).unwrap();
    let port = cables.path().join("FTM-BESIDE-1.tty");
    let (device, ftm) = (camera(), FtmSettings::Module(ModuleSettings { port, baud: None }));
    let host = Host::start_on(&ftm, settings(), None, tempfile::tempdir().unwrap());
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::NotRegistered).await;
    let certificate = register(&host, device.serial()).await;
    host.until(device.serial(), DeviceStatus::Ready).await;
    let shown = host.shown(device.serial());
    assert_eq!(shown["level"], "L0");
    let checks = shown["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["outcome"] == "fail").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let granted = checks.iter().find(|check| check["name"] == "granted-level").unwrap();
    assert!(granted["text"].as_str().unwrap().contains("L0, key in a module"), "{shown:#}");
    let proven = |name: &str| checks.iter().any(|check| check["name"] == name && check["outcome"] == "pass");
    assert!(["chip-model", "binding", "device-key"].into_iter().all(proven), "{checks:#?}");
    let report = host.fleet.ftm_report().await.unwrap();
    assert_eq!((&report["kind"], &report["usable"]), (&"spdm".into(), &true.into()), "{report:#}");
    assert!(report["notices"].to_string().contains("L0, key in a module"), "{report:#}");
    let [info, _] = host.info(device.serial()).await.unwrap();
    assert_eq!(info.1["certification"], "L0");

    module.unplug();
    assert!(host.info(device.serial()).await.is_none(), "without its key nothing is signed");
    let report = host.fleet.ftm_report().await.unwrap();
    assert!(report["notices"].to_string().contains("plug the module in"), "{report:#}");
    module.plug(cables.path()).unwrap();
    assert!(host.info(device.serial()).await.is_some(), "and with it again");
    device.unplug();

    let host = Host::start_on(&ftm, settings(), None, host.stop().await);
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::Ready).await;
    assert_eq!(host.shown(device.serial())["certificate"]["sha256"], certificate);
}

#[test]
fn a_tpm_that_is_not_there_is_a_refusal_with_its_reason_and_nothing_takes_its_place() {
    let state = tempfile::tempdir().unwrap();
    let nowhere = TpmSettings { tcti: "swtpm:host=127.0.0.1,port=1".into(), ek_anchors: Vec::new() };
    let module = FtmSettings::Module(ModuleSettings { port: "/dev/not-there".into(), baud: None });
    for settings in [FtmSettings::Tpm(nowhere.clone()), FtmSettings::Software { seal: Some(nowhere) }, module]
    {
        let Err(error) = host_ftm(state.path(), &settings) else { panic!("{settings:?} was opened") };
        assert!(matches!(&error, FtmError::State { next, .. } if !next.is_empty()), "{error}");
        let keys = std::fs::read_dir(state.path().join("keys")).map(Iterator::count);
        assert_eq!(keys.unwrap_or_default(), 0, "no key of another kind was made");
    }
}

#[test]
fn key_files_that_are_sealed_to_the_tpm_open_with_it_only() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let (mut running, tpm) = tpm(&directory);
    let sealed = FtmSettings::Software { seal: Some(tpm) };
    let mut ftm = host_ftm(&state, &sealed).unwrap();
    ftm.begin_rotation("BT0123456789", "S", "P").unwrap();
    ftm.finish_rotation("BT0123456789").unwrap();
    let key = ftm.load("BT0123456789").unwrap().public_key_der().to_vec();
    drop(ftm);
    assert!(host_ftm(&state, &FtmSettings::Software { seal: None }).is_err(), "not without the TPM");
    running.cut_power();
    assert!(host_ftm(&state, &sealed).is_err(), "nor while it has no power");
    running.power_on().unwrap();
    let mut ftm = host_ftm(&state, &sealed).unwrap();
    assert_eq!(ftm.load("BT0123456789").unwrap().public_key_der(), key);
}
