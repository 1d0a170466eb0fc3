//! A MOSIPDINFO answer as the two clients read it: which devices each of them ends up with, and what it costs.
//!
//! Desktop (sbi-clients 2.3 to 2.5): strict members, entry by entry, a bad digital ID ends the list, the last device of a kind wins.
//! Browser (3.4): nothing is verified, but one entry that does not decode drops the whole port; then L1 and Auth only.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biotrust_model::time::UtcMillis;
use serde_json::{Map, Value};

use crate::jws::{Jws, JwsFault};
use crate::keymanager::{Domain, KeyManager};
use crate::members::{self, digital_id_members, member, object, strict_time};
use crate::verdict::ensure;
use crate::{DigitalIdDomain, Fault, Verdict};

/// Members of the device info that some client reads; further ones are tolerated in this object alone.
const DEVICE_INFO: [&str; 12] = [
    "deviceId",
    "deviceStatus",
    "firmware",
    "certification",
    "serviceVersion",
    "deviceSubId",
    "callbackId",
    "digitalId",
    "deviceCode",
    "env",
    "purpose",
    "specVersion",
];

/// A device as a client knows it after MOSIPDINFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDevice {
    /// Place in the answer.
    pub index: usize,
    /// `deviceId`.
    pub device_id: String,
    /// `deviceCode`.
    pub device_code: String,
    /// `deviceStatus`.
    pub status: String,
    /// `certification`.
    pub certification: String,
    /// `purpose`.
    pub purpose: String,
    /// `callbackId`.
    pub callback_id: String,
    /// `deviceSubId`, each as text.
    pub device_sub_id: Vec<String>,
    /// `specVersion`.
    pub spec_version: Vec<String>,
    /// `digitalId.type`.
    pub bio_type: String,
    /// `digitalId.deviceSubType`.
    pub sub_type: String,
    /// `digitalId.serialNo`.
    pub serial_no: String,
    /// `digitalId.make`.
    pub make: String,
    /// `digitalId.model`.
    pub model: String,
}

/// What both clients make of an answer.
#[derive(Debug, Clone)]
pub struct InfoVerdict {
    /// Every rule that was checked.
    pub verdict: Verdict,
    /// The desktop client's map: `finger_slab`, `iris_double`, `face_face` … to the last device of that kind.
    pub desktop: BTreeMap<&'static str, SeenDevice>,
    /// Everything that the desktop client could read, in order.
    pub desktop_list: Vec<SeenDevice>,
    /// The browser client's devices, or why it dropped the port.
    pub browser: Result<Vec<SeenDevice>, String>,
}

/// Judges an answer of MOSIPDINFO that arrived at `now`.
#[must_use]
pub fn judge(
    answer: &[u8],
    keys: &KeyManager,
    now: UtcMillis,
    digital_id_domain: DigitalIdDomain,
) -> InfoVerdict {
    let mut out = InfoVerdict {
        verdict: Verdict::default(),
        desktop: BTreeMap::new(),
        desktop_list: Vec::new(),
        browser: browser(answer),
    };
    let verdict = &mut out.verdict;
    let Some(entries) = verdict.note("answer members", None, entries(answer)) else { return out };
    let mut list_goes_on = true;
    for (i, entry) in entries.iter().enumerate() {
        let device = device(verdict, i, entry, keys, now, digital_id_domain);
        match device {
            Read::Device(device) if list_goes_on => {
                if let Some(kind) = desktop_kind(&device.bio_type, &device.sub_type) {
                    out.desktop.insert(kind, (*device).clone());
                }
                out.desktop_list.push(*device);
            }
            Read::EndsList => list_goes_on = false,
            Read::Device(_) | Read::Skipped => {}
        }
    }
    let browser = out
        .browser
        .as_ref()
        .map(|_| ())
        .map_err(|why| Fault::plain(format!("the browser drops the port: {why}")));
    verdict.note("browser", None, browser);
    verdict.note("device ids", None, device_ids(&out.desktop_list));
    out
}

/// What became of an entry at the desktop client.
enum Read {
    Device(Box<SeenDevice>),
    /// Skipped; those behind it are read.
    Skipped,
    /// It and those behind it are lost.
    EndsList,
}

