//! An RCAPTURE answer as the desktop registration client takes it, and the packet made of it as the registration
//! processor checks it. sbi-clients 2.8 and 2.9; backends-crypto, section 8.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use biotrust_model::time::UtcMillis;
use serde_json::{Map, Value};

use crate::hash_chain::{HashChain, sha256};
use crate::iso::{self, Use};
use crate::jws::Jws;
use crate::keymanager::{Domain, KeyManager};
use crate::members::{self, digital_id_members, member, object, strict_time};
use crate::verdict::ensure;
use crate::{DigitalIdDomain, Fault, Request, Segment, Verdict};

/// Window around the host's clock for a capture (`mosip.registration.mds.allowed.lag.mins`).
const LAG_S: i64 = 5 * 60;
/// Oldest capture that a packet may hold (`mosip.registration.allowed.time…`, stock configuration).
const PACKET_AGE_S: i64 = 30 * 60;
/// Members of the data payload, all of them; a face has no `bioSubType`.
const PAYLOAD: [&str; 12] = [
    "digitalId",
    "deviceCode",
    "deviceServiceVersion",
    "bioType",
    "bioSubType",
    "purpose",
    "env",
    "bioValue",
    "transactionId",
    "timestamp",
    "requestedScore",
    "qualityScore",
];
/// Java's URL-safe decoder: with or without padding.
const JAVA_URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Judges an answer to `request` that arrived at `now`.
///
/// A failure answer (no data) is refused with the text that the operator's log would show.
#[must_use]
pub fn judge(
    answer: &[u8],
    request: &Request,
    keys: &KeyManager,
    now: UtcMillis,
    digital_id_domain: DigitalIdDomain,
) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(entries) = verdict.note("answer members", None, entries(answer)) else { return verdict };
    let now_s = now.0.div_euclid(1000);
    let chain = HashChain::starting_from(&request.previous_hash).map_err(Fault::plain);
    let mut chain = verdict.note("previous hash", None, chain);
    for (i, entry) in entries.iter().enumerate() {
        let mut element =
            Element { i, now_s, now, request, keys, verdict: &mut verdict, facts: Segment::default() };
        let record = element.client(entry);
        if let Some((jws, payload, record)) = record {
            element.part(&payload, &record, chain.as_mut());
            element.packet(&jws, &payload, digital_id_domain);
        }
        let facts = element.facts;
        verdict.add_segment(facts);
    }
    set_rules(&mut verdict, request);
    verdict
}

/// The list in an answer, read with Jackson's refusal of unknown members.
fn entries(answer: &[u8]) -> Result<Vec<Map<String, Value>>, Fault> {
    let parse = |why: String| Fault::coded("REG-MDM-101", why);
    let answer: Value = serde_json::from_slice(answer).map_err(|e| parse(format!("no JSON: {e}")))?;
    let answer = object(&answer).ok_or_else(|| parse("no JSON object".to_owned()))?;
    if let Some(extra) = members::unknown(answer, &["biometrics"]) {
        return Err(parse(format!("unknown members of the answer: {extra}")));
    }
    let list = answer.get("biometrics").and_then(Value::as_array);
    let list = list.ok_or_else(|| parse("there is no list of biometrics".to_owned()))?;
    if list.is_empty() {
        return Err(Fault::coded("REG-MDS-003", "the list of biometrics is empty"));
    }
    list.iter()
        .map(|entry| object(entry).cloned().ok_or_else(|| parse("an entry is no object".to_owned())))
        .collect()
}

/// One element of the answer on its way through client and processor.
struct Element<'a> {
    i: usize,
    now_s: i64,
    now: UtcMillis,
    request: &'a Request,
    keys: &'a KeyManager,
    verdict: &'a mut Verdict,
    facts: Segment,
}

