//! The tool kit's validators, rule by rule. ctk, section 3.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biosim_backends::hash_chain::HashChain;
use biosim_backends::iso::{self, Use};
use biosim_backends::jws::Jws;
use biosim_backends::session::{self, IdaKey};
use biosim_backends::{Domain, KeyManager, jp2};
use biotrust_model::time::UtcMillis;
use serde_json::Value;

use super::cases::{Expect, Validator};
use super::schema;

/// What a run knows beside the answers.
pub struct Context<'a> {
    /// Trust stores.
    pub keys: &'a KeyManager,
    /// The tool kit's own encryption key.
    pub encryption: &'a IdaKey,
    /// `certification` of the selected device, from discovery.
    pub certification: &'a str,
    /// Organisation name of the partner who tests, compared with the certificate's O without regard to case.
    pub organisation: Option<&'a str>,
}

/// One call and what came of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What was sent.
    pub request: Value,
    /// The decoded answer.
    pub answer: Value,
    /// Just before sending, in milliseconds since 1970.
    pub start_ms: i64,
    /// When the answer was complete.
    pub end_ms: i64,
    /// The exchange before it, where a case makes several.
    pub before: Option<Box<Exchange>>,
}

/// Runs one validator.
///
/// # Errors
/// Why it fails.
pub fn validate(
    validator: Validator,
    expect: Expect,
    exchange: &Exchange,
    context: &Context<'_>,
) -> Result<(), String> {
    match validator {
        Validator::Schema => schema::check(expect, &exchange.answer).map_err(|faults| faults.join("; ")),
        Validator::Signature => signature(expect, exchange, context),
        Validator::Mismatch => mismatch(exchange),
        Validator::Iso => iso_records(exchange, context),
        Validator::Hash => hash_chain(exchange, context),
        Validator::Time => timestamps(exchange),
        Validator::Timeout => timeout(exchange),
        Validator::Key => key_rotation(exchange, context),
        Validator::Quality => quality(exchange, context),
    }
}

/// `yyyy-MM-ddTHH:mm:ssZ` in seconds since 1970; `None` for any other form.
#[must_use]
pub fn seconds_of(stamp: &str) -> Option<i64> {
    UtcMillis::from_wire(stamp).map(|time| time.0 / 1000)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn elements(exchange: &Exchange) -> &[Value] {
    exchange.answer["biometrics"].as_array().map_or(&[], Vec::as_slice)
}

// --- SIG ---

fn signature(expect: Expect, exchange: &Exchange, context: &Context<'_>) -> Result<(), String> {
    match expect {
        Expect::Discovered => {
            let id = &exchange.answer[0]["digitalIdDecoded"];
            let there = id["type"].is_string() && id["deviceSubType"].is_string();
            if there { Ok(()) } else { Err("the digital ID has no type or deviceSubType".to_owned()) }
        }
        Expect::Info
        | Expect::InfoReady
        | Expect::InfoBusy
        | Expect::InfoNotReady
        | Expect::InfoNotRegistered => {
            let entries = exchange.answer.as_array().ok_or("the answer is no array")?;
            entries.iter().try_for_each(|entry| signed_info(entry, exchange, context))
        }
        _ => elements(exchange).iter().try_for_each(|element| {
            let data = checked_jws(text(element, "data"), exchange, context, Domain::Device)?;
            organisation(&data, context)?;
            let id = text(&element["dataDecoded"], "digitalId");
            checked_jws(id, exchange, context, digital_id_domain(context.certification)?).map(drop)
        }),
    }
}

fn signed_info(entry: &Value, exchange: &Exchange, context: &Context<'_>) -> Result<(), String> {
    let info = text(entry, "deviceInfo");
    let plain = URL_SAFE_NO_PAD.decode(info.trim_end_matches('=')).ok();
    if let Some(info) = plain.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) {
        return match text(&info, "deviceStatus") {
            "Not Registered" => Ok(()),
            status => Err(format!("unsigned device info of a device that is {status:?}")),
        };
    }
    let signed = checked_jws(info, exchange, context, Domain::Device)?;
    organisation(&signed, context)?;
    let info = &entry["deviceInfoDecoded"];
    let domain = digital_id_domain(text(info, "certification"))?;
    checked_jws(text(info, "digitalId"), exchange, context, domain).map(drop)
}

