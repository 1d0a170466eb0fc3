use std::sync::Mutex;

use super::*;

/// A host whose clocks are set by hand: (wall clock, since boot), both in milliseconds.
struct Hands(Mutex<(i64, u64)>);

impl Clock for Hands {
    fn now(&self) -> UtcMillis {
        UtcMillis(self.0.lock().unwrap().0)
    }
}

impl Uptime for Hands {
    fn now(&self) -> SinceBoot {
        SinceBoot(self.0.lock().unwrap().1)
    }
}

const HOST: i64 = 1_795_525_200_000;
const SERVER: UtcMillis = UtcMillis(HOST + 90_000);

impl Hands {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((HOST, 10_000))))
    }

    fn pass(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 += span.as_millis() as i64;
        now.1 += span.as_millis() as u64;
    }

    fn set(&self, wall: i64) {
        self.0.lock().unwrap().0 = wall;
    }
}

fn boot(id: &str) -> Boot {
    Boot { id: id.into(), reset_count: Some(3) }
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn clock(hands: &Arc<Hands>, boot: Boot, required: bool, told: Option<Told>) -> TrustedClock {
    TrustedClock::new(Arc::clone(hands) as _, Arc::clone(hands) as _, boot, MONTH, required, told)
}

#[test]
fn the_host_s_clock_counts_until_the_server_has_told_the_time() {
    let hands = Hands::new();
    let time = clock(&hands, boot("a"), false, None);
    assert_eq!((Clock::now(&time), time.skew(), time.hold()), (UtcMillis(HOST), None, None));
    let asked = time.uptime();
    hands.pass(Duration::from_millis(200));
    let told = time.measure(SERVER, asked).unwrap();
    assert_eq!(Clock::now(&time), UtcMillis(HOST + 200), "measured is not yet adopted");
    time.adopt(told);
    assert_eq!(Clock::now(&time), UtcMillis(SERVER.0 + 100), "half the way back has passed since");
    assert_eq!(time.skew(), Some(-89_900));
    let notice = time.notice().unwrap();
    assert!(notice.contains("89 s behind"), "{notice}");
    assert_eq!(time.hold(), None, "a skew is no reason to serve nobody");
}

#[test]
fn setting_the_host_s_clock_changes_nothing_any_more() {
    let hands = Hands::new();
    let time = clock(&hands, boot("a"), false, None);
    time.adopt(time.measure(SERVER, time.uptime()).unwrap());
    hands.pass(Duration::from_secs(60));
    hands.set(0);
    assert_eq!(Clock::now(&time), UtcMillis(SERVER.0 + 60_000));
    assert_eq!(time.age(), Some(Duration::from_secs(60)));
}

#[test]
fn a_token_that_was_held_back_is_not_believed() {
    let hands = Hands::new();
    let time = clock(&hands, boot("a"), false, None);
    let asked = time.uptime();
    hands.pass(Duration::from_secs(11));
    assert!(matches!(time.measure(SERVER, asked), Err(NotLearned::TooSlow(11_000))));
}

#[test]
fn it_survives_a_restart_of_the_daemon_but_not_of_the_host_or_its_tpm() {
    let hands = Hands::new();
    let first = clock(&hands, boot("a"), true, None);
    let told = first.measure(SERVER, first.uptime()).unwrap();
    let kept = || Some(serde_json::from_str(&serde_json::to_string(&told).unwrap()).unwrap());
    hands.pass(Duration::from_secs(5));

    let again = clock(&hands, boot("a"), true, kept());
    assert_eq!(again.trusted(), Ok(UtcMillis(SERVER.0 + 5_000)));
    assert_eq!(again.hold(), None);

    let rebooted = clock(&hands, boot("b"), true, kept());
    assert!(rebooted.hold().is_some_and(|why| why.contains("restarted")), "{:?}", rebooted.hold());
    let reset = clock(&hands, Boot { reset_count: Some(4), ..boot("a") }, true, kept());
    assert!(reset.hold().is_some_and(|why| why.contains("TPM")), "{:?}", reset.hold());
    assert_eq!(clock(&hands, boot("b"), true, None).age(), None);
}

#[test]
fn a_clock_that_was_set_back_shows_itself_after_a_restart() {
    let hands = Hands::new();
    let first = clock(&hands, boot("a"), false, None);
    let told = first.measure(SERVER, first.uptime()).unwrap();
    hands.set(SERVER.0 - 86_400_000);
    let rebooted = clock(&hands, boot("b"), false, Some(told.clone()));
    let why = rebooted.hold().unwrap();
    assert!(why.contains("set the clock"), "{why}");
    assert_eq!(Clock::now(&rebooted), SERVER, "never behind what is known");
    hands.set(SERVER.0 + 1);
    assert_eq!((rebooted.hold(), Clock::now(&rebooted)), (None, UtcMillis(SERVER.0 + 1)));
}

#[test]
fn a_time_is_used_as_long_as_the_policy_says() {
    let hands = Hands::new();
    let time = clock(&hands, boot("a"), true, None);
    assert!(time.hold().is_some(), "it is required");
    time.adopt(time.measure(SERVER, time.uptime()).unwrap());
    hands.pass(MONTH);
    assert_eq!(time.hold(), None);
    hands.pass(Duration::from_secs(1));
    assert!(time.hold().is_some_and(|why| why.contains("30 days")), "{:?}", time.hold());
}
