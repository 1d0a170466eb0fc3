//! Bytes of one structure, taken off its front.

/// Why bytes are not the structure that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{structure}: {why}")]
pub struct TpmError {
    /// Name in the specification.
    pub structure: &'static str,
    /// What is wrong.
    pub why: String,
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    structure: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self { structure, bytes }
    }

    pub(super) fn wrong(&self, why: impl Into<String>) -> TpmError {
        TpmError { structure: self.structure, why: why.into() }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], TpmError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            return Err(self.wrong(format!("{count} bytes must follow; there are {}", self.bytes.len())));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TpmError> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TpmError> {
        self.array().map(u64::from_be_bytes)
    }

    /// TPM2B: a size and as many bytes.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let size = self.u16()?;
        self.take(size.into())
    }

    /// A field that can only have one value here.
    pub(super) fn constant(&mut self, field: &str, value: u16) -> Result<(), TpmError> {
        match self.u16()? {
            found if found == value => Ok(()),
            found => Err(self.wrong(format!("{field} is {found:04X}; the profile has {value:04X}"))),
        }
    }

    pub(super) fn end(self) -> Result<(), TpmError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(self.wrong(format!("{} bytes follow its end", self.bytes.len())))
    }
}
