//! Reading JSON as the consumers do: closed sets of members, numbers as their text.

use serde_json::{Map, Value};

use crate::Fault;
use crate::jws::Jws;
use crate::verdict::ensure;

/// The members of an object.
pub(crate) fn object(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object()
}

/// A string or the text of a number, as Jackson coerces it. `None` for anything else.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The text of a member, "" when it is absent, null or no scalar.
pub(crate) fn member(map: &Map<String, Value>, name: &str) -> String {
    map.get(name).and_then(text).unwrap_or_default()
}

/// Names in `map` that are not in `allowed`, joined for a message; `None` when there are none.
pub(crate) fn unknown(map: &Map<String, Value>, allowed: &[&str]) -> Option<String> {
    let names: Vec<&str> = map.keys().map(String::as_str).filter(|name| !allowed.contains(name)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Names in `required` that are absent from `map` or null.
pub(crate) fn missing(map: &Map<String, Value>, required: &[&str]) -> Option<String> {
    let names: Vec<&str> =
        required.iter().copied().filter(|name| map.get(*name).is_none_or(Value::is_null)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Members of a digital ID, all eight mandatory.
pub(crate) const DIGITAL_ID: [&str; 8] =
    ["serialNo", "make", "model", "type", "deviceSubType", "deviceProvider", "deviceProviderId", "dateTime"];

/// The payload of a digital ID with its eight members.
pub(crate) fn digital_id_members(jws: &Jws, code: &'static str) -> Result<Map<String, Value>, Fault> {
    let id = jws.payload().map_err(|e| Fault::coded(code, e.to_string()))?;
    if !jws.payload_text().is_ascii() {
        return Err(Fault::coded(code, "the digital ID is not ASCII"));
    }
    if let Some(extra) = unknown(&id, &DIGITAL_ID) {
        return Err(Fault::coded(code, format!("unknown members of the digital ID: {extra}")));
    }
    let empty: Vec<&str> = DIGITAL_ID.into_iter().filter(|name| member(&id, name).is_empty()).collect();
    ensure(empty.is_empty(), || {
        Fault::coded(code, format!("empty in the digital ID: {}", empty.join(", ")))
    })?;
    Ok(id)
}

/// Members of an error object.
pub(crate) const ERROR: [&str; 2] = ["errorCode", "errorInfo"];

/// `yyyy-MM-ddTHH:mm:ssZ` and nothing else, in seconds since 1970.
pub(crate) fn strict_time(stamp: &str) -> Option<i64> {
    const SHAPE: &[u8; 20] = b"0000-00-00T00:00:00Z";
    let fits = stamp.len() == SHAPE.len()
        && stamp.bytes().zip(SHAPE).all(|(c, s)| if *s == b'0' { c.is_ascii_digit() } else { c == *s });
    fits.then(|| stamp.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)).flatten()
}

/// A finger or eye by its exact spelling.
pub(crate) fn is_part(name: &str, bio_type: &str) -> bool {
    const FINGERS: [&str; 5] = ["IndexFinger", "MiddleFinger", "RingFinger", "LittleFinger", "Thumb"];
    match bio_type {
        "Finger" => match name.split_once(' ') {
            Some(("Left" | "Right", finger)) => FINGERS.contains(&finger),
            _ => false,
        },
        "Iris" => matches!(name, "Left" | "Right"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_form() {
        assert_eq!(strict_time("2024-05-17T09:41:27Z"), Some(1_715_938_887));
        for bad in [
            "2024-05-17T09:41:27.1Z",
            "2024-05-17T09:41:27",
            "2024-05-17t09:41:27Z",
            "2024-13-17T09:41:27Z",
            "",
        ] {
            assert_eq!(strict_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn parts_are_spelled_exactly() {
        assert!(
            is_part("Left IndexFinger", "Finger")
                && is_part("Right Thumb", "Finger")
                && is_part("Left", "Iris")
        );
        assert!(
            !is_part("Left", "Finger")
                && !is_part("left IndexFinger", "Finger")
                && !is_part("UNKNOWN", "Iris")
        );
    }
}
