//! How the front end decodes answers before anything judges them. ctk, section 1.3.
//!
//! Plain `atob`: no URL-safe alphabet, bytes as Latin-1. What does not decode silently loses its element.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

/// The browser's decoder: padding optional, trailing bits ignored.
const ATOB: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The device that was picked after discovery, as the front end remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// `deviceId`.
    pub device_id: String,
    /// `purpose`.
    pub purpose: String,
    /// First entry of `specVersion`.
    pub spec_version: String,
    /// `certification`: what captures are judged by.
    pub certification: String,
    /// `digitalId.type`.
    pub bio_type: String,
    /// `digitalId.deviceSubType`.
    pub sub_type: String,
}

/// `atob`, then the string that JavaScript has: one character per byte.
///
/// # Errors
/// Where `atob` throws.
pub fn atob(text: &str) -> Result<String, String> {
    let bytes = ATOB.decode(text).map_err(|e| format!("atob: {e}"))?;
    Ok(bytes.into_iter().map(char::from).collect())
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("JSON.parse: {e}"))
}

/// Payload of a JWT by its second part.
fn jwt(text: &str) -> Result<Value, String> {
    let payload = text.split('.').nth(1).ok_or("no second part")?;
    json_of(&atob(payload)?)
}

/// The entries of a discovery answer with `digitalIdDecoded`; those that do not decode are gone.
///
/// # Errors
/// When the answer is no array: the port does not exist for the front end.
pub fn discovery(answer: &Value) -> Result<Value, String> {
    let entries = answer.as_array().ok_or("the answer is no array")?;
    let decoded = entries.iter().filter_map(|entry| {
        let mut entry = entry.clone();
        // A refused request has entries without digital ID; they are kept as they are.
        if let Some(digital_id) = entry.get("digitalId").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            let digital_id = atob(digital_id).and_then(|text| json_of(&text)).ok()?;
            entry.as_object_mut()?.insert("digitalIdDecoded".to_owned(), digital_id);
        }
        Some(entry)
    });
    Ok(Value::Array(decoded.collect()))
}

/// The device to test in a decoded discovery answer.
#[must_use]
pub fn select(discovered: &Value, device_id: &str) -> Option<Selected> {
    let entry = discovered.as_array()?.iter().find(|entry| entry["deviceId"] == device_id)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Selected {
        device_id: text(&entry["deviceId"]),
        purpose: text(&entry["purpose"]),
        spec_version: text(&entry["specVersion"][0]),
        certification: text(&entry["certification"]),
        bio_type: text(&entry["digitalIdDecoded"]["type"]),
        sub_type: text(&entry["digitalIdDecoded"]["deviceSubType"]),
    })
}

fn is_selected(digital_id: &Value, selected: &Selected) -> bool {
    digital_id["type"] == selected.bio_type.as_str()
        && digital_id["deviceSubType"] == selected.sub_type.as_str()
}

/// The entries of a device info answer that are about the selected device, with `deviceInfoDecoded`.
///
/// # Errors
/// When the answer is no array.
pub fn info(answer: &Value, selected: &Selected) -> Result<Value, String> {
    let entries = answer.as_array().ok_or("the answer is no array")?;
    let decoded = entries.iter().filter_map(|entry| {
        let text = entry.get("deviceInfo").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            return Some(entry.clone());
        }
        let signed = text.split('.').count() >= 3;
        let read = |text: &str| if signed { jwt(text) } else { json_of(&atob(text)?) };
        let mut info = read(text).ok()?;
        let digital_id = read(info.get("digitalId")?.as_str()?).ok()?;
        if !is_selected(&digital_id, selected) {
            return None;
        }
        info.as_object_mut()?.insert("digitalIdDecoded".to_owned(), digital_id);
        let mut entry = entry.clone();
        entry.as_object_mut()?.insert("deviceInfoDecoded".to_owned(), info);
        Some(entry)
    });
    Ok(Value::Array(decoded.collect()))
}

