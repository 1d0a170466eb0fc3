//! The driver against the virtual module of `biosim-hardware` on a pseudo-terminal: at the pace of a real line, with every
//! fault that the module has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test; it fails where something is not as it should be"
)]

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use biosim_hardware::r30x::pty::OnPty;
use biosim_hardware::r30x::{Fault, R30x, Settings};
use biotrust_driver_api::{
    Cancel, CaptureJob, CaptureOutcome, CapturedImage, DeviceError, DeviceErrorKind, DeviceEvent,
    DigitalIdKey, DriverFactory, Found, L0Device, Opened, Value,
};
use biotrust_imaging::Gray;
use biotrust_model::time::SystemClock;
use biotrust_model::{BioSubType, DeviceStatus, Env, Level, Purpose, Score, SubId};
use biotrust_r30x::R30xFactory;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// Oblique ridges on the whole of a sensor, and beyond.
fn print() -> Gray {
    let pixel = |x: u32, y: u32| {
        let phase = (x + y / 2) as f32 * std::f32::consts::TAU / 9.0;
        (130.0 + 100.0 * phase.sin()) as u8
    };
    Gray::new(320, 400, (0..320 * 400).map(|i| pixel(i % 320, i / 320)).collect()).unwrap()
}

/// What is left of a print when a finger hardly touches: two square millimetres.
fn dab() -> Gray {
    let mut image = Gray::filled(320, 400, 0xF0).unwrap();
    let whole = print();
    for y in 180..220usize {
        let row = y * 320 + 140..y * 320 + 180;
        image.pixels_mut()[row.clone()].copy_from_slice(&whole.pixels()[row]);
    }
    image
}

struct Rig {
    module: Arc<Mutex<R30x>>,
    line: OnPty,
    device: Option<Arc<dyn L0Device>>,
    events: Option<Receiver<DeviceEvent>>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let module = Arc::new(Mutex::new(R30x::new(settings)));
        let line = OnPty::plug(Arc::clone(&module)).unwrap();
        Self { module, line, device: None, events: None }
    }

    /// One that is fast already, with this on the sensor.
    fn ready(print: Option<Gray>) -> Self {
        let mut rig = Self::new(Settings { speed: 12, data_size: 3, ..Settings::default() });
        rig.open(&[]).unwrap();
        if let Some(print) = print {
            rig.module().press(print);
        }
        rig
    }

    fn module(&self) -> std::sync::MutexGuard<'_, R30x> {
        self.module.lock().unwrap()
    }

    fn set(&self, fault: Fault) {
        self.module().set_fault(Some(fault), Instant::now());
    }

    fn open(&mut self, quirks: &[(&str, i64)]) -> Result<(), DeviceError> {
        self.open_within(S(6), quirks)
    }

    fn open_within(&mut self, timeout: Duration, quirks: &[(&str, i64)]) -> Result<(), DeviceError> {
        let mut found = Found::line(self.line.path());
        for (name, value) in quirks {
            found.quirks.settings.insert((*name).into(), Value::Number(*value));
        }
        found.quirks.settings.insert("purpose".into(), Value::Text("Registration".into()));
        let port = biotrust_pipe::ports::open(&found.node).unwrap();
        let (sink, events) = channel();
        let sink = Mutex::new(sink);
        let sink = Box::new(move |event| drop(sink.lock().unwrap().send(event)));
        let opened = R30xFactory::new(Arc::new(SystemClock)).open(port, &found, sink, timeout)?;
        let Opened::L0(device) = opened else { panic!("never more than L0") };
        (self.device, self.events) = (Some(device), Some(events));
        Ok(())
    }

    fn device(&self) -> &Arc<dyn L0Device> {
        self.device.as_ref().unwrap()
    }

    fn capture(&self, within: Duration) -> Result<CaptureOutcome<CapturedImage>, DeviceError> {
        self.device().capture(&job(within), &Cancel::new())
    }

    /// The image of a capture that succeeds.
    fn image(&self, within: Duration) -> Vec<u8> {
        match self.capture(within).expect("a capture") {
            CaptureOutcome::Done { parts, .. } => decoded(parts[0].image.expose()),
            CaptureOutcome::Nothing => panic!("nothing was captured"),
        }
    }

    fn gone(&self) -> DeviceError {
        loop {
            match self.events.as_ref().unwrap().recv_timeout(S(5)).expect("the end is told") {
                DeviceEvent::Gone(error) => return error,
                _ => continue,
            }
        }
    }
}

