//! The FTM on a real directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use biotrust_driver_api::conformance::{self, Verifier};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::*;

struct AwsLc;

impl Verifier for AwsLc {
    fn verifies(&self, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki).verify(message, signature).is_ok()
    }

    fn csr_key(&self, csr: &[u8]) -> Option<Vec<u8>> {
        let (rest, request) = X509CertificationRequest::from_der(csr).ok()?;
        request.verify_signature().ok().filter(|()| rest.is_empty())?;
        Some(request.certification_request_info.subject_pki.raw.to_vec())
    }
}

struct Home {
    keys: PathBuf,
    _directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { keys: directory.path().join("state").join("keys"), _directory: directory }
    }

    fn open(&self) -> SoftFtm {
        SoftFtm::open(&self.keys, None).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.keys.join(name)
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.keys).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "host.key");
        names.sort();
        names
    }

    /// What the file of a key holds, opened.
    fn opened(&self, name: &str) -> Vec<u8> {
        let ftm = self.open();
        let file = ftm.files.read(name, KeySlot::Current).unwrap().unwrap();
        ftm.vault.unseal(name, &file).unwrap().to_vec()
    }
}

fn enrolled(ftm: &mut SoftFtm, name: &str) -> Vec<u8> {
    let csr = ftm.begin_rotation(name, name, "Org").unwrap();
    ftm.finish_rotation(name).unwrap();
    AwsLc.csr_key(&csr).unwrap()
}

fn current(ftm: &mut SoftFtm, name: &str) -> Vec<u8> {
    ftm.load(name).unwrap().public_key_der().to_vec()
}

fn why<T>(result: Result<T, FtmError>) -> String {
    match result {
        Err(FtmError::Unusable { why, .. }) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn it_lives_the_life_of_an_ftm() {
    let home = Home::new();
    conformance::ftm_life_cycle(&mut home.open(), &AwsLc).unwrap();
    assert!(home.files().is_empty());
}

#[test]
fn the_request_names_the_subject() {
    let home = Home::new();
    let csr = home.open().begin_rotation("SN1", "SN0000000001", "Provider \u{e9}").unwrap();
    let (_, request) = X509CertificationRequest::from_der(&csr).unwrap();
    assert_eq!(request.certification_request_info.subject.to_string(), "O=Provider \u{e9}, CN=SN0000000001");
    assert!(csr.windows(11).any(|w| w == b"\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0B\x05\x00"), "RS256");
}

#[test]
fn keys_outlive_the_process_and_nobody_else_can_read_them() {
    let home = Home::new();
    let key = enrolled(&mut home.open(), "SN1");
    assert_eq!(current(&mut home.open(), "SN1"), key);
    assert_eq!(home.files(), ["SN1.current.key"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&home.keys), 0o700);
    assert_eq!(mode(&home.file("SN1.current.key")), 0o600);
    assert_eq!(mode(&home.file("host.key")), 0o600);
}

#[test]
fn a_key_that_others_can_get_at_is_refused_with_the_command_that_mends_it() {
    let home = Home::new();
    let mut ftm = home.open();
    enrolled(&mut ftm, "SN1");
    let file = home.file("SN1.current.key");
    for mode in [0o640, 0o604, 0o620, 0o610, 0o666] {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        assert!(why(ftm.load("SN1")).contains(&format!("run `chmod 600 {}`", file.display())));
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(ftm.load("SN1").is_ok());
    drop(ftm);

    std::fs::set_permissions(&home.keys, PermissionsExt::from_mode(0o750)).unwrap();
    assert!(why(SoftFtm::open(&home.keys, None)).contains("run `chmod 700 "));
    std::fs::set_permissions(&home.keys, PermissionsExt::from_mode(0o700)).unwrap();
    assert!(SoftFtm::open(&home.keys, None).is_ok());
}

#[test]
fn a_key_of_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a file away.
    }
    let home = Home::new();
    let mut ftm = home.open();
    enrolled(&mut ftm, "SN1");
    chown(home.file("SN1.current.key"), Some(1), None).unwrap();
    assert!(why(ftm.load("SN1")).contains("belongs to user 1"));
}

#[test]
fn a_link_is_not_a_key() {
    let home = Home::new();
    let mut ftm = home.open();
    enrolled(&mut ftm, "SN1");
    symlink(home.file("SN1.current.key"), home.file("SN2.current.key")).unwrap();
    assert!(matches!(ftm.load("SN2"), Err(FtmError::Unusable { .. })));
    symlink(&home.keys, home.keys.with_file_name("link")).unwrap();
    assert!(SoftFtm::open(&home.keys.with_file_name("link"), None).is_err());
}

#[test]
fn a_damaged_key_is_unusable_and_a_damaged_next_key_replaces_nothing() {
    let home = Home::new();
    let mut ftm = home.open();
    let key = enrolled(&mut ftm, "SN1");
    ftm.begin_rotation("SN1", "SN1", "Org").unwrap();
    let next = home.file("SN1.next.key");
    let whole = std::fs::read(&next).unwrap();
    for damaged in [&whole[..whole.len() / 2], &[], &[0x30; 9000]] {
        std::fs::write(&next, damaged).unwrap();
        assert!(matches!(ftm.finish_rotation("SN1"), Err(FtmError::Unusable { .. })));
        assert!(matches!(ftm.next_public_key("SN1"), Err(FtmError::Unusable { .. })));
        assert_eq!(current(&mut ftm, "SN1"), key);
    }
    std::fs::write(&next, &whole).unwrap();
    ftm.finish_rotation("SN1").unwrap();
    assert_ne!(current(&mut ftm, "SN1"), key);
}

#[test]
fn a_key_of_another_size_is_refused() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    let home = Home::new();
    let mut ftm = home.open();
    enrolled(&mut ftm, "SN1");
    let long = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa3072).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = long.as_der().unwrap();
    let sealed = ftm.vault.seal("SN1", pkcs8.as_ref()).unwrap();
    std::fs::write(home.file("SN1.current.key"), sealed).unwrap();
    assert!(why(ftm.load("SN1")).contains("2048 bits"));
}

