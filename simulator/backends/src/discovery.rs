//! A MOSIPDISC answer as the desktop client's availability check reads it. sbi-clients 2.6.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::info::SeenDevice;
use crate::members::{self, member, object};
use crate::verdict::ensure;
use crate::{Fault, Verdict};

/// Members of an entry; any other fails the check.
const ENTRY: [&str; 11] = [
    "deviceId",
    "deviceStatus",
    "certification",
    "serviceVersion",
    "deviceSubId",
    "callbackId",
    "digitalId",
    "deviceCode",
    "specVersion",
    "purpose",
    "error",
];

/// Judges an answer of MOSIPDISC.
#[must_use]
pub fn judge(answer: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(entries) = verdict.note("answer members", None, entries(answer)) else { return verdict };
    for (i, entry) in entries.iter().enumerate() {
        let registered = member(entry, "deviceStatus") != "Not Registered";
        let absent = members::missing(entry, &ENTRY);
        verdict.note(
            "entry members",
            i,
            ensure(absent.is_none(), || Fault::plain(format!("missing: {absent:?}"))),
        );
        verdict.note("digital id", i, digital_id(&member(entry, "digitalId")));
        let purpose = member(entry, "purpose");
        let known = matches!(&*purpose, "Auth" | "Registration") || !registered && purpose.is_empty();
        verdict.note("purpose", i, ensure(known, || Fault::plain(format!("purpose {purpose:?}"))));
        verdict.note("error", i, error(entry));
    }
    verdict
}

/// Whether the desktop client would call `device` available: some entry of 0.9.5 that is Ready and has the same certification, code and id.
#[must_use]
pub fn is_available(answer: &[u8], device: &SeenDevice) -> bool {
    entries(answer).is_ok_and(|entries| {
        entries.iter().any(|entry| {
            let versions = entry.get("specVersion").and_then(Value::as_array);
            versions.is_some_and(|versions| versions.iter().any(|version| version == "0.9.5"))
                && member(entry, "deviceStatus").eq_ignore_ascii_case("Ready")
                && member(entry, "certification") == device.certification
                && member(entry, "deviceCode") == device.device_code
                && member(entry, "deviceId") == device.device_id
        })
    })
}

fn entries(answer: &[u8]) -> Result<Vec<Map<String, Value>>, Fault> {
    let parse = |why: String| Fault::coded("REG-MDM-101", why);
    let answer: Value = serde_json::from_slice(answer).map_err(|e| parse(format!("no JSON: {e}")))?;
    let list = answer.as_array().ok_or_else(|| parse("the answer is no array".to_owned()))?;
    list.iter()
        .map(|entry| {
            let entry = object(entry).ok_or_else(|| parse("an entry is no object".to_owned()))?;
            if let Some(extra) = members::unknown(entry, &ENTRY) {
                return Err(parse(format!("unknown members: {extra}")));
            }
            for name in ["deviceSubId", "specVersion"] {
                ensure(entry.get(name).is_none_or(|v| v.is_array() || v.is_null()), || {
                    parse(format!("{name} is no array"))
                })?;
            }
            Ok(entry.clone())
        })
        .collect()
}

/// Plain JSON under base64url, never signed.
fn digital_id(text: &str) -> Result<(), Fault> {
    let bytes =
        URL_SAFE_NO_PAD.decode(text).map_err(|e| Fault::plain(format!("digitalId is no base64url: {e}")))?;
    let Ok(Value::Object(id)) = serde_json::from_slice(&bytes) else {
        return Err(Fault::plain("digitalId is no JSON object"));
    };
    ensure(bytes.is_ascii(), || Fault::plain("digitalId is not ASCII"))?;
    if let Some(extra) = members::unknown(&id, &members::DIGITAL_ID) {
        return Err(Fault::plain(format!("unknown members of digitalId: {extra}")));
    }
    match members::missing(&id, &members::DIGITAL_ID) {
        Some(names) => Err(Fault::plain(format!("missing from digitalId: {names}"))),
        None => Ok(()),
    }
}

/// Two strings; "0" exactly when the device is Ready, otherwise the code of its state.
fn error(entry: &Map<String, Value>) -> Result<(), Fault> {
    let error = entry.get("error").and_then(object).ok_or_else(|| Fault::plain("error is no object"))?;
    if let Some(extra) = members::unknown(error, &members::ERROR) {
        return Err(Fault::coded("REG-MDM-101", format!("unknown members of error: {extra}")));
    }
    let (code, info) = (error.get("errorCode"), error.get("errorInfo"));
    let (Some(Value::String(code)), Some(Value::String(info))) = (code, info) else {
        return Err(Fault::plain("errorCode and errorInfo are not both strings"));
    };
    let expected = match &*member(entry, "deviceStatus") {
        "Ready" => "0",
        "Busy" => "111",
        "Not Ready" => "110",
        "Not Registered" => "100",
        other => return Err(Fault::plain(format!("deviceStatus {other:?}"))),
    };
    ensure(code == expected && !info.is_empty(), || {
        Fault::plain(format!("error {code:?} ({info:?}), {expected:?} fits"))
    })
}

#[cfg(test)]
mod tests;
