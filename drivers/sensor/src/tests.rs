//! The engine around a sensor that a test plays.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, Description, DeviceError, DeviceErrorKind,
    DeviceEvent, DigitalIdKey, Found, Frame, ImageCodec, L0Device, Opened, SelfReport, StreamJob,
};
use biotrust_imaging::{Circle, Dpi, Gray, IrisGeometry, Rgb};
use biotrust_model::time::{Clock, UtcMillis};
use biotrust_model::{BioSubType, DeviceStatus, DeviceSubType, Env, Level, Modality, Purpose, Score, SubId};

use crate::{Kind, Seen, Sensor, describe, open};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn nap(long: Duration) {
    let _ = Cancel::new().wait(long);
}

/// What the sensor is about to do.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Plate {
    Empty,
    /// A finger whose ridges have this contrast.
    Finger(u8),
    Messy,
    Eye,
    EyeUnfound,
    Face,
    Fails(DeviceErrorKind),
    Hangs(Duration),
    Panics,
}

struct Played {
    plate: Arc<Mutex<Plate>>,
    closed: Arc<Mutex<bool>>,
    rested: Arc<Mutex<u32>>,
}

impl Sensor for Played {
    fn look(&mut self, wait: Duration, until: Instant, cancel: &Cancel) -> Result<Option<Seen>, DeviceError> {
        let end = until.min(Instant::now() + wait);
        loop {
            let plate = *self.plate.lock().unwrap();
            match plate {
                Plate::Empty => {}
                Plate::Finger(contrast) => {
                    if cancel.wait(MS(20)) {
                        return Ok(None);
                    }
                    return Ok(Some(Seen::Finger { image: ridges(contrast), density: Dpi::FINGER }));
                }
                Plate::Messy => return Ok(Some(Seen::Unusable { advice: "PRESS HARDER" })),
                Plate::Eye | Plate::EyeUnfound => {
                    let circle = |radius| Circle { x: 160.0, y: 120.0, radius };
                    let geometry = IrisGeometry { pupil: circle(30.0), limbus: circle(80.0) };
                    let geometry = (plate == Plate::Eye).then_some(geometry);
                    return Ok(Some(Seen::Iris { image: eye(), geometry }));
                }
                Plate::Face => {
                    let image = Rgb::filled(64, 64, 90).unwrap();
                    return Ok(Some(Seen::Face { image, jpeg: Some(b"the camera's own".to_vec()) }));
                }
                Plate::Fails(kind) => return Err(DeviceError::new(kind, "played")),
                Plate::Hangs(long) => nap(long),
                Plate::Panics => panic!("played"),
            }
            if cancel.wait(MS(5).min(end.saturating_duration_since(Instant::now()))) || Instant::now() >= end
            {
                return Ok(None);
            }
        }
    }

    fn status(&mut self) -> Result<SelfReport, DeviceError> {
        match *self.plate.lock().unwrap() {
            Plate::Fails(kind) => Err(DeviceError::new(kind, "played")),
            Plate::Hangs(long) => {
                nap(long);
                Err(DeviceError::new(DeviceErrorKind::TimedOut, "played"))
            }
            _ => Ok(SelfReport { status: DeviceStatus::Ready, reason: String::new() }),
        }
    }

    fn rest(&mut self) -> Result<(), DeviceError> {
        *self.rested.lock().unwrap() += 1;
        Ok(())
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        *self.closed.lock().unwrap() = true;
    }
}

/// Ridges that run one way, with a period of nine pixels.
fn ridges(contrast: u8) -> Gray {
    let pixel = |x: u32, y: u32| {
        let phase = (x + y / 2) as f32 * std::f32::consts::TAU / 9.0;
        (200.0 - f32::from(contrast) * (0.5 + 0.5 * phase.sin())) as u8
    };
    Gray::new(256, 288, (0..256 * 288).map(|i| pixel(i % 256, i / 256)).collect()).unwrap()
}

/// Pupil, iris and sclera as plain discs.
fn eye() -> Gray {
    let pixel = |x: u32, y: u32| {
        let distance = (x as f32 - 160.0).hypot(y as f32 - 120.0);
        let step = |at: f32| ((distance - at) / 3.0).clamp(0.0, 1.0);
        (20.0 + 90.0 * step(30.0) + 90.0 * step(80.0)) as u8
    };
    Gray::new(320, 240, (0..320 * 240).map(|i| pixel(i % 320, i / 320)).collect()).unwrap()
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> UtcMillis {
        UtcMillis(1_795_521_600_000)
    }
}