#[test]
fn names_cannot_lead_out_of_the_directory() {
    let mut ftm = Home::new().open();
    for bad in ["", "../x", "a/b", "a.b", "a b", "\u{e9}", "a\0", &"a".repeat(65)] {
        assert!(why(ftm.begin_rotation(bad, "x", "y")).contains("a name is"), "{bad:?}");
        assert!(why(ftm.load(bad)).contains("a name is"));
        assert!(why(ftm.destroy(bad)).contains("a name is"));
    }
    assert!(matches!(ftm.load(&"a".repeat(64)), Err(FtmError::NoKey(_))));
}

#[test]
fn one_process_at_a_time() {
    let home = Home::new();
    let first = home.open();
    let error = SoftFtm::open(&home.keys, None).err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(first);
    home.open();
}

// A crash between any two steps: the directory as it then is, and what the next start makes of it.

#[test]
fn crash_while_a_next_key_is_written() {
    let home = Home::new();
    let key = enrolled(&mut home.open(), "SN1");
    std::fs::write(home.file("SN1.next.key.tmp"), b"half a k").unwrap();
    std::fs::write(home.file("SN9.next.key.tmp"), b"").unwrap();
    let mut ftm = home.open();
    assert_eq!(home.files(), ["SN1.current.key"], "leftovers are removed");
    assert_eq!(current(&mut ftm, "SN1"), key);
    assert_eq!(ftm.next_public_key("SN1").unwrap(), None);
    // Without a restart in between, a leftover does not get in the way either.
    std::fs::write(home.file("SN1.next.key.tmp"), b"half a k").unwrap();
    enrolled(&mut ftm, "SN1");
    assert_eq!(home.files(), ["SN1.current.key"]);
}

#[test]
fn crash_before_and_after_a_rotation_is_finished() {
    let home = Home::new();
    let old = enrolled(&mut home.open(), "SN1");
    let csr = home.open().begin_rotation("SN1", "SN1", "Org").unwrap();
    let new = AwsLc.csr_key(&csr).unwrap();
    let mut ftm = home.open();
    assert_eq!(ftm.next_public_key("SN1").unwrap(), Some(new.clone()));
    assert_eq!(current(&mut ftm, "SN1"), old);
    ftm.finish_rotation("SN1").unwrap();
    drop(ftm);
    let mut ftm = home.open();
    assert_eq!(current(&mut ftm, "SN1"), new);
    assert!(matches!(ftm.finish_rotation("SN1"), Err(FtmError::NoKey(_))), "it is finished once");
}

#[test]
fn crash_in_the_middle_of_destroying() {
    let home = Home::new();
    let mut ftm = home.open();
    let key = enrolled(&mut ftm, "SN1");
    let other = enrolled(&mut ftm, "SN1-2");
    ftm.begin_rotation("SN1", "SN1", "Org").unwrap();
    drop(ftm);
    // The next key goes first.
    std::fs::remove_file(home.file("SN1.next.key")).unwrap();
    let mut ftm = home.open();
    assert_eq!(current(&mut ftm, "SN1"), key, "the state before");
    ftm.destroy("SN1").unwrap();
    ftm.destroy("SN1").unwrap();
    drop(ftm);
    let mut ftm = home.open();
    assert!(matches!(ftm.load("SN1"), Err(FtmError::NoKey(_))), "a restart does not bring it back");
    assert_eq!(current(&mut ftm, "SN1-2"), other, "nobody else's key is touched");
}