impl Element<'_> {
    fn note<T>(&mut self, name: &'static str, result: Result<T, Fault>) -> Option<T> {
        self.verdict.note(name, self.i, result)
    }

    /// The client's checks in its order. What follows a failure is still checked where it can be.
    fn client(&mut self, entry: &Map<String, Value>) -> Option<(Jws, Map<String, Value>, Vec<u8>)> {
        self.note("entry members", entry_members(entry))?;
        let data = self.note("data present", data_or_error(entry))?;
        self.facts.hash = member(entry, "hash");
        let jws = Jws::parse(&data).map_err(|e| Fault::coded(e.registration_code(), e.to_string()));
        let jws = self.note("data form", jws)?;
        self.facts.data_signer = jws.signer_sha256();
        let coded = |e: crate::jws::JwsFault| Fault::coded(e.registration_code(), e.to_string());
        self.note("data signature", jws.verify(self.now_s).map_err(coded));
        self.note("data trust", self.keys.check_trust(&[Domain::Device], &jws, self.now).map_err(coded));
        let payload = self.note("payload members", payload(&jws))?;
        self.facts.timestamp = member(&payload, "timestamp");
        self.facts.transaction_id = member(&payload, "transactionId");
        self.facts.bio_type = member(&payload, "bioType");
        self.facts.bio_sub_type = payload.get("bioSubType").and_then(members::text);
        self.note("timestamp", timestamp(&self.facts.timestamp, self.now_s));
        let score = self.note("quality score", quality_score(&payload));
        self.facts.quality_score = score;
        self.note("transaction id", {
            let same = self.facts.transaction_id.eq_ignore_ascii_case(&self.request.transaction_id);
            ensure(same, || Fault::coded("REG-MDS-003", "the transactionId is not the one of the request"))
        });
        self.note("spec version", {
            let found = member(entry, "specVersion");
            ensure(found == self.request.spec_version, || {
                Fault::coded(
                    "REG-MDS-003",
                    format!("specVersion {found:?} instead of {:?}", self.request.spec_version),
                )
            })
        });
        self.note("bio sub type", bio_sub_type(&self.facts));
        let record = JAVA_URL_SAFE
            .decode(member(&payload, "bioValue"))
            .map_err(|e| Fault::coded("REG-MDS-003", format!("bioValue is no base64url: {e}")));
        let record = self.note("bio value", record)?;
        self.facts.record_len = record.len();
        self.facts.plaintext_sha256 = hex::encode_upper(sha256(&record));
        Some((jws, payload, record))
    }

    /// The record itself and its place in the chain.
    fn part(&mut self, payload: &Map<String, Value>, record: &[u8], chain: Option<&mut HashChain>) {
        if let Some(chain) = chain {
            let hash = self.facts.hash.clone();
            self.note("hash chain", chain.check(record, &hash, None));
        }
        let sub_type = self.facts.bio_sub_type.clone();
        let bio_type = self.facts.bio_type.clone();
        let examined =
            iso::judge(record, &bio_type, sub_type.as_deref(), Use::Registration, "RPR-PKV-FAILED-013");
        if let Some(facts) = self.note("iso record", examined) {
            self.facts.image_len = facts.image_len;
            (self.facts.width, self.facts.height) = (facts.width.into(), facts.height.into());
            self.facts.reversible = facts.image.reversible;
        }
        for (name, expected) in [("purpose", &self.request.purpose), ("env", &self.request.env)] {
            let found = member(payload, name);
            let fault = || Fault::plain(format!("{name} {found:?} instead of {expected:?}"));
            self.verdict.note("echo", self.i, ensure(found == **expected, fault));
        }
    }

    /// The packet: rebuilt text, certificates, digital ID, times.
    fn packet(&mut self, jws: &Jws, payload: &Map<String, Value>, domain: DigitalIdDomain) {
        self.note("packet rebuild", rebuild(jws, self.now_s));
        let digital_id = member(payload, "digitalId");
        let parsed = Jws::parse(&digital_id).map_err(|e| Fault::coded("RPR-CMD-FAILED-018", e.to_string()));
        let Some(digital_id) = self.note("digital id form", parsed) else { return };
        self.facts.digital_id_signer = digital_id.signer_sha256();
        let subset = digital_id.x5c().iter().all(|certificate| jws.x5c().contains(certificate));
        self.note(
            "x5c subset",
            ensure(subset, || {
                Fault::coded(
                    "RPR-PKV-FAILED-016",
                    "Header Certificate mismatch: the digital ID's x5c is not within the data's",
                )
            }),
        );
        let coded = |e: crate::jws::JwsFault| Fault::coded("RPR-CMD-FAILED-018", e.to_string());
        self.note("digital id signature", digital_id.verify(self.now_s).map_err(coded));
        let trust = self.keys.check_trust(domain.domains(), &digital_id, self.now).map_err(coded);
        self.note("digital id trust", trust);
        let Some(id) = self.note("digital id members", digital_id_members(&digital_id, "REG-MDM-101")) else {
            return;
        };
        self.facts.serial_no = member(&id, "serialNo");
        for (what, stamp) in
            [("dateTime", member(&id, "dateTime")), ("timestamp", self.facts.timestamp.clone())]
        {
            self.verdict.note("packet time", self.i, packet_time(what, &stamp, self.now_s));
        }
        let code = member(payload, "deviceCode");
        let serial = &self.facts.serial_no;
        let fault = || Fault::plain(format!("deviceCode {code:?} is not the serial number {serial:?}"));
        self.verdict.note("device code", self.i, ensure(code == *serial, fault));
        let (of_id, of_data) = (member(&id, "type"), &self.facts.bio_type);
        let fault = || Fault::plain(format!("digital ID of type {of_id:?} on a capture of {of_data:?}"));
        self.verdict.note("digital id type", self.i, ensure(of_id == *of_data, fault));
    }
}

