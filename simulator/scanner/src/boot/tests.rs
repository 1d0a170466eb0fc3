//! Starts and updates on a board of its own: every stage damaged, every write interrupted.

use std::sync::{Arc, LazyLock};

use biotrust_attest::manifest::Manifest;
use biotrust_certs::TestPki;
use biotrust_driver_api::FirmwareState;
use biotrust_model::time::{Clock, SystemClock, UtcMillis};
use biotrust_model::{DeviceIdentity, Level, Purpose};

use super::image::{PAYLOAD_AT, Stored};
use super::record::Record;
use super::update::MAX_BLOCK;
use super::*;
use crate::chip::{Counters, MAX_FAILED_ATTEMPTS, SoftwareCounters};
use crate::{Kind, Maker, Spec};

static FACTORY: LazyLock<Factory> = LazyLock::new(|| {
    let pki = TestPki::mint(TestPki::DEFAULT_SPEC, SystemClock.now()).unwrap();
    Factory::new(Arc::new(pki), Arc::new(SystemClock))
});
static NEXT: LazyLock<SignedUpdate> =
    LazyLock::new(|| FACTORY.update(&identity(Kind::Face), &Release::next()).unwrap());
static FLASH: LazyLock<Flash> =
    LazyLock::new(|| FACTORY.flash(&identity(Kind::Face), &Release::current()).unwrap());

fn identity(kind: Kind) -> DeviceIdentity {
    let maker = Maker { provider: "Example Devices Ltd".into(), provider_id: "EXAMPLE".into() };
    let spec = Spec { kind, level: Level::L1, purpose: Purpose::Registration };
    spec.description(1, &maker).identity
}

/// A board with the first release in it.
struct Bench {
    rom: Rom,
    flash: Flash,
    counters: SoftwareCounters,
    identity: DeviceIdentity,
}

impl Bench {
    fn new() -> Self {
        let identity = identity(Kind::Face);
        Self {
            rom: FACTORY.rom(&identity).unwrap(),
            flash: FLASH.duplicate(),
            counters: SoftwareCounters::default(),
            identity,
        }
    }

