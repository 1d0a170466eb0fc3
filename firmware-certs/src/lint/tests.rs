//! Each rule with a certificate that breaks it, beside a good one that breaks none.

use biotrust_model::time::UtcMillis;
use proptest::prelude::*;

use super::*;
use crate::forge::{
    self, CN, DAY, EMAIL, Forge, IA5, NOW, O, OU, UTF8, basic_constraints, extension, key, key_usage, name,
    oid, seq, tlv,
};
use Profile::{Chip, Device, Encryption, FtmProvider, Provider};
use Severity::{Error, Note, Warning};

const ORGANISATION: &str = "Acme Ltd";
const C: &[u64] = &[2, 5, 4, 6];
const SERIAL: &[u64] = &[2, 5, 4, 5];

/// Root of key 0.
fn root() -> Certificate {
    Forge::ca("Root").with(|f| f.to = UtcMillis(NOW.0 + 9000 * DAY)).sign(key(0))
}

/// A certificate of key 1 below the root with nothing to find.
fn good(profile: Profile) -> Forge {
    let subject = name(&[(C, 0x13, "XX"), (O, UTF8, ORGANISATION), (CN, UTF8, "SN01")]);
    let (base, days) = match profile {
        Provider | FtmProvider => (Forge::ca("x"), 400),
        Device => (Forge::leaf("x"), 30),
        Chip => (Forge::leaf("x"), 7290),
        Encryption => (Forge::leaf("x").with(|f| f.extensions = vec![key_usage(0x30)]), 300),
    };
    base.key(key(1)).issuer(&root()).with(|f| (f.subject, f.to) = (subject, UtcMillis(NOW.0 + days * DAY)))
}

fn ask(profile: Profile, issuer: &Certificate) -> Question<'_> {
    Question { profile, now: NOW, organisation: Some(ORGANISATION), issuer: Some(issuer) }
}

fn findings(profile: Profile, forge: &Forge) -> Vec<Finding> {
    lint(&forge.der(key(0)), &ask(profile, &root())).unwrap()
}

/// Exactly this rule with this severity, and these bytes where the rule has a place.
fn breaks(
    profile: Profile,
    change: impl FnOnce(&mut Forge),
    rule: Rule,
    severity: Severity,
    bytes: Option<&[u8]>,
) {
    let forge = good(profile).with(change);
    let found = findings(profile, &forge);
    let told: Vec<_> = found.iter().map(|f| (f.rule, f.severity)).collect();
    assert_eq!(told, [(rule, severity)], "{profile}: {found:#?}");
    let finding = &found[0];
    assert!(!finding.found.is_empty() && !finding.effect.is_empty() && !finding.cure.is_empty());
    assert!(!finding.effect.contains("  ") && !finding.cure.contains("  "), "{finding:?}");
    match (&finding.place, bytes) {
        (Some(place), Some(bytes)) => {
            let der = forge.der(key(0));
            assert_eq!(
                der[place.offset..place.offset + place.length.min(48)],
                place.bytes,
                "the place is where it says"
            );
            assert!(place.bytes.windows(bytes.len()).any(|w| w == bytes), "{rule}: {}", place.hex());
        }
        (None, None) => {}
        (place, expected) => panic!("{rule}: {place:?}, {expected:?}"),
    }
}

fn subject(attributes: &'static [(&'static [u64], u8, &'static str)]) -> impl FnOnce(&mut Forge) {
    move |f| f.subject = name(attributes)
}

#[test]
fn what_is_good_is_left_alone() {
    for profile in Profile::ALL {
        assert_eq!(findings(profile, &good(profile)), [], "{profile}");
    }
    // Nor is anything found where nothing is known of issuer and organisation.
    let der = good(Device).der(key(0));
    let question = Question { profile: Device, now: NOW, organisation: None, issuer: None };
    assert_eq!(lint(&der, &question).unwrap(), []);
}

#[test]
fn version_and_serial_number() {
    let v1 = findings(Provider, &good(Provider).with(|f| f.v1 = true));
    assert!(v1.iter().any(|f| (f.rule, f.severity, &f.place) == (Rule::Version, Error, &None)), "{v1:#?}");
    breaks(Device, |f| f.serial = vec![0x9C, 1], Rule::SerialSign, Note, Some(&[2, 2, 0x9C, 1]));
    breaks(Device, |f| f.serial = vec![0], Rule::SerialSign, Note, Some(&[2, 1, 0]));
    breaks(Device, |f| f.serial = vec![0x11; 21], Rule::SerialLength, Warning, Some(&[0x11; 21]));
    breaks(Provider, |f| f.serial = vec![0x11; 21], Rule::SerialLength, Error, Some(&[0x11; 21]));
}

