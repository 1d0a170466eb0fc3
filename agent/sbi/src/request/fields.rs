//! Members of an object, read by the rules of the wire: null is absent, a number may be a string and the other way round.

use biotrust_model::{Problem, ProblemKind, SubId};

use super::json::{Json, Object};

/// Longest device id or serial number.
const MAX_ID: usize = 128;

/// An object and where it stands, for the subject of a problem.
pub(super) struct Fields<'a> {
    object: &'a Object,
    path: &'static str,
}

pub(super) fn invalid(subject: impl Into<String>) -> Problem {
    Problem::about(ProblemKind::AttributeInvalid, subject)
}

impl<'a> Fields<'a> {
    pub(super) const fn new(object: &'a Object, path: &'static str) -> Self {
        Self { object, path }
    }

    /// The member; `None` where it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        self.object.get(name).filter(|value| !matches!(value, Json::Null))
    }

    /// The member, or the problem that it is missing.
    pub(super) fn required(&self, name: &str) -> Result<&'a Json, Problem> {
        self.get(name)
            .ok_or_else(|| Problem::about(ProblemKind::AttributeMissing, format!("{}{name}", self.path)))
    }

    /// The problem that the member cannot be read.
    pub(super) fn invalid(&self, name: &str, must_be: &str) -> Problem {
        invalid(format!("{}{name}: {must_be}", self.path))
    }

    /// A mandatory string; a whole number is taken for its digits.
    pub(super) fn text(&self, name: &str) -> Result<String, Problem> {
        as_text(self.required(name)?).ok_or_else(|| self.invalid(name, "a string"))
    }

    /// A mandatory word of a vocabulary, spelled exactly.
    pub(super) fn word<T: std::str::FromStr>(&self, name: &str, must_be: &str) -> Result<T, Problem> {
        self.text(name)?.parse().map_err(|_| self.invalid(name, must_be))
    }

    /// A mandatory whole number that is not negative.
    pub(super) fn whole(&self, name: &str) -> Result<u64, Problem> {
        as_whole(self.required(name)?).ok_or_else(|| self.invalid(name, "a whole number"))
    }

    /// A mandatory device id (or serial number, which one relay sends in its place).
    pub(super) fn device_id(&self, name: &str) -> Result<String, Problem> {
        let id = self.text(name)?;
        if (1..=MAX_ID).contains(&id.len()) { Ok(id) } else { Err(self.invalid(name, "1 to 128 bytes")) }
    }

    /// A mandatory sub-id.
    pub(super) fn sub_id(&self, name: &str) -> Result<SubId, Problem> {
        u8::try_from(self.whole(name)?).map(SubId).map_err(|_| self.invalid(name, "at most 255"))
    }

    /// An optional array; the empty string stands for an absent one.
    pub(super) fn list(&self, name: &str) -> Result<&'a [Json], Problem> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Json::Text(text)) if text.is_empty() => Ok(&[]),
            Some(Json::List(list)) => Ok(list),
            Some(_) => Err(self.invalid(name, "an array")),
        }
    }
}

/// A string, or the digits of a whole number.
pub(super) fn as_text(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.clone()),
        Json::Whole(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, or a string of up to 18 digits that is one.
pub(super) fn as_whole(value: &Json) -> Option<u64> {
    match value {
        Json::Whole(number) => Some(*number),
        // `4.0` and `1e4` are whole numbers too; above 2^53 a float no longer says which.
        Json::Real(number) if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number) => {
            Some(*number as u64)
        }
        Json::Text(text) if text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok()
        }
        _ => None,
    }
}
