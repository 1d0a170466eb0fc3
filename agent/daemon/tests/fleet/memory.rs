//! What outlives the daemon: orders to destroy a key in a device, whose end was not heard of, and the next look at a
//! device that changes while it is in use.

use std::time::{Duration, Instant};

use biosim_scanner::{Faults, Options};
use biotrust_certs::{Certificate, sha256_hex};
use biotrust_daemon::fleet::{Attestation, Settings};
use biotrust_daemon::store::{Cause, Destruction, Store};
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{DeviceStatus, Purpose};

use crate::{Host, PATIENCE, built, settings};

/// Starts on a state in which `cause` was written down for the key `spki_sha256` and nothing more was heard of.
async fn after_a_crash(cause: Cause, spki_sha256: impl Fn(&str) -> String) -> (Vec<Cause>, bool) {
    let host = Host::start(None);
    let device = built(Purpose::Registration, &Options::default());
    let serial = device.serial().to_owned();
    host.plug(&device);
    host.until(&serial, DeviceStatus::Ready).await;
    let [info, _] = host.info(&serial).await.unwrap();
    let id = host.shown(&serial)["id"].as_str().unwrap().to_owned();
    device.unplug();
    let state = host.stop().await;
    let current = sha256_hex(Certificate::parse(&info.0).unwrap().spki_der());
    let planned = Destruction { spki_sha256: spki_sha256(&current), cause, at: SystemClock.now() };
    Store::open(state.path()).unwrap().plan_destruction(&id, &planned).unwrap();

    let host = Host::start_with(settings(), None, state);
    host.plug(&device);
    host.decided(&serial).await;
    let record = host.fleet.destroyed_keys(&serial).await.unwrap();
    let registered = host.shown(&serial)["status"] == "Ready";
    assert_eq!(registered, !device.ftm().unwrap().keys().device_chain.is_empty());
    (record.into_iter().map(|key| key.cause).collect(), registered)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_destroy_whose_end_was_not_heard_of_is_carried_out_or_recorded_as_it_ended() {
    let the_current_key = |current: &str| current.to_owned();
    let another_key = |_: &str| "00".repeat(32);
    assert_eq!(
        after_a_crash(Cause::Deregistered, the_current_key).await,
        (vec![Cause::Deregistered], false),
        "the order stands"
    );
    assert_eq!(after_a_crash(Cause::Rotated, the_current_key).await, (vec![], true), "it never switched");
    assert_eq!(
        after_a_crash(Cause::Rotated, another_key).await,
        (vec![Cause::Rotated], true),
        "it did switch"
    );
    assert_eq!(
        after_a_crash(Cause::Deregistered, another_key).await,
        (vec![Cause::Deregistered], true),
        "the key is gone, and another was registered since: the order is not for that"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_changes_while_it_is_in_use_is_found_out_at_the_next_look() {
    let attestation = Attestation { interval: Duration::from_millis(500), ..Attestation::default() };
    let state = tempfile::tempdir().unwrap();
    let host = Host::start_with(Settings { attestation, ..settings() }, None, state);
    let device = built(Purpose::Registration, &Options::default());
    host.plug(&device);
    host.until(device.serial(), DeviceStatus::Ready).await;
    let first = host.fleet.evidence(device.serial()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while host.fleet.evidence(device.serial()).unwrap() == first {
        assert!(Instant::now() < deadline, "it was not asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(host.shown(device.serial())["status"], "Ready", "and was as good as before");
    device.set_faults(Faults { debug_mode: true, ..Faults::default() });
    host.until(device.serial(), DeviceStatus::NotReady).await;
    assert!(host.shown(device.serial())["reason"].as_str().unwrap().contains("debug"));
    device.set_faults(Faults::default());
    host.until(device.serial(), DeviceStatus::Ready).await;
}