#[test]
fn keys() {
    let curve = forge::p256_spki();
    for (profile, severity) in [(Provider, Warning), (Device, Error), (Chip, Error), (Encryption, Error)] {
        breaks(profile, |f| f.spki = forge::p256_spki(), Rule::KeyType, severity, Some(&curve[..20]));
    }
    for profile in Profile::ALL {
        breaks(profile, |f| f.spki = forge::short_spki(128), Rule::KeySize, Error, Some(&[0xC5; 8]));
    }
    let long = |f: &mut Forge| f.spki = forge::short_spki(384);
    for profile in [Device, Chip, Encryption] {
        breaks(profile, long, Rule::KeySize, Error, Some(&[0xC5; 8]));
    }
    for profile in [Provider, FtmProvider] {
        assert_eq!(findings(profile, &good(profile).with(long)), [], "a provider may have a longer key");
    }
    let exponent = |value: u8| move |f: &mut Forge| f.spki = forge::spki_of(256, &[value]);
    breaks(Device, exponent(3), Rule::KeyExponent, Warning, Some(&[0x30, 0x82]));
    breaks(Device, exponent(4), Rule::KeyExponent, Error, Some(&[0x30, 0x82]));
}

#[test]
fn signatures() {
    let with =
        |arcs: &'static [u64]| move |f: &mut Forge| (f.inner_algorithm, f.outer_algorithm) = (arcs, arcs);
    let sha1 = oid(forge::SHA1_RSA);
    for profile in [Provider, Device] {
        breaks(profile, with(forge::SHA1_RSA), Rule::SignatureAlgorithm, Error, Some(&sha1));
    }
    let sha384 = oid(forge::SHA384_RSA);
    breaks(Provider, with(forge::SHA384_RSA), Rule::SignatureAlgorithm, Error, Some(&sha384));
    breaks(Device, with(forge::SHA384_RSA), Rule::SignatureAlgorithm, Warning, Some(&sha384));
    breaks(Device, with(forge::PSS), Rule::SignatureAlgorithm, Warning, Some(&oid(forge::PSS)));
    breaks(Chip, |f| f.inner_algorithm = forge::SHA384_RSA, Rule::SignatureMismatch, Error, Some(&sha384));

    let own = good(Provider).key(key(0)).with(|f| f.issuer = f.subject.clone());
    let own = lint(&own.der(key(0)), &Question { issuer: None, ..ask(Provider, &root()) }).unwrap();
    assert_eq!(own.iter().map(|f| (f.rule, f.severity)).collect::<Vec<_>>(), [(Rule::SelfSigned, Error)]);
}

#[test]
fn dates() {
    let at = |days: i64| UtcMillis(NOW.0 + days * DAY);
    breaks(Device, |f| f.from = at(1), Rule::NotYetValid, Error, Some(b"\x17\x0d300102000000Z"));
    breaks(Device, |f| f.to = at(-1), Rule::Expired, Error, Some(b"\x17\x0d291231000000Z"));
    breaks(Provider, |f| f.from = NOW, Rule::FreshStart, Warning, Some(b"300101000000Z"));
    assert_eq!(
        findings(Device, &good(Device).with(|f| f.from = NOW)),
        [],
        "devices begin when they are issued"
    );
    breaks(Provider, |f| f.to = at(334), Rule::Remaining, Error, Some(b"301201"));
    breaks(FtmProvider, |f| f.to = at(334), Rule::Remaining, Error, Some(b"301201"));
    breaks(Provider, |f| f.to = at(340), Rule::Remaining, Note, Some(b"301207"));
    breaks(FtmProvider, |f| f.to = at(340), Rule::Remaining, Warning, Some(b"301207"));
    assert_eq!(findings(Provider, &good(Provider).with(|f| f.to = at(365))), []);
    breaks(Encryption, |f| f.to = at(29), Rule::Remaining, Warning, Some(b"300130"));
    breaks(Chip, |f| f.to = at(7296), Rule::Lifetime, Error, Some(b"4912"));
    breaks(Device, |f| f.to = at(93), Rule::Lifetime, Warning, Some(b"3004"));
    let general = findings(Device, &good(Device).with(|f| f.general_time = true));
    let told: Vec<_> = general.iter().map(|f| (f.rule, f.severity, f.field)).collect();
    assert_eq!(told, [(Rule::DateEncoding, Note, "notBefore"), (Rule::DateEncoding, Note, "notAfter")]);
}

