//! A CAPTURE answer as the browser widget and eSignet take it, and the authentication made of it as ID authentication
//! checks it, in its order. sbi-clients 3.6; backends-crypto, sections 1, 3, 6 and 7.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use biotrust_model::time::UtcMillis;
use serde_json::{Map, Value};

use crate::hash_chain::{HashChain, sha256};
use crate::iso::{self, Use};
use crate::jws::{Jws, JwsFault};
use crate::keymanager::{Domain, KeyManager};
use crate::members::{self, digital_id_members, member, object, strict_time};
use crate::session::{self, IdaKey, WRAPPED_KEY_LEN};
use crate::verdict::ensure;
use crate::{Fault, Request, Segment, Verdict};

/// Characters of eSignet's challenge (base64 of the JSON array of entries without `error`).
const CHALLENGE: std::ops::RangeInclusive<usize> = 500..=500_000;
/// How far ahead of the server's clock the last segment may be.
const AHEAD_S: i64 = 30;
/// How old the last segment may be on arrival (30 s received time + 30 s adjustment).
const AGE_S: i64 = 60;
/// How far apart two segments may be.
const SPACING_S: i64 = 120;

/// What is configured at ID authentication.
#[derive(Debug)]
pub struct Ida<'a> {
    /// Trust stores.
    pub keys: &'a KeyManager,
    /// Its encryption key pair.
    pub key: &'a IdaKey,
    /// Whether the ten alphanumerics of an authentication's transaction id are insisted on. The tool kit's ids are longer: it checks
    /// everything else of IDA with this off.
    pub ida_transaction_id: bool,
}

/// Judges an answer to `request` that reaches ID authentication at `now`.
#[must_use]
pub fn judge(answer: &[u8], request: &Request, ida: &Ida<'_>, now: UtcMillis) -> Verdict {
    let mut verdict = Verdict::default();
    if ida.ida_transaction_id {
        let id = &request.transaction_id;
        let fits = id.len() == 10 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        verdict.note(
            "request transaction id",
            None,
            ensure(fits, || {
                Fault::coded("IDA-MLC-009", format!("transactionId {id:?} is not ten letters and digits"))
            }),
        );
    }
    let Some(entries) = verdict.note("answer members", None, entries(answer)) else { return verdict };
    verdict.note("widget", None, widget(&entries));
    verdict.note("challenge size", None, challenge_size(&entries));
    let chain = HashChain::starting_from(&request.previous_hash).map_err(Fault::plain);
    let mut chain = verdict.note("previous hash", None, chain);
    let mut session_keys = Vec::new();
    let mut times = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let mut element = Element { i, now, request, ida, verdict: &mut verdict, facts: Segment::default() };
        if let Some((payload, id)) = element.signatures(entry) {
            if let Some((key, record)) = element.decrypt(entry, &payload) {
                element.record(&record, chain.as_mut());
                session_keys.push(key);
            }
            element.values(&payload, &id);
            times.push((member(&payload, "timestamp"), member(&id, "dateTime")));
        }
        let facts = element.facts;
        verdict.add_segment(facts);
    }
    let repeated =
        session_keys.iter().enumerate().any(|(i, key)| session_keys.iter().skip(i + 1).any(|k| k == key));
    verdict.note("fresh keys", None, ensure(!repeated, || Fault::plain("two segments share a session key")));
    time_rules(&mut verdict, &times, now.0.div_euclid(1000));
    count_rules(&mut verdict, request);
    verdict
}