/// Rules over the set of parts: right number, nothing twice, nothing that was excepted.
fn set_rules(verdict: &mut Verdict, request: &Request) {
    let face = request.bio_type == "Face";
    let parts: Vec<String> = verdict.segments().iter().filter_map(|s| s.bio_sub_type.clone()).collect();
    let leaked: Vec<&String> =
        parts.iter().filter(|part| !face && request.exception.contains(part)).collect();
    let fault = || Fault::plain(format!("excepted, and yet returned: {leaked:?}"));
    verdict.note("exceptions", None, ensure(leaked.is_empty(), fault));
    let twice = parts.iter().enumerate().any(|(i, part)| parts.iter().skip(i + 1).any(|other| other == part));
    verdict.note(
        "distinct parts",
        None,
        ensure(!twice, || Fault::plain(format!("a part occurs twice: {parts:?}"))),
    );
    if let Some(count) = request.count {
        let found = verdict.segments().len();
        let fault = || Fault::plain(format!("{found} elements instead of {count}"));
        verdict.note("count", None, ensure(u32::try_from(found) == Ok(count), fault));
    }
}

fn entry_members(entry: &Map<String, Value>) -> Result<(), Fault> {
    let parse = |why: String| Err(Fault::coded("REG-MDM-101", why));
    if let Some(extra) = members::unknown(entry, &["specVersion", "data", "hash", "error"]) {
        return parse(format!("unknown members: {extra}"));
    }
    match entry.get("error") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(error)) => match members::unknown(error, &members::ERROR) {
            None => Ok(()),
            Some(extra) => parse(format!("unknown members of error: {extra}")),
        },
        Some(_) => parse("error is no object".to_owned()),
    }
}

/// The data, or the client's failure with the error's text.
fn data_or_error(entry: &Map<String, Value>) -> Result<String, Fault> {
    let data = member(entry, "data");
    if !data.is_empty() {
        return Ok(data);
    }
    Err(match entry.get("error") {
        Some(Value::Object(error)) => Fault::coded(
            "REG-MDS-003",
            format!("no data; error {}: {}", member(error, "errorCode"), member(error, "errorInfo")),
        ),
        _ => Fault::coded(
            "REG-MDS-003",
            "neither data nor an error object: the client runs into a null pointer",
        ),
    })
}

