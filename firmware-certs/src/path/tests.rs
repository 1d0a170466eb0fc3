//! One test per rule of path building, each with the case that passes beside the one that fails. The certificates are
//! built byte by byte (`forge`), so that every one of them differs from a good one in a single point.

use super::*;
use crate::forge::{self, CN, DAY, EMAIL, Forge, IA5, NOW, O, OU, UTF8, basic_constraints, key, key_usage};
use crate::{Device, DeviceStore, FtmStore};

/// Root and intermediate of a provider; keys 0 and 1.
fn authorities() -> (Certificate, Certificate) {
    let root = Forge::ca("Root").sign(key(0));
    let middle = Forge::ca("Provider").key(key(1)).issuer(&root).sign(key(0));
    (root, middle)
}

/// A good leaf below `middle`; key 2.
fn leaf(middle: &Certificate) -> Forge {
    Forge::leaf("Device").key(key(2)).issuer(middle)
}

fn store(certificates: &[&Certificate]) -> DeviceStore {
    let mut store = DeviceStore::new();
    for certificate in certificates {
        store.add("test", certificate.der()).unwrap();
    }
    store
}

fn error(store: &DeviceStore, der: &[u8]) -> PathError {
    store.verify(der, NOW).unwrap_err()
}

#[test]
fn a_good_path_is_found_and_tells_when_it_ends() {
    let (root, middle) = authorities();
    let long = leaf(&middle).with(|f| f.to = UtcMillis(NOW.0 + 300 * DAY)).sign(key(1));
    let path = store(&[&middle, &root]).verify(long.der(), NOW).unwrap();
    assert_eq!(path.leaf(), &long);
    assert_eq!(path.issuers().collect::<Vec<_>>(), [&middle, &root]);
    assert_eq!(path.valid_until(), middle.not_after(), "a leaf does not outlive its issuer");
}

#[test]
fn a_root_may_issue_leaves() {
    let (root, _) = authorities();
    let chip = Forge::leaf("Chip").key(key(2)).issuer(&root).sign(key(0));
    let mut ftm = FtmStore::new();
    ftm.add("test", root.der()).unwrap();
    assert_eq!(ftm.verify(chip.der(), NOW).unwrap().issuers().count(), 1);
}

#[test]
fn validity_is_closed_at_both_ends() {
    let (root, middle) = authorities();
    let store = store(&[&root, &middle]);
    let leaf = leaf(&middle).with(|f| (f.from, f.to) = (NOW, UtcMillis(NOW.0 + 1000))).sign(key(1));
    let at = |now: i64| store.verify(leaf.der(), UtcMillis(now)).map(drop).map_err(|e| e.kind);
    assert_eq!(at(NOW.0 - 1), Err(PathErrorKind::NotYetValid(NOW)));
    assert_eq!(at(NOW.0), Ok(()));
    assert_eq!(at(NOW.0 + 1000), Ok(()));
    assert_eq!(at(NOW.0 + 1001), Err(PathErrorKind::Expired(UtcMillis(NOW.0 + 1000))));
}

#[test]
fn an_expired_issuer_or_anchor_carries_nothing() {
    let past = UtcMillis(NOW.0 - DAY);
    let root = Forge::ca("Root").with(|f| f.to = past).sign(key(0));
    let middle = Forge::ca("Provider").key(key(1)).issuer(&root).sign(key(0));
    let leaf_der = leaf(&middle).der(key(1));
    let found = error(&store(&[&root, &middle]), &leaf_der);
    assert_eq!((found.kind, found.subject.as_str()), (PathErrorKind::Expired(past), "O=Acme, CN=Root"));

    let root = Forge::ca("Root").sign(key(0));
    let middle = Forge::ca("Provider").key(key(1)).issuer(&root).with(|f| f.to = past).sign(key(0));
    let found = error(&store(&[&root, &middle]), &leaf_der);
    assert_eq!((found.kind, found.subject.as_str()), (PathErrorKind::Expired(past), "O=Acme, CN=Provider"));
}

