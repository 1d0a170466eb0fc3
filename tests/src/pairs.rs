//! Whether every part of an answer was signed by one and the same pair of key and certificate, of the device that it is about.
//!
//! This is what a rotation can break: a signature by the new key beside the old certificate, a digital ID of one pair in a
//! document of the other, two blocks of one capture by two pairs.

use std::collections::BTreeSet;

use biosim_backends::KeyManager;
use biosim_backends::jws::Jws;
use biosim_backends::keymanager::Domain;
use biotrust_certs::Certificate;
use biotrust_model::time::UtcMillis;
use serde_json::Value;

/// Who signed, and for which device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Serial number of the device.
    pub serial: String,
    /// SHA-256 of the device certificate, upper-case hex.
    pub certificate: String,
    /// "L0" or "L1".
    pub level: String,
}

/// Judges answers at some time.
pub struct Judge<'a> {
    keys: &'a KeyManager,
    now: UtcMillis,
}

impl<'a> Judge<'a> {
    /// With the trust stores of a relying party.
    #[must_use]
    pub const fn new(keys: &'a KeyManager, now: UtcMillis) -> Self {
        Self { keys, now }
    }

    /// An answer of MOSIPDINFO: the pair of each device in it.
    ///
    /// # Errors
    /// The first entry that is an error or mixed.
    pub fn info(&self, answer: &[u8]) -> Result<Vec<Pair>, String> {
        let answer: Value = serde_json::from_slice(answer).map_err(|error| format!("no JSON: {error}"))?;
        let entries = answer.as_array().ok_or_else(|| format!("no list: {answer}"))?;
        entries
            .iter()
            .map(|entry| {
                // While it captures, a device is listed as busy; its info is signed all the same.
                well(entry, &["0", "111"])?;
                self.pair(text(entry, "deviceInfo")?).map_err(|why| format!("device info: {why}"))
            })
            .collect()
    }

    /// An answer of CAPTURE or RCAPTURE: the one pair that all its blocks are by.
    ///
    /// # Errors
    /// The first block that is an error or mixed, or that there are several pairs.
    pub fn capture(&self, answer: &[u8]) -> Result<Pair, String> {
        let answer: Value = serde_json::from_slice(answer).map_err(|error| format!("no JSON: {error}"))?;
        let blocks = answer["biometrics"].as_array().ok_or_else(|| format!("no blocks: {answer}"))?;
        let pairs = (0..).zip(blocks).map(|(at, block)| {
            well(block, &["0"])?;
            self.pair(text(block, "data")?).map_err(|why| format!("block {at}: {why}"))
        });
        let pairs: BTreeSet<Pair> = pairs.collect::<Result<_, _>>()?;
        match (pairs.first(), pairs.len()) {
            (Some(pair), 1) => Ok(pair.clone()),
            _ => Err(format!("blocks by {} pairs: {pairs:?}", pairs.len())),
        }
    }

    /// The pair behind a document that holds a digital ID.
    fn pair(&self, document: &str) -> Result<Pair, String> {
        let document = self.verified(Domain::Device, document)?;
        let claims = payload(&document)?;
        let digital_id = text(&claims, "digitalId")?;
        let by_device = signer(&Jws::parse(digital_id).map_err(|error| format!("digital ID: {error}"))?)?
            .sha256()
            == signer(&document)?.sha256();
        // At L0 the device key stands in for the chip key, which no device of that level has.
        let (domain, level) = if by_device { (Domain::Device, "L0") } else { (Domain::Ftm, "L1") };
        let digital_id = self.verified(domain, digital_id).map_err(|why| format!("digital ID: {why}"))?;
        let digital_id = payload(&digital_id)?;
        let certificate = signer(&document)?;
        let serial = text(&digital_id, "serialNo")?;
        let named = certificate.subject().common_name().unwrap_or_default();
        if named != serial {
            return Err(format!("a digital ID of {serial} beside a certificate of {named}"));
        }
        if let Some(claimed) = claims.get("certification").filter(|claimed| **claimed != *level) {
            return Err(format!("a digital ID as at {level} in a document that says {claimed}"));
        }
        Ok(Pair { serial: serial.to_owned(), certificate: certificate.sha256(), level: level.to_owned() })
    }

    fn verified(&self, domain: Domain, compact: &str) -> Result<Jws, String> {
        self.keys.verify_jws(&[domain], compact, self.now).map_err(|fault| fault.to_string())
    }
}

fn signer(document: &Jws) -> Result<Certificate, String> {
    let der = document.certificate(0).map_err(|error| error.to_string())?;
    Certificate::parse(&der).map_err(|error| error.to_string())
}

/// Whether the error of an entry is one of these codes.
fn well(entry: &Value, codes: &[&str]) -> Result<(), String> {
    match &entry["error"]["errorCode"] {
        Value::String(code) if codes.contains(&code.as_str()) => Ok(()),
        _ => Err(format!("error {}", entry["error"])),
    }
}