    fn board(&self) -> Board<'_> {
        Board { rom: &self.rom, flash: &self.flash, counters: &self.counters }
    }

    fn start(&self) -> Running {
        match self.board().start() {
            Boot::Running(running) => running,
            other => panic!("{other:?}"),
        }
    }

    fn halts(&self) -> Halt {
        match self.board().start() {
            Boot::Halted(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn begin(&self, update: &SignedUpdate) -> Result<FirmwareState, UpdateError> {
        let running = self.start();
        self.board().begin(&running, &self.identity, &update.manifest, SystemClock.now())?;
        self.board().state(&running)
    }

    /// Sends the blocks from what the device has on, and commits.
    fn send(&self, update: &SignedUpdate, from: u64) -> Result<(), UpdateError> {
        let running = self.start();
        let mut at = from;
        for block in update.image[from as usize..].chunks(MAX_BLOCK) {
            at = self.board().block(&running, at, block)?;
        }
        self.board().commit(&running)
    }

    fn update(&self, update: &SignedUpdate) -> Result<(), UpdateError> {
        let from = self.begin(update)?.pending.unwrap().received;
        self.send(update, from)
    }

    fn failures(&self) -> u32 {
        self.counters.failed_attempts().unwrap()
    }
}

fn next(change: impl FnOnce(&mut Release)) -> SignedUpdate {
    let mut release = Release::next();
    change(&mut release);
    FACTORY.update(&identity(Kind::Face), &release).unwrap()
}

#[test]
fn a_good_device_measures_what_its_maker_says() {
    let bench = Bench::new();
    let running = bench.start();
    assert_eq!(running.measured, FACTORY.reference(&bench.identity, &Release::current()).unwrap());
    assert_eq!((running.slot, running.boot_count, running.measured.svn), (Slot::A, 1, 1));
    assert_eq!(bench.start().boot_count, 2);
    let other = FACTORY.reference(&identity(Kind::SlapFinger), &Release::next()).unwrap();
    assert_ne!(other.firmware, running.measured.firmware);
    assert_eq!((other.rom, other.loader), (running.measured.rom, running.measured.loader));
}

#[test]
fn one_flipped_bit_anywhere_halts_the_start() {
    let bench = Bench::new();
    for part in [Part::Loader, Part::Slot(Slot::A)] {
        let bytes = bench.flash.read(part);
        let manifest = 4 + Stored::read(&bench.flash, part).unwrap().manifest.len();
        let places = [0, 2, 4, manifest / 2, manifest - 1, PAYLOAD_AT, PAYLOAD_AT + 7, bytes.len() - 1];
        let sown = (PAYLOAD_AT..bytes.len()).step_by(9_973);
        for byte in places.into_iter().chain(sown) {
            assert!(bench.flash.flip_bit(part, byte * 8 + byte % 8));
            let why = bench.halts();
            assert!(matches!(why, Halt::Refused { .. } | Halt::Empty(_)), "{part:?} byte {byte}: {why}");
            bench.flash.flip_bit(part, byte * 8 + byte % 8);
        }
        bench.start();
    }
}

#[test]
fn what_is_not_the_providers_for_this_model_does_not_run() {
    let bench = Bench::new();
    let replace = |update: &SignedUpdate| {
        Stored::begin(&bench.flash, Part::Slot(Slot::A), &update.manifest).unwrap();
        Stored::write(&bench.flash, Part::Slot(Slot::A), 0, &update.image).unwrap();
    };
    let of = |kind| FACTORY.update(&identity(kind), &Release::current()).unwrap();
    let rule = |why| match why {
        Halt::Refused { component: Component::Firmware, why } => why.rule(),
        other => panic!("{other:?}"),
    };
    replace(&of(Kind::Face));
    bench.start();
    replace(&of(Kind::DoubleIris));
    assert_eq!(rule(bench.halts()), "model");
    let mut forged = of(Kind::Face);
    forged.manifest = forged.manifest.replace("eyJ", "eyI");
    replace(&forged);
    assert_eq!(rule(bench.halts()), "signature");
    replace(&FACTORY.update_with(&bench.identity, &Release::current(), |m| m.svn = 9).unwrap());
    assert_eq!(bench.halts(), Halt::NotThisProgram(Component::Firmware), "manifest and program disagree");
    let dead = Release { starts: false, ..Release::current() };
    replace(&FACTORY.update(&bench.identity, &dead).unwrap());
    assert_eq!(bench.halts(), Halt::DoesNotStart);
    bench.flash.erase(Part::Slot(Slot::A)).unwrap();
    assert_eq!(bench.halts(), Halt::Empty(Component::Firmware));
    for copy in [false, true] {
        bench.flash.erase(Part::Record(copy)).unwrap();
    }
    assert_eq!(bench.halts(), Halt::Record);
}

#[test]
fn an_update_counts_after_a_good_start_and_there_is_no_way_back() {
    let bench = Bench::new();
    let before = bench.flash.read(Part::Slot(Slot::A));
    bench.update(&NEXT).unwrap();
    assert_eq!(bench.counters.svn_floor(), Ok(1), "not before it has started");
    let running = bench.start();
    assert_eq!((running.slot, running.sequence), (Slot::B, 2));
    assert_eq!(running.measured, FACTORY.reference(&bench.identity, &Release::next()).unwrap());
    assert_eq!(bench.counters.svn_floor(), Ok(2));
    let state = bench.board().state(&running).unwrap();
    assert_eq!((state.svn, state.svn_floor, state.pending), (2, 2, None));

    // The old image, signed as it is, put back with a probe.
    bench.flash.erase(Part::Slot(Slot::B)).unwrap();
    bench.flash.write(Part::Slot(Slot::B), 0, &before).unwrap();
    let why =
        Halt::Refused { component: Component::Firmware, why: ManifestError::Downgrade { svn: 1, floor: 2 } };
    assert_eq!(bench.halts(), why);
}

#[test]
fn manifests_are_refused_by_name_and_counted() {
    let bench = Bench::new();
    bench.update(&NEXT).unwrap();
    bench.start();
    let of = |release: Release| FACTORY.update(&bench.identity, &release).unwrap();
    let with = |change: fn(&mut Manifest)| {
        let release = Release { sequence: 3, ..Release::next() };
        FACTORY.update_with(&bench.identity, &release, change).unwrap()
    };
    let other = FACTORY.update(&identity(Kind::DoubleIris), &Release { sequence: 3, ..Release::next() });
    let refused = [
        ("downgrade", of(Release { svn: 1, sequence: 3, ..Release::next() })),
        ("sequence", of(Release::next())),
        ("model", other.unwrap()),
        ("expired", with(|m| m.best_before = Some(UtcMillis(m.issued_at.0 - 1)))),
        ("precursor", with(|m| m.precursors = vec!["0.0".into()])),
        ("too-large", with(|m| m.size = 5 << 20)),
    ];
    for (count, (rule, update)) in (1..).zip(&refused) {
        match bench.begin(update) {
            Err(UpdateError::Refused(why)) => assert_eq!(why.rule(), *rule),
            other => panic!("{rule}: {other:?}"),
        }
        assert_eq!(bench.failures(), count);
    }
    bench.update(&of(Release { sequence: 3, ..Release::next() })).unwrap();
    bench.start();
    assert_eq!(bench.failures(), 0, "a success clears the count");
}

#[test]
fn blocks_come_in_order_and_all_of_them() {
    let bench = Bench::new();
    let running = bench.start();
    let board = bench.board();
    assert_eq!(board.block(&running, 0, &[1]), Err(UpdateError::NotBegun));
    assert_eq!(board.commit(&running), Err(UpdateError::NotBegun));
    bench.begin(&NEXT).unwrap();
    let (block, size) = (&NEXT.image[..1000], NEXT.image.len() as u64);
    assert_eq!(board.block(&running, 0, block), Ok(1000));
    for (offset, bytes) in [(0, block), (1001, block), (u64::MAX, block), (1000, &[][..])] {
        let error = board.block(&running, offset, bytes).unwrap_err();
        assert!(matches!(error, UpdateError::Block { expected: 1000, .. }), "{error}");
    }
    assert!(board.block(&running, 1000, &vec![0; MAX_BLOCK + 1]).is_err());
    assert_eq!(board.commit(&running), Err(UpdateError::Incomplete { received: 1000, size }));
    assert_eq!(bench.failures(), 0, "mistakes on the way are no attempts");
    // Another manifest begins from the start.
    let state = bench.begin(&next(|release| release.version = "other".into())).unwrap();
    assert_eq!(state.pending.unwrap().received, 0);
}

#[test]
fn an_image_that_is_not_the_manifests_is_an_attempt_that_failed() {
    let bench = Bench::new();
    let mut update = NEXT.clone();
    *update.image.last_mut().unwrap() ^= 1;
    assert_eq!(bench.update(&update), Err(UpdateError::Refused(ManifestError::Digest)));
    assert_eq!(bench.failures(), 1);
    assert_eq!(bench.start().measured.version, Release::current().version);
    let lie = FACTORY.update_with(&bench.identity, &Release::next(), |m| m.svn = 7).unwrap();
    assert_eq!(bench.update(&lie), Err(UpdateError::NotThisProgram));
    bench.update(&NEXT).unwrap();
}

#[test]
fn an_image_that_does_not_come_up_is_rolled_back() {
    let bench = Bench::new();
    bench.update(&next(|release| release.starts = false)).unwrap();
    let running = bench.start();
    assert_eq!((running.measured.version, running.slot), (Release::current().version, Slot::A));
    assert_eq!((bench.failures(), bench.counters.svn_floor()), (1, Ok(1)));
    assert_eq!(Record::read(&bench.flash).unwrap().trial, None);
    bench.update(&NEXT).unwrap();
    assert_eq!(bench.start().measured.version, Release::next().version);
}

#[test]
fn a_new_image_that_is_damaged_before_its_first_start_is_rolled_back() {
    let bench = Bench::new();
    bench.update(&NEXT).unwrap();
    assert_eq!(bench.begin_again(), Err(UpdateError::Waiting));
    bench.flash.flip_bit(Part::Slot(Slot::B), (PAYLOAD_AT + 5) * 8);
    assert_eq!(bench.start().slot, Slot::A);
    assert_eq!(bench.failures(), 1);
}

impl Bench {
    /// A host that begins while the new image waits for its start.
    fn begin_again(&self) -> Result<(), UpdateError> {
        let Ok(verified) = self.rom.verify(&self.flash, Part::Slot(Slot::A), Component::Firmware, 0) else {
            panic!("no firmware")
        };
        let measured = FACTORY.reference(&self.identity, &Release::current()).unwrap();
        let sequence = verified.manifest.sequence;
        let manifest = verified.document;
        let running = Running { slot: Slot::A, sequence, loader_svn: 1, boot_count: 1, manifest, measured };
        self.board().begin(&running, &self.identity, &NEXT.manifest, SystemClock.now())
    }
}

#[test]
fn ten_failed_attempts_lock_the_update_path() {
    let bench = Bench::new();
    let downgrade = next(|release| release.svn = 0);
    for attempt in 1..=MAX_FAILED_ATTEMPTS {
        let error = bench.begin(&downgrade).unwrap_err();
        assert!(
            matches!(error, UpdateError::Refused(ManifestError::Downgrade { svn: 0, floor: 1 })),
            "{error}"
        );
        assert_eq!(bench.failures(), attempt);
    }
    assert_eq!(bench.begin(&NEXT), Err(UpdateError::Locked), "a good one as well");
    let running = bench.start();
    assert!(bench.board().state(&running).unwrap().locked);
    assert_eq!(bench.board().block(&running, 0, &[0]), Err(UpdateError::Locked));
    assert_eq!(bench.board().commit(&running), Err(UpdateError::Locked));
    assert_eq!(bench.failures(), MAX_FAILED_ATTEMPTS);
}

/// A whole update, up to where the power goes.
fn interrupted(bench: &Bench, marks: &mut Vec<usize>) -> Result<(), UpdateError> {
    let running = bench.start();
    let board = bench.board();
    marks.push(bench.flash.written());
    board.begin(&running, &bench.identity, &NEXT.manifest, SystemClock.now())?;
    marks.push(bench.flash.written());
    let mut at = 0;
    for block in NEXT.image.chunks(MAX_BLOCK) {
        at = board.block(&running, at, block)?;
        marks.push(bench.flash.written());
    }
    board.commit(&running)?;
    marks.push(bench.flash.written());
    let _ = board.start();
    marks.push(bench.flash.written());
    Ok(())
}

#[test]
fn an_update_that_is_interrupted_anywhere_goes_on_or_leaves_what_ran() {
    let mut marks = Vec::new();
    let clean = Bench::new();
    let origin = clean.flash.written();
    interrupted(&clean, &mut marks).unwrap();
    // Around every boundary, between the bytes of a block and the word that they are there, and amid both.
    let cuts = marks.windows(2).flat_map(|pair| {
        let [from, to] = [pair[0] - origin, pair[1] - origin];
        let data = (from + MAX_BLOCK).min(to);
        [from, from + 1, from + 4_711, data - 1, data, data + 1, data + 50, to - 1]
            .into_iter()
            .filter(move |c| *c < to)
    });
    let (mut old, mut new, mut resumed) = (0, 0, 0);
    for cut in cuts {
        let bench = Bench::new();
        bench.flash.cut_power_after(cut);
        let _ = interrupted(&bench, &mut Vec::new());
        bench.flash.power_on();

        let running = bench.start();
        if running.measured.version == Release::next().version {
            new += 1;
            continue;
        }
        old += 1;
        assert_eq!(running.measured.version, Release::current().version, "cut after {cut} bytes");
        let from = bench.begin(&NEXT).unwrap().pending.unwrap().received;
        resumed += u32::from(from > 0);
        bench.send(&NEXT, from).unwrap();
        assert_eq!(bench.start().measured.version, Release::next().version, "cut after {cut} bytes");
        assert_eq!(bench.failures(), 0, "a power cut is no failed attempt");
    }
    assert!(old > 50 && new > 0 && resumed > 40, "{old} old, {new} new, {resumed} resumed");
}
