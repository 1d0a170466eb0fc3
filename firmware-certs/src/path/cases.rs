//! What the back ends' path building (JDK 17, revocation off) says about the certificates of real onboarding, case by
//! case, and that we say the same. Each row was put to a JDK by hand; the few rows where we are stricter say why.
//!
//! The world: a MOSIP root (path length 2) over PMS (path length 1) over the provider's certificate as PMS signs it
//! again (a CA without a limit, its name rebuilt); an FTM root over an FTM provider.

use super::*;
use crate::forge::{
    self, CN, DAY, EMAIL, Forge, IA5, NOW, O, OU, PRINTABLE, PSS, SHA384_RSA, UTF8, basic_constraints, key,
    key_usage,
};
use crate::{Device, Ftm};
use Verdict::{Refused, Stricter, Trusted};

/// What we say; the JDK says the same but for `Stricter`.
#[derive(Clone, Copy)]
enum Verdict {
    Trusted,
    Refused(&'static str),
    /// The JDK trusts it. The reason of ours, and part of our message.
    Stricter(&'static str, &'static str),
}

/// A store and a leaf, and what is to be said of them.
struct Row {
    /// Where the case comes from: an experiment, a quirk of partner management, a rule of RFC 5280.
    source: &'static str,
    case: &'static str,
    store: Vec<Certificate>,
    leaf: Vec<u8>,
    says: Verdict,
}

const SKI: &[u64] = &[2, 5, 29, 14];
const AKI: &[u64] = &[2, 5, 29, 35];
const CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const PRIVATE: &[u64] = &[1, 3, 6, 1, 4, 1, 99999, 1];

struct World {
    root: Certificate,
    pms: Certificate,
    partner: Certificate,
    ftm_root: Certificate,
    ftm: Certificate,
}

/// Extensions of a certificate that PMS signs again.
fn resigned() -> Vec<Vec<u8>> {
    let id = forge::tlv(0x04, &[&[0x5A; 20]]);
    vec![basic_constraints(true, None), key_usage(0x84), forge::extension(SKI, false, &id)]
}

fn limited(limit: u8) -> Vec<Vec<u8>> {
    vec![basic_constraints(true, Some(limit)), key_usage(0x06)]
}

impl World {
    fn new() -> Self {
        let root = Forge::ca("ROOT").with(|f| f.extensions = limited(2)).sign(key(0));
        let pms = Forge::ca("PMS").key(key(1)).issuer(&root).with(|f| f.extensions = limited(1)).sign(key(0));
        let partner = Forge::ca("Provider")
            .key(key(2))
            .issuer(&pms)
            .with(|f| (f.extensions, f.serial) = (resigned(), vec![0x9C, 2, 3, 4, 5, 6, 7, 8]))
            .sign(key(1));
        let ftm_root = Forge::ca("FTM Root").sign(key(0));
        let ftm = Forge::ca("FTM").key(key(1)).issuer(&ftm_root).sign(key(0));
        Self { root, pms, partner, ftm_root, ftm }
    }

    fn devices(&self) -> Vec<Certificate> {
        vec![self.root.clone(), self.pms.clone(), self.partner.clone()]
    }

    fn chips(&self) -> Vec<Certificate> {
        vec![self.ftm_root.clone(), self.ftm.clone()]
    }

    /// A good device certificate, changed.
    fn device(&self, change: impl FnOnce(&mut Forge)) -> Vec<u8> {
        Forge::leaf("Device").key(key(3)).issuer(&self.partner).with(change).der(key(2))
    }

    fn chip(&self, change: impl FnOnce(&mut Forge)) -> Vec<u8> {
        Forge::leaf("Chip").key(key(2)).issuer(&self.ftm).with(change).der(key(1))
    }

    /// The stores of a device below a provider's certificate that PMS made otherwise.
    fn under(&self, change: impl FnOnce(&mut Forge)) -> (Vec<Certificate>, Vec<u8>) {
        let partner = Forge::ca("Provider")
            .key(key(2))
            .issuer(&self.pms)
            .with(|f| f.extensions = resigned())
            .with(change)
            .sign(key(1));
        let leaf = Forge::leaf("Device").key(key(3)).issuer(&partner).der(key(2));
        (vec![self.root.clone(), self.pms.clone(), partner], leaf)
    }