#[test]
fn a_renewed_issuer_with_the_same_key_and_name_takes_over() {
    let (root, middle) = authorities();
    let old =
        Forge::ca("Provider").key(key(1)).issuer(&root).with(|f| f.to = UtcMillis(NOW.0 - DAY)).sign(key(0));
    let path = store(&[&root, &old, &middle]).verify(&leaf(&middle).der(key(1)), NOW).unwrap();
    assert_eq!(path.issuers().next(), Some(&middle));
}

#[test]
fn of_two_issuers_of_one_name_the_key_decides() {
    let (root, middle) = authorities();
    let other = Forge::ca("Provider").key(key(3)).issuer(&root).sign(key(0));
    let store_of_both = store(&[&root, &other, &middle]);
    assert!(store_of_both.verify(&leaf(&middle).der(key(1)), NOW).is_ok());
    assert_eq!(
        error(&store_of_both, &leaf(&middle).der(key(2))).kind,
        PathErrorKind::Signature(SignatureFault::Wrong)
    );
    // The one that did sign is expired: that is what has to be reported, not that the other one did not.
    let expired = Forge::ca("Provider").key(key(1)).issuer(&root).with(|f| f.to = UtcMillis(NOW.0 - 1000));
    let found = error(&store(&[&root, &other, &expired.sign(key(0))]), &leaf(&middle).der(key(1)));
    assert_eq!(found.kind, PathErrorKind::Expired(UtcMillis(NOW.0 - 1000)));
}

#[test]
fn issuers_are_looked_up_by_name() {
    let (root, middle) = authorities();
    let store = store(&[&root, &middle]);
    let named = |issuer: Vec<u8>| leaf(&middle).with(|f| f.issuer = issuer).der(key(1));

    let lower = forge::name(&[(O, UTF8, "acme"), (CN, UTF8, "PROVIDER")]);
    assert!(store.verify(&named(lower), NOW).is_ok(), "letter case does not matter");

    let refused = |issuer: Vec<u8>| match error(&store, &named(issuer)).kind {
        PathErrorKind::NoIssuer { near, .. } => near.map(|(_, mismatch)| mismatch),
        other => panic!("{other}"),
    };
    let reversed = forge::name(&[(CN, UTF8, "Provider"), (O, UTF8, "Acme")]);
    assert_eq!(refused(reversed), Some(NameMismatch::Reordered));
    let email = forge::name(&[(O, UTF8, "Acme"), (CN, UTF8, "Provider"), (EMAIL, IA5, "ca@example.org")]);
    assert_eq!(refused(email), Some(NameMismatch::OtherAttributes));
    let two_units =
        forge::name(&[(O, UTF8, "Acme"), (OU, UTF8, "A"), (OU, UTF8, "B"), (CN, UTF8, "Provider")]);
    assert_eq!(refused(two_units), Some(NameMismatch::OtherAttributes));
    let dropped = forge::name(&[(CN, UTF8, "Provider")]);
    assert_eq!(refused(dropped), Some(NameMismatch::OtherAttributes));
    assert_eq!(refused(forge::plain_name("Somebody")), None);
}

#[test]
fn the_message_says_what_to_do_about_a_name() {
    let (root, middle) = authorities();
    let reversed = forge::name(&[(CN, UTF8, "Provider"), (O, UTF8, "Acme")]);
    let text = error(&store(&[&root, &middle]), &leaf(&middle).with(|f| f.issuer = reversed).der(key(1)));
    assert_eq!(
        text.to_string(),
        "domain DEVICE: certificate \"O=Acme, CN=Device\" is issued by \"CN=Provider, O=Acme\", which is not in the \
         trust store; it has the same attributes in another order as \"O=Acme, CN=Provider\", which is: issue it \
         again with the issuer copied from there byte for byte"
    );
}

