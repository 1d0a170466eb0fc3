//! A TPM that somebody has to do something about: each state has a name, advice, and keeps the TPM's code.

#![allow(clippy::unwrap_used)] // helpers of tests fail like tests

mod common;

use biosim_swtpm::Model;
use biotrust_driver_api::Ftm;
use biotrust_driver_api::conformance::Verifier;
use biotrust_ftm_tpm::{Options, TpmFtm};
use biotrust_model::Secret;
use biotrust_model::evidence::Binding;
use common::*;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::handles::{AuthHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, KeyedHashScheme, PublicBuilder, PublicKeyedHashParameters};

#[test]
fn no_tpm_and_no_address() {
    let directory = tempfile::tempdir().unwrap();
    let open = |tcti: &str| TpmFtm::open(Options::new(tcti), &directory.path().join("keys"));
    assert!(state(open("device:/dev/no-such-tpm")).0.contains("there is no TPM"));
    assert!(state(open("nonsense")).0.contains("not the address of a TPM"));
    assert!(state(open("swtpm:host=127.0.0.1,port=1")).0.contains("no TPM answers"));
    if !rustix::process::geteuid().is_root() {
        let path = directory.path().join("tpm");
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        assert!(state(open(&format!("device:{}", path.display()))).1.contains("group"));
    }
}

#[test]
fn an_endorsement_key_without_a_certificate_is_not_believed() {
    let bench = Bench::of(Model::Uncertified);
    let open = |options| TpmFtm::open(options, &bench.keys());
    let (is, next) = state(open(Options::new(bench.tpm.tcti())));
    assert!(is.contains("no certificate of its endorsement key") && next.contains("maker"), "{is}: {next}");
}

#[test]
fn an_endorsement_key_that_is_not_the_certified_one_is_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    let certificate = other.open().identity_request("x", "y", &Binding([0; 32])).unwrap().ek_certificate;
    let substituted = Options { ek_certificate: Some(certificate), ..Options::new(bench.tpm.tcti()) };
    let (is, next) = state(TpmFtm::open(substituted, &bench.keys()));
    assert!(is.contains("not the one in its certificate") && next.contains("do not use"), "{is}: {next}");
    assert_eq!(held(&bench.tpm).transient, 0, "nothing is left of the refused key");
    assert!(!held_persistent_identity(&bench.tpm), "and nothing was made");

    // Negative control: its own certificate, given by hand.
    let own = bench.open().identity_request("x", "y", &Binding([0; 32])).unwrap().ek_certificate;
    let given = Options { ek_certificate: Some(own), ..Options::new(bench.tpm.tcti()) };
    TpmFtm::open(given, &bench.keys()).unwrap();
}

fn held_persistent_identity(tpm: &Chip) -> bool {
    held(tpm).persistent > 2
}

#[test]
fn an_endorsement_certificate_of_an_unknown_maker_is_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    let foreign = Options { ek_anchors: other.options().ek_anchors, ..Options::new(bench.tpm.tcti()) };
    assert!(state(TpmFtm::open(foreign, &bench.keys())).0.contains("none of the configured EK anchors"));
    let mut both = bench.options();
    both.ek_anchors.extend(other.options().ek_anchors);
    let mut ftm = TpmFtm::open(both, &bench.keys()).unwrap();
    assert!(ftm.notices().iter().all(|notice| !notice.contains("ek_anchors")));
    drop(ftm);
    let mut ftm = TpmFtm::open(Options::new(bench.tpm.tcti()), &bench.keys()).unwrap();
    assert!(ftm.notices().iter().any(|notice| notice.contains("ek_anchors")), "without anchors it says so");
}

