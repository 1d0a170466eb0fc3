//! Every check, with the case that passes beside the one that fails.

use std::time::Duration;

use biotrust_certs::{Authority, Domain, MAX_CHIP_LIFETIME, Validity};

use super::*;
use crate::workshop::{
    CHIP_KEY, DEVICE_KEY, MONTH, NOW, PKI, certificate, chip_chain, device_chain, device_store, ftm_store,
    identity,
};

const DAY: i64 = 86_400_000;

fn l1(device_chain: &[Vec<u8>], chip_chain: &[Vec<u8>], now: UtcMillis) -> Appraisal<AppraisedL1> {
    appraise_l1(&identity(), device_chain, chip_chain, &device_store(), &ftm_store(), now)
}

fn outcome<T>(appraisal: &Appraisal<T>, name: CheckName) -> Outcome {
    appraisal.checks().iter().find(|check| check.name == name).unwrap().outcome
}

fn not_passed<T>(appraisal: &Appraisal<T>) -> Vec<(CheckName, Outcome)> {
    let odd = appraisal.checks().iter().filter(|check| check.outcome != Outcome::Pass);
    odd.map(|check| (check.name, check.outcome)).collect()
}

fn provider() -> String {
    format!("O={}", PKI.organisation(Domain::Device))
}

fn device_from(by: Authority, key: &rcgen::KeyPair, validity: Validity) -> Vec<Vec<u8>> {
    certificate(by, key, &[&provider(), "CN=SLP000000000001"], validity)
}

#[test]
fn a_good_l1_device_passes_every_check() {
    let appraisal = l1(&device_chain(), &chip_chain(), NOW);
    assert_eq!(not_passed(&appraisal), []);
    assert_eq!(appraisal.checks().len(), 10, "{:?}", appraisal.checks());
    assert_eq!(appraisal.expires(), Some(NOW.plus(MONTH)));
    let device = appraisal.into_device().unwrap();
    assert_eq!(device.identity(), &identity());
    assert_eq!(device.certificate().der(), device_chain()[0]);
    assert_eq!(device.chip().der(), chip_chain()[0]);
    assert_eq!(device.valid_until(), NOW.plus(MONTH));
}

#[test]
fn a_good_l0_device_passes_every_check() {
    let appraisal = appraise_l0(&identity(), &device_chain(), &device_store(), NOW);
    assert_eq!(not_passed(&appraisal), []);
    assert_eq!(appraisal.checks().len(), 5);
    let device = appraisal.into_device().unwrap();
    assert_eq!(device.certificate().der(), device_chain()[0]);
}

#[test]
fn intermediates_that_the_device_sends_do_not_help() {
    let bare = DeviceStore::from_bytes(
        "root",
        PKI.anchors_pem(Domain::Device)
            .split_inclusive("-----END CERTIFICATE-----\n")
            .next()
            .unwrap()
            .as_bytes(),
    )
    .unwrap();
    assert!(device_chain().len() > 1, "the device does send them");
    let appraisal = appraise_l0(&identity(), &device_chain(), &bare, NOW);
    assert_eq!(appraisal.verdict().unwrap_err().name, CheckName::DevicePath);
}

#[test]
fn paths_are_judged_each_in_its_domain() {
    let swapped = l1(&chip_chain(), &device_chain(), NOW);
    assert_eq!(outcome(&swapped, CheckName::DevicePath), Outcome::Fail);
    assert_eq!(outcome(&swapped, CheckName::ChipPath), Outcome::Fail);
    assert!(swapped.expires().is_none());
    assert!(swapped.into_device().is_err());

    let good = Validity::starting(NOW, MONTH);
    let stranger = l1(&device_from(Authority::Stranger, &DEVICE_KEY, good), &chip_chain(), NOW);
    assert_eq!(not_passed(&stranger), [(CheckName::DevicePath, Outcome::Fail)]);
    let chip = certificate(Authority::Stranger, &CHIP_KEY, &["CN=FTM"], good);
    let stranger = l1(&device_chain(), &chip, NOW);
    assert_eq!(not_passed(&stranger), [(CheckName::ChipPath, Outcome::Fail)]);
}