#[test]
fn the_other_domain_does_not_count() {
    let (root, middle) = authorities();
    let mut ftm = FtmStore::new();
    ftm.add("test", Forge::ca("FTM Root").key(key(3)).sign(key(3)).der()).unwrap();
    let der = leaf(&middle).der(key(1));
    assert!(store(&[&root, &middle]).verify(&der, NOW).is_ok());
    let found = ftm.verify(&der, NOW).unwrap_err();
    assert!(matches!(found.kind, PathErrorKind::NoIssuer { .. }), "{found}");
    assert_eq!(found.domain, Domain::Ftm);
}

#[test]
fn a_missing_intermediate_and_a_missing_root_are_told_apart() {
    let (root, middle) = authorities();
    let der = leaf(&middle).der(key(1));
    let found = error(&store(&[&root]), &der);
    assert!(matches!(&found.kind, PathErrorKind::NoIssuer { issuer, .. } if issuer == "O=Acme, CN=Provider"));
    assert_eq!(error(&store(&[&middle]), &der).kind, PathErrorKind::NoAnchor);
    assert_eq!(error(&store(&[]), &der).kind, PathErrorKind::NoAnchor);

    let found = error(&store(&[&middle, &Forge::ca("S").key(key(3)).sign(key(3))]), &der);
    assert!(matches!(&found.kind, PathErrorKind::NoIssuer { issuer, .. } if issuer == "O=Acme, CN=Root"));
    assert_eq!(found.subject, "O=Acme, CN=Provider", "the intermediate is the one that lacks its issuer");
}

#[test]
fn signatures_are_checked_on_every_step() {
    let (root, middle) = authorities();
    let wrong = PathErrorKind::Signature(SignatureFault::Wrong);
    let found = error(&store(&[&root, &middle]), &leaf(&middle).der(key(3)));
    assert_eq!((found.kind, found.subject.as_str()), (wrong.clone(), "O=Acme, CN=Device"));

    let forged = Forge::ca("Provider").key(key(1)).issuer(&root).sign(key(3));
    let found = error(&store(&[&root, &forged]), &leaf(&middle).der(key(1)));
    assert_eq!((found.kind, found.subject.as_str()), (wrong.clone(), "O=Acme, CN=Provider"));

    let mut flipped = leaf(&middle).der(key(1));
    let at = flipped.windows(6).position(|w| w == b"Device").unwrap();
    flipped[at] ^= 0x20;
    assert_eq!(error(&store(&[&root, &middle]), &flipped).kind, wrong);
}

#[test]
fn weak_and_contradictory_signature_algorithms_are_refused() {
    let (root, middle) = authorities();
    let store = store(&[&root, &middle]);
    let kind = |change: fn(&mut Forge)| error(&store, &leaf(&middle).with(change).der(key(1))).kind;
    assert_eq!(
        kind(|f| (f.inner_algorithm, f.outer_algorithm) = (forge::SHA1_RSA, forge::SHA1_RSA)),
        PathErrorKind::Signature(SignatureFault::Algorithm("1.2.840.113549.1.1.5".to_owned()))
    );
    assert_eq!(
        kind(|f| f.outer_algorithm = forge::SHA1_RSA),
        PathErrorKind::Signature(SignatureFault::AlgorithmMismatch)
    );
    assert_eq!(
        kind(|f| (f.inner_algorithm, f.outer_algorithm) = (&[1, 2, 3, 4], &[1, 2, 3, 4])),
        PathErrorKind::Signature(SignatureFault::Algorithm("1.2.3.4".to_owned()))
    );
}