/// The list in an answer.
fn entries(answer: &[u8]) -> Result<Vec<Map<String, Value>>, Fault> {
    let unreadable = |why: String| Fault::coded("IDA-MLC-007", why);
    let answer: Value = serde_json::from_slice(answer).map_err(|e| unreadable(format!("no JSON: {e}")))?;
    let list = answer.get("biometrics").and_then(Value::as_array);
    let list = list.ok_or_else(|| unreadable("there is no list of biometrics".to_owned()))?;
    let answer = object(&answer).map(|answer| members::unknown(answer, &["biometrics"]));
    if let Some(Some(extra)) = answer {
        return Err(unreadable(format!("unknown members of the answer: {extra}")));
    }
    const ENTRY: [&str; 6] = ["specVersion", "data", "hash", "sessionKey", "thumbprint", "error"];
    list.iter()
        .map(|entry| {
            let entry = object(entry).ok_or_else(|| unreadable("an entry is no object".to_owned()))?;
            match members::unknown(entry, &ENTRY) {
                Some(extra) => Err(unreadable(format!("unknown members: {extra}"))),
                None => Ok(entry.clone()),
            }
        })
        .collect()
}

/// The widget wants the string "0" in the first error, eSignet null or "0" in all of them, and none absent.
fn widget(entries: &[Map<String, Value>]) -> Result<(), Fault> {
    if entries.is_empty() {
        return Err(Fault::plain("the list of biometrics is empty"));
    }
    for (i, entry) in entries.iter().enumerate() {
        let error = entry.get("error");
        let code = error.and_then(|error| error.get("errorCode"));
        let info = error.and_then(|error| error.get("errorInfo")).and_then(Value::as_str).unwrap_or_default();
        match (error, code) {
            (_, Some(Value::String(zero))) if zero == "0" => {}
            (Some(Value::Null), _) if i > 0 => {}
            (None, _) => return Err(Fault::plain(format!("element {i} has no error member"))),
            _ => return Err(Fault::plain(format!("element {i} has error {code:?} ({info})"))),
        }
    }
    Ok(())
}

fn challenge_size(entries: &[Map<String, Value>]) -> Result<(), Fault> {
    let challenge: Vec<Value> = entries
        .iter()
        .cloned()
        .map(|mut entry| {
            entry.remove("error");
            Value::Object(entry)
        })
        .collect();
    let size = STANDARD.encode(Value::Array(challenge).to_string()).len();
    ensure(CHALLENGE.contains(&size), || {
        Fault::plain(format!("{size} characters, eSignet takes {CHALLENGE:?}"))
    })
}

/// One element on its way through IDA.
struct Element<'a> {
    i: usize,
    now: UtcMillis,
    request: &'a Request,
    ida: &'a Ida<'a>,
    verdict: &'a mut Verdict,
    facts: Segment,
}