    fn chip_under(&self, change: impl FnOnce(&mut Forge)) -> (Vec<Certificate>, Vec<u8>) {
        let ftm = Forge::ca("FTM").key(key(1)).issuer(&self.ftm_root).with(change).sign(key(0));
        let leaf = Forge::leaf("Chip").key(key(2)).issuer(&ftm).der(key(1));
        (vec![self.ftm_root.clone(), ftm], leaf)
    }
}

fn key_id_of(extension: &[u64], id: &[u8]) -> Vec<u8> {
    forge::extension(extension, false, &forge::seq(&[&forge::tlv(0x80, &[id])]))
}

fn issuer_names() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    vec![
        ("differs in letter case only", forge::name(&[(O, UTF8, "ACME"), (CN, UTF8, "pROVIDER")]), Trusted),
        ("differs in blanks only", forge::name(&[(O, UTF8, " Acme "), (CN, UTF8, "Provider")]), Trusted),
        (
            "is of another string type",
            forge::name(&[(O, PRINTABLE, "Acme"), (CN, PRINTABLE, "Provider")]),
            Trusted,
        ),
        (
            "has its RDNs in reversed order",
            forge::name(&[(CN, UTF8, "Provider"), (O, UTF8, "Acme")]),
            Refused("another order"),
        ),
        (
            "keeps the e-mail address that PMS dropped",
            forge::name(&[(O, UTF8, "Acme"), (CN, UTF8, "Provider"), (EMAIL, IA5, "ca@acme.example")]),
            Refused("resembles"),
        ),
        (
            "keeps the two OU of which PMS dropped one",
            forge::name(&[(O, UTF8, "Acme"), (OU, UTF8, "A"), (OU, UTF8, "B"), (CN, UTF8, "Provider")]),
            Refused("resembles"),
        ),
        ("lacks an attribute", forge::name(&[(CN, UTF8, "Provider")]), Refused("resembles")),
        (
            "is another name",
            forge::name(&[(O, UTF8, "Acme"), (CN, UTF8, "Nobody")]),
            Refused("not in the trust store"),
        ),
    ]
}

fn device_rows(w: &World) -> Vec<Row> {
    let row = |source, case, leaf, says| Row { source, case, store: w.devices(), leaf, says };
    let experiment = "PKIX experiments of onboarding";
    let past = UtcMillis(NOW.0 - DAY);
    let future = UtcMillis(NOW.0 + DAY);
    let mut rows = vec![
        row(experiment, "device below the signed-again provider", w.device(|_| ()), Trusted),
        row(
            experiment,
            "without basic constraints",
            w.device(|f| f.extensions = vec![key_usage(0x80)]),
            Trusted,
        ),
        row(
            experiment,
            "RSA-1024 key",
            w.device(|f| f.spki = forge::short_spki(128)),
            Stricter("the JWS library of the back ends refuses its signatures", "1024 bits"),
        ),
        row(experiment, "P-256 key", w.device(|f| f.spki = forge::p256_spki()), Trusted),
        row(experiment, "Ed25519 key", w.device(|f| f.spki = forge::ed25519_spki()), Trusted),
        row(
            experiment,
            "signed with SHA-384",
            w.device(|f| (f.inner_algorithm, f.outer_algorithm) = (SHA384_RSA, SHA384_RSA)),
            Trusted,
        ),
        row(
            experiment,
            "signed with RSASSA-PSS",
            w.device(|f| (f.inner_algorithm, f.outer_algorithm) = (PSS, PSS)),
            Trusted,
        ),
        row(
            experiment,
            "signed with SHA-1",
            w.device(|f| (f.inner_algorithm, f.outer_algorithm) = (forge::SHA1_RSA, forge::SHA1_RSA)),
            Refused("signature algorithm"),
        ),
        row(
            experiment,
            "key usage with keyEncipherment",
            w.device(|f| f.extensions = vec![key_usage(0xA0)]),
            Trusted,
        ),
        row(experiment, "wrong AKI", w.device(|f| f.extensions.push(key_id_of(AKI, &[0xEE; 20]))), Trusted),
        row(
            experiment,
            "AKI as PMS makes key identifiers",
            w.device(|f| f.extensions.push(key_id_of(AKI, &[0x5A; 20]))),
            Trusted,
        ),
        row(
            experiment,
            "AKI of truncated SHA-256",
            w.device(|f| f.extensions.push(key_id_of(AKI, &[0xAB; 8]))),
            Trusted,
        ),
        row(
            experiment,
            "AKI by issuer and serial number",
            {
                let names = forge::tlv(0xA1, &[&forge::tlv(0xA4, &[&forge::plain_name("PMS")])]);
                let aki = forge::extension(AKI, false, &forge::seq(&[&names, &forge::tlv(0x82, &[&[0x01]])]));
                w.device(|f| f.extensions.push(aki))
            },
            Trusted,
        ),
        row(
            experiment,
            "ends ten years after its issuer",
            w.device(|f| f.to = UtcMillis(NOW.0 + 3650 * DAY)),
            Trusted,
        ),
        row(experiment, "expired", w.device(|f| f.to = past), Refused("expired")),
        row(experiment, "not yet valid", w.device(|f| f.from = future), Refused("not valid before")),
        row(
            "quirk: a serial number is a signed 64-bit number",
            "negative serial number",
            w.device(|f| f.serial = vec![0x80]),
            Trusted,
        ),
        row(
            "RFC 5280 4.2",
            "unknown critical extension",
            w.device(|f| f.extensions.push(forge::extension(PRIVATE, true, &[0x05, 0x00]))),
            Refused("critical extension"),
        ),
        row(
            "RFC 5280 4.2",
            "unknown extension",
            w.device(|f| f.extensions.push(forge::extension(PRIVATE, false, &[0x05, 0x00]))),
            Trusted,
        ),
        row("RFC 5280 4.1.2.1", "version 1", w.device(|f| f.v1 = true), Trusted),
        row(
            "RFC 5280 6.1",
            "signed by another key",
            Forge::leaf("Device").key(key(3)).issuer(&w.partner).der(key(0)),
            Refused("does not verify"),
        ),
        row(
            "trust per domain",
            "chip certificate in the store of devices",
            w.chip(|_| ()),
            Refused("not in the trust store"),
        ),
        row(
            "trust per domain",
            "signed with its own key",
            Forge::leaf("Device").key(key(3)).der(key(3)),
            Refused("its own key"),
        ),
    ];
    for (case, name, says) in issuer_names() {
        rows.push(row("PKIX experiments: the issuer's name", case, w.device(|f| f.issuer = name), says));
    }
    rows
}

