//! JSON as untrusted bodies have it: like `serde_json::Value`, but a member that appears twice is an error.
//!
//! Two members of one name are read differently by different parsers; a request must mean one thing.

use std::collections::BTreeMap;
use std::fmt;

use biotrust_model::{Problem, ProblemKind};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::MAX_BODY;

/// An object.
pub(super) type Object = BTreeMap<String, Json>;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool,
    /// A whole number from 0 to 2^64 - 1, written without point or exponent.
    Whole(u64),
    /// Any other number.
    Real(f64),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// Reads a body that is one object.
pub(super) fn parse(body: &[u8]) -> Result<Object, Problem> {
    if body.len() > MAX_BODY {
        return Err(malformed(format!("{} bytes", body.len())));
    }
    match serde_json::from_slice(body) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(malformed("not an object")),
        Err(error) => {
            let what = match error.classify() {
                serde_json::error::Category::Data => "a member twice",
                serde_json::error::Category::Eof => "cut off",
                _ => "not JSON",
            };
            Err(malformed(format!("{what} (line {}, column {})", error.line(), error.column())))
        }
    }
}

fn malformed(what: impl Into<String>) -> Problem {
    Problem::about(ProblemKind::MalformedRequest, what)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a member twice")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Real(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Object::new();
        while let Some((name, value)) = members.next_entry()? {
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a member twice"));
            }
        }
        Ok(Json::Object(object))
    }
}
