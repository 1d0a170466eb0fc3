//! Fingers that come, stay, go, or do not come.

use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, CaptureOutcome, Description, DeviceErrorKind, DriverFactory, Pipe, PipeError, Port, Value,
};
use biotrust_model::{BioSubType, DeviceStatus, Level, Modality, Purpose};
use biotrust_sbi::iso::{self, CaptureDevice, Details, FingerImage, Impression, Quality};

use crate::rig::{OPEN, Rig, eventually, job, print};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// Mean grey difference of an image of the reader and the print, in the middle of both.
fn difference(image: &[u8], turned: bool) -> f64 {
    let print = print(1.0);
    let (width, height) = (384i32, 289i32);
    let mut sum = 0.0;
    let mut count = 0;
    for y in -100..100i32 {
        for x in -100..100i32 {
            // 512 dots of the reader are 500 of the print.
            let column = f64::from(print.width()) / 2.0 + f64::from(x) * 500.0 / 512.0;
            let row = f64::from(print.height()) / 2.0 + f64::from(y) * 500.0 / 512.0;
            let expected =
                print.pixels()[row.round() as usize * print.width() as usize + column.round() as usize];
            let (x, y) = if turned { (-x, -y) } else { (x, y) };
            let got = image[((height / 2 + y) * width + width / 2 + x) as usize];
            sum += f64::from(expected.abs_diff(got));
            count += 1;
        }
    }
    sum / f64::from(count)
}

fn decode(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let image = hayro_jpeg2000::Image::new(file, &hayro_jpeg2000::DecodeSettings::default()).unwrap();
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let pixels = image.decode(&mut context).unwrap().data_u8();
    (image.width(), image.height(), pixels)
}

#[test]
fn a_finger_becomes_a_record() {
    let rig = Rig::new();
    let mut found = Rig::found();
    found.quirks.settings.insert("purpose".into(), Value::Text("Registration".into()));
    let plugged = rig.try_plug(&found).unwrap();
    rig.press();
    let job = biotrust_driver_api::CaptureJob { purpose: Purpose::Registration, ..job(S(5), 40.0) };
    let outcome = plugged.device.capture(&job, &Cancel::new()).unwrap();
    let CaptureOutcome::Done { parts, reached } = outcome else { panic!("nothing") };
    let [part] = &parts[..] else { panic!("{} parts", parts.len()) };
    assert!(reached && part.score.value() >= 40.0, "{}", part.score);
    assert_eq!((part.width, part.height, part.dpi), (384, 289, 512));
    assert_eq!(part.part, Some(BioSubType::LeftThumb));

    let (width, height, pixels) = decode(part.image.expose());
    assert_eq!((width, height), (384, 289));
    let upright = difference(&pixels, false);
    assert!(upright < 25.0, "it is the print, dark on light and upright: {upright}");
    assert!(difference(&pixels, true) > 60.0, "and not the other way round");

    // The record takes the reader's own density; it is not resampled to 500.
    let record = FingerImage {
        purpose: Purpose::Registration,
        position: BioSubType::LeftThumb,
        impression: Impression::Plain,
        dpi: part.dpi,
        details: Details {
            captured_at: Some(part.captured_at),
            device: CaptureDevice::default(),
            quality: vec![Quality::estimated(part.score)],
        },
        image: part.image.expose(),
    };
    let record = record.encode().unwrap();
    let read = iso::validate(&record, Modality::Finger, Purpose::Registration).unwrap();
    assert!(
        read.advice(Purpose::Registration).iter().all(|advice| !matches!(advice, iso::Advice::Density(_)))
    );
}

#[test]
fn an_authentication_is_lossy_and_as_good() {
    let rig = Rig::new();
    let plugged = rig.plug();
    let description: &Description = plugged.device.description();
    assert_eq!((description.level, description.purpose), (Level::L0, Purpose::Auth));
    assert_eq!(description.firmware, "0450-0103");
    rig.press();
    let image = plugged.image(S(5));
    let (_, _, pixels) = decode(image.image.expose());
    assert!(image.image.len() * 15 >= 384 * 289);
    assert!(difference(&pixels, false) < 30.0);
}

#[test]
fn a_finger_that_comes_later_is_waited_for() {
    let rig = Rig::new();
    let plugged = rig.plug();
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| plugged.image(S(5)));
        rig.await_waiting();
        rig.press();
        assert!(capture.join().unwrap().score.value() >= 40.0);
    });
}

#[test]
fn a_finger_that_never_comes_is_nothing_and_the_reader_goes_dark() {
    let rig = Rig::new();
    let plugged = rig.plug();
    let start = Instant::now();
    assert!(matches!(plugged.capture(MS(600)), Ok(CaptureOutcome::Nothing)));
    assert!((MS(550)..MS(800)).contains(&start.elapsed()), "{:?}", start.elapsed());
    eventually(|| rig.is_idle());
    assert_eq!(rig.images(), 0);
    assert_eq!(plugged.device.status(S(1)).unwrap().status, DeviceStatus::Ready);
}

