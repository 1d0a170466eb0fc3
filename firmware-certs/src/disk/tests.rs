//! A store on disk through every mishap: stopped writers, cut files, old numbers, wrong domains.

use std::collections::BTreeSet;

use super::write::Step;
use super::*;
use crate::forge::{Forge, NOW, key};
use crate::{Device, DeviceStore, Ftm};

const STEPS: [Step; 7] = [
    Step::Locked,
    Step::CertificatesWritten,
    Step::CertificatesDurable,
    Step::ManifestWritten,
    Step::Renamed,
    Step::Durable,
    Step::Done,
];

fn authority(name: &str) -> Certificate {
    Forge::ca(name).sign(key(0))
}

fn here() -> (tempfile::TempDir, StoreDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = StoreDir::new(dir.path().join("device"), Domain::Device);
    (dir, store)
}

/// Number and subjects of what is loaded.
fn loaded(dir: &StoreDir) -> Option<(u64, BTreeSet<String>)> {
    let (store, number) = dir.load::<Device>(0).unwrap()?;
    Some((number, store.entries().map(|entry| entry.certificate.subject().to_string()).collect()))
}

fn holds(number: u64, names: &[&str]) -> Option<(u64, BTreeSet<String>)> {
    Some((number, names.iter().map(|name| format!("O=Acme, CN={name}")).collect()))
}

fn stopped_at(stop: Step) -> impl FnMut(Step) -> io::Result<()> {
    move |step| if step == stop { Err(io::Error::other("stopped")) } else { Ok(()) }
}

#[test]
fn what_is_put_there_is_found_again() {
    let (_keep, dir) = here();
    assert!(loaded(&dir).is_none() && dir.number().unwrap().is_none());
    dir.replace(3, &[authority("A"), authority("B")]).unwrap();
    assert_eq!(loaded(&dir), holds(3, &["A", "B"]));
    dir.replace(4, &[authority("C")]).unwrap();
    assert_eq!(loaded(&dir), holds(4, &["C"]));
    let mut names: Vec<_> = fs::read_dir(&dir.path).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["certificates-4.pem", "lock", "manifest.toml"]);
    // The configuration may name the directory like any other.
    let store = DeviceStore::load(&[&dir.path]).unwrap();
    assert_eq!(store.entries().count(), 1);
}

#[test]
fn the_number_only_grows() {
    let (_keep, dir) = here();
    let a = [authority("A")];
    dir.replace(7, &a).unwrap();
    let error = dir.replace(6, &[authority("B")]).unwrap_err();
    assert!(matches!(error, StoreError::Disk(DiskError::Downgrade { offered: 6, known: 7 })), "{error}");
    let error = dir.replace(7, &[authority("B")]).unwrap_err();
    assert!(matches!(error, StoreError::Disk(DiskError::SameNumber(7))), "{error}");
    let mut steps = Vec::new();
    let tell = &mut |step| {
        steps.push(step);
        Ok(())
    };
    dir.replace_step_by_step(7, &a, tell).unwrap();
    assert_eq!(steps, [Step::Locked], "the same again: the file in use is not touched");
    assert_eq!(loaded(&dir), holds(7, &["A"]));
    assert!(dir.load::<Device>(7).unwrap().is_some());
    let error = dir.load::<Device>(8).unwrap_err();
    assert!(matches!(error, StoreError::Disk(DiskError::Downgrade { offered: 7, known: 8 })), "{error}");
    let (_keep, empty) = here();
    assert!(empty.load::<Device>(1).is_err(), "a store that was taken away is a downgrade too");
}

