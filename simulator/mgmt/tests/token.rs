//! The issuing key in a PKCS#11 token: SoftHSM, in a process of its own, because it takes its configuration from the
//! environment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use biosim_mgmt::config::TokenConfig;
use biosim_mgmt::keys::{TokenError, TokenIssuer};
use biotrust_certs::{Authority, Certificate, DeviceStore, Domain, Order, Validity, pem};
use common::{Rig, TestDevice, WORLD};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

const PIN: &str = "567890";

/// Where Debian has the module, by version.
fn softhsm() -> PathBuf {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
    let found = places.iter().map(Path::new).find(|path| path.exists());
    found.expect("SoftHSM is installed (package softhsm2)").to_owned()
}

#[test]
fn the_token_issues() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let config = dir.path().join("softhsm2.conf");
    std::fs::write(&config, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "provider", "--so-pin", "1234567", "--pin", PIN])
        .env("SOFTHSM2_CONF", &config)
        .output()
        .expect("softhsm2-util runs (package softhsm2)");
    assert!(made.status.success(), "{made:?}");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_of_its_own", "--ignored", "--nocapture"])
        .env("SOFTHSM2_CONF", &config)
        .env("TOKEN_TEST_DIR", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    assert!(!text.contains(PIN) && !errors.contains(PIN), "the PIN is nowhere to be seen");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the_token_issues with a token in its environment"]
async fn in_a_process_of_its_own() {
    let dir = PathBuf::from(std::env::var_os("TOKEN_TEST_DIR").expect("started by the_token_issues"));
    let pin_file = dir.join("pin");
    std::fs::write(&pin_file, format!("{PIN}\n")).unwrap();
    restrict(&pin_file);
    let token = TokenConfig {
        module: softhsm(),
        label: "provider".to_owned(),
        key: "issuing key".to_owned(),
        pin_file: pin_file.clone(),
    };

    // The key is made in the token, and its certificate is issued as for any CA.
    let spki = make_key(&token);
    let subject =
        vec![format!("O={}", WORLD.pki.organisation(Domain::Device)), "CN=CA in a token".to_owned()];
    let year = std::time::Duration::from_secs(86_400 * 365);
    let order = Order::leaf(Authority::DeviceProvider, &spki, subject, Validity::starting(WORLD.now, year));
    let chain = WORLD.pki.issue(&Order { is_ca: true, ..order }).unwrap();
    let text: String = chain.iter().map(|der| pem::certificate(der)).collect();
    let chain_file = dir.join("issuer.pem");
    std::fs::write(&chain_file, &text).unwrap();

    let rig = Rig::with(|config| {
        config.issuer.chain = chain_file;
        config.issuer.key = None;
        config.issuer.token = Some(token.clone());
    })
    .await;
    let mut device = TestDevice::l1(&rig);
    let issued = device.enrol(&rig).await.unwrap();
    let anchors = format!("{}{text}", WORLD.pki.anchors_pem(Domain::Device));
    let store = DeviceStore::from_bytes("anchors", anchors.as_bytes()).unwrap();
    let path = store.verify(&issued[0], biotrust_model::time::Clock::now(rig.clock.as_ref())).unwrap();
    assert_eq!(path.issuers().next().unwrap().der(), chain[0]);

    // What can be wrong, each with its own complaint.
    let certificate = Certificate::parse(&chain[0]).unwrap();
    let open = |token: &TokenConfig| TokenIssuer::open(token, certificate.clone());
    assert!(open(&token).is_ok());
    let label = TokenConfig { label: "another".to_owned(), ..token.clone() };
    assert!(matches!(open(&label), Err(TokenError::NoToken(_))));
    let key = TokenConfig { key: "another".to_owned(), ..token.clone() };
    assert!(matches!(open(&key), Err(TokenError::Keys { found: 0, .. })));
    let module = TokenConfig { module: dir.join("nothing.so"), ..token.clone() };
    assert!(matches!(open(&module), Err(TokenError::Module { .. })));
    let other = Certificate::parse(&WORLD.pki.provider_chain_der()[0]).unwrap();
    assert!(matches!(TokenIssuer::open(&token, other), Err(TokenError::WrongKey)));
    let shared = dir.join("shared pin");
    std::fs::write(&shared, PIN).unwrap();
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let pin = TokenConfig { pin_file: shared, ..token };
    let error = open(&pin).unwrap_err();
    assert!(matches!(&error, TokenError::Pin(_)) && error.to_string().contains("chmod 600"), "{error}");
}

fn restrict(file: &Path) {
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Makes a key pair in the token; returns its SubjectPublicKeyInfo.
fn make_key(token: &TokenConfig) -> Vec<u8> {
    let context = Pkcs11::new(&token.module).unwrap();
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = context
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| context.get_token_info(*slot).unwrap().label() == token.label)
        .unwrap();
    let session = context.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(PIN.to_owned()))).unwrap();
    let label = Attribute::Label(token.key.as_bytes().to_vec());
    let (public, private) = session
        .generate_key_pair(
            &Mechanism::RsaPkcsKeyPairGen,
            &[
                Attribute::Token(true),
                Attribute::Verify(true),
                Attribute::ModulusBits(2048.into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
                label.clone(),
            ],
            &[
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                label,
            ],
        )
        .unwrap();
    let hidden = session.get_attributes(private, &[AttributeType::PrivateExponent]).unwrap();
    assert!(hidden.is_empty(), "the key cannot leave the token");
    let parts = session.get_attributes(public, &[AttributeType::Modulus]).unwrap();
    let [Attribute::Modulus(modulus)] = parts.as_slice() else { panic!("{parts:?}") };
    subject_public_key_info(modulus)
}

/// DER of an RSA key with exponent 65537.
fn subject_public_key_info(modulus: &[u8]) -> Vec<u8> {
    let tlv = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap();
        let mut out = vec![tag];
        match length {
            0..=127 => out.push(length.to_be_bytes()[1]),
            128..=255 => out.extend([0x81, length.to_be_bytes()[1]]),
            _ => out.extend([&[0x82], length.to_be_bytes().as_slice()].concat()),
        }
        out.extend(content);
        out
    };
    let modulus = tlv(0x02, &[&[0], modulus].concat());
    let key = tlv(0x30, &[modulus, tlv(0x02, &[1, 0, 1])].concat());
    let algorithm =
        tlv(0x30, &[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00]);
    tlv(0x30, &[algorithm, tlv(0x03, &[&[0], key.as_slice()].concat())].concat())
}