fn description(modality: Modality, purpose: Purpose) -> Description {
    let device_sub_type = match modality {
        Modality::Face => DeviceSubType::FullFace,
        _ => DeviceSubType::Single,
    };
    let kind = Kind {
        make: "Test",
        model: "T",
        modality,
        device_sub_type,
        purpose,
        firmware: "1",
        serial: Some("TEST00000001"),
        sub_ids: &[SubId(0)],
    };
    describe(&Found::line("test"), &kind).unwrap()
}

struct Rig {
    device: Option<Arc<dyn L0Device>>,
    events: Receiver<DeviceEvent>,
    plate: Arc<Mutex<Plate>>,
    closed: Arc<Mutex<bool>>,
    rested: Arc<Mutex<u32>>,
}

impl Rig {
    fn new(modality: Modality, purpose: Purpose, plate: Plate) -> Self {
        let (plate, closed) = (Arc::new(Mutex::new(plate)), Arc::default());
        let rested = Arc::default();
        let sensor =
            Played { plate: Arc::clone(&plate), closed: Arc::clone(&closed), rested: Arc::clone(&rested) };
        let (sink, events) = channel();
        let sink = Mutex::new(sink);
        let sink = Box::new(move |event| drop(sink.lock().unwrap().send(event)));
        let opened = open(description(modality, purpose), sensor, Arc::new(Noon), sink).unwrap();
        let Opened::L0(device) = opened else { panic!("not L0") };
        Self { device: Some(device), events, plate, closed, rested }
    }

    fn finger(plate: Plate) -> Self {
        Self::new(Modality::Finger, Purpose::Registration, plate)
    }

    fn device(&self) -> &Arc<dyn L0Device> {
        self.device.as_ref().unwrap()
    }

    fn set(&self, plate: Plate) {
        *self.plate.lock().unwrap() = plate;
    }

    /// A capture on a thread of its own; answers how long it took, too.
    fn begin(
        &self,
        job: CaptureJob,
        cancel: &Cancel,
    ) -> JoinHandle<(Result<CaptureOutcome<CapturedImage>, DeviceError>, Duration)> {
        let (device, cancel) = (Arc::clone(self.device()), cancel.clone());
        std::thread::spawn(move || {
            let start = Instant::now();
            (device.capture(&job, &cancel), start.elapsed())
        })
    }

    fn capture(&self, job: &CaptureJob) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
        self.device().capture(job, &Cancel::new())
    }

    fn stream(&self) {
        self.device().start_stream(StreamJob { sub_id: SubId(0), fps: 15 }, MS(100)).unwrap();
    }

    fn frame(&self) -> Frame {
        loop {
            match self.events.recv_timeout(MS(2000)).expect("a frame") {
                DeviceEvent::Frame(frame) => return frame,
                _ => continue,
            }
        }
    }

    fn gone(&self) -> DeviceError {
        loop {
            match self.events.recv_timeout(MS(2000)).expect("the end is told") {
                DeviceEvent::Gone(error) => return error,
                _ => continue,
            }
        }
    }
}

fn job(parts: &[BioSubType], score: f32, millis: u64) -> CaptureJob {
    CaptureJob {
        parts: parts.to_vec(),
        exceptions: Vec::new(),
        sub_id: SubId(0),
        requested_score: Score::new(score).unwrap(),
        requested_score_text: score.to_string(),
        finish_within: MS(millis),
        purpose: Purpose::Registration,
        auth: None,
        transaction_id: "1".into(),
        env: Env::Developer,
        spec_version: "0.9.5".into(),
        service_version: "1".into(),
        previous_hash: [0; 32],
        append_chip_certificate: false,
        digital_id_key: DigitalIdKey::Device,
    }
}

fn done(outcome: Result<CaptureOutcome<CapturedImage>, DeviceError>) -> (Vec<CapturedImage>, bool) {
    match outcome.expect("a capture") {
        CaptureOutcome::Done { parts, reached } => (parts, reached),
        CaptureOutcome::Nothing => panic!("nothing was captured"),
    }
}

fn decoded(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let image = hayro_jpeg2000::Image::new(file, &hayro_jpeg2000::DecodeSettings::default()).unwrap();
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let pixels = image.decode(&mut context).unwrap().data_u8();
    (image.width(), image.height(), pixels)
}