fn text<'a>(object: &'a Value, name: &str) -> Result<&'a str, String> {
    object[name].as_str().ok_or_else(|| format!("no {name}"))
}

fn payload(document: &Jws) -> Result<Value, String> {
    document.payload().map(Value::Object).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use biosim_backends::testkit::{Holder, Kind, NOW, issue};
    use serde_json::json;

    const SERIAL: &str = "SN1";

    /// A device at a time at which it has two pairs: authorities, the chip, the old pair, the new pair.
    struct World {
        keys: KeyManager,
        chip: Holder,
        old: Holder,
        new: Holder,
        other: Holder,
    }

    impl World {
        fn new() -> Self {
            let provider = issue("Provider", Kind::Ca, None);
            let maker = issue("Chip maker", Kind::Ca, None);
            Self {
                keys: KeyManager::from_pem(&provider.pem, &maker.pem).unwrap(),
                chip: issue("FTM1", Kind::Leaf, Some(&maker)),
                old: issue(SERIAL, Kind::Leaf, Some(&provider)),
                new: issue(SERIAL, Kind::Leaf, Some(&provider)),
                other: issue("SN2", Kind::Leaf, Some(&provider)),
            }
        }

        fn document(&self, by: &Holder, id_by: &Holder, more: Value) -> String {
            let id = id_by.sign(&json!({"serialNo": SERIAL}).to_string(), &[]);
            let mut payload = json!({"digitalId": id});
            payload.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
            by.sign(&payload.to_string(), &[])
        }

        fn info(&self, by: &Holder, id_by: &Holder, level: &str) -> Result<Vec<Pair>, String> {
            let document = self.document(by, id_by, json!({"certification": level}));
            let answer = json!([{"deviceInfo": document, "error": {"errorCode": "0"}}]).to_string();
            Judge::new(&self.keys, NOW).info(answer.as_bytes())
        }

        fn capture(&self, documents: &[String]) -> Result<Pair, String> {
            let blocks: Vec<Value> =
                documents.iter().map(|data| json!({"data": data, "error": {"errorCode": "0"}})).collect();
            Judge::new(&self.keys, NOW).capture(json!({"biometrics": blocks}).to_string().as_bytes())
        }
    }

    /// `document` as the holder of another certificate would show it: the signature stays, the header changes.
    fn dressed_as(document: &str, other: &str) -> String {
        let (_, rest) = document.split_once('.').unwrap();
        format!("{}.{rest}", other.split_once('.').unwrap().0)
    }

    #[test]
    fn one_pair_is_good_and_two_are_mixed() {
        let world = World::new();
        let World { chip, old, new, other, .. } = &world;
        for pair in [old, new] {
            let [l0, l1] = [(pair, "L0"), (chip, "L1")].map(|(id_by, level)| {
                let found = world.info(pair, id_by, level).unwrap().remove(0);
                assert_eq!((found.serial.as_str(), found.level.as_str()), (SERIAL, level));
                found.certificate
            });
            assert_eq!(l0, l1, "of the device certificate");
        }
        // A device info of one pair around a digital ID of the other.
        for (by, id_by) in [(old, new), (new, old)] {
            let mixed = world.info(by, id_by, "L0").unwrap_err();
            assert!(mixed.starts_with("device info: digital ID: not trusted"), "{mixed}");
        }
        // The certificate of one pair over a signature of the other.
        let [a, b] = [old, new].map(|by| world.document(by, chip, json!({})));
        let mixed = world.capture(&[dressed_as(&a, &b)]).unwrap_err();
        assert!(mixed.contains("does not verify"), "{mixed}");
        // Two blocks of one capture by two pairs.
        assert!(
            world.capture(&[a.clone(), a.clone()]).is_ok() && world.capture(std::slice::from_ref(&b)).is_ok()
        );
        let mixed = world.capture(&[a, b]).unwrap_err();
        assert!(mixed.contains("2 pairs"), "{mixed}");
        // Of another device, at another level.
        let mixed = world.info(other, chip, "L1").unwrap_err();
        assert!(mixed.contains("of SN1 beside a certificate of SN2"), "{mixed}");
        assert!(world.info(old, chip, "L0").is_err() && world.info(old, old, "L1").is_err());
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let world = World::new();
        let judge = Judge::new(&world.keys, NOW);
        let refused =
            json!([{"deviceInfo": "", "error": {"errorCode": "110", "errorInfo": "x"}}]).to_string();
        assert!(judge.info(refused.as_bytes()).unwrap_err().contains("110"));
        for answer in ["", "{}", "[{}]", r#"[{"deviceInfo":"a.b.c","error":{"errorCode":"0"}}]"#] {
            assert!(judge.info(answer.as_bytes()).is_err(), "{answer}");
            assert!(judge.capture(answer.as_bytes()).is_err(), "{answer}");
        }
        assert!(world.capture(&[]).is_err(), "nothing was captured");
    }
}
