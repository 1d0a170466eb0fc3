//! The outcome of a judgement: named checks, each with what would have happened, and the facts found on the way.

use std::fmt;

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Error code of the back end or client that would refuse; `None` where it would fail without one or where the rule is the specification's
    /// alone.
    pub code: Option<&'static str>,
    /// What is wrong. Never holds biometric data or key material.
    pub why: String,
}

impl Fault {
    /// A fault that ends in a known error code.
    #[must_use]
    pub fn coded(code: &'static str, why: impl Into<String>) -> Self {
        Self { code: Some(code), why: why.into() }
    }

    /// A fault without a code of its own.
    #[must_use]
    pub fn plain(why: impl Into<String>) -> Self {
        Self { code: None, why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{code}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// `Ok` when `holds`.
pub(crate) fn ensure(holds: bool, fault: impl FnOnce() -> Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(fault()) }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name, stable, for tables and tests.
    pub name: &'static str,
    /// Which element of the answer, where it is about one.
    pub element: Option<usize>,
    /// `None` when all is well.
    pub fault: Option<Fault>,
}

impl Check {
    /// Whether it passed.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.fault.is_none()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.element {
            Some(index) => write!(f, "[{index}] {}", self.name)?,
            None => f.write_str(self.name)?,
        }
        match &self.fault {
            Some(fault) => write!(f, ": {fault}"),
            None => f.write_str(": ok"),
        }
    }
}

/// What one element of a capture answer holds, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Segment {
    /// `bioType`.
    pub bio_type: String,
    /// `bioSubType`; `None` for a face.
    pub bio_sub_type: Option<String>,
    /// `qualityScore`.
    pub quality_score: Option<f64>,
    /// `timestamp`, verbatim.
    pub timestamp: String,
    /// `transactionId`, verbatim.
    pub transaction_id: String,
    /// `hash`, verbatim.
    pub hash: String,
    /// Upper-case hex SHA-256 of the clear ISO record.
    pub plaintext_sha256: String,
    /// Bytes of the clear ISO record.
    pub record_len: usize,
    /// Bytes of the image in it.
    pub image_len: usize,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Whether the wavelet of the image is the reversible one.
    pub reversible: bool,
    /// `digitalId.serialNo`.
    pub serial_no: String,
    /// Upper-case hex SHA-256 of the certificate that signed the data.
    pub data_signer: String,
    /// Upper-case hex SHA-256 of the certificate that signed the digital ID.
    pub digital_id_signer: String,
}

/// Every check that was made, and the facts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    checks: Vec<Check>,
    segments: Vec<Segment>,
}

impl Verdict {
    /// Whether at least one check was made and none failed.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(Check::is_ok)
    }

    /// All checks in the order in which they were made.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The checks that failed, in order.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.is_ok())
    }

    /// Whether a check of this name failed for any element.
    #[must_use]
    pub fn failed(&self, name: &str) -> bool {
        self.failures().any(|check| check.name == name)
    }

    /// Whether a check of this name was made at all.
    #[must_use]
    pub fn checked(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name)
    }

    /// One entry per element of a capture answer, in its order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Records a check and hands its value on.
    pub(crate) fn note<T>(
        &mut self,
        name: &'static str,
        element: impl Into<Option<usize>>,
        result: Result<T, Fault>,
    ) -> Option<T> {
        let (value, fault) = match result {
            Ok(value) => (Some(value), None),
            Err(fault) => (None, Some(fault)),
        };
        self.checks.push(Check { name, element: element.into(), fault });
        value
    }

    /// Adds the facts of the next element.
    pub(crate) fn add_segment(&mut self, segment: Segment) {
        self.segments.push(segment);
    }
}

impl fmt::Display for Verdict {
    /// One line: accepted, or all failures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_accepted() {
            return write!(f, "accepted ({} checks)", self.checks.len());
        }
        f.write_str("refused")?;
        for (i, check) in self.failures().enumerate() {
            write!(f, "{}{check}", if i == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_checked_is_not_accepted() {
        assert!(!Verdict::default().is_accepted());
    }

    #[test]
    fn one_failure_refuses_and_is_named() {
        let mut verdict = Verdict::default();
        assert_eq!(verdict.note("one", None, Ok(1)), Some(1));
        assert!(verdict.is_accepted());
        assert_eq!(verdict.note::<()>("two", 3, Err(Fault::coded("IDA-MLC-001", "late"))), None);
        assert!(!verdict.is_accepted() && verdict.failed("two") && !verdict.failed("one"));
        assert_eq!(verdict.to_string(), "refused: [3] two: IDA-MLC-001: late");
    }
}
