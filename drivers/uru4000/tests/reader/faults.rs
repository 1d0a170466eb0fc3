//! What can go wrong. Each ends in time: with an image, with a reason, or with the loss of this one reader.

use std::time::{Duration, Instant};

use biosim_hardware::uru4000::Fault as Own;
use biosim_usbip::Fault as Usb;
use biotrust_driver_api::{CaptureOutcome, DeviceErrorKind};
use biotrust_model::DeviceStatus;

use crate::rig::{Rig, eventually};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// A capture with this fault of the reader that must fail, within a time; the reason.
fn fails(fault: Own, within: Duration) -> String {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.fault(Some(fault));
    rig.press();
    let start = Instant::now();
    let error = plugged.capture(S(10)).unwrap_err();
    assert!(start.elapsed() < within, "{fault:?} took {:?}", start.elapsed());
    assert_eq!(error.kind, DeviceErrorKind::Gone, "{error}");
    eventually(|| !plugged.gone.lock().unwrap().is_empty());
    // A reset has ended the port; the reader itself is well when it is found again.
    drop(plugged);
    rig.fault(None);
    rig.lift();
    rig.press();
    rig.plug().image(S(5));
    error.to_string()
}

#[test]
fn an_endpoint_that_halts_once_is_freed() {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.fault(Some(Own::StallsOnce));
    rig.press();
    plugged.image(S(5));
    assert!(plugged.gone.lock().unwrap().is_empty());
}

#[test]
fn images_that_break_off_by_a_halt_end_in_a_reset() {
    assert!(fails(Own::StallsMidImage, S(5)).contains("reset"));
}

#[test]
fn images_that_are_short_or_garbage_end_in_a_reset() {
    let short = fails(Own::ShortImage, S(5));
    assert!(short.contains("reset") && short.contains("ended after 38481 of 111040"), "{short}");
    let garbage = fails(Own::GarbageHeader, S(5));
    assert!(garbage.contains("rows"), "{garbage}");
}

#[test]
fn images_that_never_come_end_in_a_reset() {
    let why = fails(Own::NoImage, S(8));
    assert!(why.contains("waiting 1500 ms for an image"), "{why}");
}

#[test]
fn an_image_that_does_not_come_keeps_no_capture_beyond_its_time() {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.fault(Some(Own::NoImage));
    rig.press();
    let start = Instant::now();
    assert!(matches!(plugged.capture(MS(800)), Ok(CaptureOutcome::Nothing)));
    assert!(start.elapsed() < MS(1000), "{:?}", start.elapsed());
}

#[test]
fn a_wrong_key_gives_no_finger() {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.fault(Some(Own::WrongKey));
    rig.press();
    match plugged.capture(S(1)) {
        Ok(CaptureOutcome::Nothing | CaptureOutcome::Done { reached: false, .. }) => {}
        other => panic!("noise is no finger: {other:?}"),
    }
}

#[test]
fn a_reader_that_announces_its_failure_or_loses_power_is_powered_anew() {
    for fault in [Own::Failing, Own::Brownout] {
        let rig = Rig::new();
        let plugged = rig.plug();
        std::thread::scope(|scope| {
            let capture = scope.spawn(|| plugged.image(S(5)));
            rig.await_waiting();
            rig.fault(Some(fault));
            rig.fault(None);
            std::thread::sleep(MS(300));
            rig.press();
            capture.join().unwrap();
        });
    }
}