const THUMB: &[BioSubType] = &[BioSubType::LeftThumb];

#[test]
fn a_good_finger_is_captured_at_once_and_without_loss() {
    let rig = Rig::finger(Plate::Finger(140));
    let start = Instant::now();
    let (parts, reached) = done(rig.capture(&job(THUMB, 60.0, 20_000)));
    assert!(start.elapsed() < MS(10_000), "{:?}", start.elapsed());
    assert!(reached);
    let [image] = parts.as_slice() else { panic!("{parts:?}") };
    assert_eq!((image.part, image.codec), (Some(BioSubType::LeftThumb), ImageCodec::Jpeg2000Lossless));
    assert_eq!((image.width, image.height, image.dpi), (256, 288, 500));
    assert_eq!(image.captured_at, Noon.now());
    let (width, height, pixels) = decoded(image.image.expose());
    assert_eq!((width, height), (256, 288));
    assert!(pixels == ridges(140).pixels());
}

#[test]
fn an_authentication_is_lossy() {
    let rig = Rig::new(Modality::Finger, Purpose::Auth, Plate::Finger(140));
    let auth = CaptureJob { purpose: Purpose::Auth, ..job(&[BioSubType::Unknown], 60.0, 20_000) };
    let (parts, _) = done(rig.capture(&auth));
    assert_eq!(parts[0].codec, ImageCodec::Jpeg2000Lossy);
    assert!(decoded(parts[0].image.expose()).2 != ridges(140).pixels());
    let error = rig.capture(&job(THUMB, 60.0, 1_000)).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::Unsupported, "it is no registration device");
}

#[test]
fn the_best_comes_at_the_deadline() {
    let rig = Rig::finger(Plate::Finger(18));
    let running = rig.begin(job(THUMB, 100.0, 600), &Cancel::new());
    nap(MS(150));
    rig.set(Plate::Finger(60));
    nap(MS(200));
    rig.set(Plate::Finger(18));
    let (outcome, took) = running.join().unwrap();
    let (parts, reached) = done(outcome);
    assert!(!reached);
    assert!(decoded(parts[0].image.expose()).2 == ridges(60).pixels(), "the best of three");
    assert!(took >= MS(600) && took < MS(900), "{took:?}");
}

#[test]
fn nobody_there_is_nothing_in_time() {
    let rig = Rig::finger(Plate::Empty);
    let (outcome, took) = rig.begin(job(THUMB, 60.0, 300), &Cancel::new()).join().unwrap();
    assert!(matches!(outcome, Ok(CaptureOutcome::Nothing)));
    assert!(took >= MS(300) && took < MS(450), "{took:?}");
    rig.set(Plate::Messy);
    assert!(matches!(rig.capture(&job(THUMB, 60.0, 100)), Ok(CaptureOutcome::Nothing)));
}

#[test]
fn two_parts_come_one_after_the_other() {
    let rig = Rig::finger(Plate::Finger(140));
    let running = rig.begin(job(&BioSubType::THUMBS, 60.0, 5_000), &Cancel::new());
    nap(MS(400));
    assert!(!running.is_finished(), "one finger that stays is no second one");
    rig.set(Plate::Empty);
    nap(MS(250));
    rig.set(Plate::Finger(150));
    let (parts, reached) = done(running.join().unwrap().0);
    assert!(reached);
    assert_eq!(parts.iter().filter_map(|image| image.part).collect::<Vec<_>>(), BioSubType::THUMBS);
    assert!(decoded(parts[0].image.expose()).2 == ridges(140).pixels());
    assert!(decoded(parts[1].image.expose()).2 == ridges(150).pixels());
    // negative control: without the second finger there is nothing
    assert!(matches!(rig.capture(&job(&BioSubType::THUMBS, 60.0, 400)), Ok(CaptureOutcome::Nothing)));
}

