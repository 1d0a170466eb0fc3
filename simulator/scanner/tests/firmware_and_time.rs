//! Updates, starts and the clock of virtual L1 devices, over a real pseudo-terminal.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "helpers of tests may panic, as tests may"
)]

mod bench;

use std::time::Duration;

use bench::{Bench, PATIENCE, workshop};
use biosim_scanner::{ChipKind, Faults, Kind, MAX_FAILED_ATTEMPTS, Options, Release, SignedUpdate, Slot};
use biotrust_attest::time_token::TimeToken;
use biotrust_certs::{Authority, SignerPurpose, TestSigner};
use biotrust_driver_api::{Cancel, DeviceError, DeviceErrorKind, DeviceEvent, DigitalIdKey, StreamJob};
use biotrust_model::time::{Clock, SystemClock, UtcMillis};
use biotrust_model::{DeviceStatus, SubId};

const BLOCK: usize = 16 * 1024;

fn update(kind: Kind, release: &Release) -> SignedUpdate {
    workshop().factory.update(&bench::identity(kind), release).unwrap()
}

/// Sends blocks from where the device is, `blocks` at most; tells whether all are there.
fn send(bench: &Bench, update: &SignedUpdate, blocks: usize) -> Result<bool, DeviceError> {
    let pending = bench.host.begin_update(&update.manifest, PATIENCE)?.pending.unwrap();
    let mut at = pending.received;
    for block in update.image[at as usize..].chunks(BLOCK).take(blocks) {
        at = bench.host.update_block(at, block, PATIENCE)?;
    }
    Ok(at == pending.size)
}

#[test]
fn an_update_goes_on_after_a_power_cut_and_runs_after_its_start() {
    updates(ChipKind::Software);
}

#[test]
fn a_device_whose_chip_is_a_tpm_is_updated_and_the_tpm_keeps_the_floor() {
    updates(ChipKind::Swtpm);
}

fn updates(chip: ChipKind) {
    let mut bench = Bench::new(Kind::Face, &Options { chip, ..Options::default() });
    let update = update(Kind::Face, &Release::next());
    let before = bench.host.firmware(PATIENCE).unwrap();
    assert_eq!((before.svn, before.svn_floor, before.pending), (1, 1, None));
    assert!(!send(&bench, &update, 5).unwrap());
    let error = bench.host.finish_update(PATIENCE).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::Protocol, "{error}");

    bench.power_cycle();
    assert_eq!(bench.host.description().firmware, Release::current().version, "what ran goes on");
    let pending = bench.host.firmware(PATIENCE).unwrap().pending.unwrap();
    assert_eq!((pending.received, pending.version), (5 * BLOCK as u64, Release::next().version));
    assert!(send(&bench, &update, usize::MAX).unwrap());
    bench.host.finish_update(PATIENCE).unwrap();
    while !matches!(bench.events.recv_timeout(PATIENCE).unwrap(), DeviceEvent::Gone(_)) {}
    bench.reopen();
    assert_eq!(bench.host.description().firmware, Release::next().version);
    let after = bench.host.firmware(PATIENCE).unwrap();
    assert_eq!((after.svn, after.svn_floor, after.failed_attempts, after.pending), (2, 2, 0, None));

    let downgrade = update_of(|release| release.svn = 1);
    let error = bench.host.begin_update(&downgrade.manifest, PATIENCE).unwrap_err();
    assert!(error.kind == DeviceErrorKind::Unsupported && error.to_string().contains("downgrade"), "{error}");
    assert_eq!(bench.host.firmware(PATIENCE).unwrap().failed_attempts, 1);
}

fn update_of(change: impl FnOnce(&mut Release)) -> SignedUpdate {
    let mut release = Release { sequence: 9, ..Release::next() };
    change(&mut release);
    update(Kind::Face, &release)
}

#[test]
fn firmware_that_does_not_come_up_is_rolled_back() {
    let mut bench = Bench::new(Kind::Face, &Options::default());
    assert!(send(&bench, &update_of(|release| release.starts = false), usize::MAX).unwrap());
    bench.host.finish_update(PATIENCE).unwrap();
    while !matches!(bench.events.recv_timeout(PATIENCE).unwrap(), DeviceEvent::Gone(_)) {}
    bench.reopen();
    let state = bench.host.firmware(PATIENCE).unwrap();
    assert_eq!((state.version, state.svn_floor, state.failed_attempts), (Release::current().version, 1, 1));
}

#[test]
fn ten_bad_manifests_lock_the_update_path_of_the_device_for_good() {
    let mut bench = Bench::new(Kind::Face, &Options::default());
    let foreign = update(Kind::DoubleIris, &Release::next());
    for _ in 0..MAX_FAILED_ATTEMPTS {
        let error = bench.host.begin_update(&foreign.manifest, PATIENCE).unwrap_err();
        assert!(error.to_string().contains("IRIS-2"), "{error}");
    }
    bench.power_cycle();
    let state = bench.host.firmware(PATIENCE).unwrap();
    assert!(state.locked && state.failed_attempts == MAX_FAILED_ATTEMPTS);
    let error = send(&bench, &update(Kind::Face, &Release::next()), 1).unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    assert_eq!(bench.host.status(PATIENCE).unwrap().status, DeviceStatus::Ready, "what runs goes on");
}