impl Element<'_> {
    fn note<T>(&mut self, name: &'static str, result: Result<T, Fault>) -> Option<T> {
        self.verdict.note(name, self.i, result)
    }

    /// Signature and trust of data and digital ID.
    fn signatures(&mut self, entry: &Map<String, Value>) -> Option<(Map<String, Value>, Map<String, Value>)> {
        let coded =
            |path: &'static str| move |e: JwsFault| Fault::coded("IDA-MPA-001", format!("{path}: {e}"));
        let data = member(entry, "data");
        let present = ensure(!data.is_empty(), || Fault::coded("IDA-MLC-006", "data is missing"));
        self.note("data present", present)?;
        self.facts.hash = member(entry, "hash");
        let now_s = self.now.0.div_euclid(1000);
        let jws = self.note("data form", Jws::parse(&data).map_err(coded("data")))?;
        self.facts.data_signer = jws.signer_sha256();
        self.note("data signature", jws.verify(now_s).map_err(coded("data")));
        let trust = self.ida.keys.check_trust(&[Domain::Device], &jws, self.now);
        self.note("data trust", trust.map_err(coded("data")));
        let payload = jws.payload().map_err(|e| Fault::coded("IDA-MLC-007", e.to_string()));
        let payload = self.note("payload", payload)?;
        let ascii = ensure(jws.payload_text().is_ascii(), || Fault::plain("the payload is not ASCII"));
        self.note("payload ascii", ascii);
        self.note("payload strings", payload_strings(&payload))?;
        self.facts.timestamp = member(&payload, "timestamp");
        self.facts.transaction_id = member(&payload, "transactionId");
        self.facts.bio_type = member(&payload, "bioType");
        self.facts.bio_sub_type = payload.get("bioSubType").and_then(members::text);
        let digital_id = member(&payload, "digitalId");
        let digital_id =
            self.note("digital id form", Jws::parse(&digital_id).map_err(coded("data/digitalId")))?;
        self.facts.digital_id_signer = digital_id.signer_sha256();
        self.note("digital id signature", digital_id.verify(now_s).map_err(coded("data/digitalId")));
        let trust = self.ida.keys.check_trust(&[Domain::Ftm], &digital_id, self.now);
        self.note("digital id trust", trust.map_err(coded("data/digitalId")));
        let id = self.note("digital id members", digital_id_members(&digital_id, "IDA-MLC-006"))?;
        self.facts.serial_no = member(&id, "serialNo");
        Some((payload, id))
    }

    /// Thumbprint, session key, plaintext: what IDA hands to the key manager.
    fn decrypt(
        &mut self,
        entry: &Map<String, Value>,
        payload: &Map<String, Value>,
    ) -> Option<([u8; 32], Vec<u8>)> {
        let absent = members::missing(entry, &["sessionKey", "thumbprint", "hash", "specVersion"]);
        let present =
            ensure(absent.is_none(), || Fault::coded("IDA-MLC-006", format!("missing: {absent:?}")));
        self.note("session members", present)?;
        let thumbprint = thumbprint(&member(entry, "thumbprint"), self.ida.key);
        self.note("thumbprint", thumbprint);
        let wrapped = self.note("session key form", session_key(&member(entry, "sessionKey")))?;
        let key = self.ida.key.unwrap(&wrapped).map_err(|e| Fault::coded("IDA-MPA-003", e));
        let key = self.note("session key", key)?;
        let sealed = URL_SAFE_NO_PAD
            .decode(member(payload, "bioValue"))
            .map_err(|e| Fault::coded("IDA-MPA-003", format!("bioValue is no base64url: {e}")));
        let sealed = self.note("bio value", sealed)?;
        let plain = session::derive(&self.facts.timestamp, &self.facts.transaction_id)
            .and_then(|derived| session::open(&key, derived, &sealed))
            .map_err(|e| Fault::coded("IDA-MPA-003", e));
        Some((key, self.note("decryption", plain)?))
    }

    /// Place in the chain and the matcher's view of the record.
    fn record(&mut self, record: &[u8], chain: Option<&mut HashChain>) {
        self.facts.record_len = record.len();
        self.facts.plaintext_sha256 = hex::encode_upper(sha256(record));
        if let Some(chain) = chain {
            let hash = self.facts.hash.clone();
            self.note("hash chain", chain.check(record, &hash, Some("IDA-BIA-014")));
        }
        let (bio_type, part) = (self.facts.bio_type.clone(), self.facts.bio_sub_type.clone());
        let examined = iso::judge(record, &bio_type, part.as_deref(), Use::Auth, "IDA-BIA-018");
        if let Some(facts) = self.note("iso record", examined) {
            self.facts.image_len = facts.image_len;
            (self.facts.width, self.facts.height) = (facts.width.into(), facts.height.into());
            self.facts.reversible = facts.image.reversible;
            self.note("compression", compression(&facts));
        }
    }

    /// Bean validation: values that must equal the request's or come from a list.
    fn values(&mut self, payload: &Map<String, Value>, id: &Map<String, Value>) {
        let echoes = [
            ("transactionId", &self.request.transaction_id, "IDA-MLC-009"),
            ("domainUri", &self.request.domain_uri, "IDA-MLC-024"),
            ("env", &self.request.env, "IDA-MLC-024"),
            ("purpose", &self.request.purpose, "IDA-MLC-009"),
        ];
        for (name, expected, code) in echoes {
            let found = payload.get(name).and_then(Value::as_str);
            let fault = || Fault::coded(code, format!("{name} {found:?} instead of {expected:?}"));
            self.verdict.note("echo", self.i, ensure(found == Some(expected), fault));
        }
        self.note("required values", required(payload));
        let score = member(payload, "qualityScore");
        self.facts.quality_score = score.parse().ok();
        let parses = self.facts.quality_score.is_some_and(|score: f64| (0.0..=100.0).contains(&score));
        self.note(
            "quality score",
            ensure(parses, || Fault::coded("IDA-MLC-009", format!("qualityScore {score:?}"))),
        );
        self.note("bio sub type", bio_sub_type(&self.facts));
        let (of_id, of_data) = (member(id, "type"), self.facts.bio_type.clone());
        self.note(
            "digital id type",
            ensure(of_id.eq_ignore_ascii_case(&of_data), || {
                Fault::coded(
                    "IDA-DPM-004",
                    format!("digital ID of type {of_id:?} on a capture of {of_data:?}"),
                )
            }),
        );
        let (code, serial) = (member(payload, "deviceCode"), self.facts.serial_no.clone());
        let fault = || Fault::plain(format!("deviceCode {code:?} is not the serial number {serial:?}"));
        self.note("device code", ensure(code == serial, fault));
    }
}

