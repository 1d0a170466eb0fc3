//! Reading and writing little-endian fields. A reader never reads past the end and never skips anything.

use crate::error::{SpdmError, Why};

/// Reads the fields of one message (or of a part of it) in order.
pub(crate) struct Reader<'m> {
    what: &'static str,
    rest: &'m [u8],
}

impl<'m> Reader<'m> {
    /// Of `bytes`, which are called `what` in errors.
    pub(crate) const fn new(what: &'static str, bytes: &'m [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// The error `why` about what is being read.
    pub(crate) const fn bad(&self, why: Why) -> SpdmError {
        SpdmError::Malformed { what: self.what, why }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'m [u8], SpdmError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(self.bad(Why::Short))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], SpdmError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.bad(Why::Short))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, SpdmError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, SpdmError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u24(&mut self) -> Result<u32, SpdmError> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, SpdmError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads `length` bytes that must be zero.
    pub(crate) fn reserved(&mut self, length: usize) -> Result<(), SpdmError> {
        self.take(length)?.iter().all(|b| *b == 0).then_some(()).ok_or(self.bad(Why::Reserved))
    }

    /// Reads one byte that must be `value`; the field is called `field`.
    pub(crate) fn constant(&mut self, field: &'static str, value: u8) -> Result<(), SpdmError> {
        (self.u8()? == value).then_some(()).ok_or(self.bad(Why::Value(field)))
    }

    /// Whether everything has been read.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything must have been read.
    pub(crate) fn end(self) -> Result<(), SpdmError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad(Why::Trailing)) }
    }
}
