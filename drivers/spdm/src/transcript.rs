//! Exchanges that are over, judged by somebody who did not take part: the raw messages, one entry each.
//!
//! Whoever carried them is not trusted. Parsing checks that they are the messages of the profile in its order and fit
//! each other; `verify` then that the chip's key signed exactly them. Whose key that is, and whether the nonce and the
//! measurements are the right ones, is for the caller to judge. Pure.

use crate::chain::{Assembly, Chain};
use crate::error::SpdmError;
use crate::measurement::{self, Block};
use crate::message::{Measured, Offer, Request, Response, SIGNATURE, has_1_2, split_signature};
use crate::signature::{Context, sha256};

/// Messages that begin a connection (VCA).
pub const VCA: usize = 6;
/// Messages of an authentication at most: the longest blob in portions of 256 bytes.
const MAX_MESSAGES: usize = VCA + 2 + 2 * crate::chain::MAX_BLOB / 256 + 2;

/// M1: who is it?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Of the requester: the binding to a challenge.
    pub nonce: [u8; 32],
    /// SHA-256 of the root certificate, as the device says.
    pub root_hash: [u8; 32],
    /// Chip certificate first, then what leads to its root; DER.
    pub certificates: Vec<Vec<u8>>,
    /// SHA-256 of the measurement record: [`Measurements::summary`] must equal it.
    pub summary: [u8; 32],
    input: Vec<u8>,
    signature: [u8; SIGNATURE],
}

impl Authentication {
    /// Reads `biotrust_model::evidence::SpdmProof::authentication`.
    ///
    /// # Errors
    /// What does not hold, by message.
    pub fn parse(messages: &[Vec<u8>]) -> Result<Self, SpdmError> {
        if messages.len() > MAX_MESSAGES {
            return Err(SpdmError::TooLong { what: "exchange", limit: MAX_MESSAGES });
        }
        let mut exchange = Exchange::new(messages);
        exchange.connection()?;
        let digest = exchange.digests()?;
        let blob = exchange.certificates()?;
        let digest_of_blob = sha256(&[&blob]);
        if digest != digest_of_blob {
            return Err(SpdmError::Mismatch { what: "DIGESTS", field: "Digest" });
        }
        let Request::Challenge { nonce } = exchange.request("CHALLENGE")? else {
            return Err(exchange.out_of_place("CHALLENGE"));
        };
        let Response::ChallengeAuth(auth) = exchange.response("CHALLENGE_AUTH")? else {
            return Err(exchange.out_of_place("CHALLENGE_AUTH"));
        };
        exchange.end()?;
        if auth.chain_hash != digest_of_blob {
            return Err(SpdmError::Mismatch { what: "CHALLENGE_AUTH", field: "CertChainHash" });
        }
        let Chain { root_hash, certificates } = Chain::decode(&blob)?;
        let input = signed_part(Context::ChallengeAuth, &[messages]);
        Ok(Self { nonce, root_hash, certificates, summary: auth.summary, input, signature: auth.signature })
    }

    /// Whether the key `spki` (SubjectPublicKeyInfo in DER) signed this exchange. Take it from the chip certificate.
    ///
    /// # Errors
    /// [`SpdmError::Signature`].
    pub fn verify(&self, spki: &[u8]) -> Result<(), SpdmError> {
        Context::ChallengeAuth.verify(spki, &self.input, &self.signature)
    }
}

/// L1: what runs in it?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurements {
    /// Of the requester: the binding to a challenge.
    pub nonce: [u8; 32],
    /// Indices ascend; one block of each.
    pub blocks: Vec<Block>,
    /// SHA-256 of the record: equals [`Authentication::summary`] when nothing changed in between.
    pub summary: [u8; 32],
    input: Vec<u8>,
    signature: [u8; SIGNATURE],
}

impl Measurements {
    /// Reads `biotrust_model::evidence::SpdmProof::measurements`. `connection` are the messages of the authentication in
    /// the same proof, of which the first six count.
    ///
    /// # Errors
    /// What does not hold, by message.
    pub fn parse(connection: &[Vec<u8>], messages: &[Vec<u8>]) -> Result<Self, SpdmError> {
        let vca = connection.get(..VCA).unwrap_or(connection);
        let mut before = Exchange::new(vca);
        before.connection()?;
        before.end()?;
        let mut exchange = Exchange::new(messages);
        let Request::GetMeasurements { nonce } = exchange.request("GET_MEASUREMENTS")? else {
            return Err(exchange.out_of_place("GET_MEASUREMENTS"));
        };
        let Response::Measurements(measured) = exchange.response("MEASUREMENTS")? else {
            return Err(exchange.out_of_place("MEASUREMENTS"));
        };
        exchange.end()?;
        let Measured { blocks, signature, .. } = *measured;
        // There is one way to write blocks, so this is the record as it was sent.
        let summary = sha256(&[&measurement::encode(&blocks)?]);
        let input = signed_part(Context::Measurements, &[vca, messages]);
        Ok(Self { nonce, blocks, summary, input, signature })
    }