#[test]
fn a_store_that_cannot_be_written_loses_nothing() {
    let home = Home::new();
    let mut ftm = home.open();
    let key = enrolled(&mut ftm, "SN1");
    // A directory in the place of the file makes the last step fail, for root as well.
    std::fs::create_dir(home.file("SN1.next.key")).unwrap();
    let failed = ftm.begin_rotation("SN1", "SN1", "Org");
    assert!(matches!(failed, Err(FtmError::Failed { doing: "writing a key", .. })));
    assert_eq!(home.files(), ["SN1.current.key", "SN1.next.key"], "no key is left lying about");
    assert_eq!(current(&mut ftm, "SN1"), key);
}

#[test]
fn it_proves_nothing_and_says_so() {
    let home = Home::new();
    let mut ftm = home.open();
    let binding = Binding([7; 32]);
    assert_eq!(ftm.kind(), FtmKind::Software);
    assert_eq!(ftm.prove(&binding, None).unwrap(), Proof::Software);
    assert!(matches!(ftm.prove(&binding, Some(("SN1", KeySlot::Current))), Err(FtmError::NoKey(_))));
    assert!(matches!(ftm.sign_next_rs256("SN1", b"x"), Err(FtmError::NoKey(_))));
    let next = AwsLc.csr_key(&ftm.begin_rotation("SN1", "SN1", "Org").unwrap()).unwrap();
    assert_eq!(ftm.prove(&binding, Some(("SN1", KeySlot::Next))).unwrap(), Proof::Software);
    assert!(AwsLc.verifies(&next, b"x", &ftm.sign_next_rs256("SN1", b"x").unwrap()));
    assert!(ftm.identity_chain().unwrap().is_empty());
    assert!(matches!(ftm.sign_identity_rs256(b"x"), Err(FtmError::Unsupported(_))));
}

// At rest.

#[test]
fn no_key_lies_open_in_its_file_nor_opens_under_another_name_or_host_key() {
    let home = Home::new();
    enrolled(&mut home.open(), "SN1");
    let sealed = std::fs::read(home.file("SN1.current.key")).unwrap();
    let plain = home.opened("SN1");
    assert!(SoftKey::from_pkcs8("SN1", &plain).is_ok());
    assert!(plain.chunks_exact(16).all(|part| !sealed.windows(16).any(|window| window == part)));

    let mut ftm = home.open();
    std::fs::copy(home.file("SN1.current.key"), home.file("SN2.current.key")).unwrap();
    assert!(why(ftm.load("SN2")).contains("of another device"));
    for at in [4, 20, sealed.len() - 1] {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        std::fs::write(home.file("SN1.current.key"), flipped).unwrap();
        assert!(why(ftm.load("SN1")).contains("damaged"));
    }
    std::fs::write(home.file("SN1.current.key"), &sealed).unwrap();
    assert!(ftm.load("SN1").is_ok());
    drop(ftm);

    std::fs::write(home.file("host.key"), [1; 32]).unwrap();
    assert!(why(home.open().load("SN1")).contains("another host key"));
    std::fs::write(home.file("host.key"), [1; 31]).unwrap();
    assert!(why(SoftFtm::open(&home.keys, None)).contains("not 32 bytes"));
}

#[test]
fn keys_of_earlier_versions_are_sealed_at_the_next_start() {
    let home = Home::new();
    let key = enrolled(&mut home.open(), "SN1");
    let plain = home.opened("SN1");
    let put = |file: &str, content: &[u8]| {
        std::fs::write(home.file(file), content).unwrap();
        std::fs::set_permissions(home.file(file), PermissionsExt::from_mode(0o600)).unwrap();
    };
    put("SN1.current.key", &plain);
    put("SN2.next.key", &plain);
    put("SN3.current.key", &plain[..100]);
    let mut ftm = home.open();
    assert_eq!(current(&mut ftm, "SN1"), key);
    assert_eq!(ftm.next_public_key("SN2").unwrap(), Some(key));
    for file in ["SN1.current.key", "SN2.next.key"] {
        assert!(std::fs::read(home.file(file)).unwrap().starts_with(b"BTK1"), "{file}");
    }
    assert!(matches!(ftm.load("SN3"), Err(FtmError::Unusable { .. })), "a damaged one stays what it is");
    assert!(ftm.notices().len() == 1 && ftm.notices()[0].contains("SN3"), "{:?}", ftm.notices());
}

/// A TPM that seals by turning bits; `0` is its identity.
struct Turning(u8);