#[test]
fn time_is_judged_at_the_moment_given() {
    let verdict = |validity| {
        let chain = device_from(Authority::DeviceProvider, &DEVICE_KEY, validity);
        l1(&chain, &chip_chain(), NOW).verdict()
    };
    assert_eq!(verdict(Validity::starting(NOW, MONTH)), Ok(()));
    let expired = verdict(Validity::expired(NOW)).unwrap_err();
    assert_eq!(expired.name, CheckName::DevicePath);
    assert!(expired.to_string().contains("expired at 2029-12-31T23:59:59Z; it must be renewed"), "{expired}");
    let early = verdict(Validity::not_yet(NOW)).unwrap_err();
    assert!(early.to_string().contains("check the clock"), "{early}");
}

#[test]
fn no_certificate_is_a_failure_of_its_own() {
    let nothing = l1(&[], &chip_chain(), NOW).verdict().unwrap_err();
    assert_eq!(nothing.to_string(), "device-path: the device shows no certificate");
    let nothing = l1(&device_chain(), &[], NOW).verdict().unwrap_err();
    assert_eq!(nothing.name, CheckName::ChipPath);
    let garbage = l1(&[vec![1, 2, 3]], &chip_chain(), NOW).verdict().unwrap_err();
    assert!(garbage.text.contains("not a DER-encoded X.509 certificate"), "{garbage}");
}

#[test]
fn the_device_key_is_not_the_chip_key() {
    let chain = device_from(Authority::DeviceProvider, &CHIP_KEY, Validity::starting(NOW, MONTH));
    assert_eq!(not_passed(&l1(&chain, &chip_chain(), NOW)), [(CheckName::KeysDiffer, Outcome::Fail)]);
}

#[test]
fn a_chip_certificate_lives_twenty_years_at_most() {
    let chip = |lifetime| {
        let validity = Validity { from: UtcMillis(NOW.0 - DAY), to: UtcMillis(NOW.0 - DAY).plus(lifetime) };
        certificate(Authority::FtmProvider, &CHIP_KEY, &["CN=FTM"], validity)
    };
    assert_eq!(not_passed(&l1(&device_chain(), &chip(MAX_CHIP_LIFETIME), NOW)), []);
    let longer = chip(MAX_CHIP_LIFETIME + Duration::from_secs(1));
    assert_eq!(not_passed(&l1(&device_chain(), &longer, NOW)), [(CheckName::ChipLifetime, Outcome::Fail)]);
}

#[test]
fn the_provider_must_be_the_one_that_the_certificate_names() {
    let outcomes = |organisation: &str| {
        let subject = [organisation, "CN=SLP000000000001"];
        let chain =
            certificate(Authority::DeviceProvider, &DEVICE_KEY, &subject, Validity::starting(NOW, MONTH));
        let l0 = appraise_l0(&identity(), &chain, &device_store(), NOW);
        [
            outcome(&l1(&chain, &chip_chain(), NOW), CheckName::Organisation),
            outcome(&l0, CheckName::Organisation),
        ]
    };
    assert_eq!(outcomes("O=EXAMPLE  devices LTD"), [Outcome::Pass; 2], "letter case does not matter");
    assert_eq!(outcomes("O=Another Provider"), [Outcome::Fail, Outcome::Warning]);
    assert_eq!(
        outcomes("OU=Example Devices Ltd"),
        [Outcome::Fail, Outcome::Warning],
        "no organisation at all"
    );
}

#[test]
fn a_ca_is_no_device() {
    let ca = device_store().entries().nth(1).unwrap().certificate.der().to_vec();
    let appraisal = appraise_l0(&identity(), &[ca], &device_store(), NOW);
    assert_eq!(outcome(&appraisal, CheckName::DevicePath), Outcome::Pass, "it is trusted, and yet");
    assert_eq!(appraisal.verdict().unwrap_err().name, CheckName::DeviceKey);
}

