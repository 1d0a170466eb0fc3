//! What a client had asked for, as far as an answer is compared with it.

use serde_json::Value;

use crate::members::{object, text};

/// The members of a CAPTURE or RCAPTURE request that consumers compare answers with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `env`.
    pub env: String,
    /// `purpose`.
    pub purpose: String,
    /// `specVersion`.
    pub spec_version: String,
    /// `transactionId`.
    pub transaction_id: String,
    /// `domainUri`; "" where there was none.
    pub domain_uri: String,
    /// `bio[0].type`.
    pub bio_type: String,
    /// `bio[0].count` as a number.
    pub count: Option<u32>,
    /// `bio[0].deviceSubId` as text.
    pub device_sub_id: String,
    /// `bio[0].bioSubType`; empty for null.
    pub bio_sub_type: Vec<String>,
    /// `bio[0].exception`; empty for null.
    pub exception: Vec<String>,
    /// `bio[0].requestedScore` as text.
    pub requested_score: String,
    /// `bio[0].previousHash`; "" for null.
    pub previous_hash: String,
}

impl Request {
    /// Reads the body that the client sent; numbers count as their text, absent and null members as empty.
    ///
    /// # Errors
    /// When the body is no JSON object.
    pub fn from_json(body: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|e| format!("the request is no JSON: {e}"))?;
        let request = object(&value).ok_or("the request is no JSON object")?;
        let bio = request.get("bio").and_then(|bio| bio.get(0));
        let outer = |name: &str| request.get(name).and_then(text).unwrap_or_default();
        let inner = |name: &str| bio.and_then(|bio| bio.get(name)).and_then(text).unwrap_or_default();
        let list = |name: &str| -> Vec<String> {
            let items = bio.and_then(|bio| bio.get(name)).and_then(Value::as_array);
            items.into_iter().flatten().filter_map(text).collect()
        };
        Ok(Self {
            env: outer("env"),
            purpose: outer("purpose"),
            spec_version: outer("specVersion"),
            transaction_id: outer("transactionId"),
            domain_uri: outer("domainUri"),
            bio_type: inner("type"),
            count: inner("count").parse().ok(),
            device_sub_id: inner("deviceSubId"),
            bio_sub_type: list("bioSubType"),
            exception: list("exception"),
            requested_score: inner("requestedScore"),
            previous_hash: inner("previousHash"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_numbers_and_nulls_are_read_alike() {
        let request = Request::from_json(
            br#"{"env":"Staging","timeout":10000,"transactionId":"t-1","bio":[{"type":"Finger","count":4,
            "deviceSubId":1,"bioSubType":null,"exception":["Left Thumb"],"previousHash":null}]}"#,
        )
        .unwrap();
        assert_eq!((request.count, request.device_sub_id.as_str()), (Some(4), "1"));
        assert_eq!(request.exception, ["Left Thumb"]);
        assert!(request.bio_sub_type.is_empty() && request.previous_hash.is_empty());
        assert!(Request::from_json(b"[]").is_err());
    }
}