impl Sealer for Turning {
    fn seal(&mut self, secret: &[u8]) -> Result<Vec<u8>, FtmError> {
        Ok(std::iter::once(self.0).chain(secret.iter().map(|b| !b)).collect())
    }
    fn unseal(&mut self, sealed: &[u8]) -> Result<biotrust_model::Secret, FtmError> {
        match sealed.split_first() {
            Some((owner, rest)) if *owner == self.0 => {
                Ok(biotrust_model::Secret::new(rest.iter().map(|b| !b).collect()))
            }
            _ => Err(FtmError::Unusable { name: "sealed".into(), why: "of another TPM".into() }),
        }
    }
}

#[test]
fn the_host_key_moves_into_a_tpm_and_back_only_by_enrolling_again() {
    let home = Home::new();
    let key = enrolled(&mut home.open(), "SN1");
    let host = std::fs::read(home.file("host.key")).unwrap();
    let sealed = |tpm: u8| SoftFtm::open(&home.keys, Some(&mut Turning(tpm)));
    assert_eq!(current(&mut sealed(1).unwrap(), "SN1"), key);
    assert!(!home.file("host.key").exists(), "the plain one is gone");
    assert_eq!(current(&mut sealed(1).unwrap(), "SN1"), key);
    assert!(why(sealed(2)).contains("another TPM"));
    assert!(why(SoftFtm::open(&home.keys, None)).contains("sealed to a TPM that is not configured"));

    // A crash between sealing the host key and removing it.
    std::fs::write(home.file("host.key"), host).unwrap();
    std::fs::set_permissions(home.file("host.key"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(current(&mut sealed(1).unwrap(), "SN1"), key);
    assert!(!home.file("host.key").exists());
}

#[test]
fn a_first_start_with_a_tpm_never_writes_the_host_key_open() {
    let home = Home::new();
    let key = enrolled(&mut SoftFtm::open(&home.keys, Some(&mut Turning(1))).unwrap(), "SN1");
    assert!(home.file("host.key.sealed").exists() && !home.file("host.key").exists());
    assert_eq!(current(&mut SoftFtm::open(&home.keys, Some(&mut Turning(1))).unwrap(), "SN1"), key);
}

// Keys that go.

#[test]
fn what_a_crash_left_half_removed_goes_at_the_next_start_and_never_a_key_in_use() {
    let home = Home::new();
    let key = enrolled(&mut home.open(), "SN1");
    // Before a replacement: the current key has a second name.
    std::fs::hard_link(home.file("SN1.current.key"), home.file("SN1.current.key.gone")).unwrap();
    assert_eq!(current(&mut home.open(), "SN1"), key, "the key in use is not overwritten");
    assert_eq!(home.files(), ["SN1.current.key"]);
    // After a removal: only the second name is left. What it holds is overwritten, as a reader that holds it open sees.
    std::fs::rename(home.file("SN1.current.key"), home.file("SN1.current.key.gone")).unwrap();
    let mut held = std::fs::File::open(home.file("SN1.current.key.gone")).unwrap();
    assert!(matches!(home.open().load("SN1"), Err(FtmError::NoKey(_))));
    assert!(home.files().is_empty());
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut held, &mut content).unwrap();
    assert!(content.len() > 1000 && content.iter().all(|b| *b == 0));
}

#[test]
fn replaced_and_destroyed_keys_are_overwritten() {
    let home = Home::new();
    let mut ftm = home.open();
    enrolled(&mut ftm, "SN1");
    let wiped = |held: &mut std::fs::File| {
        let mut content = Vec::new();
        std::io::Read::read_to_end(held, &mut content).unwrap();
        content.iter().all(|b| *b == 0)
    };
    let mut first = std::fs::File::open(home.file("SN1.current.key")).unwrap();
    enrolled(&mut ftm, "SN1");
    assert!(wiped(&mut first));
    let mut second = std::fs::File::open(home.file("SN1.current.key")).unwrap();
    assert!(!wiped(&mut second), "negative control");
    std::io::Seek::rewind(&mut second).unwrap();
    ftm.destroy("SN1").unwrap();
    assert!(wiped(&mut second));
}

/// The key made ahead is the one that is asked for, goes to one device only, and is on no disk before.
#[test]
fn the_next_key_is_made_ahead_and_used_once() {
    let home = Home::new();
    let mut ftm = home.open();
    assert!(!ftm.idle().unwrap(), "one spare is enough");
    assert_eq!(home.files(), Vec::<String>::new());
    let ahead = ftm.spare.as_ref().unwrap().thread().id();
    ftm.idle().unwrap();
    assert_eq!(ftm.spare.as_ref().unwrap().thread().id(), ahead, "not made twice");
    let first = enrolled(&mut ftm, "a");
    assert!(ftm.spare.is_none(), "it was taken");
    let second = enrolled(&mut ftm, "b");
    assert_ne!(first, second);
}