fn payload_strings(payload: &Map<String, Value>) -> Result<(), Fault> {
    let wanted = ["timestamp", "transactionId", "bioValue", "digitalId"];
    let wrong: Vec<&str> =
        wanted.into_iter().filter(|name| !payload.get(*name).is_some_and(Value::is_string)).collect();
    ensure(wrong.is_empty(), || Fault::coded("IDA-MLC-006", format!("no strings: {}", wrong.join(", "))))
}

/// Hex of any case would do for IDA; the specification and the tool kit want upper case.
fn thumbprint(text: &str, key: &IdaKey) -> Result<(), Fault> {
    let mut bytes = [0; 32];
    if hex::decode_to_slice(text, &mut bytes).is_err() || text != text.to_uppercase() {
        return Err(Fault::coded("KER-KMS-025", "the thumbprint is not 64 upper-case hex characters"));
    }
    ensure(&bytes == key.thumbprint_bytes(), || {
        Fault::coded(
            "KER-KMS-025",
            format!("unknown thumbprint {text:.16}…, IDA's is {:.16}…", key.thumbprint()),
        )
    })
}

fn session_key(text: &str) -> Result<Vec<u8>, Fault> {
    let coded = |why: String| Fault::coded("IDA-MPA-003", why);
    let wrapped =
        URL_SAFE_NO_PAD.decode(text).map_err(|e| coded(format!("sessionKey is no base64url: {e}")))?;
    ensure(wrapped.len() == WRAPPED_KEY_LEN, || {
        coded(format!("sessionKey holds {} bytes instead of {WRAPPED_KEY_LEN}", wrapped.len()))
    })?;
    Ok(wrapped)
}

/// The most that the image requirements allow for authentication: 15 to 1.
fn compression(facts: &iso::Record) -> Result<(), Fault> {
    let pixels = usize::from(facts.width) * usize::from(facts.height) * usize::from(facts.image.components);
    let ratio = pixels / facts.image_len.max(1);
    ensure(ratio <= 15, || Fault::plain(format!("the image is compressed {ratio}:1, 15:1 is the most")))
}

fn required(payload: &Map<String, Value>) -> Result<(), Fault> {
    let wanted = ["deviceCode", "deviceServiceVersion", "bioType", "requestedScore", "qualityScore"];
    let empty: Vec<&str> = wanted.into_iter().filter(|name| member(payload, name).is_empty()).collect();
    ensure(empty.is_empty(), || Fault::coded("IDA-MLC-006", format!("empty: {}", empty.join(", "))))
}