#[test]
fn short_keys_are_refused_in_leaves_and_issuers() {
    let (root, middle) = authorities();
    let store_ok = store(&[&root, &middle]);
    let of = |bytes: usize| leaf(&middle).with(|f| f.spki = forge::short_spki(bytes)).der(key(1));
    assert_eq!(error(&store_ok, &of(128)).kind, PathErrorKind::WeakKey(1024));
    assert_eq!(error(&store_ok, &of(255)).kind, PathErrorKind::WeakKey(2040));
    assert!(store_ok.verify(&of(256), NOW).is_ok());

    let weak = Forge::ca("Provider").issuer(&root).with(|f| f.spki = forge::short_spki(128)).sign(key(0));
    let found = error(&store(&[&root, &weak]), &leaf(&weak).der(key(1)));
    assert_eq!((found.kind, found.subject.as_str()), (PathErrorKind::WeakKey(1024), "O=Acme, CN=Provider"));
}

#[test]
fn issuers_must_be_cas_that_may_sign() {
    let (root, middle) = authorities();
    let der = leaf(&middle).der(key(1));
    let with = |extensions: Vec<Vec<u8>>| {
        let middle =
            Forge::ca("Provider").key(key(1)).issuer(&root).with(|f| f.extensions = extensions).sign(key(0));
        let mut store = store(&[&root]);
        store.insert(middle, &"test".into());
        store.verify(&der, NOW).map(drop).map_err(|e| e.kind)
    };
    assert_eq!(with(vec![basic_constraints(true, None)]), Ok(()), "no key usage: no restriction");
    assert_eq!(with(vec![basic_constraints(true, None), key_usage(0x84)]), Ok(()));
    assert_eq!(with(vec![basic_constraints(true, None), key_usage(0x80)]), Err(PathErrorKind::NoCertSign));
    assert_eq!(with(vec![basic_constraints(false, None), key_usage(0x04)]), Err(PathErrorKind::NotCa));
    assert_eq!(with(vec![key_usage(0x04)]), Err(PathErrorKind::NotCa), "no basic constraints: no CA");
}

#[test]
fn path_length_counts_cas_below_self_issued_ones_excepted() {
    let limited = |limit| {
        Forge::ca("Root").with(|f| f.extensions = vec![basic_constraints(true, Some(limit))]).sign(key(0))
    };
    let check = |root: Certificate, rest: &[&Certificate], leaf: Vec<u8>| {
        let mut all = vec![&root];
        all.extend(rest);
        store(&all).verify(&leaf, NOW).map(drop).map_err(|e| e.kind)
    };
    let (_, middle) = authorities();
    let der = leaf(&middle).der(key(1));
    assert_eq!(check(limited(1), &[&middle], der.clone()), Ok(()));
    assert_eq!(check(limited(0), &[&middle], der), Err(PathErrorKind::PathTooLong { allowed: 0, found: 1 }));

    // A sub-CA below a partner that allows none, as under partner management's own limit of one.
    let sub = Forge::ca("Sub").key(key(2)).issuer(&middle).sign(key(1));
    let below_sub = Forge::leaf("Device").key(key(3)).issuer(&sub).der(key(2));
    assert_eq!(check(limited(2), &[&middle, &sub], below_sub.clone()), Ok(()));
    assert_eq!(
        check(limited(1), &[&middle, &sub], below_sub),
        Err(PathErrorKind::PathTooLong { allowed: 1, found: 2 })
    );

    // Root's new key, certified by its old one under the same name, does not count.
    let rollover = Forge::ca("Root").key(key(1)).sign(key(0));
    let leaf = Forge::leaf("Device").key(key(2)).issuer(&rollover).der(key(1));
    assert_eq!(check(limited(0), &[&rollover], leaf), Ok(()));
}

#[test]
fn a_chain_that_is_longer_than_we_follow_ends() {
    let mut all = vec![Forge::ca("CA 0").key(key(1)).sign(key(1))];
    for n in 1..=9 {
        let next = Forge::ca(&format!("CA {n}")).key(key(1)).issuer(all.last().unwrap()).sign(key(1));
        all.push(next);
    }
    let below = |n: usize| Forge::leaf("Device").key(key(2)).issuer(&all[n]).der(key(1));
    let store = store(&all.iter().collect::<Vec<_>>());
    assert_eq!(store.verify(&below(5), NOW).unwrap().issuers().count(), 6, "five and the anchor");
    assert_eq!(
        error(&store, &below(6)).kind,
        PathErrorKind::PathTooLong { allowed: MAX_INTERMEDIATES, found: MAX_INTERMEDIATES + 1 }
    );
}