/// A capture answer with `dataDecoded` in the elements of the selected device.
///
/// # Errors
/// Where the front end's code throws: no `biometrics`, or an element without `data`.
pub fn capture(answer: &Value, selected: &Selected) -> Result<Value, String> {
    const KEPT: [&str; 6] = ["error", "hash", "sessionKey", "specVersion", "thumbprint", "data"];
    let entries = answer.get("biometrics").and_then(Value::as_array).ok_or("TypeError: no biometrics")?;
    let mut decoded = Vec::new();
    for entry in entries {
        let data = entry.get("data").and_then(Value::as_str).ok_or("TypeError: data is no string")?;
        let mut kept: Map<String, Value> =
            KEPT.iter().filter_map(|name| Some(((*name).to_owned(), entry.get(*name)?.clone()))).collect();
        if !data.is_empty() {
            let Some(payload) = element(data, selected) else { continue };
            kept.insert("dataDecoded".to_owned(), payload);
        }
        decoded.push(Value::Object(kept));
    }
    Ok(json!({"biometrics": decoded}))
}

/// The decoded data of an element, `None` where the front end drops it.
fn element(data: &str, selected: &Selected) -> Option<Value> {
    if data.split('.').count() < 3 {
        return None;
    }
    let mut payload = jwt(data).ok()?;
    let digital_id = jwt(payload.get("digitalId")?.as_str()?).ok()?;
    if !is_selected(&digital_id, selected) {
        return None;
    }
    payload.as_object_mut()?.insert("digitalIdDecoded".to_owned(), digital_id);
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn selected() -> Selected {
        Selected {
            device_id: "D".into(),
            purpose: "Auth".into(),
            spec_version: "0.9.5".into(),
            certification: "L1".into(),
            bio_type: "Face".into(),
            sub_type: "Full face".into(),
        }
    }

    fn token(payload: &Value) -> String {
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    fn data(more: &str) -> Value {
        let id = token(&json!({"type": "Face", "deviceSubType": "Full face"}));
        json!({"biometrics": [{"data": token(&json!({"digitalId": id, "more": more})), "extra": 1}]})
    }

    #[test]
    fn atob_knows_the_standard_alphabet_only() {
        assert_eq!(atob("YWI").unwrap(), "ab");
        assert!(atob("Pz8-").is_err() && atob("Pz8_").is_err() && atob("Pz8/").is_ok());
        assert!(atob("YWJjZ").is_err(), "one character too many");
        assert_eq!(atob("w6k=").unwrap(), "\u{c3}\u{a9}", "UTF-8 becomes mojibake");
    }

    #[test]
    fn an_element_with_url_safe_characters_is_lost() {
        let good = capture(&data("plain"), &selected()).unwrap();
        assert_eq!(good["biometrics"][0]["dataDecoded"]["more"], "plain");
        assert!(good["biometrics"][0].get("extra").is_none(), "other members vanish");
        let lost =
            ["?", "??", "???"].map(|more| capture(&data(more), &selected()).unwrap()["biometrics"].clone());
        assert!(lost.iter().any(|list| list == &json!([])), "one of three offsets meets the alphabet");
    }

    #[test]
    fn elements_of_other_devices_are_dropped_and_errors_kept() {
        let mut other = selected();
        other.sub_type = "Single".into();
        assert_eq!(capture(&data("x"), &other).unwrap(), json!({"biometrics": []}));
        let error = json!({"biometrics": [{"data": "", "error": {"errorCode": "101"}}]});
        assert_eq!(capture(&error, &selected()).unwrap(), error);
        assert!(capture(&json!({"error": {}}), &selected()).is_err());
        assert!(capture(&json!({"biometrics": [{"data": null}]}), &selected()).is_err());
    }

    #[test]
    fn device_info_is_read_signed_or_plain_but_not_mixed() {
        let id = json!({"type": "Face", "deviceSubType": "Full face"});
        let signed = token(&json!({"digitalId": token(&id)}));
        let plain =
            URL_SAFE_NO_PAD.encode(json!({"digitalId": URL_SAFE_NO_PAD.encode(id.to_string())}).to_string());
        let mixed = URL_SAFE_NO_PAD.encode(json!({"digitalId": token(&id)}).to_string());
        let answer =
            json!([{"deviceInfo": signed}, {"deviceInfo": plain}, {"deviceInfo": mixed}, {"deviceInfo": ""}]);
        assert_eq!(info(&answer, &selected()).unwrap().as_array().unwrap().len(), 3, "the mixed one is gone");
        assert!(info(&json!({}), &selected()).is_err());
    }
}
