//! Numbers that only grow, kept in the TPM: the floor of the security version, and failed upgrades.
//!
//! A counter of a TPM does not start at zero but above every counter that the TPM ever had, so that removing one and
//! making it again cannot turn it back. The number is what it has grown since: counter minus base. Whoever has the owner
//! password can remove both; then the number starts at zero again, which a verifier that keeps its own floor sees.

use biotrust_driver_api::FtmError;
use tss_esapi::Context;
use tss_esapi::constants::NvIndexType;

use crate::error::{Fault, Result};
use crate::nv;

/// One number: the index of its counter; that of its base is the next one. In the owner's range of indices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter(u32);

/// Lowest security version of firmware that may run.
pub(crate) const SVN_FLOOR: Counter = Counter(0x0180_b100);
/// Upgrades that failed since the last that did not.
pub(crate) const FAILURES: Counter = Counter(0x0180_b102);

/// How far a number may be raised at once: each step wears the memory, and a typing error must not cost the chip.
const FARTHEST: u64 = 256;

impl Counter {
    /// The number.
    pub(crate) fn value(self, context: &mut Context) -> Result<u64> {
        let (counter, base) = self.read(context)?;
        Ok(counter.saturating_sub(base))
    }

    /// Raises the number to `floor`, durably; lower ones change nothing.
    pub(crate) fn raise(self, context: &mut Context, floor: u64) -> Result<()> {
        let value = self.value(context)?;
        let steps = floor.saturating_sub(value);
        if steps > FARTHEST {
            return Err(FtmError::Unusable {
                name: format!("number {floor}"),
                why: format!("it is more than {FARTHEST} above the present one, {value}"),
            }
            .into());
        }
        (0..steps).try_for_each(|_| nv::increment(context, self.0))
    }

    /// Adds one and tells the new number.
    pub(crate) fn increment(self, context: &mut Context) -> Result<u64> {
        self.read(context)?;
        nv::increment(context, self.0)?;
        self.value(context)
    }

    /// Back to zero.
    pub(crate) fn clear(self, context: &mut Context) -> Result<()> {
        let (counter, base) = self.read(context)?;
        if counter == base { Ok(()) } else { nv::write(context, self.base(), &counter.to_be_bytes()) }
    }

    fn base(self) -> u32 {
        self.0 + 1
    }

    /// Counter and base, made where they are not there. A crash at any point leaves a number that is zero.
    fn read(self, context: &mut Context) -> Result<(u64, u64)> {
        let counter = match nv::read(context, self.0)? {
            Some(counter) => number(&counter)?,
            None => {
                if !nv::exists(context, self.0)? {
                    nv::define(context, self.0, NvIndexType::Counter, 8)?;
                }
                nv::increment(context, self.0)?;
                let counter = nv::read(context, self.0)?.unwrap_or_default();
                number(&counter)?
            }
        };
        match nv::read(context, self.base())? {
            // A base above the counter is of one that was removed.
            Some(base) if number(&base)? <= counter => Ok((counter, number(&base)?)),
            _ => {
                nv::replace(context, self.base(), &counter.to_be_bytes())?;
                Ok((counter, counter))
            }
        }
    }
}

fn number(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| {
        Fault::Known(FtmError::Failed {
            doing: "reading a counter of the TPM",
            why: "it is not 8 bytes".into(),
        })
    })
}
