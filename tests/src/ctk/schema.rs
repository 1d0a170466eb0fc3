//! The rules of the answer schemas, as code, applied to every element. ctk, section 4.
//!
//! Stricter than the originals where a real consumer is: times have second precision and a Z, and a face has no `bioSubType` at all.

use serde_json::{Map, Value};

use super::cases::Expect;

/// Checks a decoded answer.
///
/// # Errors
/// Every rule that it breaks, with the place.
pub fn check(expect: Expect, answer: &Value) -> Result<(), Vec<String>> {
    let mut checker = Checker::default();
    match expect {
        Expect::Discovered => checker.each(answer, true, discovered),
        Expect::DiscoveryError => checker.each(answer, true, discovery_error),
        Expect::Info => checker.each(answer, true, |c, e| info(c, e, None, Code::Zero)),
        Expect::InfoReady => checker.each(answer, true, |c, e| info(c, e, Some("Ready"), Code::Zero)),
        Expect::InfoBusy => checker.each(answer, true, |c, e| info(c, e, Some("Busy"), Code::ThreeDigits)),
        Expect::InfoNotReady => {
            checker.each(answer, false, |c, e| info(c, e, Some("Not Ready"), Code::NotZero))
        }
        Expect::InfoNotRegistered => {
            checker.each(answer, true, |c, e| info(c, e, Some("Not Registered"), Code::NotZero));
        }
        Expect::Registered => checker.biometrics(answer, |c, e| captured(c, e, "Registration")),
        Expect::Authenticated => checker.biometrics(answer, |c, e| captured(c, e, "Auth")),
        Expect::CaptureError => checker.biometrics(answer, capture_error),
        Expect::TransactionRegistration => {
            checker.biometrics(answer, |c, e| transaction(c, e, "Registration"))
        }
        Expect::TransactionAuth => checker.biometrics(answer, |c, e| transaction(c, e, "Auth")),
    }
    if checker.faults.is_empty() { Ok(()) } else { Err(checker.faults) }
}

/// What an error object must say.
#[derive(Debug, Clone, Copy)]
enum Code {
    Zero,
    ThreeDigits,
    NotZero,
}

#[derive(Default)]
struct Checker {
    at: Vec<String>,
    faults: Vec<String>,
}

const STATUSES: &[&str] = &["Ready", "Busy", "Not Ready", "Not Registered"];
const ENVS: &[&str] = &["Staging", "Developer", "Pre-Production", "Production"];
const VERSIONS: &[&str] = &["0.9.5", "1.0.0"];
const LEVELS: &[&str] = &["L0", "L1"];
const PURPOSES: &[&str] = &["Auth", "Registration"];
const SUB_IDS: &[&str] = &["0", "1", "2", "3"];
const FINGERS: &[&str] = &[
    "Left IndexFinger",
    "Left MiddleFinger",
    "Left RingFinger",
    "Left LittleFinger",
    "Left Thumb",
    "Right IndexFinger",
    "Right MiddleFinger",
    "Right RingFinger",
    "Right LittleFinger",
    "Right Thumb",
    "UNKNOWN",
];
const DIGITAL_ID: &[&str] =
    &["serialNo", "make", "model", "type", "deviceSubType", "deviceProvider", "deviceProviderId", "dateTime"];

impl Checker {
    fn fault(&mut self, what: impl std::fmt::Display) {
        self.faults.push(format!("{}: {what}", self.at.join("/")));
    }

    fn within(&mut self, name: impl std::fmt::Display, check: impl FnOnce(&mut Self)) {
        self.at.push(name.to_string());
        check(self);
        self.at.pop();
    }

    /// Every element of an array; `filled`: there must be one.
    fn each(&mut self, answer: &Value, filled: bool, check: impl Fn(&mut Self, &Value)) {
        let Some(list) = answer.as_array() else { return self.fault("no array") };
        if filled && list.is_empty() {
            self.fault("the array is empty");
        }
        for (i, element) in list.iter().enumerate() {
            self.within(i, |c| check(c, element));
        }
    }

    fn biometrics(&mut self, answer: &Value, check: impl Fn(&mut Self, &Value)) {
        let Some(members) = self.members(answer, &["biometrics"], &["biometrics"]) else { return };
        self.member(members, "biometrics", |c, list| c.each(list, true, check));
    }

