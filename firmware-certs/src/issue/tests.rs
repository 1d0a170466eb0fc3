//! What is made, seen through the eyes of those who judge it.

use super::*;
use crate::forge::{self, CN, DAY, EMAIL, Forge, IA5, NOW, O, OU, PRINTABLE, UTF8, key};
use crate::{DeviceStore, sha256_hex};
use aws_lc_rs::signature::RsaKeyPair;

struct Authority(Certificate, &'static RsaKeyPair);

impl IssuerKey for Authority {
    fn certificate(&self) -> &Certificate {
        &self.0
    }
    fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, IssuerKeyError> {
        file::sign_rs256(self.1, message)
    }
}

fn csr() -> Csr {
    Csr::verify(&crate::csr::request(&forge::spki(key(2)), key(2))).unwrap()
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[test]
fn the_issuer_is_a_copy_of_the_bytes_whatever_they_are() {
    let odd: [Vec<u8>; 4] = [
        forge::name(&[(O, PRINTABLE, "Acme"), (CN, UTF8, "Provider")]),
        forge::name(&[(CN, UTF8, "Provider"), (O, UTF8, "Acme"), (OU, UTF8, "a"), (OU, PRINTABLE, "b")]),
        forge::name(&[
            (EMAIL, IA5, "CA@example.org"),
            (O, UTF8, "Acme"),
            (&[1, 3, 6, 1, 4, 1, 99999], 0x14, "x"),
        ]),
        // Two attributes in one RDN.
        forge::seq(&[&forge::tlv(
            0x31,
            &[
                &forge::seq(&[&forge::oid(CN), &forge::tlv(UTF8, &[b"P"])]),
                &forge::seq(&[&forge::oid(O), &forge::tlv(UTF8, &[b"Acme"])]),
            ],
        )]),
    ];
    for name in odd {
        let root = Forge::ca("x").with(|f| (f.subject, f.issuer) = (name.clone(), name.clone())).sign(key(0));
        let made =
            device_certificate(&Authority(root.clone(), key(0)), &csr(), Validity::starting(NOW, WEEK))
                .unwrap();
        assert_eq!(made.issuer().raw(), name);
        let store = DeviceStore::from_bytes("root", root.der()).unwrap();
        assert_eq!(store.verify(made.der(), NOW).unwrap().issuers().count(), 1);
    }
}

#[test]
fn the_profile_of_a_device_certificate() {
    let root = Forge::ca("Root").sign(key(0));
    let made =
        device_certificate(&Authority(root.clone(), key(0)), &csr(), Validity::starting(NOW, WEEK)).unwrap();
    assert_eq!(made.subject().to_string(), "O=Acme, CN=SN0123456789");
    assert_eq!(made.spki_der(), csr().spki_der());
    assert!(!made.is_ca() && made.may_sign_data() && !made.may_sign_certificates());
    assert!(made.extended_key_usages().is_empty());
    assert_eq!((made.not_before(), made.not_after()), (NOW, NOW.plus(WEEK)));
    let der = made.der();
    for needle in [
        // Basic constraints, critical, empty; key usage, critical, exactly digitalSignature; no version but 3.
        &[0x06, 0x03, 0x55, 0x1D, 0x13, 0x01, 0x01, 0xFF, 0x04, 0x02, 0x30, 0x00][..],
        &[0x06, 0x03, 0x55, 0x1D, 0x0F, 0x01, 0x01, 0xFF, 0x04, 0x04, 0x03, 0x02, 0x07, 0x80],
        &[0xA0, 0x03, 0x02, 0x01, 0x02],
    ] {
        assert!(der.windows(needle.len()).any(|window| window == needle), "{needle:02x?}");
    }
    assert_eq!(made.key_id().map(<[u8]>::len), Some(20));
    let again = device_certificate(&Authority(root, key(0)), &csr(), Validity::starting(NOW, WEEK)).unwrap();
    assert_ne!(made.serial_hex(), again.serial_hex());
    assert!(made.serial_hex().as_bytes()[0] < b'8', "positive");
}

#[test]
fn it_never_outlives_its_issuer() {
    let authority = Authority(Forge::ca("Root").sign(key(0)), key(0));
    let end = authority.0.not_after();
    let at = |now: UtcMillis, life| device_certificate(&authority, &csr(), Validity::starting(now, life));
    assert_eq!(at(NOW, MONTH).unwrap().not_after(), end, "ten days are left");
    assert_eq!(at(NOW, WEEK).unwrap().not_after(), NOW.plus(WEEK));
    for now in [UtcMillis(end.0 + 1000), UtcMillis(NOW.0 - 11 * DAY)] {
        assert!(matches!(at(now, WEEK), Err(IssueError::IssuerNotValid { .. })));
    }
    let backwards = Validity { from: NOW, to: UtcMillis(NOW.0 - 1000) };
    assert_eq!(device_certificate(&authority, &csr(), backwards), Err(IssueError::EmptyValidity));
}

#[test]
fn who_may_not_issue_does_not() {
    let validity = Validity::starting(NOW, WEEK);
    let with =
        |certificate: Certificate, key| device_certificate(&Authority(certificate, key), &csr(), validity);
    let wrong_key = with(Forge::ca("Root").sign(key(0)), key(1));
    assert_eq!(wrong_key, Err(IssueError::WrongKey(SignatureFault::Wrong)));
    assert!(matches!(with(Forge::leaf("Leaf").sign(key(0)), key(0)), Err(IssueError::NotCa(_))));
    let nameless = forge::name(&[(CN, UTF8, "Root")]);
    let nameless = Forge::ca("x").with(|f| (f.subject, f.issuer) = (nameless.clone(), nameless)).sign(key(0));
    assert_eq!(with(nameless, key(0)), Err(IssueError::NoOrganisation));
}

#[test]
fn a_file_key_must_be_that_of_its_certificate() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    let pkcs8 = |key: &RsaKeyPair| {
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        biotrust_model::Secret::new(der.as_ref().to_vec())
    };
    let root = Forge::ca("Root").sign(key(0));
    let issuer = FileIssuer::new(root.clone(), &pkcs8(key(0))).unwrap();
    assert!(device_certificate(&issuer, &csr(), Validity::starting(NOW, WEEK)).is_ok());
    assert!(!format!("{issuer:?}").contains(&sha256_hex(pkcs8(key(0)).expose())));
    assert!(matches!(FileIssuer::new(root.clone(), &pkcs8(key(1))), Err(IssueError::WrongKey(_))));
    let garbage = biotrust_model::Secret::new(b"no key".to_vec());
    assert!(matches!(FileIssuer::new(root, &garbage), Err(IssueError::Key(_))));
}

#[test]
fn dates_are_encoded_for_their_century() {
    let late = UtcMillis::from_wire("2050-01-01T00:00:00Z").unwrap();
    let root = Forge::ca("Root").with(|f| f.to = UtcMillis(late.0 + 100 * DAY)).sign(key(0));
    let authority = Authority(root, key(0));
    for from in [UtcMillis(late.0 - 1000), late] {
        let made = device_certificate(&authority, &csr(), Validity::starting(from, WEEK)).unwrap();
        assert_eq!((made.not_before(), made.not_after()), (from, from.plus(WEEK)));
    }
    let made = device_certificate(&authority, &csr(), Validity { from: UtcMillis(late.0 - 1000), to: late })
        .unwrap();
    let dates = [b"\x17\x0d491231235959Z".as_slice(), b"\x18\x0f20500101000000Z"].concat();
    assert!(made.der().windows(dates.len()).any(|window| window == dates));
}
