//! GET_MEASUREMENTS and MEASUREMENTS: all blocks, signed.

use super::{Request, SIGNATURE, begin, code, sealed};
use crate::error::{SpdmError, Why};
use crate::measurement::{self, Block};
use crate::wire::Reader;

/// Attributes: with a signature, digests where the device has digests.
const SIGNED: u8 = 0x01;
/// Operation: all blocks.
const ALL: u8 = 0xFF;

pub(super) fn write_request(nonce: &[u8; 32]) -> Vec<u8> {
    let mut message = begin(code::GET_MEASUREMENTS, SIGNED, ALL);
    message.extend_from_slice(nonce);
    // Slot.
    message.push(0);
    message
}

pub(super) fn read_request(
    [attributes, operation]: [u8; 2],
    mut body: Reader<'_>,
) -> Result<Request, SpdmError> {
    if attributes != SIGNED {
        return Err(body.bad(Why::Value("Attributes")));
    }
    if operation != ALL {
        return Err(body.bad(Why::Value("MeasurementOperation")));
    }
    let nonce = body.array()?;
    body.constant("SlotID", 0)?;
    body.end()?;
    Ok(Request::GetMeasurements { nonce })
}

/// Body of MEASUREMENTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The blocks, in the order of the message.
    pub blocks: Vec<Block>,
    /// Of the responder.
    pub nonce: [u8; 32],
    /// Over L1.
    pub signature: [u8; SIGNATURE],
}

impl Measured {
    pub(super) fn write(&self) -> Result<Vec<u8>, SpdmError> {
        let record = measurement::encode(&self.blocks)?;
        let count = u8::try_from(self.blocks.len()).unwrap_or(u8::MAX);
        let [a, b, c, _] = u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut message = begin(code::MEASUREMENTS, 0, 0);
        message.extend_from_slice(&[count, a, b, c]);
        message.extend_from_slice(&record);
        message.extend_from_slice(&self.nonce);
        // No opaque data.
        message.extend_from_slice(&[0, 0]);
        Ok(sealed(message, &self.signature))
    }

    pub(super) fn read([total, slot]: [u8; 2], mut body: Reader<'_>) -> Result<Self, SpdmError> {
        if total != 0 {
            return Err(body.bad(Why::Reserved));
        }
        // Bits 4 and 5 tell whether measurements changed since the last start; all others must be zero.
        if slot & !0x30 != 0 {
            return Err(body.bad(Why::Value("SlotID")));
        }
        let (count, length) = (body.u8()?, body.u24()?);
        let record = body.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let blocks = measurement::decode(record)?;
        if blocks.len() != usize::from(count) {
            return Err(body.bad(Why::Value("NumberOfBlocks")));
        }
        let nonce = body.array()?;
        if body.u16()? != 0 {
            return Err(body.bad(Why::Value("OpaqueDataLength")));
        }
        let signature = body.array()?;
        body.end()?;
        Ok(Self { blocks, nonce, signature })
    }
}