/// L0: device key. L1: chip key. The level is what the device says of itself.
fn digital_id_domain(certification: &str) -> Result<Domain, String> {
    match certification {
        "L0" => Ok(Domain::Device),
        "L1" => Ok(Domain::Ftm),
        other => Err(format!("certification {other:?}")),
    }
}

fn checked_jws(
    text: &str,
    exchange: &Exchange,
    context: &Context<'_>,
    domain: Domain,
) -> Result<Jws, String> {
    context.keys.verify_jws(&[domain], text, UtcMillis(exchange.end_ms)).map_err(|e| e.to_string())
}

fn organisation(jws: &Jws, context: &Context<'_>) -> Result<(), String> {
    let Some(partner) = context.organisation else { return Ok(()) };
    let found = jws.signer_organisation().unwrap_or_default();
    if found.eq_ignore_ascii_case(partner) {
        return Ok(());
    }
    Err(format!("the certificate is of {found:?}, the partner is {partner:?}"))
}

// --- MIS ---

fn mismatch(exchange: &Exchange) -> Result<(), String> {
    let (request, bio) = (&exchange.request, &exchange.request["bio"][0]);
    let found = elements(exchange);
    let count: usize = text(bio, "count").parse().map_err(|_| "count is no number")?;
    if found.len() != count {
        return Err(format!("{} biometrics, {count} were asked for", found.len()));
    }
    for element in found {
        let data = &element["dataDecoded"];
        if data["purpose"] != request["purpose"] {
            return Err(format!("purpose {} instead of {}", data["purpose"], request["purpose"]));
        }
        let (bio_type, part, sub_id) =
            (text(data, "bioType"), text(data, "bioSubType"), text(bio, "deviceSubId"));
        if !part_fits(bio_type, part, sub_id) {
            return Err(format!("{part:?} does not fit deviceSubId {sub_id:?} of {bio_type:?}"));
        }
        let excepted = bio["exception"].as_array().is_some_and(|list| !list.is_empty());
        if bio_type == "Face" && excepted {
            return Err("NullPointerException: a face with exceptions".to_owned());
        }
        if request["purpose"] == "Registration" && data["transactionId"] != request["transactionId"] {
            return Err("another transactionId".to_owned());
        }
    }
    Ok(())
}

fn part_fits(bio_type: &str, part: &str, sub_id: &str) -> bool {
    const FOUR: [&str; 4] = ["IndexFinger", "MiddleFinger", "RingFinger", "LittleFinger"];
    let finger = |hand: &str| part.split_once(' ').filter(|(h, _)| *h == hand).map(|(_, finger)| finger);
    let four = |hand: &str| finger(hand).is_some_and(|finger| FOUR.contains(&finger));
    let thumb = part == "Left Thumb" || part == "Right Thumb";
    match (bio_type, sub_id) {
        ("Finger", "0") => four("Left") || four("Right") || thumb || part == "UNKNOWN",
        ("Finger", "1") => four("Left"),
        ("Finger", "2") => four("Right"),
        ("Finger", "3") => thumb,
        ("Iris", "0") => matches!(part, "Left" | "Right" | "UNKNOWN"),
        ("Iris", "1") => part == "Left",
        ("Iris", "2") => part == "Right",
        ("Iris", "3") => matches!(part, "Left" | "Right"),
        ("Face", "0") => true,
        _ => false,
    }
}

// --- TMO, TIME ---

fn timeout(exchange: &Exchange) -> Result<(), String> {
    let timeout: i64 = text(&exchange.request, "timeout").parse().map_err(|_| "timeout is no number")?;
    let took = exchange.end_ms - exchange.start_ms;
    if took >= timeout {
        Ok(())
    } else {
        Err(format!("answered after {took} ms, the timeout is {timeout} ms"))
    }
}

/// Times may lie in the past, but not more than three full minutes after the start.
const INTERVAL_MINUTES: i64 = 3;

fn timestamps(exchange: &Exchange) -> Result<(), String> {
    if elements(exchange).is_empty() {
        return Err("no biometrics".to_owned());
    }
    for element in elements(exchange) {
        let stamp = text(&element["dataDecoded"], "timestamp");
        let at = seconds_of(stamp).ok_or_else(|| format!("timestamp {stamp:?} has another form"))?;
        if (at * 1000 - exchange.start_ms).div_euclid(60_000) > INTERVAL_MINUTES {
            return Err(format!("timestamp {stamp} is too far ahead"));
        }
    }
    Ok(())
}