    /// An object with no members but `allowed` and all of `required`.
    fn members<'v>(
        &mut self,
        value: &'v Value,
        allowed: &[&str],
        required: &[&str],
    ) -> Option<&'v Map<String, Value>> {
        let Some(members) = value.as_object() else {
            self.fault("no object");
            return None;
        };
        for name in members.keys().filter(|name| !allowed.contains(&name.as_str())) {
            self.fault(format!("member {name} is not allowed"));
        }
        for name in required.iter().filter(|name| !members.contains_key(**name)) {
            self.fault(format!("member {name} is missing"));
        }
        Some(members)
    }

    /// Checks a member where it is there.
    fn member(&mut self, members: &Map<String, Value>, name: &str, check: impl FnOnce(&mut Self, &Value)) {
        if let Some(value) = members.get(name) {
            self.within(name, |c| check(c, value));
        }
    }

    fn text(&mut self, value: &Value, rule: &str, holds: impl Fn(&str) -> bool) {
        match value.as_str() {
            Some(text) if holds(text) => {}
            Some(text) => self.fault(format!("{text:.40?} is not {rule}")),
            None => self.fault(format!("no string ({rule})")),
        }
    }

    fn filled(&mut self, members: &Map<String, Value>, names: &[&str]) {
        for name in names {
            self.member(members, name, |c, value| c.text(value, "filled", |text| !text.is_empty()));
        }
    }

    fn one_of(&mut self, members: &Map<String, Value>, name: &str, words: &[&str]) {
        self.member(members, name, |c, value| {
            c.text(value, &format!("{words:?}"), |text| words.contains(&text))
        });
    }

    fn list_of(&mut self, members: &Map<String, Value>, name: &str, words: &[&str]) {
        self.member(members, name, |c, value| {
            c.each(value, true, |c, item| {
                c.text(item, &format!("{words:?}"), |text| words.contains(&text));
            })
        });
    }

    fn nullable(&mut self, members: &Map<String, Value>, names: &[&str]) {
        for name in names {
            self.member(members, name, |c, value| {
                if !value.is_string() && !value.is_null() {
                    c.fault("neither string nor null");
                }
            });
        }
    }

    fn error(&mut self, members: &Map<String, Value>, code: Code) {
        self.member(members, "error", |c, value| {
            let Some(error) = c.members(value, &["errorCode", "errorInfo"], &["errorCode", "errorInfo"])
            else {
                return;
            };
            c.member(error, "errorCode", |c, value| match code {
                Code::Zero => c.text(value, "\"0\"", |text| text == "0"),
                Code::ThreeDigits => c.text(value, "a code of three digits", is_code),
                Code::NotZero => {
                    c.text(value, "a code that is not 0", |text| !text.is_empty() && text != "0")
                }
            });
            c.member(error, "errorInfo", |c, value| match code {
                Code::Zero => c.text(value, "\"Success\"", |text| text == "Success"),
                _ => {
                    c.text(value, "a text that is not Success", |text| !text.is_empty() && text != "Success")
                }
            });
        });
    }

    fn time(&mut self, members: &Map<String, Value>, name: &str) {
        self.member(members, name, |c, value| c.text(value, "yyyy-MM-ddTHH:mm:ssZ", is_time));
    }

    fn digital_id(&mut self, members: &Map<String, Value>) {
        self.member(members, "digitalIdDecoded", |c, value| {
            let Some(id) = c.members(value, DIGITAL_ID, DIGITAL_ID) else { return };
            c.filled(id, DIGITAL_ID);
            c.one_of(id, "type", &["Finger", "Iris", "Face"]);
            let builds: &[&str] = match id.get("type").and_then(Value::as_str) {
                Some("Finger") => &["Single", "Slap", "Touchless"],
                Some("Iris") => &["Single", "Double"],
                _ => &["Full face"],
            };
            c.one_of(id, "deviceSubType", builds);
            c.time(id, "dateTime");
        });
    }
}

