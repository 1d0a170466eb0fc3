//! VENDOR_DEFINED, which carries the commands, and CSR.

use super::{Request, Response, begin, code, no_parameters};
use crate::error::{SpdmError, Why};
use crate::wire::Reader;

/// Longest payload of a command or its answer in bytes.
pub const MAX_PAYLOAD: usize = u16::MAX as usize;
/// Longest certificate request in bytes.
const MAX_CSR: usize = 8 * 1024;

/// `StandardID` of IANA's private enterprise numbers.
const IANA: u16 = 4;
/// IANA's number for documentation (RFC 5612), as in the link protocol.
const ENTERPRISE_NUMBER: u32 = 32473;

pub(super) fn write(mut message: Vec<u8>, payload: &[u8]) -> Result<Vec<u8>, SpdmError> {
    let length = u16::try_from(payload.len())
        .map_err(|_| SpdmError::TooLong { what: "payload of a command", limit: MAX_PAYLOAD })?;
    message.extend_from_slice(&IANA.to_le_bytes());
    message.push(4);
    message.extend_from_slice(&ENTERPRISE_NUMBER.to_le_bytes());
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(payload);
    Ok(message)
}

pub(super) fn read(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Vec<u8>, SpdmError> {
    no_parameters(parameters, &body)?;
    if body.u16()? != IANA {
        return Err(body.bad(Why::Value("StandardID")));
    }
    body.constant("VendorIDLength", 4)?;
    if body.u32()? != ENTERPRISE_NUMBER {
        return Err(body.bad(Why::Value("VendorID")));
    }
    let length = body.u16()?;
    let payload = body.take(length.into())?.to_vec();
    body.end()?;
    Ok(payload)
}

/// GET_CSR without requester info and opaque data: the subject was given with the key.
pub(super) fn write_get_csr() -> Vec<u8> {
    let mut message = begin(code::GET_CSR, 0, 0);
    message.extend_from_slice(&[0; 4]);
    message
}

pub(super) fn read_get_csr(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Request, SpdmError> {
    no_parameters(parameters, &body)?;
    for field in ["RequesterInfoLength", "OpaqueDataLength"] {
        if body.u16()? != 0 {
            return Err(body.bad(Why::Value(field)));
        }
    }
    body.end()?;
    Ok(Request::GetCsr)
}

pub(super) fn write_csr(csr: &[u8]) -> Result<Vec<u8>, SpdmError> {
    let length = u16::try_from(csr.len()).ok().filter(|length| usize::from(*length) <= MAX_CSR);
    let length = length.ok_or(SpdmError::TooLong { what: code::name(code::CSR), limit: MAX_CSR })?;
    let mut message = begin(code::CSR, 0, 0);
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(csr);
    Ok(message)
}

pub(super) fn read_csr(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Response, SpdmError> {
    no_parameters(parameters, &body)?;
    let length = usize::from(body.u16()?);
    if length == 0 || length > MAX_CSR {
        return Err(body.bad(Why::Value("CSRLength")));
    }
    body.reserved(2)?;
    let csr = body.take(length)?.to_vec();
    body.end()?;
    Ok(Response::Csr(csr))
}