#[test]
fn a_writer_that_is_stopped_at_any_step_leaves_a_whole_store() {
    for stop in STEPS {
        let (_keep, dir) = here();
        dir.replace(1, &[authority("Old")]).unwrap();
        let new = [authority("New"), authority("Newer")];
        dir.replace_step_by_step(2, &new, &mut stopped_at(stop)).unwrap_err();
        let renamed = STEPS.iter().position(|s| *s == stop) >= STEPS.iter().position(|s| *s == Step::Renamed);
        let expected = if renamed { holds(2, &["New", "Newer"]) } else { holds(1, &["Old"]) };
        assert_eq!(loaded(&dir), expected, "{stop:?}");
        dir.replace(3, &[authority("Next")]).unwrap();
        assert_eq!(loaded(&dir), holds(3, &["Next"]), "{stop:?}: the next writer is not hindered");
        let left = fs::read_dir(&dir.path).unwrap().count();
        assert!(left <= 4, "{stop:?}: {left} files");
    }
}

#[test]
fn a_first_writer_that_is_stopped_leaves_no_store() {
    for stop in &STEPS[..4] {
        let (_keep, dir) = here();
        dir.replace_step_by_step(1, &[authority("A")], &mut stopped_at(*stop)).unwrap_err();
        assert_eq!(loaded(&dir), None, "{stop:?}");
    }
}

/// A power cut keeps any prefix of what was being written, or nothing of it.
#[test]
fn new_files_that_are_cut_at_any_byte_do_not_hurt_the_old_store() {
    let (_keep, dir) = here();
    dir.replace(1, &[authority("Old")]).unwrap();
    dir.replace_step_by_step(2, &[authority("New")], &mut stopped_at(Step::ManifestWritten)).unwrap_err();
    for name in ["certificates-2.pem", "manifest.toml.new"] {
        let path = dir.path.join(name);
        let whole = fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(dir.current().unwrap().unwrap().number, 1, "{name} cut at {end}");
        }
        assert_eq!(loaded(&dir), holds(1, &["Old"]));
    }
    dir.replace(2, &[authority("New")]).unwrap();
    assert_eq!(loaded(&dir), holds(2, &["New"]));
}

#[test]
fn a_damaged_store_is_never_half_a_store() {
    let (_keep, dir) = here();
    dir.replace(1, &[authority("A"), authority("B")]).unwrap();
    let path = dir.path.join("certificates-1.pem");
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let error = dir.current().err().expect("cut");
        assert!(matches!(error, DiskError::Damaged { .. }), "{end}: {error}");
    }
    let text = dir.load::<Device>(0).unwrap_err().to_string();
    assert!(text.contains("certificates-1.pem") && text.contains("higher number"), "{text}");
    dir.replace(2, &[authority("A")]).unwrap();
    assert_eq!(loaded(&dir), holds(2, &["A"]), "the cure works");

    let manifest = dir.path.join(MANIFEST);
    let whole = fs::read(&manifest).unwrap();
    for end in 0..whole.len() - 1 {
        fs::write(&manifest, &whole[..end]).unwrap();
        assert!(dir.current().is_err(), "cut at {end}");
        assert!(dir.replace(9, &[authority("A")]).is_err(), "its number is not known, so nothing is newer");
    }
    fs::write(&manifest, whole).unwrap();
    fs::remove_file(dir.path.join("certificates-2.pem")).unwrap();
    assert!(matches!(dir.current(), Err(DiskError::Damaged { .. })));
}

#[test]
fn a_store_is_of_one_domain() {
    let (_keep, dir) = here();
    dir.replace(1, &[authority("A")]).unwrap();
    let other = StoreDir::new(&dir.path, Domain::Ftm);
    assert!(matches!(other.number(), Err(DiskError::OtherDomain { .. })));
    assert!(other.replace(2, &[authority("B")]).is_err());
    assert!(dir.load::<Ftm>(0).is_err());
    assert_eq!(loaded(&dir), holds(1, &["A"]));
}