#[test]
fn an_unprovisioned_tpm_signs_but_proves_nothing() {
    let bench = Bench::new();
    let mut ftm = bench.open();
    let (is, next) = state(ftm.prove(&Binding([0; 32]), None));
    assert!(is.contains("not provisioned") && next.contains("install"), "{is}: {next}");
    assert!(ftm.identity_chain().unwrap().is_empty());
    assert!(ftm.notices().iter().any(|notice| notice.contains("not provisioned")));
    provision(&mut ftm);
    assert!(ftm.prove(&Binding([0; 32]), None).is_ok());
    assert_eq!(ftm.notices(), Vec::<String>::new());
}

#[test]
fn certificates_of_other_keys_are_not_installed() {
    let (bench, other) = (Bench::new(), Bench::new());
    let mut ftm = bench.open();
    let (own, foreign) = (certificates(&mut ftm), certificates(&mut other.open()));
    assert!(ftm.install_certificates(&foreign.identity, &own.attestation).is_err());
    assert!(ftm.install_certificates(&own.identity, &foreign.attestation).is_err());
    assert!(ftm.identity_chain().unwrap().is_empty());
    ftm.install_certificates(&own.identity, &own.attestation).unwrap();
    assert_eq!(ftm.identity_chain().unwrap(), own.identity);
    assert_eq!(ftm.attestation_chain().unwrap(), own.attestation);
    // New ones take the place of the old ones, over a restart.
    let renewed = certificates(&mut ftm);
    ftm.install_certificates(&renewed.identity, &renewed.attestation).unwrap();
    drop(ftm);
    assert_eq!(bench.open().identity_chain().unwrap(), renewed.identity);
}

#[test]
fn after_a_clear_the_chip_is_the_same_and_its_device_keys_are_gone() {
    let bench = Bench::new();
    let mut ftm = bench.open_provisioned();
    let chip = ftm.identity_public_key().unwrap();
    enrol(&mut ftm, "SN1");
    ftm.idle().unwrap();
    ftm.raise_svn_floor(2).unwrap();
    drop(ftm);
    let mut context = raw(&bench.tpm);
    context.execute_with_session(Some(AuthSession::Password), |c| c.clear(AuthHandle::Lockout)).unwrap();
    drop(context);

    let mut ftm = bench.open();
    assert_eq!(ftm.identity_public_key().unwrap(), chip, "the endorsement hierarchy's seed stays");
    let (is, next) = state(ftm.load("SN1"));
    assert!(is.contains("cleared or replaced") && next.contains("register the device again"), "{is}: {next}");
    assert!(ftm.notices().iter().any(|notice| notice.contains("not provisioned")), "{:?}", ftm.notices());
    assert!(ftm.notices().iter().any(|notice| notice.contains("keys of 1 devices")), "{:?}", ftm.notices());
    // A new life: the key that lay ready is of the TPM before the clear and must not be taken.
    let key = enrol(&mut ftm, "SN1");
    let mut loaded = ftm.load("SN1").unwrap();
    assert!(AwsLc.verifies(&key, b"x", &loaded.sign_rs256(b"x").unwrap()));
    provision(&mut ftm);
    assert_eq!(ftm.notices(), Vec::<String>::new(), "all is well again");
    assert_eq!(ftm.svn_floor().unwrap(), 0, "the owner's memory is empty");
}

#[test]
fn lockout_is_shown_and_stops_no_capture() {
    let bench = Bench::new();
    let mut ftm = bench.open_provisioned();
    let key = enrol(&mut ftm, "SN1");
    drop(ftm);
    assert_eq!(lock(&mut raw(&bench.tpm)), "0x921", "negative control: keys that are protected are locked");
    let mut ftm = bench.open();
    assert!(ftm.notices().iter().any(|notice| notice.contains("lockout")), "{:?}", ftm.notices());
    let mut loaded = ftm.load("SN1").unwrap();
    assert!(AwsLc.verifies(&key, b"x", &loaded.sign_rs256(b"x").unwrap()));
    ftm.sign_identity_rs256(b"x").unwrap();
    ftm.prove(&Binding([0; 32]), None).unwrap();
}