fn discovered(c: &mut Checker, element: &Value) {
    const REQUIRED: &[&str] = &[
        "deviceId",
        "deviceStatus",
        "certification",
        "callbackId",
        "digitalId",
        "deviceCode",
        "specVersion",
        "purpose",
        "error",
    ];
    let allowed = [REQUIRED, &["serviceVersion", "deviceSubId", "digitalIdDecoded"]].concat();
    let Some(entry) = c.members(element, &allowed, REQUIRED) else { return };
    c.filled(entry, &["deviceId", "serviceVersion", "callbackId", "digitalId", "deviceCode"]);
    c.one_of(entry, "deviceStatus", STATUSES);
    c.one_of(entry, "certification", LEVELS);
    c.list_of(entry, "deviceSubId", SUB_IDS);
    c.list_of(entry, "specVersion", VERSIONS);
    c.one_of(entry, "purpose", PURPOSES);
    c.digital_id(entry);
    c.error(entry, Code::Zero);
}

fn discovery_error(c: &mut Checker, element: &Value) {
    const STRINGS: &[&str] = &[
        "deviceId",
        "deviceStatus",
        "certification",
        "serviceVersion",
        "callbackId",
        "digitalId",
        "deviceCode",
        "purpose",
    ];
    let allowed = [STRINGS, &["deviceSubId", "specVersion", "digitalIdDecoded", "error"]].concat();
    let Some(entry) = c.members(element, &allowed, &["error"]) else { return };
    c.nullable(entry, STRINGS);
    for name in ["deviceSubId", "specVersion"] {
        c.member(entry, name, |c, value| {
            if !value.is_array() && !value.is_null() {
                c.fault("neither array nor null");
            }
        });
    }
    c.member(entry, "digitalIdDecoded", |c, value| {
        if let Some(id) = value.as_object() {
            let _ = c.members(value, DIGITAL_ID, &[]);
            c.nullable(id, DIGITAL_ID);
        } else if !value.is_null() {
            c.fault("neither object nor null");
        }
    });
    c.error(entry, Code::ThreeDigits);
}

fn info(c: &mut Checker, element: &Value, status: Option<&str>, code: Code) {
    let well = matches!(code, Code::Zero);
    let required: &[&str] = if well { &["deviceInfo", "error"] } else { &["error"] };
    let allowed = &["deviceInfo", "deviceInfoDecoded", "error"];
    let Some(entry) = c.members(element, allowed, required) else { return };
    if well {
        c.filled(entry, &["deviceInfo"])
    } else {
        c.nullable(entry, &["deviceInfo"])
    }
    c.error(entry, code);
    c.member(entry, "deviceInfoDecoded", |c, value| {
        if well || !value.is_null() {
            info_decoded(c, value, status);
        }
    });
}

fn info_decoded(c: &mut Checker, value: &Value, status: Option<&str>) {
    const REQUIRED: &[&str] = &[
        "env",
        "digitalId",
        "purpose",
        "serviceVersion",
        "deviceStatus",
        "firmware",
        "certification",
        "specVersion",
        "deviceSubId",
        "callbackId",
        "deviceId",
        "deviceCode",
    ];
    let allowed = [REQUIRED, &["digitalIdDecoded"]].concat();
    let Some(info) = c.members(value, &allowed, REQUIRED) else { return };
    let registered = status != Some("Not Registered");
    match status {
        Some(status) => c.one_of(info, "deviceStatus", &[status]),
        None => c.one_of(info, "deviceStatus", STATUSES),
    }
    if registered {
        c.one_of(info, "env", ENVS);
        c.one_of(info, "purpose", PURPOSES);
        c.filled(info, &["deviceId", "deviceCode"]);
    } else {
        c.one_of(info, "env", &[ENVS, &["None"]].concat());
        c.member(info, "purpose", |c, v| c.text(v, "no purpose", |text| !PURPOSES.contains(&text)));
        c.nullable(info, &["deviceId", "deviceCode"]);
    }
    c.filled(info, &["digitalId", "serviceVersion", "firmware", "callbackId"]);
    c.one_of(info, "certification", LEVELS);
    c.list_of(info, "specVersion", VERSIONS);
    c.list_of(info, "deviceSubId", SUB_IDS);
    c.digital_id(info);
}

