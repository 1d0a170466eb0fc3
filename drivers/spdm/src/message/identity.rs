//! DIGESTS, CERTIFICATE and CHALLENGE_AUTH: who the chip is.

use super::{Request, Response, SIGNATURE, begin, code, no_parameters, sealed};
use crate::error::{SpdmError, Why};
use crate::wire::Reader;

/// `MeasurementSummaryHashType`: of all measurements.
const ALL_MEASUREMENTS: u8 = 0xFF;

pub(super) fn write_get_certificate(offset: u16, length: u16) -> Vec<u8> {
    let mut message = begin(code::GET_CERTIFICATE, 0, 0);
    message.extend_from_slice(&offset.to_le_bytes());
    message.extend_from_slice(&length.to_le_bytes());
    message
}

pub(super) fn read_get_certificate(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Request, SpdmError> {
    no_parameters(parameters, &body)?;
    let (offset, length) = (body.u16()?, body.u16()?);
    if length == 0 {
        return Err(body.bad(Why::Value("Length")));
    }
    body.end()?;
    Ok(Request::GetCertificate { offset, length })
}

pub(super) fn read_digests([param1, slots]: [u8; 2], mut body: Reader<'_>) -> Result<Response, SpdmError> {
    if param1 != 0 {
        return Err(body.bad(Why::Reserved));
    }
    if slots != 1 {
        return Err(body.bad(Why::Value("SlotMask")));
    }
    let digest = body.array()?;
    body.end()?;
    Ok(Response::Digests(digest))
}

pub(super) fn write_certificate(portion: &[u8], remainder: u16) -> Result<Vec<u8>, SpdmError> {
    let what = code::name(code::CERTIFICATE);
    let length =
        u16::try_from(portion.len()).map_err(|_| SpdmError::TooLong { what, limit: u16::MAX.into() })?;
    let mut message = begin(code::CERTIFICATE, 0, 0);
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&remainder.to_le_bytes());
    message.extend_from_slice(portion);
    Ok(message)
}

pub(super) fn read_certificate(parameters: [u8; 2], mut body: Reader<'_>) -> Result<Response, SpdmError> {
    no_parameters(parameters, &body)?;
    let (length, remainder) = (body.u16()?, body.u16()?);
    if length == 0 {
        return Err(body.bad(Why::Value("PortionLength")));
    }
    let portion = body.take(length.into())?.to_vec();
    body.end()?;
    Ok(Response::Certificate { portion, remainder })
}

pub(super) fn write_challenge(nonce: &[u8; 32]) -> Vec<u8> {
    let mut message = begin(code::CHALLENGE, 0, ALL_MEASUREMENTS);
    message.extend_from_slice(nonce);
    message
}

pub(super) fn read_challenge([slot, hash]: [u8; 2], mut body: Reader<'_>) -> Result<Request, SpdmError> {
    if slot != 0 {
        return Err(body.bad(Why::Value("SlotID")));
    }
    if hash != ALL_MEASUREMENTS {
        return Err(body.bad(Why::Value("MeasurementSummaryHashType")));
    }
    let nonce = body.array()?;
    body.end()?;
    Ok(Request::Challenge { nonce })
}

/// Body of CHALLENGE_AUTH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeAuth {
    /// SHA-256 of the certificate blob.
    pub chain_hash: [u8; 32],
    /// Of the responder.
    pub nonce: [u8; 32],
    /// SHA-256 of all measurement blocks.
    pub summary: [u8; 32],
    /// Over M1.
    pub signature: [u8; SIGNATURE],
}

impl ChallengeAuth {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut message = begin(code::CHALLENGE_AUTH, 0, 1);
        for field in [self.chain_hash, self.nonce, self.summary] {
            message.extend_from_slice(&field);
        }
        // No opaque data.
        message.extend_from_slice(&[0, 0]);
        sealed(message, &self.signature)
    }

    pub(super) fn read([slot, slots]: [u8; 2], mut body: Reader<'_>) -> Result<Self, SpdmError> {
        if slot != 0 {
            // Also where mutual authentication is asked for.
            return Err(body.bad(Why::Value("SlotID")));
        }
        if slots != 1 {
            return Err(body.bad(Why::Value("SlotMask")));
        }
        let (chain_hash, nonce, summary) = (body.array()?, body.array()?, body.array()?);
        if body.u16()? != 0 {
            return Err(body.bad(Why::Value("OpaqueDataLength")));
        }
        let signature = body.array()?;
        body.end()?;
        Ok(Self { chain_hash, nonce, summary, signature })
    }
}