#[test]
fn an_end_before_the_beginning() {
    let forge = good(Device).with(|f| (f.from, f.to) = (UtcMillis(NOW.0 - DAY), UtcMillis(NOW.0 - 2 * DAY)));
    let rules: Vec<_> = findings(Device, &forge).iter().map(|f| f.rule).collect();
    assert_eq!(rules, [Rule::DateOrder, Rule::Expired]);
}

#[test]
fn issuers() {
    let short = Forge::ca("Root").with(|f| f.to = UtcMillis(NOW.0 + 20 * DAY)).sign(key(0));
    let told = |issuer: &Certificate, forge: &Forge| {
        let found = lint(&forge.der(key(0)), &ask(Device, issuer)).unwrap();
        found.iter().map(|f| (f.rule, f.severity)).collect::<Vec<_>>()
    };
    assert_eq!(told(&short, &good(Device)), [(Rule::BeyondIssuer, Warning)]);
    assert_eq!(told(&short, &good(Device).with(|f| f.to = short.not_after())), []);

    let reversed = name(&[(CN, UTF8, "Root"), (O, UTF8, "Acme")]);
    let issuer = reversed.clone();
    breaks(Device, |f| f.issuer = issuer, Rule::IssuerName, Error, Some(&reversed));
    let lower = name(&[(O, UTF8, "acme"), (CN, UTF8, "root")]);
    let issuer = lower.clone();
    breaks(Device, |f| f.issuer = issuer, Rule::IssuerName, Note, Some(&lower));

    let id = |oid: &[u64], byte: u8| match oid[3] {
        14 => extension(oid, false, &tlv(4, &[&[byte; 20]])),
        _ => extension(oid, false, &seq(&[&tlv(0x80, &[&[byte; 20]])])),
    };
    let named = Forge::ca("Root").with(|f| f.extensions.push(id(&[2, 5, 29, 14], 7))).sign(key(0));
    let with = |byte| good(Device).with(|f| (f.extensions.push(id(&[2, 5, 29, 35], byte)), f.to = NOW).0);
    assert_eq!(told(&named, &with(8)), [(Rule::AuthorityKeyIdentifier, Warning)]);
    assert_eq!(told(&named, &with(7)), []);
}

#[test]
fn organisations() {
    for profile in [Provider, FtmProvider] {
        breaks(
            profile,
            subject(&[(O, UTF8, "acme ltd"), (CN, UTF8, "x")]),
            Rule::Organisation,
            Error,
            Some(b"acme ltd"),
        );
    }
    breaks(
        Device,
        subject(&[(O, UTF8, "acme ltd"), (CN, UTF8, "x")]),
        Rule::Organisation,
        Note,
        Some(b"acme ltd"),
    );
    breaks(
        Device,
        subject(&[(O, UTF8, "Acme  Ltd"), (CN, UTF8, "x")]),
        Rule::Organisation,
        Error,
        Some(b"Acme  Ltd"),
    );
    breaks(Device, subject(&[(CN, UTF8, "x")]), Rule::Organisation, Error, Some(&[0x30]));
    breaks(Chip, subject(&[(O, UTF8, "Fab"), (CN, UTF8, "x")]), Rule::Organisation, Note, Some(b"Fab"));
    breaks(Provider, subject(&[(O, UTF8, ORGANISATION)]), Rule::CommonName, Error, Some(&[0x30]));
    breaks(Device, subject(&[(O, UTF8, ORGANISATION)]), Rule::CommonName, Warning, Some(&[0x30]));
    let long = "x".repeat(121);
    let forge = good(Provider).with(|f| f.subject = name(&[(O, UTF8, &long), (CN, UTF8, "x")]));
    let found =
        lint(&forge.der(key(0)), &Question { organisation: Some(&long), ..ask(Provider, &root()) }).unwrap();
    assert_eq!(found.iter().map(|f| f.rule).collect::<Vec<_>>(), [Rule::OrganisationLength]);
    let forge =
        good(Provider).with(|f| f.subject = name(&[(O, UTF8, ORGANISATION), (CN, UTF8, &"x".repeat(490))]));
    assert_eq!(findings(Provider, &forge).iter().map(|f| f.rule).collect::<Vec<_>>(), [Rule::SubjectLength]);
}