fn authority_rows(w: &World) -> Vec<Row> {
    let row = |source, case, (store, leaf), says| Row { source, case, store, leaf, says };
    let past = UtcMillis(NOW.0 - DAY);
    let sub = |parent: &Certificate| Forge::ca("Sub").key(key(0)).issuer(parent).sign(key(2));
    let experiment = "PKIX experiments of onboarding";
    let mut with_sub = w.devices();
    with_sub.push(sub(&w.partner));
    let below_sub = Forge::leaf("Device").key(key(3)).issuer(&with_sub[3]).der(key(0));
    let renewed = {
        let again = Forge::ca("Provider")
            .key(key(2))
            .issuer(&w.pms)
            .with(|f| (f.extensions, f.serial, f.to) = (resigned(), vec![0x55], UtcMillis(NOW.0 + 365 * DAY)))
            .sign(key(1));
        let old = w.under(|f| f.to = past).0.swap_remove(2);
        (vec![w.root.clone(), w.pms.clone(), old, again], w.device(|_| ()))
    };
    let unknown_critical = forge::extension(PRIVATE, true, &[0x05, 0x00]);
    vec![
        row(
            experiment,
            "sub-CA below the provider: PMS allows one",
            (with_sub, below_sub),
            Refused("allows 1"),
        ),
        row(experiment, "expired provider, device still valid", w.under(|f| f.to = past), Refused("expired")),
        row(
            experiment,
            "provider not valid yet",
            w.under(|f| f.from = UtcMillis(NOW.0 + DAY)),
            Refused("not valid before"),
        ),
        row(experiment, "renewed with the same key and name", renewed, Trusted),
        row(
            "quirk: half of the serial numbers are negative",
            "provider with a negative serial number",
            w.under(|f| f.serial = vec![0xFF, 0x01]),
            Trusted,
        ),
        row(
            "RFC 5280 6.1.4 (k)",
            "provider without basic constraints",
            w.under(|f| f.extensions = vec![key_usage(0x84)]),
            Refused("not a CA"),
        ),
        row("RFC 5280 6.1.4 (k)", "provider of version 1", w.under(|f| f.v1 = true), Refused("not a CA")),
        row(
            "RFC 5280 6.1.4 (k)",
            "provider with CA FALSE",
            w.under(|f| f.extensions = vec![basic_constraints(false, None), key_usage(0x84)]),
            Refused("not a CA"),
        ),
        row(
            "RFC 5280 6.1.4 (k)",
            "basic constraints not marked critical",
            w.under(|f| {
                f.extensions =
                    vec![forge::extension(CONSTRAINTS, false, &forge::seq(&[&[1, 1, 0xFF]])), key_usage(0x84)]
            }),
            Trusted,
        ),
        row(
            "RFC 5280 6.1.4 (n)",
            "provider without keyCertSign",
            w.under(|f| f.extensions = vec![basic_constraints(true, None), key_usage(0x80)]),
            Refused("key usage"),
        ),
        row(
            "RFC 5280 6.1.4 (n)",
            "provider without key usage",
            w.under(|f| f.extensions = vec![basic_constraints(true, None)]),
            Trusted,
        ),
        row(
            "RFC 5280 6.1.4 (m)",
            "provider with path length 0",
            w.under(|f| f.extensions = vec![basic_constraints(true, Some(0)), key_usage(0x84)]),
            Trusted,
        ),
        row(
            "RFC 5280 6.1.4 (o)",
            "provider with an unknown critical extension",
            w.under(|f| f.extensions.push(unknown_critical)),
            Refused("critical extension"),
        ),
        row(
            "no store",
            "provider not uploaded",
            (vec![w.root.clone(), w.pms.clone()], w.device(|_| ())),
            Refused("not in the trust store"),
        ),
        row(
            "no store",
            "domain without a self-signed root",
            (vec![w.pms.clone(), w.partner.clone()], w.device(|_| ())),
            Refused("no self-signed root"),
        ),
        row("no store", "empty domain", (Vec::new(), w.device(|_| ())), Refused("no self-signed root")),
    ]
}