/// Tries wrong passwords on a protected object until the TPM is locked; tells the code that it then answers with.
fn lock(context: &mut tss_esapi::Context) -> String {
    let attributes =
        ObjectAttributesBuilder::new().with_fixed_tpm(true).with_fixed_parent(true).with_user_with_auth(true);
    let public = PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes.build().unwrap())
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(tss_esapi::structures::Digest::default())
        .build()
        .unwrap();
    context.execute_with_session(Some(AuthSession::Password), |context| {
        let auth = Auth::try_from(b"right".as_slice()).unwrap();
        let data = Some(b"data".as_slice().try_into().unwrap());
        let made = context.create_primary(Hierarchy::Owner, public, Some(auth), data, None, None).unwrap();
        let object = ObjectHandle::from(made.key_handle);
        context.tr_set_auth(object, Auth::try_from(b"wrong".as_slice()).unwrap()).unwrap();
        let code = (0..64).find_map(|_| {
            let tss_esapi::Error::Tss2Error(code) = context.unseal(object).unwrap_err() else { return None };
            let source = std::error::Error::source(&code)?.to_string();
            source.contains("0x921").then(|| "0x921".to_owned())
        });
        context.flush_context(object).unwrap();
        code.unwrap()
    })
}

#[test]
fn passwords_of_hierarchies_are_used_and_a_wrong_one_is_told() {
    let bench = Bench::new();
    let mut context = raw(&bench.tpm);
    context.execute_with_session(Some(AuthSession::Password), |context| {
        for (hierarchy, password) in [(AuthHandle::Owner, "own"), (AuthHandle::Endorsement, "endorse")] {
            context.hierarchy_change_auth(hierarchy, Auth::try_from(password.as_bytes()).unwrap()).unwrap();
        }
    });
    drop(context);
    let with = |owner: &str, endorsement: &str| {
        let secret = |password: &str| Some(Secret::new(password.as_bytes().to_vec()));
        let options =
            Options { owner_auth: secret(owner), endorsement_auth: secret(endorsement), ..bench.options() };
        TpmFtm::open(options, &bench.keys())
    };
    for refused in [TpmFtm::open(bench.options(), &bench.keys()), with("own", "x"), with("x", "endorse")] {
        let (is, next) = state(refused);
        assert!(
            is.contains("refuses the password") && is.contains("TPM code") && next.contains("passwords"),
            "{is}"
        );
    }
    let mut ftm = with("own", "endorse").unwrap();
    provision(&mut ftm);
    enrol(&mut ftm, "SN1");
    ftm.prove(&Binding([0; 32]), None).unwrap();
}

#[test]
fn another_key_in_the_place_of_ours_is_named() {
    use tss_esapi::interface_types::dynamic_handles::Persistent;
    use tss_esapi::interface_types::resource_handles::Provision;
    let bench = Bench::new();
    let mut context = raw(&bench.tpm);
    context.execute_with_session(Some(AuthSession::Password), |context| {
        let template = tss_esapi::utils::create_unrestricted_signing_rsa_public(
            tss_esapi::structures::RsaScheme::create(
                tss_esapi::interface_types::algorithm::RsaSchemeAlgorithm::RsaSsa,
                Some(HashingAlgorithm::Sha256),
            )
            .unwrap(),
            tss_esapi::interface_types::key_bits::RsaKeyBits::Rsa2048,
            Default::default(),
        );
        let made = context
            .create_primary(Hierarchy::Endorsement, template.unwrap(), None, None, None, None)
            .unwrap();
        let handle = tss_esapi::handles::PersistentTpmHandle::new(0x8102_0001).unwrap();
        context
            .evict_control(Provision::Owner, made.key_handle.into(), Persistent::Persistent(handle))
            .unwrap();
        context.flush_context(made.key_handle.into()).unwrap();
    });
    drop(context);
    // An unrestricted key where the attestation key should be would sign forged attestations.
    let (is, next) = state(TpmFtm::open(bench.options(), &bench.keys()));
    assert!(is.contains("81020001") && next.contains("tpm2_evictcontrol"), "{is}: {next}");
}