    /// The block with this index.
    #[must_use]
    pub fn block(&self, index: u8) -> Option<&Block> {
        self.blocks.iter().find(|block| block.index == index)
    }

    /// Whether the key `spki` (SubjectPublicKeyInfo in DER) signed these.
    ///
    /// # Errors
    /// [`SpdmError::Signature`].
    pub fn verify(&self, spki: &[u8]) -> Result<(), SpdmError> {
        Context::Measurements.verify(spki, &self.input, &self.signature)
    }
}

/// What is signed of `groups` of messages, the last of which ends with the signature.
pub(crate) fn signed_part(context: Context, groups: &[&[Vec<u8>]]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = groups.iter().copied().flatten().map(Vec::as_slice).collect();
    if let Some(last) = parts.last_mut() {
        *last = split_signature(last).map_or(*last, |(message, _)| message);
    }
    context.input(&parts)
}

/// Messages in order.
struct Exchange<'m> {
    messages: &'m [Vec<u8>],
    at: usize,
}

impl<'m> Exchange<'m> {
    const fn new(messages: &'m [Vec<u8>]) -> Self {
        Self { messages, at: 0 }
    }

    fn next(&mut self, expected: &'static str) -> Result<&'m [u8], SpdmError> {
        let message = self.messages.get(self.at).ok_or(SpdmError::Sequence { at: self.at, expected })?;
        self.at += 1;
        Ok(message)
    }

    fn request(&mut self, expected: &'static str) -> Result<Request, SpdmError> {
        Request::decode(self.next(expected)?)
    }

    fn response(&mut self, expected: &'static str) -> Result<Response, SpdmError> {
        Response::decode(self.next(expected)?)
    }

    /// The message that was just read is not the expected one.
    const fn out_of_place(&self, expected: &'static str) -> SpdmError {
        SpdmError::Sequence { at: self.at.saturating_sub(1), expected }
    }

    fn end(&self) -> Result<(), SpdmError> {
        if self.at == self.messages.len() {
            return Ok(());
        }
        Err(SpdmError::Sequence { at: self.at, expected: "the end" })
    }

    /// GET_VERSION to ALGORITHMS.
    fn connection(&mut self) -> Result<(), SpdmError> {
        let Request::GetVersion = self.request("GET_VERSION")? else {
            return Err(self.out_of_place("GET_VERSION"));
        };
        let Response::Version(versions) = self.response("VERSION")? else {
            return Err(self.out_of_place("VERSION"));
        };
        if !has_1_2(&versions) {
            return Err(SpdmError::Downgrade("it does not speak SPDM 1.2"));
        }
        let Request::GetCapabilities(_) = self.request("GET_CAPABILITIES")? else {
            return Err(self.out_of_place("GET_CAPABILITIES"));
        };
        let Response::Capabilities(capabilities) = self.response("CAPABILITIES")? else {
            return Err(self.out_of_place("CAPABILITIES"));
        };
        capabilities.check()?;
        let Request::NegotiateAlgorithms(offer) = self.request("NEGOTIATE_ALGORITHMS")? else {
            return Err(self.out_of_place("NEGOTIATE_ALGORITHMS"));
        };
        if offer != Offer::SUITE {
            return Err(SpdmError::Downgrade("other algorithms were offered than RSASSA-2048 with SHA-256"));
        }
        let Response::Algorithms(selection) = self.response("ALGORITHMS")? else {
            return Err(self.out_of_place("ALGORITHMS"));
        };
        selection.check()
    }

    fn digests(&mut self) -> Result<[u8; 32], SpdmError> {
        let Request::GetDigests = self.request("GET_DIGESTS")? else {
            return Err(self.out_of_place("GET_DIGESTS"));
        };
        let Response::Digests(digest) = self.response("DIGESTS")? else {
            return Err(self.out_of_place("DIGESTS"));
        };
        Ok(digest)
    }

    /// GET_CERTIFICATE and CERTIFICATE until the blob is complete.
    fn certificates(&mut self) -> Result<Vec<u8>, SpdmError> {
        let mut assembly = Assembly::default();
        loop {
            let Request::GetCertificate { offset, length } = self.request("GET_CERTIFICATE")? else {
                return Err(self.out_of_place("GET_CERTIFICATE"));
            };
            let Response::Certificate { portion, remainder } = self.response("CERTIFICATE")? else {
                return Err(self.out_of_place("CERTIFICATE"));
            };
            if offset != assembly.offset() {
                return Err(SpdmError::Mismatch { what: "GET_CERTIFICATE", field: "Offset" });
            }
            if portion.len() > usize::from(length) {
                return Err(SpdmError::Mismatch { what: "CERTIFICATE", field: "PortionLength" });
            }
            if assembly.push(&portion, remainder)? {
                return Ok(assembly.into_blob());
            }
        }
    }
}

#[cfg(test)]
mod tests;