#[test]
fn loops_end() {
    let root = Forge::ca("Root").key(key(3)).sign(key(3));
    let a = Forge::ca("A").key(key(0)).with(|f| f.issuer = forge::plain_name("B")).sign(key(1));
    let b = Forge::ca("B").key(key(1)).with(|f| f.issuer = forge::plain_name("A")).sign(key(0));
    let leaf = Forge::leaf("Device").key(key(2)).issuer(&a).der(key(0));
    let found = error(&store(&[&root, &a, &b]), &leaf);
    assert!(matches!(found.kind, PathErrorKind::NoIssuer { .. }), "{found}");
}

#[test]
fn a_crowd_of_namesakes_ends_too() {
    let root = Forge::ca("Crowd").sign(key(0));
    let mut store = store(&[&root]);
    for serial in 1..=100u8 {
        let namesake = Forge::ca("Crowd").key(key(3)).with(|f| f.serial = vec![0x01, serial]).sign(key(2));
        store.insert(namesake, &"test".into());
    }
    let from_root = Forge::leaf("Device").key(key(1)).issuer(&root).der(key(0));
    assert!(store.verify(&from_root, NOW).is_ok(), "anchors are tried first");
    let from_nobody = Forge::leaf("Device").key(key(1)).issuer(&root).der(key(1));
    assert_eq!(error(&store, &from_nobody).kind, PathErrorKind::TooComplex);
}

#[test]
fn nobody_vouches_for_himself() {
    let (root, middle) = authorities();
    let own = Forge::leaf("Device").sign(key(0));
    assert!(own.is_self_signed());
    assert_eq!(error(&store(&[&root, &middle]), own.der()).kind, PathErrorKind::SelfSigned);
    assert_eq!(error(&store(&[&root]), root.der()).kind, PathErrorKind::SelfSigned);
}

#[test]
fn critical_extensions_must_be_understood() {
    let (root, middle) = authorities();
    let unknown = forge::extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true, &[0x05, 0x00]);
    let harmless = forge::extension(&[1, 3, 6, 1, 4, 1, 99999, 1], false, &[0x05, 0x00]);
    let purposes =
        forge::extension(&[2, 5, 29, 37], true, &forge::seq(&[&forge::oid(&[1, 3, 6, 1, 5, 5, 7, 3, 2])]));
    let store_ok = store(&[&root, &middle]);
    let of = |extension: &Vec<u8>| {
        store_ok
            .verify(&leaf(&middle).with(|f| f.extensions.push(extension.clone())).der(key(1)), NOW)
            .map(drop)
            .map_err(|e| e.kind)
    };
    assert_eq!(of(&harmless), Ok(()));
    assert_eq!(of(&purposes), Ok(()), "extended key usage plays no part");
    assert_eq!(of(&unknown), Err(PathErrorKind::UnhandledExtension("1.3.6.1.4.1.99999.1".to_owned())));

    // Permitted subtree: directory names only. Not critical, and refused all the same.
    let subtree = forge::seq(&[&forge::tlv(0xA4, &[&forge::plain_name("x")])]);
    let constraints =
        forge::extension(&[2, 5, 29, 30], false, &forge::seq(&[&forge::tlv(0xA0, &[&subtree])]));
    let middle =
        Forge::ca("Provider").key(key(1)).issuer(&root).with(|f| f.extensions.push(constraints)).sign(key(0));
    let found = error(&store(&[&root, &middle]), &leaf(&middle).der(key(1)));
    assert_eq!(found.kind, PathErrorKind::UnhandledExtension("2.5.29.30".to_owned()));
}

