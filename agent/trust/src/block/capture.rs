//! The blocks of a capture.

use biotrust_certs::Certificate;
use biotrust_model::{BioSubType, Env, Modality, Purpose, Score, Secret, time::UtcMillis};
use biotrust_sbi::iso::{self, Violation};
use biotrust_sbi::{base64url, hash_chain};

use super::payload::{Payload, cuts_cleanly};
use super::{DigitalIdFault, DigitalIdSigner, Member, Moment, SignedFault, Signers, TimeFault, signed};
use crate::AppraisedL1;

/// Bytes of a wrapped session key: the back end unwraps with RSA-2048 only.
const SESSION_KEY_BYTES: usize = 256;

/// Bytes of the GCM tag: an encrypted record has more.
const TAG_BYTES: usize = 16;

/// How a record in the clear begins (finger, iris, face).
const CLEAR_RECORDS: [&[u8]; 3] = [b"FIR\0", b"IIR\0", b"FAC\0"];

/// One block as the device delivered it.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Compact JWS of the data payload. Registration: holds a biometric in the clear.
    pub data: &'a str,
    /// Hash of the chain after this block, as text.
    pub hash: &'a str,
    /// Wrapped session key, base64url; authentication only.
    pub session_key: Option<&'a str>,
    /// Thumbprint of the encryption certificate; authentication only.
    pub thumbprint: Option<&'a str>,
}

/// What the capture is for, and what only that use has.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// RCAPTURE: records in the clear, which are looked at.
    Registration {
        /// Where the hash chain starts.
        previous_hash: [u8; 32],
        /// Whether the certificate of a digital ID that the chip signs is repeated, second, in the header of each block
        /// (the registration processor's rule).
        append_chip: bool,
    },
    /// CAPTURE: records that the device has encrypted, which nobody on this host can look at.
    Auth {
        /// As in the request.
        domain_uri: &'a str,
        /// SHA-256 of the certificate that was encrypted for, 64 upper-case hexadecimal characters.
        thumbprint: &'a str,
    },
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedCapture<'a> {
    /// The device.
    pub device: &'a AppraisedL1,
    /// Who signs the digital IDs of a registration. For an authentication it is always the chip.
    pub digital_id_signer: DigitalIdSigner,
    /// Registration or authentication.
    pub kind: Kind<'a>,
    /// Environment of the request.
    pub env: Env,
    /// Transaction id of the request.
    pub transaction_id: &'a str,
    /// Requested score, as text.
    pub requested_score: &'a str,
    /// Version of this service.
    pub service_version: &'a str,
    /// Parts in the order of the answer ([`biotrust_sbi::plan::Plan::parts`]); `None` is a face.
    pub parts: &'a [Option<BioSubType>],
    /// Parts that must not be captured.
    pub exceptions: &'a [BioSubType],
    /// When.
    pub moment: Moment,
}

