//! The `error` object of every answer.

use biotrust_model::{DeviceStatus, Language, Problem, ProblemKind};

use crate::json::Object;

/// `{"errorCode": "...", "errorInfo": "..."}`: both members always present, both strings, nothing else.
///
/// The browser client takes anything but the string `"0"` for a failure; the desktop client refuses a third member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorObject {
    /// `"0"`, or three digits.
    pub code: String,
    /// What the person in front of the screen reads; `"Success"` where there is no problem.
    pub info: String,
}

impl ErrorObject {
    /// The object for `problem`, or success.
    #[must_use]
    pub fn of(problem: Option<&Problem>, language: Language) -> Self {
        match problem {
            Some(problem) => Self { code: problem.code().to_string(), info: problem.text(language) },
            None => Self { code: "0".to_owned(), info: "Success".to_owned() },
        }
    }

    /// As JSON, ASCII only.
    #[must_use]
    pub fn to_json(&self) -> String {
        Object::new().text("errorCode", &self.code).text("errorInfo", &self.info).finish()
    }
}

/// The problem that a device in this status must be reported with (spec section 5); `None` when it is ready.
#[must_use]
pub const fn status_problem(status: DeviceStatus) -> Option<ProblemKind> {
    match status {
        DeviceStatus::Ready => None,
        DeviceStatus::Busy => Some(ProblemKind::Busy),
        DeviceStatus::NotReady => Some(ProblemKind::NotReady),
        DeviceStatus::NotRegistered => Some(ProblemKind::NotRegistered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_the_string_zero() {
        assert_eq!(
            ErrorObject::of(None, Language::Fr).to_json(),
            r#"{"errorCode":"0","errorInfo":"Success"}"#
        );
    }

    #[test]
    fn every_problem_has_three_digits_and_a_text_in_each_language() {
        for kind in ProblemKind::ALL {
            for language in [Language::En, Language::Fr, Language::Ar] {
                let object = ErrorObject::of(Some(&Problem::from(*kind)), language);
                assert!(object.code.len() == 3 && !object.code.starts_with('0'), "{kind:?}");
                assert!(!object.info.is_empty() && object.info != "Success", "{kind:?}");
                assert!(object.to_json().is_ascii());
                let back: serde_json::Value = serde_json::from_str(&object.to_json()).unwrap();
                assert_eq!(back["errorInfo"], object.info, "the text survives the escapes");
            }
        }
    }

    #[test]
    fn status_codes_are_those_of_the_specification() {
        let codes =
            [DeviceStatus::Ready, DeviceStatus::Busy, DeviceStatus::NotReady, DeviceStatus::NotRegistered]
                .map(|status| status_problem(status).map(ProblemKind::code));
        assert_eq!(codes, [None, Some(111), Some(110), Some(100)]);
    }
}