#[test]
fn a_capture_that_is_called_off_is_back_in_100_ms() {
    let rig = Rig::finger(Plate::Empty);
    for plate in [Plate::Empty, Plate::Finger(18), Plate::Hangs(MS(400))] {
        rig.set(plate);
        let cancel = Cancel::new();
        let running = rig.begin(job(THUMB, 100.0, 60_000), &cancel);
        nap(MS(150));
        let at = Instant::now();
        cancel.cancel();
        let error = running.join().unwrap().0.unwrap_err();
        assert_eq!(error.kind, DeviceErrorKind::Cancelled);
        assert!(at.elapsed() < MS(100), "{plate:?}: {:?}", at.elapsed());
    }
    // and the next one is as good as ever
    rig.set(Plate::Finger(140));
    assert!(done(rig.capture(&job(THUMB, 60.0, 20_000))).1);
}

#[test]
fn one_capture_at_a_time() {
    let rig = Rig::finger(Plate::Empty);
    let running = rig.begin(job(THUMB, 60.0, 600), &Cancel::new());
    nap(MS(100));
    assert_eq!(rig.capture(&job(THUMB, 60.0, 600)).unwrap_err().kind, DeviceErrorKind::Busy);
    assert_eq!(rig.device().status(MS(50)).unwrap().status, DeviceStatus::Ready, "health does not wait");
    assert!(running.join().unwrap().0.is_ok());
}

#[test]
fn a_sensor_that_hangs_keeps_nobody() {
    let rig = Rig::finger(Plate::Hangs(MS(4_000)));
    let hung = Instant::now();
    let (outcome, took) = rig.begin(job(THUMB, 60.0, 200), &Cancel::new()).join().unwrap();
    assert_eq!(outcome.unwrap_err().kind, DeviceErrorKind::TimedOut);
    assert!(took < MS(600), "{took:?}");
    assert!(rig.device().status(MS(500)).is_ok(), "late is not lost");
    assert!(rig.events.try_recv().is_err());
    nap(MS(1_300).saturating_sub(hung.elapsed()));
    assert_eq!(rig.device().status(MS(500)).unwrap_err().kind, DeviceErrorKind::TimedOut);
    assert_eq!(rig.gone().kind, DeviceErrorKind::TimedOut);
    let at = Instant::now();
    assert_eq!(rig.capture(&job(THUMB, 60.0, 200)).unwrap_err().kind, DeviceErrorKind::Gone);
    assert_eq!(rig.device().status(MS(500)).unwrap_err().kind, DeviceErrorKind::Gone);
    drop(rig);
    assert!(at.elapsed() < MS(2_500), "closing does not wait for ever");
}

#[test]
fn a_sensor_that_was_late_is_as_good_as_ever() {
    let rig = Rig::finger(Plate::Hangs(MS(600)));
    assert_eq!(rig.capture(&job(THUMB, 60.0, 100)).unwrap_err().kind, DeviceErrorKind::TimedOut);
    rig.set(Plate::Finger(140));
    assert!(done(rig.capture(&job(THUMB, 60.0, 20_000))).1);
    assert!(rig.events.try_recv().is_err());
}

#[test]
fn a_health_check_finds_a_sensor_that_hangs() {
    let rig = Rig::finger(Plate::Hangs(MS(1_000)));
    let at = Instant::now();
    assert_eq!(rig.device().status(MS(100)).unwrap_err().kind, DeviceErrorKind::TimedOut);
    assert!(at.elapsed() < MS(300), "{:?}", at.elapsed());
}

#[test]
fn a_sensor_that_is_lost_is_told_and_closed() {
    for kind in [DeviceErrorKind::Gone, DeviceErrorKind::Protocol] {
        let rig = Rig::finger(Plate::Empty);
        let running = rig.begin(job(THUMB, 60.0, 60_000), &Cancel::new());
        nap(MS(100));
        let at = Instant::now();
        rig.set(Plate::Fails(kind));
        assert_eq!(running.join().unwrap().0.unwrap_err().kind, kind);
        assert_eq!(rig.gone().kind, kind);
        assert!(at.elapsed() < MS(200), "{:?}", at.elapsed());
        assert!(*rig.closed.lock().unwrap(), "closed before it is told");
        assert_eq!(rig.device().status(MS(50)).unwrap_err().kind, DeviceErrorKind::Gone);
    }
}

#[test]
fn a_driver_that_panics_costs_its_device() {
    let rig = Rig::finger(Plate::Panics);
    assert!(rig.capture(&job(THUMB, 60.0, 5_000)).is_err());
    assert_eq!(rig.gone().kind, DeviceErrorKind::Internal);
    assert_eq!(rig.device().status(MS(50)).unwrap_err().kind, DeviceErrorKind::Gone);
}