/// What is wrong with one block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// Its JWS.
    #[error("{0}")]
    Signed(#[from] SignedFault),
    /// Its members.
    #[error("has an unreadable payload: {0}")]
    Payload(String),
    /// Its digital ID.
    #[error("has a digital ID that {0}")]
    DigitalId(#[from] DigitalIdFault),
    /// A member that does not repeat what was asked for.
    #[error("does not repeat {0} as it was asked for")]
    Mismatch(Member),
    /// Another part than was asked for, or one of a face.
    #[error("holds another part than was asked for")]
    Part,
    /// A part that must not be captured.
    #[error("holds a part that is an exception")]
    Excepted,
    /// A part that an earlier block has.
    #[error("holds a part that an earlier block holds")]
    Repeated,
    /// Its timestamp.
    #[error("has a timestamp that {0}")]
    Time(#[from] TimeFault),
    /// Its timestamp or the dateTime of its digital ID lies before the one of the block before it.
    #[error("is older than the block before it")]
    TimeOrder,
    /// No number, or out of range.
    #[error("has a qualityScore that is not a number from 0 to 100")]
    Quality,
    /// Not unpadded base64url, or nothing.
    #[error("has a bioValue that is not unpadded base64url")]
    BioValue,
    /// The registration packet could not be put together again.
    #[error("has a payload from which bioValue cannot be cut out and put back")]
    BioValueCut,
    /// Its record breaks a rule of ISO 19794 or of the back ends.
    #[error("has a bad record: {0}")]
    Record(Violation),
    /// Its record is one of another part than the block says.
    #[error("has a record of another part than it says")]
    RecordPart,
    /// Not 64 upper-case hexadecimal characters.
    #[error("has a hash that is not 64 upper-case hexadecimal characters")]
    HashForm,
    /// Not the next link of the chain.
    #[error("has a hash that does not continue the chain")]
    Hash,
    /// A registration block with members of an authentication.
    #[error("has a session key or thumbprint, which a registration must not have")]
    Sealed,
    /// None, or not one of RSA-2048.
    #[error("has no session key of {SESSION_KEY_BYTES} bytes")]
    SessionKey,
    /// The session key of an earlier block.
    #[error("has the session key of an earlier block")]
    SessionKeyRepeated,
    /// None, or of another encryption certificate.
    #[error("is not encrypted for the installed certificate")]
    Thumbprint,
    /// In the clear, or too short for what it should be.
    #[error("is not encrypted")]
    NotEncrypted,
}

/// Why a capture cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureFault {
    /// Too few or too many.
    #[error("the device delivered {found} blocks where {expected} were asked for")]
    Count {
        /// How many were asked for.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// One of them.
    #[error("block {position} {fault}")]
    Block {
        /// Which, counted from 1.
        position: usize,
        /// What is wrong with it.
        fault: BlockFault,
    },
}

/// What has been verified of one block and is needed to pass it on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verified {
    /// Its link of the hash chain.
    pub hash: [u8; 32],
    /// The score that it claims.
    pub quality: Score,
}

/// Verifies the blocks of one capture, in the order of the answer.
///
/// Costs two RSA verifications a block and, for a registration, one pass over the record.
///
/// # Errors
/// The first thing that is not as expected. Nothing of a payload is quoted.
pub fn verify_capture(
    blocks: &[Block<'_>],
    expected: &ExpectedCapture<'_>,
) -> Result<Vec<Verified>, CaptureFault> {
    if blocks.len() != expected.parts.len() {
        return Err(CaptureFault::Count { expected: expected.parts.len(), found: blocks.len() });
    }
    let mut run = Run::new(expected);
    let each = blocks.iter().zip(expected.parts).enumerate();
    each.map(|(index, (block, part))| {
        run.check(block, *part).map_err(|fault| CaptureFault::Block { position: index + 1, fault })
    })
    .collect()
}

/// A capture, as far as it has been verified.
struct Run<'a, 'b> {
    expected: &'a ExpectedCapture<'a>,
    signers: Signers<'a>,
    previous_hash: [u8; 32],
    times: Option<(UtcMillis, UtcMillis)>,
    parts: Vec<BioSubType>,
    session_keys: Vec<&'b str>,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(expected: &'a ExpectedCapture<'a>) -> Self {
        let (previous_hash, digital_id) = match expected.kind {
            Kind::Registration { previous_hash, .. } => (previous_hash, expected.digital_id_signer),
            Kind::Auth { .. } => (hash_chain::EMPTY, DigitalIdSigner::Chip),
        };
        Self {
            expected,
            signers: Signers { device: expected.device, digital_id, moment: expected.moment },
            previous_hash,
            times: None,
            parts: Vec::new(),
            session_keys: Vec::new(),
        }
    }

    fn check(&mut self, block: &Block<'b>, part: Option<BioSubType>) -> Result<Verified, BlockFault> {
        self.signers.in_force()?;
        let parsed = signed::open(block.data, &self.certificates())?;
        let json = Secret::new(parsed.payload);
        let payload = Payload::read(json.expose(), self.purpose()).map_err(BlockFault::Payload)?;
        self.echoes(&payload)?;
        let held = self.part(payload.bio_sub_type.as_deref(), part)?;
        self.times(&payload)?;
        let quality = quality(&payload.quality_score).ok_or(BlockFault::Quality)?;
        let value = base64url::decode(&payload.bio_value).filter(|bytes| !bytes.is_empty());
        let value = Secret::new(value.ok_or(BlockFault::BioValue)?);
        let hash = read_hash(block.hash).ok_or(BlockFault::HashForm)?;
        match self.expected.kind {
            Kind::Registration { .. } => {
                if !cuts_cleanly(json.expose(), &payload.bio_value) {
                    return Err(BlockFault::BioValueCut);
                }
                self.registration(block, value.expose(), held, hash)?;
            }
            Kind::Auth { thumbprint, .. } => self.authentication(block, value.expose(), thumbprint)?,
        }
        Ok(Verified { hash, quality })
    }

    /// What the header of a block lists.
    fn certificates(&self) -> Vec<&'a Certificate> {
        let device = self.expected.device;
        match (self.expected.kind, self.signers.digital_id) {
            (Kind::Registration { append_chip: true, .. }, DigitalIdSigner::Chip) => {
                vec![device.certificate(), device.chip()]
            }
            _ => vec![device.certificate()],
        }
    }

    const fn purpose(&self) -> Purpose {
        match self.expected.kind {
            Kind::Registration { .. } => Purpose::Registration,
            Kind::Auth { .. } => Purpose::Auth,
        }
    }

    /// What must come back as it was sent.
    fn echoes(&self, payload: &Payload<'_>) -> Result<(), BlockFault> {
        let expected = self.expected;
        let identity = expected.device.identity();
        let domain_uri = match expected.kind {
            Kind::Registration { .. } => None,
            Kind::Auth { domain_uri, .. } => Some(domain_uri),
        };
        let members = [
            (Member::TransactionId, payload.transaction_id == expected.transaction_id),
            (Member::Purpose, payload.purpose == self.purpose().as_str()),
            (Member::Env, payload.env == expected.env.as_str()),
            (Member::DomainUri, payload.domain_uri.as_deref() == domain_uri),
            (Member::BioType, payload.bio_type == identity.modality.as_str()),
            (Member::DeviceCode, payload.device_code == identity.serial_no.as_str()),
            (Member::DeviceServiceVersion, payload.device_service_version == expected.service_version),
            (Member::RequestedScore, payload.requested_score == expected.requested_score),
        ];
        match members.into_iter().find(|(_, same)| !same) {
            Some((member, _)) => Err(BlockFault::Mismatch(member)),
            None => Ok(()),
        }
    }

    /// The part that the block holds: the one asked for, or any of the modality where any was asked for.
    fn part(
        &mut self,
        text: Option<&str>,
        asked: Option<BioSubType>,
    ) -> Result<Option<BioSubType>, BlockFault> {
        let held = text.map(str::parse::<BioSubType>).transpose().map_err(|_| BlockFault::Part)?;
        if held.is_some_and(|part| self.expected.exceptions.contains(&part)) {
            return Err(BlockFault::Excepted);
        }
        let modality = self.expected.device.identity().modality;
        let fits = match (asked, held) {
            (Some(BioSubType::Unknown), Some(part)) => part.modality().is_none_or(|of| of == modality),
            (asked, held) => asked == held && (held.is_none() == (modality == Modality::Face)),
        };
        if !fits {
            return Err(BlockFault::Part);
        }
        if let Some(part) = held.filter(|part| *part != BioSubType::Unknown) {
            if self.parts.contains(&part) {
                return Err(BlockFault::Repeated);
            }
            self.parts.push(part);
        }
        Ok(held)
    }

    /// Timestamp and digital ID; the back end refuses times that run backwards.
    fn times(&mut self, payload: &Payload<'_>) -> Result<(), BlockFault> {
        let timestamp = self.expected.moment.check(&payload.timestamp)?;
        let date_time = self.signers.check_digital_id(&payload.digital_id)?;
        if self.times.is_some_and(|(stamp, date)| timestamp < stamp || date_time < date) {
            return Err(BlockFault::TimeOrder);
        }
        self.times = Some((timestamp, date_time));
        Ok(())
    }

    fn registration(
        &mut self,
        block: &Block<'_>,
        record: &[u8],
        part: Option<BioSubType>,
        hash: [u8; 32],
    ) -> Result<(), BlockFault> {
        if block.session_key.is_some() || block.thumbprint.is_some() {
            return Err(BlockFault::Sealed);
        }
        let modality = self.expected.device.identity().modality;
        let read = iso::validate(record, modality, Purpose::Registration).map_err(BlockFault::Record)?;
        if read.part() != part {
            return Err(BlockFault::RecordPart);
        }
        if hash_chain::next(&self.previous_hash, record) != hash {
            return Err(BlockFault::Hash);
        }
        self.previous_hash = hash;
        Ok(())
    }

    fn authentication(
        &mut self,
        block: &Block<'b>,
        value: &[u8],
        thumbprint: &str,
    ) -> Result<(), BlockFault> {
        if value.len() <= TAG_BYTES || CLEAR_RECORDS.iter().any(|start| value.starts_with(start)) {
            return Err(BlockFault::NotEncrypted);
        }
        let session_key = block.session_key.ok_or(BlockFault::SessionKey)?;
        if base64url::decode(session_key).is_none_or(|wrapped| wrapped.len() != SESSION_KEY_BYTES) {
            return Err(BlockFault::SessionKey);
        }
        if self.session_keys.contains(&session_key) {
            return Err(BlockFault::SessionKeyRepeated);
        }
        self.session_keys.push(session_key);
        if block.thumbprint != Some(thumbprint) {
            return Err(BlockFault::Thumbprint);
        }
        Ok(())
    }
}

/// `[0-9]+(\.[0-9]+)?` in 0 to 100.
pub(super) fn quality(text: &str) -> Option<Score> {
    let digits = |part: &str| !part.is_empty() && part.len() <= 8 && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    text.parse().ok().and_then(Score::new)
}

/// Exactly what the back end's case-sensitive comparison accepts.
fn read_hash(text: &str) -> Option<[u8; 32]> {
    hash_chain::parse_previous(Some(text)).ok().filter(|hash| hash_chain::to_hex(hash) == text)
}