/// Runs cases beside each other, for they wait most of the time; a few at once, for they keep time.
fn at_once<C: FnOnce() + Send + 'static>(cases: impl IntoIterator<Item = C>) {
    let mut cases = cases.into_iter().peekable();
    while cases.peek().is_some() {
        let few: Vec<_> = cases.by_ref().take(5).map(std::thread::spawn).collect();
        few.into_iter().for_each(|case| case.join().unwrap());
    }
}

fn job(within: Duration) -> CaptureJob {
    CaptureJob {
        parts: vec![BioSubType::RightIndexFinger],
        exceptions: Vec::new(),
        sub_id: SubId(0),
        requested_score: Score::new(40.0).unwrap(),
        requested_score_text: "40".into(),
        finish_within: within,
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

fn decoded(file: &[u8]) -> Vec<u8> {
    let image = hayro_jpeg2000::Image::new(file, &hayro_jpeg2000::DecodeSettings::default()).unwrap();
    assert_eq!((image.width(), image.height()), (256, 288));
    image.decode(&mut hayro_jpeg2000::DecoderContext::default()).unwrap().data_u8()
}

#[test]
fn it_is_raised_captures_bit_by_bit_and_is_left_as_it_was() {
    let mut rig = Rig::new(Settings::default());
    // a module says nothing for half a second after it is plugged in
    let _ = Cancel::new().wait(MS(600));
    let start = Instant::now();
    rig.open(&[]).unwrap();
    assert!(start.elapsed() < MS(500), "{:?}", start.elapsed());
    let fast = rig.module().settings();
    assert_eq!((fast.baud(), fast.data_size), (115_200, 3));
    let description = rig.device().description();
    assert_eq!((description.level, description.purpose), (Level::L0, Purpose::Registration));
    assert!(description.firmware.contains("for development"), "{}", description.firmware);
    assert!(description.identity.serial_no.starts_with("NOSERIAL-"));
    assert_eq!(rig.device().status(S(1)).unwrap().status, DeviceStatus::Ready);

    rig.module().press(print());
    let start = Instant::now();
    assert!(rig.image(S(20)) == R30x::seen(&print()));
    let took = start.elapsed();
    // the image alone is 3.3 s on the line
    assert!(took > MS(3_300) && took < MS(4_500), "{took:?}");

    rig.device = None;
    assert_eq!(rig.module().settings(), Settings::default(), "both settings are back");
    rig.open(&[]).unwrap();
}

#[test]
fn it_is_found_at_every_speed() {
    at_once((1..=12).map(|speed| {
        move || {
            let settings = Settings { speed, data_size: 1, ..Settings::default() };
            let mut rig = Rig::new(settings);
            rig.open(&[]).unwrap_or_else(|error| panic!("{speed}: {error}"));
            assert_eq!(rig.module().settings().baud(), 115_200, "{speed}");
            rig.device = None;
            assert_eq!(rig.module().settings(), settings, "{speed}");
        }
    }));
}

#[test]
fn what_a_session_that_crashed_has_left_is_found_and_used() {
    let mut rig = Rig::new(Settings::default());
    rig.open(&[]).unwrap();
    let crashed = rig.module().settings();
    let mut next = Rig::new(crashed);
    next.open(&[]).unwrap();
    assert_eq!(next.module().settings(), crashed);
    next.device = None;
    assert_eq!(next.module().settings(), crashed, "nobody knows what it was before");
}

#[test]
fn a_slower_line_can_be_asked_for() {
    let mut rig = Rig::new(Settings { speed: 2, ..Settings::default() });
    rig.open(&[("baud", 38_400)]).unwrap();
    assert_eq!(rig.module().settings().baud(), 38_400);
    // an image of ten seconds is not begun when there are five
    rig.module().press(print());
    assert!(matches!(rig.capture(S(1)), Ok(CaptureOutcome::Nothing)));
    assert_eq!(rig.module().images(), 0);
}

#[test]
fn address_and_password_are_quirks() {
    let mut rig = Rig::new(Settings { address: 7, password: 0x1234, speed: 12, ..Settings::default() });
    let error = rig.open_within(S(2), &[]).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::TimedOut, "a stranger is not answered: {error}");
    let error = rig.open_within(S(2), &[("address", 7)]).unwrap_err();
    assert_eq!(error.kind, DeviceErrorKind::NotReady, "{error}");
    assert!(error.to_string().contains("wrong password"), "{error}");
    rig.open(&[("address", 7), ("password", 0x1234)]).unwrap();
}

#[test]
fn an_image_that_the_module_calls_useless_is_not_transferred() {
    let rig = Rig::ready(Some(dab()));
    assert!(matches!(rig.capture(S(5)), Ok(CaptureOutcome::Nothing)));
    assert_eq!(rig.module().images(), 0);
    rig.module().press(print());
    assert!(rig.image(S(8)) == R30x::seen(&print()), "negative control");
}

#[test]
fn a_capture_is_called_off_in_the_middle_of_an_image() {
    let rig = Rig::ready(Some(print()));
    let cancel = Cancel::new();
    let running = std::thread::spawn({
        let (device, cancel) = (Arc::clone(rig.device()), cancel.clone());
        move || device.capture(&job(S(20)), &cancel)
    });
    while rig.module().images() == 0 {
        std::thread::yield_now();
    }
    assert!(!cancel.wait(MS(500)));
    let at = Instant::now();
    cancel.cancel();
    assert_eq!(running.join().unwrap().unwrap_err().kind, DeviceErrorKind::Cancelled);
    assert!(at.elapsed() < MS(100), "{:?}", at.elapsed());
    // the rest of that image is not taken for the next one
    assert!(rig.image(S(12)) == R30x::seen(&print()));
}

#[test]
fn closing_in_the_middle_of_an_image_puts_the_settings_back_too() {
    let mut rig = Rig::new(Settings::default());
    rig.open(&[]).unwrap();
    rig.module().press(print());
    let nothing = rig.capture(MS(3_900)).unwrap();
    assert!(matches!(nothing, CaptureOutcome::Nothing | CaptureOutcome::Done { .. }));
    let cancel = Cancel::new();
    let running = std::thread::spawn({
        let (device, cancel) = (rig.device.take().unwrap(), cancel.clone());
        move || drop(device.capture(&job(S(20)), &cancel))
    });
    let before = rig.module().images();
    while rig.module().images() == before {
        std::thread::yield_now();
    }
    cancel.cancel();
    running.join().unwrap();
    // the module sends its image to the end, and only then listens
    let until = Instant::now() + S(8);
    while rig.module().settings() != Settings::default() && Instant::now() < until {
        let _ = Cancel::new().wait(MS(50));
    }
    assert_eq!(rig.module().settings(), Settings::default());
}

#[test]
fn a_module_that_is_pulled_is_an_error_in_200_ms() {
    for amid in [false, true] {
        let Rig { module, line, device, events } = Rig::ready(amid.then(print));
        let device = device.unwrap();
        let running = std::thread::spawn(move || (device.capture(&job(S(30)), &Cancel::new()), device));
        while amid && module.lock().unwrap().images() == 0 {
            std::thread::yield_now();
        }
        let _ = Cancel::new().wait(MS(300));
        let at = Instant::now();
        drop(line);
        let (outcome, _device) = running.join().unwrap();
        assert_eq!(outcome.unwrap_err().kind, DeviceErrorKind::Gone);
        assert!(at.elapsed() < MS(200), "{:?}", at.elapsed());
        let events = events.unwrap();
        assert!(events.iter().any(|event| matches!(event, DeviceEvent::Gone(_))));
    }
}

#[test]
fn faults_at_the_start_are_survived_or_told_in_time() {
    // the fault, and how opening ends
    let table = [
        (Fault::Mute, Some(DeviceErrorKind::TimedOut)),
        (Fault::BadSums, Some(DeviceErrorKind::Protocol)),
        (Fault::BadSumOnce, None),
        (Fault::Garbage, None),
        (Fault::Babbles, None),
        (Fault::HalfFrameOnce, None),
        (Fault::LosesData, None),
        (Fault::CutsImage, None),
        (Fault::Slow, Some(DeviceErrorKind::TimedOut)),
        (Fault::WrongAddress, Some(DeviceErrorKind::Protocol)),
        (Fault::KeepsBaud, None),
        (Fault::NoImage, None),
        (Fault::Brownout, None),
    ];
    assert_eq!(table.len(), Fault::ALL.len());
    at_once(table.map(|(fault, expected)| {
        move || {
            let mut rig = Rig::new(Settings::default());
            rig.set(fault);
            let start = Instant::now();
            let outcome = rig.open_within(S(4), &[]);
            assert!(start.elapsed() < S(5), "{fault:?}: {:?}", start.elapsed());
            assert_eq!(outcome.as_ref().err().map(|error| error.kind), expected, "{fault:?}: {outcome:?}");
            if fault == Fault::WrongAddress {
                let told = outcome.unwrap_err().to_string();
                assert!(told.contains("00000000h") && told.contains("`address`"), "{told}");
            }
        }
    }));
}

/// How a capture ends under a fault that begins when the module is open.
enum End {
    Image(u64),
    Nothing(u64),
    Fails(u64, DeviceErrorKind),
}

#[test]
fn faults_during_captures_are_survived_or_told_in_time() {
    let table = [
        (Fault::Mute, End::Nothing(2)),
        (Fault::Mute, End::Fails(12, DeviceErrorKind::TimedOut)),
        (Fault::BadSums, End::Fails(12, DeviceErrorKind::Protocol)),
        (Fault::BadSumOnce, End::Image(12)),
        (Fault::Garbage, End::Image(12)),
        (Fault::Babbles, End::Image(12)),
        (Fault::HalfFrameOnce, End::Image(12)),
        (Fault::LosesData, End::Nothing(5)),
        (Fault::LosesData, End::Fails(16, DeviceErrorKind::Protocol)),
        (Fault::CutsImage, End::Nothing(5)),
        (Fault::Slow, End::Image(12)),
        (Fault::WrongAddress, End::Fails(12, DeviceErrorKind::Protocol)),
        (Fault::KeepsBaud, End::Image(12)),
        (Fault::NoImage, End::Nothing(1)),
        (Fault::Brownout, End::Image(12)),
    ];
    for (_, fault) in Fault::ALL {
        assert!(table.iter().any(|(tried, _)| tried == fault), "{fault:?}");
    }
    at_once(table.map(|(fault, end)| {
        move || {
            let rig = Rig::ready(Some(print()));
            rig.set(fault);
            let start = Instant::now();
            match end {
                End::Image(seconds) => {
                    assert!(rig.image(S(seconds)) == R30x::seen(&print()), "{fault:?}");
                    assert!(start.elapsed() < S(seconds), "{fault:?}");
                }
                End::Nothing(seconds) => {
                    let outcome = rig.capture(S(seconds));
                    assert!(matches!(outcome, Ok(CaptureOutcome::Nothing)), "{fault:?}: {outcome:?}");
                    let late = start.elapsed().saturating_sub(S(seconds));
                    assert!(late < MS(400), "{fault:?}: {late:?}");
                }
                End::Fails(seconds, kind) => {
                    let error = rig.capture(S(seconds)).unwrap_err();
                    assert_eq!(error.kind, kind, "{fault:?}: {error}");
                    assert!(start.elapsed() < S(seconds), "{fault:?}");
                    assert_eq!(rig.gone().kind, kind, "{fault:?}");
                }
            }
        }
    }));
}

#[test]
fn a_module_that_falls_silent_is_not_waited_for_in_parting() {
    let mut rig = Rig::new(Settings::default());
    rig.open(&[]).unwrap();
    rig.set(Fault::Mute);
    assert_eq!(rig.capture(S(20)).unwrap_err().kind, DeviceErrorKind::TimedOut);
    let start = Instant::now();
    assert_eq!(rig.gone().kind, DeviceErrorKind::TimedOut);
    assert!(start.elapsed() < MS(600), "{:?}", start.elapsed());
}
