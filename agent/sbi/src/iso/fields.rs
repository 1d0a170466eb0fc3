//! Reading header fields one after the other, each with the rule it must keep.

use super::rule::{Rule, Violation};
use crate::bytes::Reader;

/// A cursor whose every read names a rule.
pub(super) struct Fields<'a>(Reader<'a>);

impl<'a> Fields<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes))
    }

    pub(super) fn u8(&mut self, rule: Rule, allowed: impl FnOnce(u8) -> bool) -> Result<u8, Violation> {
        self.read(rule, Reader::u8, allowed)
    }

    pub(super) fn u16(&mut self, rule: Rule, allowed: impl FnOnce(u16) -> bool) -> Result<u16, Violation> {
        self.read(rule, Reader::u16, allowed)
    }

    pub(super) fn u24(&mut self, rule: Rule, allowed: impl FnOnce(u32) -> bool) -> Result<u32, Violation> {
        self.read(rule, Reader::u24, allowed)
    }

    pub(super) fn u32(&mut self, rule: Rule, allowed: impl FnOnce(u32) -> bool) -> Result<u32, Violation> {
        self.read(rule, Reader::u32, allowed)
    }

    fn read<T: Copy + std::fmt::Display>(
        &mut self,
        rule: Rule,
        read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
        allowed: impl FnOnce(T) -> bool,
    ) -> Result<T, Violation> {
        let at = self.0.at();
        let value = read(&mut self.0).ok_or_else(|| incomplete(at))?;
        if allowed(value) { Ok(value) } else { Err(Violation::new(rule, format!("{value} at byte {at}"))) }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let at = self.0.at();
        self.0.take(count).ok_or_else(|| incomplete(at))
    }

    pub(super) fn expect(&mut self, rule: Rule, expected: &[u8; 4]) -> Result<(), Violation> {
        let found = self.bytes(expected.len())?;
        if found == expected {
            Ok(())
        } else {
            Err(Violation::new(rule, format!("not {}", expected.escape_ascii())))
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A block with its length before it.
    pub(super) fn image(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u32(Rule::Image, |length| length > 0)?;
        self.bytes(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The record must end here.
    pub(super) fn end(&self) -> Result<(), Violation> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Violation::new(
            Rule::RecordLength,
            format!("bytes follow the last block at byte {}", self.0.at()),
        ))
    }
}

fn incomplete(at: usize) -> Violation {
    Violation::new(Rule::Complete, format!("ends in the field at byte {at}"))
}