fn bio_sub_type(facts: &Segment) -> Result<(), Fault> {
    match (facts.bio_type.as_str(), facts.bio_sub_type.as_deref()) {
        ("Face", None) => Ok(()),
        ("Finger" | "Iris", Some("UNKNOWN")) => Ok(()),
        ("Finger" | "Iris", Some(name)) if members::is_part(name, &facts.bio_type) => Ok(()),
        (bio_type, name) => Err(Fault::coded("IDA-MLC-009", format!("bioSubType {name:?} of {bio_type:?}"))),
    }
}

/// Age of the last segment; order and distance of neighbours; for timestamp and for `digitalId.dateTime`.
fn time_rules(verdict: &mut Verdict, times: &[(String, String)], now_s: i64) {
    for (name, far, stamps) in [
        ("timestamps", "IDA-MLC-030", times.iter().map(|(t, _)| t).collect::<Vec<_>>()),
        ("digital id times", "IDA-MLC-031", times.iter().map(|(_, d)| d).collect()),
    ] {
        verdict.note(name, None, time_rule(&stamps, far, now_s));
    }
}

fn time_rule(stamps: &[&String], far: &'static str, now_s: i64) -> Result<(), Fault> {
    let mut previous: Option<i64> = None;
    for stamp in stamps {
        // IDA takes other forms too; the tool kit, the client and the processor take this one only.
        let at = strict_time(stamp)
            .ok_or_else(|| Fault::coded("IDA-MLC-001", format!("{stamp:?} has another form")))?;
        if let Some(before) = previous {
            let gap = at - before;
            ensure((0..=SPACING_S).contains(&gap), || {
                Fault::coded(far, format!("{gap} s after the segment before"))
            })?;
        }
        previous = Some(at);
    }
    let Some(last) = previous else { return Ok(()) };
    ensure(last <= now_s + AHEAD_S, || Fault::coded("IDA-MLC-001", format!("{} s ahead", last - now_s)))?;
    ensure(now_s - last <= AGE_S, || {
        Fault::coded("IDA-MLC-001", format!("{} s old, {AGE_S} is the most", now_s - last))
    })
}

/// Duplicates and numbers of parts.
fn count_rules(verdict: &mut Verdict, request: &Request) {
    let of = |bio_type: &str| verdict.segments().iter().filter(|s| s.bio_type == bio_type).count();
    let numbers = [("Finger", 10, "IDA-BIA-003"), ("Iris", 2, "IDA-BIA-008"), ("Face", 1, "IDA-BIA-009")];
    let excess = numbers.into_iter().find(|(bio_type, most, _)| of(bio_type) > *most);
    let excess = excess.map_or(Ok(()), |(bio_type, most, code)| {
        Err(Fault::coded(code, format!("more than {most} of type {bio_type}")))
    });
    verdict.note("number of parts", None, excess);
    let named: Vec<(String, String)> = verdict
        .segments()
        .iter()
        .filter_map(|s| Some((s.bio_type.clone(), s.bio_sub_type.clone().filter(|part| part != "UNKNOWN")?)))
        .collect();
    let twice =
        named.iter().enumerate().find(|(i, part)| named.iter().skip(i + 1).any(|other| other == *part));
    verdict.note(
        "distinct parts",
        None,
        match twice {
            None => Ok(()),
            Some((_, (bio_type, part))) => {
                let code = if bio_type == "Iris" { "IDA-BIA-007" } else { "IDA-BIA-002" };
                Err(Fault::coded(code, format!("{part} occurs twice")))
            }
        },
    );
    if let Some(count) = request.count {
        let found = verdict.segments().len();
        let fault = || Fault::plain(format!("{found} elements instead of {count}"));
        verdict.note("count", None, ensure(u32::try_from(found) == Ok(count), fault));
    }
}

#[cfg(test)]
mod tests;