#[test]
fn a_confused_reader_is_woken_and_one_without_power_is_told() {
    let rig = Rig::new();
    rig.fault(Some(Own::Confused));
    rig.press();
    rig.plug().image(S(5));

    for (fault, why) in [
        (Own::Dead, "logic does not start"),
        (Own::NoPower, "without power"),
        (Own::Unconfirmed, "does not confirm"),
    ] {
        let rig = Rig::new();
        rig.fault(Some(fault));
        let start = Instant::now();
        let error = rig.try_plug(&Rig::found()).err().unwrap();
        assert_eq!(error.kind, DeviceErrorKind::NotReady, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(start.elapsed() < S(8), "{:?}", start.elapsed());
    }
}

#[test]
fn a_reader_that_is_mute_from_the_start_or_later_is_lost() {
    let rig = Rig::new();
    rig.fault(Some(Own::Mute));
    let start = Instant::now();
    assert_eq!(rig.try_plug(&Rig::found()).err().unwrap().kind, DeviceErrorKind::Gone);
    assert!(start.elapsed() < S(5));

    let rig = Rig::new();
    let plugged = rig.plug();
    rig.fault(Some(Own::Mute));
    assert_eq!(plugged.device.status(S(5)).unwrap_err().kind, DeviceErrorKind::Gone);
}

#[test]
fn a_reader_that_stays_bad_is_given_up_after_three_resets() {
    let rig = Rig::new();
    rig.fault(Some(Own::Mute));
    let why = [(); 4].map(|()| rig.try_plug(&Rig::found()).err().unwrap().to_string());
    assert!(why[..3].iter().all(|why| why.contains("it was reset")), "{why:?}");
    assert!(why[3].contains("3 resets within a minute"), "{why:?}");
}

#[test]
fn faults_of_the_bus_end_in_time_and_go_away_again() {
    for (fault, lost) in [
        (Usb::Stall(Some(1)), false),
        (Usb::Stall(None), true),
        (Usb::Short, true),
        (Usb::Garbage, true),
        (Usb::Babble, true),
        (Usb::Slow(MS(30)), false),
        (Usb::Nak, true),
        (Usb::Disconnect, true),
    ] {
        let rig = Rig::new();
        let plugged = rig.plug();
        rig.press();
        rig.switch.set(Some(fault));
        let start = Instant::now();
        let outcome = plugged.capture(S(8));
        assert!(start.elapsed() < MS(8_300), "{fault:?} took {:?}", start.elapsed());
        assert_eq!(outcome.is_err(), lost, "{fault:?}: {outcome:?}");
        drop(plugged);
        rig.switch.set(None);
        rig.lift();
        rig.press();
        rig.plug().image(S(5));
    }
}

#[test]
fn a_fault_that_the_reader_reports_is_its_state() {
    let rig = Rig::new();
    let plugged = rig.plug();
    assert_eq!(plugged.device.status(S(1)).unwrap().status, DeviceStatus::Ready);
    rig.gadget.with(|reader| reader.device().report_fault(true));
    let report = plugged.device.status(S(1)).unwrap();
    assert_eq!(report.status, DeviceStatus::NotReady);
    assert!(report.reason.contains("fault"), "{}", report.reason);
    rig.gadget.with(|reader| reader.device().report_fault(false));
    assert_eq!(plugged.device.status(S(1)).unwrap().status, DeviceStatus::Ready);
}

/// Pulled at any moment of a capture, the caller knows at once, and the next plug is clean.
#[test]
fn pulling_it_at_any_moment_is_told_within_200_ms() {
    let rig = Rig::new();
    let mut times = Vec::new();
    for round in 0..30u32 {
        let plugged = rig.plug();
        // Moments from the power-up to the second image, spread by a step that has nothing to do with any of theirs.
        let moment = MS(u64::from(round * 37 % 211));
        rig.lift();
        std::thread::scope(|scope| {
            let device = &plugged.device;
            let capture = scope.spawn(move || {
                let job = crate::rig::job(S(10), 100.0);
                (device.capture(&job, &Default::default()), Instant::now())
            });
            std::thread::sleep(moment / 2);
            rig.press_poorly();
            std::thread::sleep(moment / 2);
            let pulled = Instant::now();
            plugged.connection.yank();
            let (outcome, ended) = capture.join().unwrap();
            assert_eq!(outcome.unwrap_err().kind, DeviceErrorKind::Gone);
            times.push(ended.saturating_duration_since(pulled));
        });
        eventually(|| !plugged.gone.lock().unwrap().is_empty());
    }
    times.sort_unstable();
    println!("{times:?}");
    // a machine that is busy with other tests may be late once
    assert!(times[28] < MS(200) && times[29] < S(1), "{times:?}");
    rig.lift();
    rig.press();
    rig.plug().image(S(5));
}