#[test]
fn what_back_ends_tolerate_we_tolerate() {
    let (root, middle) = authorities();
    let store = store(&[&root, &middle]);
    let negative = leaf(&middle).with(|f| f.serial = vec![0x9C, 0x01]).der(key(1));
    assert_eq!(store.verify(&negative, NOW).unwrap().leaf().serial_hex(), "9C01");
    let key_id = forge::tlv(0x80, &[&[0xEE; 20]]);
    let wrong_aki = forge::extension(&[2, 5, 29, 35], false, &forge::seq(&[&key_id]));
    let der = leaf(&middle).with(|f| f.extensions.push(wrong_aki)).der(key(1));
    assert!(store.verify(&der, NOW).is_ok(), "authority key identifiers play no part");
    let bare = leaf(&middle).with(|f| f.extensions = vec![key_usage(0x20)]).der(key(1));
    assert!(store.verify(&bare, NOW).is_ok(), "neither does the use of the leaf's key");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let (root, middle) = authorities();
    let store = store(&[&root, &middle]);
    let kind = |der: &[u8]| error(&store, der).kind;
    let good = leaf(&middle).der(key(1));
    assert!(matches!(kind(b""), PathErrorKind::Malformed(CertificateError::NotACertificate(_))));
    assert!(matches!(kind(&good[..300]), PathErrorKind::Malformed(CertificateError::NotACertificate(_))));
    let trailing = [good.as_slice(), b"\0"].concat();
    assert_eq!(kind(&trailing), PathErrorKind::Malformed(CertificateError::TrailingBytes(1)));
    assert_eq!(kind(&vec![0x30; 70_000]), PathErrorKind::Malformed(CertificateError::TooLarge(70_000)));
    let twice = leaf(&middle).with(|f| f.extensions.push(basic_constraints(true, None))).der(key(1));
    let bad = PathErrorKind::Malformed(CertificateError::BadExtension("basic constraints"));
    assert_eq!(kind(&twice), bad);
    let garbled = forge::extension(&[2, 5, 29, 19], false, &[0x04, 0x01, 0xFF]);
    assert_eq!(kind(&leaf(&middle).with(|f| f.extensions = vec![garbled]).der(key(1))), bad);
}

#[test]
fn no_prefix_and_no_flipped_byte_of_a_certificate_panics_or_passes() {
    let (root, middle) = authorities();
    let store: TrustStore<Device> = store(&[&root, &middle]);
    let good = leaf(&middle).der(key(1));
    for end in 0..good.len() {
        assert!(store.verify(&good[..end], NOW).is_err());
    }
    // The algorithm identifier outside the signed part (15 bytes before the signature) is compared by its meaning with
    // the one inside; the parser takes more than one spelling of it.
    let signature = good.len() - (4 + 1 + 256);
    for at in (0..signature - 15).chain(signature..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        assert!(store.verify(&bad, NOW).is_err(), "byte {at} is not protected");
    }
}

/// The cost of one look-up must not grow with the store: a name leads straight to its certificates.
#[test]
fn a_large_store_is_indexed() {
    let root = Forge::ca("Root").sign(key(0));
    let mut store = store(&[&root]);
    let providers: Vec<Certificate> = (0..300)
        .map(|n| Forge::ca(&format!("Provider {n}")).key(key(1)).issuer(&root).sign(key(0)))
        .collect();
    let bundle: String = providers.iter().map(Certificate::to_pem).collect();
    store.add("providers.pem", bundle.as_bytes()).unwrap();
    assert_eq!(store.entries().count(), 301);
    assert!(providers.iter().all(|provider| store.named(provider.subject()).len() == 1));
    let der = Forge::leaf("Device").key(key(2)).issuer(&providers[299]).der(key(1));
    assert!(store.verify(&der, NOW).is_ok());
}