fn chip_rows(w: &World) -> Vec<Row> {
    let row = |source, case, (store, leaf), says| Row { source, case, store, leaf, says };
    let experiment = "PKIX experiments of onboarding";
    let from_root = Forge::leaf("Chip").key(key(2)).issuer(&w.ftm_root).der(key(0));
    vec![
        row(experiment, "chip directly below the FTM root", (w.chips(), from_root), Trusted),
        row(experiment, "chip below an FTM provider that is a CA", (w.chips(), w.chip(|_| ())), Trusted),
        row(
            experiment,
            "FTM provider without CA TRUE",
            w.chip_under(|f| f.extensions = vec![basic_constraints(false, None), key_usage(0x84)]),
            Refused("not a CA"),
        ),
        row(
            experiment,
            "FTM provider without basic constraints",
            w.chip_under(|f| f.extensions = vec![]),
            Refused("not a CA"),
        ),
        row(
            experiment,
            "FTM provider without keyCertSign",
            w.chip_under(|f| f.extensions = vec![basic_constraints(true, None), key_usage(0x80)]),
            Refused("key usage"),
        ),
        row(
            experiment,
            "FTM provider sent along but not uploaded",
            (vec![w.ftm_root.clone()], w.chip(|_| ())),
            Refused("not in the trust store"),
        ),
        row(
            "trust per domain",
            "device certificate in the store of chips",
            (w.chips(), w.device(|_| ())),
            Refused("not in the trust store"),
        ),
        row(
            "chips live long",
            "chip certificate of twenty years",
            (w.chips(), w.chip(|f| f.to = UtcMillis(NOW.0 + 7305 * DAY))),
            Trusted,
        ),
    ]
}