#[test]
fn a_halted_device_says_why_and_nothing_else() {
    let mut bench = Bench::new(Kind::Face, &Options::default());
    let manifest = update(Kind::Face, &Release::next()).manifest;
    assert!(bench.device.flip_bit(Some(Slot::A), 300_000));
    assert!(bench.host.firmware(PATIENCE).is_ok(), "what is loaded runs on");
    bench.power_cycle();
    let report = bench.host.status(PATIENCE).unwrap();
    assert_eq!(report.status, DeviceStatus::NotReady);
    assert!(report.reason.starts_with("secure boot halted: firmware refused"), "{}", report.reason);
    let host = &bench.host;
    let binding = biotrust_model::evidence::Binding([7; 32]);
    let stream = StreamJob { sub_id: SubId(0), fps: 5 };
    for (what, refused) in [
        ("keys", host.keys(PATIENCE).map(drop)),
        ("stream", host.start_stream(stream, PATIENCE)),
        ("prove", host.prove(&binding, None, PATIENCE).map(drop)),
        ("digital ID", host.digital_id(DigitalIdKey::Chip, PATIENCE).map(drop)),
        ("clock", host.clock(PATIENCE).map(drop)),
        ("firmware", host.firmware(PATIENCE).map(drop)),
        ("update", host.begin_update(&manifest, PATIENCE).map(drop)),
        ("key", host.begin_rotation("a", "b", PATIENCE).map(drop)),
    ] {
        assert!(refused.is_err(), "{what}");
    }
    assert!(bench.device.flip_bit(Some(Slot::A), 300_000));
    bench.power_cycle();
    assert_eq!(bench.host.status(PATIENCE).unwrap().status, DeviceStatus::Ready);
    assert!(bench.device.flip_bit(None, 150_000) && !bench.device.flip_bit(Some(Slot::B), 0));
    bench.power_cycle();
    assert!(bench.host.status(PATIENCE).unwrap().reason.contains("halted: loader refused"));
}

fn token(signer: &TestSigner, nonce: [u8; 32], serial: &str, utc: UtcMillis) -> String {
    let token = TimeToken { nonce, utc, exp: utc.plus(Duration::from_secs(60)), aud: serial.to_owned() };
    let unsigned = token.prepare(&signer.chain).unwrap();
    let signature = signer.sign_rs256(unsigned.signing_input());
    unsigned.attach(&signature)
}

#[test]
fn only_a_fresh_token_of_its_own_server_sets_the_clock() {
    let pki = &workshop().pki;
    let mut bench = Bench::new(Kind::Face, &Options { require_time: true, ..Options::default() });
    let serial = bench.host.description().identity.serial_no.clone();
    let not_ready = |bench: &Bench| bench.host.status(PATIENCE).unwrap().status == DeviceStatus::NotReady;
    assert!(not_ready(&bench), "nobody has told the time");
    let now = SystemClock.now();
    let server = pki.signer(SignerPurpose::Management, now).unwrap();
    let clock = bench.host.clock(PATIENCE).unwrap();
    assert_eq!((clock.now, clock.boot_count), (None, 1));

    // An hour from now: the host's own time does not matter to it.
    let told = now.plus(Duration::from_secs(3600));
    let good = token(&server, clock.nonce, &serial, told);
    let firmware = pki.signer(SignerPurpose::Firmware, now).unwrap();
    let other = pki.signer_by(Authority::OtherProvider, SignerPurpose::Management, now).unwrap();
    let stranger = pki.signer_by(Authority::Stranger, SignerPurpose::Management, now).unwrap();
    for bad in [
        token(&firmware, clock.nonce, &serial, told),
        token(&other, clock.nonce, &serial, told),
        token(&stranger, clock.nonce, &serial, told),
        token(&server, [1; 32], &serial, told),
        token(&server, clock.nonce, "BSM000000000", told),
        good.replace('.', "A."),
    ] {
        let error = bench.host.set_clock(&bad, PATIENCE).unwrap_err();
        assert_eq!(error.kind, DeviceErrorKind::Unsupported, "{error}");
    }
    assert!(not_ready(&bench));
    bench.host.set_clock(&good, PATIENCE).unwrap();
    let event = bench.events.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(&event, DeviceEvent::Status(r) if r.status == DeviceStatus::Ready), "{event:?}");
    assert!(bench.host.set_clock(&good, PATIENCE).is_err(), "used up");
    let shown = bench.host.clock(PATIENCE).unwrap();
    assert!((0..5_000).contains(&shown.now.unwrap().since(told)) && shown.nonce != clock.nonce);

    bench.device.set_faults(Faults { stopped_clock: true, ..Faults::default() });
    let stopped = bench.host.clock(PATIENCE).unwrap().now.unwrap();
    let _ = Cancel::new().wait(Duration::from_millis(30));
    assert_eq!(bench.host.clock(PATIENCE).unwrap().now, Some(stopped));
    bench.device.set_faults(Faults::default());

    bench.power_cycle();
    let clock = bench.host.clock(PATIENCE).unwrap();
    assert_eq!((clock.now, clock.boot_count), (None, 2), "forgotten with the power");
    assert!(not_ready(&bench));
}