#[test]
fn what_mosip_makes_of_a_subject() {
    const MAIL: &[(&[u64], u8, &str)] =
        &[(O, UTF8, ORGANISATION), (CN, UTF8, "x"), (EMAIL, IA5, "ca@acme.example")];
    for (profile, severity) in [(Provider, Error), (FtmProvider, Warning)] {
        breaks(profile, subject(MAIL), Rule::SubjectDropped, severity, Some(b"ca@acme.example"));
        breaks(
            profile,
            subject(&[(O, UTF8, ORGANISATION), (CN, UTF8, "x"), (SERIAL, 0x13, "7")]),
            Rule::SubjectDropped,
            severity,
            Some(b"7"),
        );
        breaks(
            profile,
            subject(&[(CN, UTF8, "x"), (O, UTF8, ORGANISATION)]),
            Rule::SubjectOrder,
            severity,
            Some(ORGANISATION.as_bytes()),
        );
        breaks(
            profile,
            subject(&[(O, UTF8, ORGANISATION), (OU, UTF8, "A"), (OU, UTF8, "B"), (CN, UTF8, "x")]),
            Rule::SubjectRepeated,
            severity,
            Some(b"B"),
        );
        breaks(
            profile,
            subject(&[(O, UTF8, ORGANISATION), (CN, 0x16, "x")]),
            Rule::SubjectString,
            severity,
            Some(&[0x16, 1, b'x']),
        );
    }
    let one = |kind: &[u64], text: &str| seq(&[&oid(kind), &tlv(UTF8, &[text.as_bytes()])]);
    let joined = seq(&[&tlv(0x31, &[&one(O, ORGANISATION), &one(CN, "x")])]);
    breaks(Provider, |f| f.subject = joined, Rule::SubjectJoined, Error, Some(&one(CN, "x")));
    assert_eq!(
        findings(Device, &good(Device).with(subject(MAIL))),
        [],
        "nobody signs a device certificate again"
    );
}

#[test]
fn extensions() {
    let leaf = |flags| vec![basic_constraints(false, None), key_usage(flags)];
    breaks(FtmProvider, |f| f.extensions = leaf(0x04), Rule::CaFlag, Error, Some(&[0x55, 0x1D, 0x13]));
    breaks(Provider, |f| f.extensions = leaf(0x04), Rule::CaFlag, Warning, Some(&[0x55, 0x1D, 0x13]));
    for profile in [Device, Chip] {
        breaks(
            profile,
            |f| f.extensions[0] = basic_constraints(true, None),
            Rule::CaFlag,
            Error,
            Some(&[1, 1, 0xFF]),
        );
        breaks(profile, |f| drop(f.extensions.remove(0)), Rule::CaFlag, Note, None);
        breaks(
            profile,
            |f| f.extensions[1] = key_usage(0x20),
            Rule::KeyUsage,
            Warning,
            Some(&[0x55, 0x1D, 0x0F]),
        );
        breaks(profile, |f| f.extensions[1] = key_usage(0x84), Rule::KeyUsage, Error, Some(&[3, 2, 0, 0x84]));
        breaks(profile, |f| drop(f.extensions.remove(1)), Rule::KeyUsage, Warning, None);
    }
    breaks(
        FtmProvider,
        |f| f.extensions[1] = key_usage(0x80),
        Rule::KeyUsage,
        Error,
        Some(&[0x55, 0x1D, 0x0F]),
    );
    breaks(FtmProvider, |f| drop(f.extensions.remove(1)), Rule::KeyUsage, Warning, None);
    breaks(
        Provider,
        |f| f.extensions[1] = key_usage(0x80),
        Rule::KeyUsage,
        Warning,
        Some(&[0x55, 0x1D, 0x0F]),
    );
    breaks(
        Encryption,
        |f| f.extensions = vec![key_usage(0x80)],
        Rule::KeyUsage,
        Warning,
        Some(&[0x55, 0x1D, 0x0F]),
    );

    let purpose = |arcs: &[u64]| extension(&[2, 5, 29, 37], false, &seq(&[&oid(arcs)]));
    let signer = [1, 3, 6, 1, 4, 1, 32473, 1, 1];
    breaks(
        Device,
        |f| f.extensions.push(purpose(&signer)),
        Rule::ExtendedKeyUsage,
        Error,
        Some(&oid(&signer)),
    );
    let client = [1, 3, 6, 1, 5, 5, 7, 3, 2];
    breaks(
        Device,
        |f| f.extensions.push(purpose(&client)),
        Rule::ExtendedKeyUsage,
        Note,
        Some(&oid(&client)),
    );
    assert_eq!(findings(Encryption, &good(Encryption).with(|f| f.extensions.push(purpose(&client)))), []);

    let private = [1, 3, 6, 1, 4, 1, 99999, 1];
    let unknown = |critical| extension(&private, critical, &[5, 0]);
    breaks(Chip, |f| f.extensions.push(unknown(true)), Rule::CriticalExtension, Error, Some(&oid(&private)));
    assert_eq!(findings(Chip, &good(Chip).with(|f| f.extensions.push(unknown(false)))), []);
    breaks(
        Chip,
        |f| f.extensions.extend([unknown(false), unknown(false)]),
        Rule::RepeatedExtension,
        Error,
        Some(&oid(&private)),
    );

    let id = |id: &[u8]| extension(&[2, 5, 29, 14], false, &tlv(4, &[id]));
    breaks(Provider, |f| f.extensions.push(id(&[9; 20])), Rule::KeyIdentifier, Note, Some(&[9; 20]));
    let right = crate::issue::key_id(&forge::spki(key(1))).unwrap();
    assert_eq!(findings(Provider, &good(Provider).with(|f| f.extensions.push(id(&right)))), []);
}