fn captured(c: &mut Checker, element: &Value, purpose: &str) {
    let auth: &[&str] = if purpose == "Auth" { &["sessionKey", "thumbprint"] } else { &[] };
    let required = [&["specVersion", "data", "dataDecoded", "hash", "error"], auth].concat();
    let Some(entry) = c.members(element, &required, &required) else { return };
    c.one_of(entry, "specVersion", VERSIONS);
    c.filled(entry, &["data", "sessionKey"]);
    for name in ["hash", "thumbprint"] {
        c.member(entry, name, |c, value| c.text(value, "64 of A-Z and 0-9", is_digest));
    }
    c.error(entry, Code::Zero);
    c.member(entry, "dataDecoded", |c, value| data(c, value, purpose, Some(4..=50)));
}

fn data(c: &mut Checker, value: &Value, purpose: &str, id_length: Option<std::ops::RangeInclusive<usize>>) {
    const COMMON: &[&str] = &[
        "digitalId",
        "digitalIdDecoded",
        "deviceCode",
        "deviceServiceVersion",
        "bioType",
        "purpose",
        "env",
        "bioValue",
        "transactionId",
        "timestamp",
        "requestedScore",
        "qualityScore",
    ];
    let bio_type = value["bioType"].as_str().unwrap_or_default();
    let domain: &[&str] = if purpose == "Auth" { &["domainUri"] } else { &[] };
    let part: &[&str] = if bio_type == "Face" { &[] } else { &["bioSubType"] };
    let required = [COMMON, domain, part].concat();
    let Some(data) = c.members(value, &required, &required) else { return };
    c.filled(data, &["digitalId", "deviceCode", "deviceServiceVersion", "bioValue"]);
    c.one_of(data, "bioType", &["Finger", "Iris", "Face"]);
    c.one_of(data, "bioSubType", if bio_type == "Iris" { &["Left", "Right", "UNKNOWN"] } else { FINGERS });
    c.one_of(data, "purpose", &[purpose]);
    c.one_of(data, "env", ENVS);
    c.member(data, "domainUri", |c, value| c.text(value, "a string", |_| true));
    c.member(data, "transactionId", |c, value| {
        c.text(value, "letters, digits and hyphens of the right length", |text| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && id_length.as_ref().is_none_or(|range| range.contains(&text.len()))
        });
    });
    c.time(data, "timestamp");
    for name in ["requestedScore", "qualityScore"] {
        c.member(data, name, |c, value| c.text(value, "a score", is_score));
    }
    c.digital_id(data);
    let of_id = &value["digitalIdDecoded"]["type"];
    if of_id != bio_type {
        c.fault(format!("digital ID of type {of_id} for bioType {bio_type:?}"));
    }
}

fn capture_error(c: &mut Checker, element: &Value) {
    const ALLOWED: &[&str] = &["specVersion", "data", "hash", "sessionKey", "thumbprint", "error"];
    let Some(entry) = c.members(element, ALLOWED, &["specVersion", "data", "hash", "error"]) else { return };
    c.nullable(entry, &["specVersion", "data", "hash", "sessionKey", "thumbprint"]);
    c.error(entry, Code::ThreeDigits);
}

/// Passes an error as well as a capture.
fn transaction(c: &mut Checker, element: &Value, purpose: &str) {
    let auth: &[&str] = if purpose == "Auth" { &["sessionKey", "thumbprint"] } else { &[] };
    let allowed = [&["specVersion", "data", "dataDecoded", "hash", "error"], auth].concat();
    let Some(entry) = c.members(element, &allowed, &["specVersion", "data", "hash", "error"]) else { return };
    c.nullable(entry, &["specVersion", "data", "hash", "sessionKey", "thumbprint"]);
    c.member(entry, "error", |c, value| {
        if let Some(error) = c.members(value, &["errorCode", "errorInfo"], &["errorCode", "errorInfo"]) {
            c.filled(error, &["errorCode", "errorInfo"]);
        }
    });
    c.member(entry, "dataDecoded", |c, value| data(c, value, purpose, None));
}

fn is_code(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// 0 to 100: one or two digits, or 100, with an optional fraction (of zeros behind 100).
#[must_use]
pub fn is_score(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, f)| (whole, Some(f)));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match (whole, fraction) {
        ("100", None) => true,
        ("100", Some(f)) => digits(f) && f.bytes().all(|b| b == b'0'),
        (whole, f) => digits(whole) && whole.len() <= 2 && f.is_none_or(digits),
    }
}

fn is_time(text: &str) -> bool {
    super::validators::seconds_of(text).is_some()
}

#[cfg(test)]
mod tests;