/// The payload with its closed set of members.
fn payload(jws: &Jws) -> Result<Map<String, Value>, Fault> {
    let parse = |why: String| Fault::coded("REG-MDM-101", why);
    if !jws.payload_text().is_ascii() {
        return Err(parse("the payload is not ASCII: hosts with another code page garble it".to_owned()));
    }
    let payload = jws.payload().map_err(|e| parse(e.to_string()))?;
    if let Some(extra) = members::unknown(&payload, &PAYLOAD) {
        return Err(parse(format!("unknown members of the data: {extra}")));
    }
    let required: Vec<&str> = PAYLOAD.into_iter().filter(|name| *name != "bioSubType").collect();
    match members::missing(&payload, &required) {
        Some(names) => Err(parse(format!("missing from the data: {names}"))),
        None => Ok(payload),
    }
}

fn timestamp(stamp: &str, now_s: i64) -> Result<(), Fault> {
    let coded = |why: String| Fault::coded("REG-MDS-008", why);
    let at = strict_time(stamp).ok_or_else(|| coded(format!("timestamp {stamp:?} has another form")))?;
    ensure((now_s - at).abs() <= LAG_S, || {
        coded(format!("timestamp {stamp} is {} s from the host's clock", at - now_s))
    })
}

fn quality_score(payload: &Map<String, Value>) -> Result<f64, Fault> {
    let text = member(payload, "qualityScore");
    match text.parse::<f64>() {
        Ok(score) if (0.0..=100.0).contains(&score) => Ok(score),
        _ => Err(Fault::coded("REG-MDS-003", format!("qualityScore {text:?} is no number from 0 to 100"))),
    }
}

/// Finger and iris need a name of the specification and not UNKNOWN; a face has none.
fn bio_sub_type(facts: &Segment) -> Result<(), Fault> {
    let coded = |why: String| Err(Fault::coded("REG-MDS-003", why));
    match (facts.bio_type.as_str(), facts.bio_sub_type.as_deref()) {
        ("Face", None) => Ok(()),
        ("Face", Some(name)) => coded(format!("a face with bioSubType {name:?}")),
        (bio_type, Some(name)) if members::is_part(name, bio_type) => Ok(()),
        (bio_type, name) => coded(format!("bioSubType {name:?} of {bio_type:?}")),
    }
}

/// BIRBuilder takes the quoted value after the first `bioValue` out of the text, the server puts it back unpadded.
fn rebuild(jws: &Jws, now_s: i64) -> Result<(), Fault> {
    let coded = |why: String| Fault::coded("RPR-PKV-FAILED-016", why);
    const KEY: &str = "bioValue";
    let text = jws.payload_text();
    let after_key = text.find(KEY).map(|at| at + KEY.len() + 1);
    let opening = after_key.and_then(|at| text.get(at..)?.find('"').map(|found| at + found + 1));
    let closing = opening.and_then(|at| text.get(at..)?.find('"').map(|found| at + found));
    let value = opening.zip(closing).and_then(|(from, to)| text.get(from..to));
    let value = value.ok_or_else(|| coded("the payload has no quoted bioValue".to_owned()))?;
    let record =
        JAVA_URL_SAFE.decode(value).map_err(|e| coded(format!("the text after the first bioValue: {e}")))?;
    let placeholder = text.replace(&format!("\"{value}\""), "\"<bioValue>\"");
    let rebuilt = placeholder.replace("\"<bioValue>\"", &format!("\"{}\"", URL_SAFE_NO_PAD.encode(record)));
    jws.verify_rebuilt(&rebuilt, now_s)
        .map_err(|e| coded(format!("after the packet's placeholder was filled: {e}")))
}

/// Not later than the packet and not more than half an hour before it.
fn packet_time(what: &str, stamp: &str, now_s: i64) -> Result<(), Fault> {
    let coded = |why: String| Fault::coded("RPR-CMD-FAILED-016", why);
    let at = strict_time(stamp).ok_or_else(|| coded(format!("{what} {stamp:?} has another form")))?;
    ensure(at <= now_s, || coded(format!("{what} {stamp} is later than the packet")))?;
    ensure(now_s - at <= PACKET_AGE_S, || coded(format!("{what} {stamp} is {} s old", now_s - at)))
}

#[cfg(test)]
mod tests;