/// Subject of a provider, issuer of its device: when are they the same name?
fn name_rows(w: &World) -> Vec<Row> {
    let one = |kind: &[u64], tag, text: &str| {
        forge::seq(&[&forge::oid(kind), &forge::tlv(tag, &[text.as_bytes()])])
    };
    let set = |parts: &[&[u8]]| forge::seq(&[&forge::tlv(0x31, parts)]);
    let (a, b) = (one(CN, UTF8, "Provider"), one(O, UTF8, "Acme"));
    let cn = |tag, text| forge::name(&[(O, UTF8, "Acme"), (CN, tag, text)]);
    let mail = |text| forge::name(&[(CN, UTF8, "Provider"), (EMAIL, IA5, text)]);
    const T61: u8 = 0x14;
    let cases = [
        ("blanks inside", cn(UTF8, "Big  Provider"), cn(UTF8, "Big Provider"), Trusted),
        ("case of letters beyond ASCII", cn(UTF8, "Société É"), cn(UTF8, "SOCIÉTÉ é"), Trusted),
        ("sharp s and double s", cn(UTF8, "Maß"), cn(UTF8, "MASS"), Trusted),
        (
            "one accent, two encodings",
            cn(UTF8, "Soci\u{e9}t\u{e9}"),
            cn(UTF8, "Socie\u{301}te\u{301}"),
            Stricter("the JDK normalises (NFKD) before it compares", "not in the trust store"),
        ),
        ("e-mail address, same bytes", mail("ca@acme.example"), mail("ca@acme.example"), Trusted),
        (
            "e-mail address, other case",
            mail("ca@acme.example"),
            mail("CA@acme.example"),
            Refused("resembles"),
        ),
        ("T61String, same bytes", cn(T61, "Provider"), cn(T61, "Provider"), Trusted),
        (
            "T61String and UTF8String",
            cn(T61, "Provider"),
            cn(UTF8, "Provider"),
            Refused("not in the trust store"),
        ),
        ("two attributes in one RDN", set(&[&a, &b]), set(&[&a, &b]), Trusted),
        (
            "one RDN and two",
            set(&[&a, &b]),
            forge::name(&[(CN, UTF8, "Provider"), (O, UTF8, "Acme")]),
            Refused("another order"),
        ),
    ];
    let rows = cases.into_iter().map(|(case, subject, issuer, says)| {
        let (store, _) = w.under(|f| f.subject = subject);
        Row { source: "names, JDK X500Principal", case, store, leaf: w.device(|f| f.issuer = issuer), says }
    });
    rows.collect()
}

/// The JDK takes an anchor as it is, unless it has expired; we hold it to the rules of every CA.
fn anchor_rows(w: &World) -> Vec<Row> {
    let row = |case, change: fn(&mut Forge), says| {
        let root = Forge::ca("ROOT").with(change).sign(key(0));
        let store = vec![root, w.pms.clone(), w.partner.clone()];
        Row { source: "what an anchor must be", case, store, leaf: w.device(|_| ()), says }
    };
    let held = "an anchor is a CA like any other";
    vec![
        row("a good one", |_| (), Trusted),
        row("expired", |f| f.to = UtcMillis(NOW.0 - DAY), Refused("expired")),
        row("version 1", |f| f.v1 = true, Stricter(held, "not a CA")),
        row("CA FALSE", |f| f.extensions = vec![basic_constraints(false, None)], Stricter(held, "not a CA")),
        row("path length 1, two CAs below", |f| f.extensions = limited(1), Stricter(held, "allows 1")),
        row(
            "without keyCertSign",
            |f| f.extensions = vec![basic_constraints(true, None), key_usage(0x80)],
            Stricter(held, "key usage"),
        ),
        row(
            "unknown critical extension",
            |f| f.extensions.push(forge::extension(PRIVATE, true, &[0x05, 0x00])),
            Stricter(held, "critical extension"),
        ),
    ]
}

fn judge<D: TrustDomain>(row: &Row) -> Result<(), PathError> {
    let mut store = TrustStore::<D>::new();
    for certificate in &row.store {
        // Not `add`: it refuses what is no CA, and the rows are about path building.
        store.insert(certificate.clone(), &"case".into());
    }
    store.verify(&row.leaf, NOW).map(drop)
}

#[test]
fn every_case_of_the_back_ends() {
    let world = World::new();
    let devices = device_rows(&world)
        .into_iter()
        .chain(authority_rows(&world))
        .chain(name_rows(&world))
        .chain(anchor_rows(&world))
        .map(|row| (judge::<Device>(&row), row));
    let chips = chip_rows(&world).into_iter().map(|row| (judge::<Ftm>(&row), row));
    let mut wrong = Vec::new();
    let mut count = [0, 0];
    for (found, row) in devices.chain(chips) {
        let found = found.map_err(|error| error.to_string());
        let fits = match (row.says, &found) {
            (Trusted, Ok(())) => true,
            (Refused(part) | Stricter(_, part), Err(text)) => text.contains(part),
            _ => false,
        };
        count[usize::from(found.is_ok())] += 1;
        if !fits {
            let why = if let Stricter(why, _) = row.says { why } else { "as the JDK" };
            wrong.push(format!("{}: {}: {found:?} ({why})", row.source, row.case));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count.iter().all(|n| *n > 20), "both verdicts are well covered: {count:?}");
}