#[test]
fn only_authorities_and_at_least_one() {
    let (_keep, dir) = here();
    assert!(matches!(dir.replace(1, &[]), Err(StoreError::Disk(DiskError::Empty))));
    let error = dir.replace(1, &[authority("A"), Forge::leaf("Leaf").sign(key(0))]).unwrap_err();
    assert!(error.to_string().contains("certificate 2: O=Acme, CN=Leaf is not a CA"), "{error}");
    assert_eq!(loaded(&dir), None);
}

#[test]
fn two_writers_do_not_meet() {
    let (_keep, dir) = here();
    let a = [authority("A")];
    let mut second = None;
    dir.replace_step_by_step(1, &a, &mut |step| {
        if step == Step::CertificatesWritten {
            second = Some(dir.replace(2, &[authority("B")]));
        }
        Ok(())
    })
    .unwrap();
    assert!(matches!(second, Some(Err(StoreError::Disk(DiskError::Busy(_))))));
    dir.replace(2, &[authority("B")]).unwrap();
}

#[test]
fn readers_find_a_whole_store_while_it_is_replaced() {
    let (_keep, dir) = here();
    let stores: Vec<Certificate> = (0..2).map(|n| authority(&format!("S{n}"))).collect();
    dir.replace(1, &stores[1..]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 2..40u64 {
                let at = usize::try_from(number % 2).unwrap();
                dir.replace(number, &stores[at..=at]).unwrap();
            }
        });
        while !writer.is_finished() {
            let (number, names) = loaded(&dir).unwrap();
            assert_eq!(names.first(), Some(&format!("O=Acme, CN=S{}", number % 2)));
        }
    });
}

/// Prints how long ten thousand authorities take, as a ratio to RSA verifications of the same run. Run with
/// `cargo test --release -p biotrust-certs -- --ignored --nocapture ten_thousand`.
#[test]
#[ignore = "measures; meaningful in release only"]
fn ten_thousand_authorities() {
    use std::time::Instant;
    const COUNT: usize = 10_000;
    let root = authority("Root");
    // One signature for all: only what is self-issued is verified while loading.
    let pattern = Forge::ca("Provider 00000").key(key(1)).issuer(&root).der(key(0));
    let at = pattern.windows(14).position(|w| w == b"Provider 00000").unwrap() + 9;
    let mut all = vec![root.clone()];
    for number in 0..COUNT - 1 {
        let mut der = pattern.clone();
        der[at..at + 5].copy_from_slice(format!("{number:05}").as_bytes());
        all.push(Certificate::parse(&der).unwrap());
    }
    let (_keep, dir) = here();
    dir.replace(1, &all).unwrap();

    let floor = Instant::now();
    let rounds = 2000;
    for _ in 0..rounds {
        assert!(root.check_signature(&root).is_ok());
    }
    let verify = floor.elapsed() / rounds;
    let begin = Instant::now();
    let (store, _) = dir.load::<Device>(0).unwrap().unwrap();
    let load = begin.elapsed();
    assert_eq!(store.entries().count(), COUNT);

    // The last one again, with a signature of its own, and a device below it.
    let provider = Forge::ca("Provider 99999").key(key(1)).issuer(&root).sign(key(0));
    let mut store = store;
    store.add("x", provider.der()).unwrap();
    let good = Forge::leaf("Device").key(key(2)).issuer(&provider).der(key(1));
    let lost =
        Forge::leaf("Device").key(key(2)).with(|f| f.issuer = crate::forge::plain_name("Nobody")).der(key(1));
    let time = |der: &[u8]| {
        let begin = Instant::now();
        (0..200).for_each(|_| drop(store.verify(der, NOW)));
        begin.elapsed() / 200
    };
    let (path, refusal) = (time(&good), time(&lost));
    println!(
        "RSA-2048 verify with parsing {verify:?}; load of {COUNT} {load:?} = {:.0} verifies; path of two {path:?} = {:.1}; refusal {refusal:?}",
        load.as_secs_f64() / verify.as_secs_f64(),
        path.as_secs_f64() / verify.as_secs_f64(),
    );
}