#[test]
fn a_finger_that_never_leaves_is_taken_once() {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.press();
    plugged.image(S(5));
    let images = rig.images();
    assert!(matches!(plugged.capture(MS(500)), Ok(CaptureOutcome::Nothing)), "it was there before");
    assert_eq!(rig.images(), images);

    rig.lift();
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| plugged.image(S(5)));
        rig.await_waiting();
        rig.press();
        capture.join().unwrap();
    });
    assert!(rig.images() > images);
}

#[test]
fn a_finger_that_goes_when_nobody_looks_turns_the_light_off() {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.press();
    plugged.image(S(5));
    rig.lift();
    eventually(|| {
        plugged.device.status(S(1)).unwrap();
        rig.is_idle()
    });
}

#[test]
fn as_long_as_a_finger_lies_there_more_images_are_taken_for_a_better_one() {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.press_poorly();
    // a score that is not reached: the best one until time is over
    let outcome = plugged.device.capture(&job(MS(1200), 100.0), &Cancel::new()).unwrap();
    assert!(matches!(outcome, CaptureOutcome::Done { reached: false, .. }));
    assert!(rig.images() >= 3, "{}", rig.images());
}

#[test]
fn a_reader_of_single_images_gives_one_per_finger() {
    let rig = Rig::new();
    let mut found = Rig::found();
    found.quirks.settings.insert("single_image".into(), Value::Flag(true));
    let plugged = rig.try_plug(&found).unwrap();
    rig.press_poorly();
    let outcome = plugged.device.capture(&job(MS(1200), 100.0), &Cancel::new()).unwrap();
    assert!(matches!(outcome, CaptureOutcome::Done { reached: false, .. }));
    assert_eq!(rig.images(), 1);
}

#[test]
fn two_parts_are_two_fingers() {
    let rig = Rig::new();
    let plugged = rig.plug();
    rig.press();
    let two = biotrust_driver_api::CaptureJob {
        parts: vec![BioSubType::LeftThumb, BioSubType::RightThumb],
        ..job(S(5), 40.0)
    };
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| plugged.device.capture(&two, &Cancel::new()));
        eventually(|| rig.images() > 0);
        std::thread::sleep(MS(200));
        rig.lift();
        rig.await_waiting();
        rig.press();
        let outcome = capture.join().unwrap().unwrap();
        assert!(matches!(outcome, CaptureOutcome::Done { parts, .. } if parts.len() == 2));
    });
}

#[test]
fn a_capture_that_is_called_off_comes_back_at_once() {
    let rig = Rig::new();
    let plugged = rig.plug();
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| plugged.device.capture(&job(S(10), 40.0), &cancel));
        rig.await_waiting();
        let start = Instant::now();
        cancel.cancel();
        let error = capture.join().unwrap().unwrap_err();
        assert_eq!(error.kind, DeviceErrorKind::Cancelled);
        assert!(start.elapsed() < MS(200), "{:?}", start.elapsed());
    });
}

#[test]
fn closing_turns_the_reader_off() {
    let rig = Rig::new();
    let plugged = rig.plug();
    std::thread::scope(|scope| {
        let device = std::sync::Arc::clone(&plugged.device);
        scope.spawn(move || device.capture(&job(MS(300), 40.0), &Cancel::new()));
        rig.await_waiting();
    });
    let start = Instant::now();
    drop(plugged.device);
    assert!(rig.is_idle());
    assert!(start.elapsed() < S(1));
}

#[test]
fn settings_that_make_no_record_and_other_things_are_refused() {
    let rig = Rig::new();
    let mut found = Rig::found();
    found.quirks.settings.insert("dpi".into(), Value::Number(300));
    let error = rig.try_plug(&found).err().unwrap();
    assert_eq!(error.kind, DeviceErrorKind::Unsupported);
    assert!(error.to_string().contains("dpi: 300"), "{error}");

    struct Line;
    impl Pipe for Line {
        fn read(&mut self, _: &mut [u8], _: Duration) -> Result<usize, PipeError> {
            unreachable!("a line is not even read")
        }
        fn write_all(&mut self, _: &[u8], _: Duration) -> Result<(), PipeError> {
            unreachable!("nor written")
        }
        fn try_clone(&self) -> Result<Box<dyn Pipe>, PipeError> {
            Ok(Box::new(Line))
        }
        fn name(&self) -> &str {
            "a line"
        }
    }
    let opened = rig.factory.open(Port::pipe(Box::new(Line)), &Rig::found(), Box::new(|_| {}), OPEN);
    assert_eq!(opened.err().unwrap().kind, DeviceErrorKind::Unsupported);
}