// --- ISO, HASH, QUAL ---

/// The clear ISO record of an element.
///
/// # Errors
/// When it does not decode or decrypt.
pub fn plain_record(element: &Value, encryption: &IdaKey) -> Result<Vec<u8>, String> {
    let data = &element["dataDecoded"];
    let decode = |value: &str| URL_SAFE_NO_PAD.decode(value).map_err(|e| format!("base64url: {e}"));
    let bytes = decode(text(data, "bioValue"))?;
    if data["purpose"] != "Auth" {
        return Ok(bytes);
    }
    let thumbprint = text(element, "thumbprint");
    if thumbprint != encryption.thumbprint() {
        return Err(format!("thumbprint {thumbprint:.16}… is not of this encryption certificate"));
    }
    let key = encryption.unwrap(&decode(text(element, "sessionKey"))?)?;
    session::open(&key, session::derive(text(data, "timestamp"), text(data, "transactionId"))?, &bytes)
}

fn iso_records(exchange: &Exchange, context: &Context<'_>) -> Result<(), String> {
    elements(exchange).iter().try_for_each(|element| {
        let record = plain_record(element, context.encryption)?;
        let data = &element["dataDecoded"];
        let purpose = if data["purpose"] == "Auth" { Use::Auth } else { Use::Registration };
        let facts = iso::examine(&record, text(data, "bioType"), data["bioSubType"].as_str(), purpose)?;
        let image = record.get(facts.image_offset..).unwrap_or_default();
        jp2::decode(image).map(drop)
    })
}

fn hash_chain(exchange: &Exchange, context: &Context<'_>) -> Result<(), String> {
    let mut chain = HashChain::starting_from(text(&exchange.request["bio"][0], "previousHash"))?;
    elements(exchange).iter().try_for_each(|element| {
        let record = plain_record(element, context.encryption)?;
        chain.check(&record, text(element, "hash"), None).map_err(|fault| fault.to_string())
    })
}

/// Nothing of this fails in the tool kit while no SDK answers; with one, it fails on exactly these.
fn quality(exchange: &Exchange, context: &Context<'_>) -> Result<(), String> {
    elements(exchange).iter().try_for_each(|element| {
        let data = &element["dataDecoded"];
        let score = text(data, "qualityScore");
        score.parse::<f32>().map_err(|_| format!("qualityScore {score:?} is no number"))?;
        if !matches!(text(data, "bioType"), "Finger" | "Iris" | "Face") {
            return Err(format!("bioType {}", data["bioType"]));
        }
        if text(element, "specVersion").is_empty() {
            return Err("no specVersion".to_owned());
        }
        plain_record(element, context.encryption).map(drop)
    })
}

// --- KEY ---

fn key_rotation(exchange: &Exchange, context: &Context<'_>) -> Result<(), String> {
    let before = exchange.before.as_deref().ok_or("there is no answer from before the rotation")?;
    let after = exchange.answer.get(0).ok_or("nothing after the rotation")?;
    let earlier = before.answer.get(0).ok_or("nothing before the rotation")?;
    if text(after, "deviceInfo").split('.').count() < 3 {
        return Err("the device is not registered".to_owned());
    }
    signed_info(after, exchange, context)?;
    let jws = |entry: &Value| Jws::parse(text(entry, "deviceInfo")).map_err(|e| e.to_string());
    let (old, new) = (jws(earlier)?, jws(after)?);
    if old.signer_sha256() == new.signer_sha256() {
        return Err("the device certificate is the same".to_owned());
    }
    if new.signer_not_before() < old.signer_not_before() {
        return Err("the new certificate begins earlier than the old one".to_owned());
    }
    let id = |entry: &Value| entry["deviceInfoDecoded"]["digitalIdDecoded"].clone();
    let differs = |name: &str| id(earlier)[name] != id(after)[name];
    // The tool kit fails only when all three differ; a rotation that changes any of them is no rotation.
    if differs("make") || differs("model") || differs("serialNo") {
        return Err("make, model or serial number changed".to_owned());
    }
    // Only the device key rotates: an L1 device keeps its chip certificate.
    if text(&after["deviceInfoDecoded"], "certification") == "L1" {
        let chip = |entry: &Value| {
            Jws::parse(text(&entry["deviceInfoDecoded"], "digitalId")).map(|id| id.signer_sha256())
        };
        if chip(earlier).ok() != chip(after).ok() {
            return Err("the chip certificate changed".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