#[test]
fn a_sensor_that_cannot_work_now_works_later() {
    let rig = Rig::finger(Plate::Fails(DeviceErrorKind::NotReady));
    assert_eq!(rig.capture(&job(THUMB, 60.0, 1_000)).unwrap_err().kind, DeviceErrorKind::NotReady);
    rig.set(Plate::Finger(140));
    assert!(done(rig.capture(&job(THUMB, 60.0, 20_000))).1);
    assert!(!rig.events.try_iter().any(|event| matches!(event, DeviceEvent::Gone(_))));
}

#[test]
fn a_preview_shows_what_is_seen_and_that_nothing_is() {
    let rig = Rig::finger(Plate::Empty);
    rig.stream();
    let blank = rig.frame();
    assert_eq!((blank.sequence, blank.score), (1, None));
    rig.set(Plate::Finger(140));
    let seen = std::iter::repeat_with(|| rig.frame()).take(50).find(|frame| frame.score.is_some());
    let seen = seen.expect("the finger is shown");
    assert!(seen.score.unwrap().value() > 60.0, "{:?}", seen.score);
    let image = seen.jpeg;
    assert!(image.starts_with(&[0xFF, 0xD8]) && image.ends_with(&[0xFF, 0xD9]));

    // captures go on beside it, and it beside them
    let before = rig.frame().sequence;
    let (parts, _) = done(rig.capture(&job(THUMB, 100.0, 500)));
    assert_eq!(parts.len(), 1);
    assert!(rig.frame().sequence >= before);
    let shown = rig.events.try_iter().filter(|event| matches!(event, DeviceEvent::Frame(_))).count();
    assert!((3..=10).contains(&shown), "{shown} frames at 15 a second in half of one");

    assert_eq!(*rig.rested.lock().unwrap(), 0);
    rig.device().stop_stream(MS(100)).unwrap();
    nap(MS(150));
    assert_eq!(*rig.rested.lock().unwrap(), 1, "lights off");
    rig.events.try_iter().for_each(drop);
    nap(MS(200));
    assert!(rig.events.try_recv().is_err(), "nothing after its end");
    let other = StreamJob { sub_id: SubId(3), fps: 15 };
    let refused = rig.device().start_stream(other, MS(100)).unwrap_err();
    assert_eq!(refused.kind, DeviceErrorKind::Unsupported);
}

#[test]
fn a_cameras_own_picture_goes_out_untouched() {
    let rig = Rig::new(Modality::Face, Purpose::Registration, Plate::Face);
    rig.stream();
    assert_eq!(&*rig.frame().jpeg, b"the camera's own");
}

#[test]
fn an_eye_is_captured_where_it_was_found_only() {
    let rig = Rig::new(Modality::Iris, Purpose::Registration, Plate::EyeUnfound);
    let left = job(&[BioSubType::Left], 30.0, 300);
    assert!(matches!(rig.capture(&left), Ok(CaptureOutcome::Nothing)));
    rig.set(Plate::Eye);
    let (parts, _) = done(rig.capture(&job(&[BioSubType::Left], 30.0, 20_000)));
    assert_eq!((parts[0].iris_geometry, parts[0].dpi), (Some([160, 120, 160]), 0));
}

#[test]
fn a_sensor_of_another_kind_is_a_fault() {
    let rig = Rig::finger(Plate::Face);
    assert_eq!(rig.capture(&job(THUMB, 60.0, 1_000)).unwrap_err().kind, DeviceErrorKind::Internal);
}

#[test]
fn the_last_handle_closes_the_sensor() {
    let mut rig = Rig::finger(Plate::Finger(140));
    rig.stream();
    let _ = rig.frame();
    rig.device = None;
    assert!(*rig.closed.lock().unwrap());
    assert!(!rig.events.try_iter().any(|event| matches!(event, DeviceEvent::Gone(_))), "it was asked to");
}

#[test]
fn a_plain_sensor_is_never_l1() {
    let sensor =
        Played { plate: Arc::new(Mutex::new(Plate::Empty)), closed: Arc::default(), rested: Arc::default() };
    let claimed = Description { level: Level::L1, ..description(Modality::Finger, Purpose::Auth) };
    let refused = open(claimed, sensor, Arc::new(Noon), Box::new(drop));
    assert_eq!(refused.err().map(|error| error.kind), Some(DeviceErrorKind::Unsupported));
}