fn entries(answer: &[u8]) -> Result<Vec<Map<String, Value>>, Fault> {
    let parse = |why: String| Fault::coded("REG-MDM-101", why);
    let answer: Value = serde_json::from_slice(answer).map_err(|e| parse(format!("no JSON: {e}")))?;
    let list = answer.as_array().ok_or_else(|| parse("the answer is no array".to_owned()))?;
    list.iter()
        .map(|entry| {
            let entry = object(entry).ok_or_else(|| parse("an entry is no object".to_owned()))?;
            if let Some(extra) = members::unknown(entry, &["deviceInfo", "error"]) {
                return Err(parse(format!("unknown members: {extra}")));
            }
            if let Some(error) = entry.get("error").and_then(object)
                && let Some(extra) = members::unknown(error, &members::ERROR)
            {
                return Err(parse(format!("unknown members of error: {extra}")));
            }
            Ok(entry.clone())
        })
        .collect()
}

fn device(
    verdict: &mut Verdict,
    i: usize,
    entry: &Map<String, Value>,
    keys: &KeyManager,
    now: UtcMillis,
    digital_id_domain: DigitalIdDomain,
) -> Read {
    let code = entry.get("error").and_then(|error| error.get("errorCode"));
    let well = matches!(code, Some(Value::String(zero)) if zero == "0");
    verdict.note(
        "error",
        i,
        ensure(well, || Fault::plain(format!("errorCode {code:?}, Android refuses it"))),
    );
    let text = member(entry, "deviceInfo");
    let coded = |e: JwsFault| Fault::coded(e.registration_code(), e.to_string());
    let now_s = now.0.div_euclid(1000);
    let jws = keys.verify_jws(&[Domain::Device], &text, now).map_err(coded);
    let Some(jws) = verdict.note("device info", i, jws) else { return Read::Skipped };
    let Some(info) = verdict.note("device info members", i, info_members(&jws)) else {
        return Read::EndsList;
    };
    let digital_id =
        keys.verify_jws(digital_id_domain.domains(), &member(&info, "digitalId"), now).map_err(coded);
    let Some(digital_id) = verdict.note("digital id", i, digital_id) else { return Read::EndsList };
    let id = digital_id_members(&digital_id, "REG-MDM-101");
    let Some(id) = verdict.note("digital id members", i, id) else { return Read::EndsList };
    let device = seen(i, &info, &id);
    verdict.note("digital id time", i, {
        let stamp = member(&id, "dateTime");
        let fresh = strict_time(&stamp).is_some_and(|at| (now_s - at).abs() <= 60);
        ensure(fresh, || Fault::plain(format!("dateTime {stamp:?} is no fresh second-precision time")))
    });
    verdict.note(
        "spec version",
        i,
        ensure(device.spec_version == ["0.9.5"], || {
            Fault::coded(
                "REG-MDM-103",
                format!("specVersion {:?} instead of [\"0.9.5\"]", device.spec_version),
            )
        }),
    );
    for (name, result) in device_rules(&device) {
        verdict.note(name, i, result);
    }
    Read::Device(Box::new(device))
}

fn info_members(jws: &Jws) -> Result<Map<String, Value>, Fault> {
    let coded = |why: String| Fault::coded("REG-MDM-101", why);
    let info = jws.payload().map_err(|e| coded(e.to_string()))?;
    ensure(jws.payload_text().is_ascii(), || coded("the device info is not ASCII".to_owned()))?;
    if let Some(names) = members::missing(&info, &DEVICE_INFO) {
        return Err(coded(format!("missing: {names}")));
    }
    for name in ["deviceSubId", "specVersion"] {
        let list = info.get(name).and_then(Value::as_array);
        ensure(list.is_some_and(|list| !list.is_empty()), || coded(format!("{name} is no filled array")))?;
    }
    Ok(info)
}

fn seen(index: usize, info: &Map<String, Value>, id: &Map<String, Value>) -> SeenDevice {
    let list = |name: &str| -> Vec<String> {
        info.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(members::text).collect()
    };
    SeenDevice {
        index,
        device_id: member(info, "deviceId"),
        device_code: member(info, "deviceCode"),
        status: member(info, "deviceStatus"),
        certification: member(info, "certification"),
        purpose: member(info, "purpose"),
        callback_id: member(info, "callbackId"),
        device_sub_id: list("deviceSubId"),
        spec_version: list("specVersion"),
        bio_type: member(id, "type"),
        sub_type: member(id, "deviceSubType"),
        serial_no: member(id, "serialNo"),
        make: member(id, "make"),
        model: member(id, "model"),
    }
}