#[test]
fn identities_must_be_complete_and_possible() {
    let verdict = |change: fn(&mut DeviceIdentity)| {
        let mut claims = identity();
        change(&mut claims);
        appraise_l0(&claims, &device_chain(), &device_store(), NOW).verdict().map_err(|failed| failed.name)
    };
    assert_eq!(verdict(|_| ()), Ok(()));
    let changes: [fn(&mut DeviceIdentity); 6] = [
        |c| c.serial_no.clear(),
        |c| c.make = " ".to_owned(),
        |c| c.model.clear(),
        |c| c.device_provider.clear(),
        |c| c.device_provider_id.clear(),
        |c| c.device_sub_type = biotrust_model::DeviceSubType::FullFace,
    ];
    for change in changes {
        assert_eq!(verdict(change), Err(CheckName::Identity));
    }
}

#[test]
fn what_expires_soon_is_a_warning() {
    let at = |days: i64| not_passed(&l1(&device_chain(), &chip_chain(), UtcMillis(NOW.0 + days * DAY)));
    assert_eq!(at(22), []);
    assert_eq!(at(24), [(CheckName::DeviceExpiry, Outcome::Warning)]);

    // A certificate for two days is not in danger on its first one.
    let short = device_from(
        Authority::DeviceProvider,
        &DEVICE_KEY,
        Validity::starting(NOW, Duration::from_secs(2 * 86_400)),
    );
    let at = |hours: i64| not_passed(&l1(&short, &chip_chain(), UtcMillis(NOW.0 + hours * 3_600_000)));
    assert_eq!(at(30), []);
    assert_eq!(at(40), [(CheckName::DeviceExpiry, Outcome::Warning)]);

    // The issuer ends first: a longer certificate does not help, and the report says whose end it is.
    let long = Validity::starting(NOW, Duration::from_secs(3000 * 86_400));
    let long = device_from(Authority::DeviceProvider, &DEVICE_KEY, long);
    let near_end = UtcMillis(NOW.0 + 725 * DAY);
    let appraisal = appraise_l0(&identity(), &long, &device_store(), near_end);
    assert_eq!(not_passed(&appraisal), [(CheckName::DeviceExpiry, Outcome::Warning)]);
    let text = &appraisal.checks().last().unwrap().text;
    assert!(text.starts_with("its issuer's certificate is valid until 20"), "{text}");
    assert_eq!(appraisal.expires(), Some(NOW.plus(Duration::from_secs(730 * 86_400))));
}

#[test]
fn what_a_device_says_cannot_forge_a_log_line() {
    let mut claims = identity();
    claims.make = "x\nERROR forged".to_owned();
    let appraisal = appraise_l0(&claims, &device_chain(), &device_store(), NOW);
    assert!(appraisal.checks().iter().all(|check| !check.text.contains('\n')));

    // The certificate is the device's choice too, and what is wrong with it names its subject and issuer.
    let mut params = rcgen::CertificateParams::default();
    for n in 0..400 {
        let kind = rcgen::DnType::CustomDnType(vec![2, 5, 4, 1000 + n]);
        params.distinguished_name.push(kind, format!("unit {n} \u{202e}\u{2028}\nx"));
    }
    let odd = vec![params.self_signed(&*DEVICE_KEY).unwrap().der().to_vec()];
    let appraisal = appraise_l0(&identity(), &odd, &device_store(), NOW);
    let path = appraisal.checks().iter().find(|check| check.name == CheckName::DevicePath).unwrap();
    let text = &path.text;
    assert!(path.outcome == Outcome::Fail && text.contains("unit 1 "), "{text}");
    assert!(text.ends_with("is signed with its own key; it needs an issuer in the trust store"), "{text}");
    assert!(
        text.len() < 1500 && !text.contains(['\u{202e}', '\u{2028}', '\n']),
        "{} bytes: {text}",
        text.len()
    );
}