#[test]
fn the_worst_comes_first() {
    let found = findings(
        Provider,
        &good(Provider).with(|f| {
            f.serial = vec![0x80];
            f.subject = name(&[(CN, UTF8, "x"), (O, UTF8, "Other"), (EMAIL, IA5, "a@b")]);
            f.from = NOW;
        }),
    );
    assert!(found.is_sorted_by_key(|f| f.severity), "{found:#?}");
    let severities: Vec<_> = found.iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Error, Error, Error, Warning, Note]);
}

#[test]
fn profiles_are_guessed() {
    let of = |profile| guess(&good(profile).sign(key(0))).profile;
    assert_eq!([Provider, Device, Chip, Encryption].map(of), [Provider, Device, Chip, Encryption]);
    let named = good(FtmProvider).with(|f| f.subject = name(&[(O, UTF8, "Fab"), (CN, UTF8, "Fab FTM CA")]));
    assert_eq!(guess(&named.sign(key(0))).profile, FtmProvider);
    let fir = good(Device).with(|f| f.subject = name(&[(CN, UTF8, "IDA-FIR")]));
    assert_eq!(guess(&fir.sign(key(0))).profile, Encryption);
    assert_eq!("ftm-provider".parse(), Ok(FtmProvider));
    assert!("root".parse::<Profile>().unwrap_err().contains("ftm-provider"));
}

#[test]
fn what_the_test_pki_makes_is_clean() {
    let pki = crate::TestPki::mint(crate::TestPki::DEFAULT_SPEC, NOW).unwrap();
    let csr = crate::csr::request(&forge::spki(key(2)), key(2));
    let month = std::time::Duration::from_secs(30 * 86_400);
    let chain = pki.issue_device_certificate(&csr, NOW, month).unwrap();
    let issuer = Certificate::parse(&chain[1]).unwrap();
    let question = Question {
        profile: Device,
        now: NOW,
        organisation: Some("Example Devices Ltd"),
        issuer: Some(&issuer),
    };
    assert_eq!(lint(&chain[0], &question).unwrap(), []);
    let chip =
        pki.issue_chip_certificate(&forge::spki(key(2)), "FTM1", NOW, crate::MAX_CHIP_LIFETIME).unwrap();
    assert_eq!(
        lint(&chip[0], &Question { profile: Chip, organisation: None, issuer: None, ..question }).unwrap(),
        []
    );
    let encryption = pki.ida_certificate().der();
    assert_eq!(lint(encryption, &Question { profile: Encryption, issuer: None, ..question }).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_panics_and_every_place_is_inside(
        profile in prop::sample::select(Profile::ALL.to_vec()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| good(Provider).der(key(0)));
        let mut der = GOOD.clone();
        for (at, to) in flips {
            let at = at.index(der.len());
            der[at] = to;
        }
        let issuer = None;
        let question = Question { profile, now: NOW, organisation: Some(ORGANISATION), issuer };
        for finding in lint(&der, &question).unwrap_or_default() {
            if let Some(place) = finding.place {
                prop_assert!(der[place.offset..][..place.length].starts_with(&place.bytes));
            }
        }
    }
}