/// Rules on one device that some client has.
fn device_rules(device: &SeenDevice) -> [(&'static str, Result<(), Fault>); 8] {
    let plain = |holds: bool, why: String| ensure(holds, || Fault::plain(why));
    let statuses = ["Ready", "Busy", "Not Ready", "Not Registered"];
    let callback = &device.callback_id;
    let local = callback.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/'));
    let local = local.is_some_and(|port| port.parse::<u16>().is_ok());
    let numeric = |id: &String| matches!(id.as_str(), "0" | "1" | "2" | "3");
    [
        ("status", plain(statuses.contains(&&*device.status), format!("deviceStatus {:?}", device.status))),
        (
            "purpose",
            plain(
                matches!(&*device.purpose, "Auth" | "Registration"),
                format!("purpose {:?}", device.purpose),
            ),
        ),
        (
            "certification",
            plain(
                matches!(&*device.certification, "L0" | "L1"),
                format!("certification {:?}", device.certification),
            ),
        ),
        ("callback", plain(local, format!("callbackId {callback:?} is no http://127.0.0.1:PORT/"))),
        (
            "device sub id",
            plain(
                device.device_sub_id.iter().all(numeric),
                format!("deviceSubId {:?}", device.device_sub_id),
            ),
        ),
        (
            "device code",
            plain(
                device.device_code == device.serial_no,
                format!("deviceCode {:?}, serial number {:?}", device.device_code, device.serial_no),
            ),
        ),
        (
            "type",
            plain(
                matches!(&*device.bio_type, "Finger" | "Iris" | "Face"),
                format!("type {:?}", device.bio_type),
            ),
        ),
        (
            "device id",
            plain(
                device.device_id.len() == 12
                    && device
                        .device_id
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')),
                format!("deviceId {:?} is not of the fixed shape", device.device_id),
            ),
        ),
    ]
}

/// Unique, and none the beginning of another: the browser picks by a prefix selector.
fn device_ids(devices: &[SeenDevice]) -> Result<(), Fault> {
    for (i, device) in devices.iter().enumerate() {
        let clash = |other: &&SeenDevice| other.device_id.starts_with(&device.device_id);
        if let Some((_, other)) = devices.iter().enumerate().find(|(j, other)| *j != i && clash(other)) {
            return Err(Fault::plain(format!(
                "deviceId {:?} begins {:?}",
                device.device_id, other.device_id
            )));
        }
    }
    Ok(())
}

/// The desktop client's key for a device; `None` makes it invisible.
#[must_use]
pub fn desktop_kind(bio_type: &str, sub_type: &str) -> Option<&'static str> {
    let (bio_type, sub_type) = (bio_type.to_lowercase(), sub_type.to_lowercase());
    let modality =
        ["finger", "fir", "iris", "iir", "face"].into_iter().find(|word| bio_type.contains(word))?;
    let build =
        ["slab", "slap", "single", "double", "face"].into_iter().find(|word| sub_type.contains(word))?;
    Some(match (modality, build) {
        ("finger" | "fir", "slab" | "slap") => "finger_slab",
        ("finger" | "fir", "single") => "finger_single",
        ("iris" | "iir", "double") => "iris_double",
        ("iris" | "iir", "single") => "iris_single",
        ("face", "face") => "face_face",
        _ => return None,
    })
}

/// The browser's reading: `decodeJwt` on everything, then the filter.
fn browser(answer: &[u8]) -> Result<Vec<SeenDevice>, String> {
    let answer: Value = serde_json::from_slice(answer).map_err(|e| format!("no JSON: {e}"))?;
    let list = answer.as_array().ok_or("the answer is no array")?;
    let mut devices = Vec::new();
    for (i, entry) in list.iter().enumerate() {
        let text =
            entry.get("deviceInfo").and_then(Value::as_str).ok_or(format!("entry {i} has no deviceInfo"))?;
        let info = decode_jwt(text).map_err(|e| format!("deviceInfo of entry {i}: {e}"))?;
        let id =
            decode_jwt(&member(&info, "digitalId")).map_err(|e| format!("digitalId of entry {i}: {e}"))?;
        let device = seen(i, &info, &id);
        if device.certification == "L1" && device.purpose == "Auth" {
            devices.push(device);
        }
    }
    Ok(devices)
}

/// jose's `decodeJwt`: three parts, the middle one a JSON object; nothing is verified.
fn decode_jwt(text: &str) -> Result<Map<String, Value>, String> {
    let parts: Vec<&str> = text.split('.').collect();
    let [_, payload, _] = parts.as_slice() else { return Err(format!("{} parts instead of 3", parts.len())) };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map_err(|e| e.to_string())?;
    match serde_json::from_slice(&payload) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err("no JSON object".to_owned()),
    }
}

#[cfg(test)]
mod tests;
