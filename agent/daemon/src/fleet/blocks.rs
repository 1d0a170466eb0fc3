//! The signed blocks of an answer: made by this host at L0, verified at L1.
//!
//! Blocking; runs on the capture lane. Clear biometrics of an L0 capture live here for the time of one answer; an L1
//! authentication is never in the clear on this host.

use biotrust_certs::Certificate;
use biotrust_driver_api::{CaptureJob, CapturedImage, FtmError, SignedBlock};
use biotrust_model::time::UtcMillis;
use biotrust_model::{BioSubType, DeviceSubType, Modality, Problem, ProblemKind, Purpose, Score, Secret};
use biotrust_sbi::answer::{BioValue, CaptureWriter, DataPayload, Use};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::iso::{CaptureDevice, Details, FaceImage, FingerImage, Impression, IrisImage, Quality};
use biotrust_sbi::request::CaptureRequest;
use biotrust_sbi::session::{self, Encrypted};
use biotrust_sbi::{hash_chain, jws};
use biotrust_trust::block::{Block, ExpectedCapture, Kind, verify_capture};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::Inner;
use super::ftm::Urgency;
use super::keys::Keys;
use super::settings::EncryptionTarget;
use super::unit::Session;

/// A finished answer.
pub(super) struct Answer {
    /// Its body.
    pub(super) body: Bytes,
    /// The average score of its parts.
    pub(super) average: Score,
}

impl Answer {
    fn new(blocks: CaptureWriter, scores: impl ExactSizeIterator<Item = Score>) -> Self {
        let count = scores.len().max(1) as f32;
        let average = Score::clamped(scores.map(Score::value).sum::<f32>() / count);
        Self { body: Bytes::from(blocks.finish()), average }
    }
}

/// A block whose signature is being made.
struct Signing {
    data: Signature,
    /// Of the text that is being signed.
    length: usize,
    hash: [u8; 32],
    encrypted: Option<Encrypted>,
}

/// L0: builds the records, hashes, encrypts for an authentication, and has everything signed with the host's device key.
///
/// The FTM thread signs one block while this thread prepares the next.
///
/// # Errors
/// The problem to tell the client.
pub(super) fn by_host(
    inner: &Inner,
    session: &Session,
    keys: &Keys,
    request: &CaptureRequest,
    job: &CaptureJob,
    images: &[CapturedImage],
) -> Result<Answer, Problem> {
    as_asked(session, job, images)?;
    let certificate = keys.l0()?.certificate();
    let x5c = [certificate.der()];
    let identity = &session.description.identity;
    let digital_id = DigitalId::at(identity.clone(), inner.clock.now()).prepare(&x5c);
    let signature = Signature::begin(inner, session, certificate, digital_id);
    let records: Vec<Secret> =
        images.iter().map(|image| record(session, request.purpose, image)).collect::<Result<_, _>>()?;
    let digital_id = signature.finish(session)?;

    let mut previous = request.bio.previous_hash;
    let mut timestamp = UtcMillis(i64::MIN);
    let mut signing = Vec::with_capacity(images.len());
    for (image, record) in images.iter().zip(&records) {
        previous = hash_chain::next(&previous, record.expose());
        // back ends refuse times that run backwards from one block to the next
        timestamp = timestamp.max(image.captured_at);
        let encrypted = match request.purpose {
            Purpose::Registration => None,
            Purpose::Auth => {
                let target = keys.target(&request.domain_uri, inner.clock.now())?;
                Some(encrypt(session, target, request, timestamp, record)?)
            }
        };
        let bio_value = match &encrypted {
            Some(encrypted) => BioValue::Text(&encrypted.bio_value),
            None => BioValue::Record(record.expose()),
        };
        let payload = DataPayload {
            digital_id: &digital_id,
            device_code: &identity.serial_no,
            service_version: crate::catalog::SERVICE_VERSION,
            modality: identity.modality,
            bio_sub_type: image.part,
            for_use: match request.purpose {
                Purpose::Registration => Use::Registration,
                Purpose::Auth => Use::Auth { domain_uri: &request.domain_uri },
            },
            env: request.env,
            bio_value,
            transaction_id: &request.transaction_id,
            timestamp,
            requested_score: &request.bio.requested_score_text,
            quality_score: image.score,
        };
        let unsigned = payload.prepare(&x5c);
        let length = unsigned.signing_input().len();
        let data = Signature::begin(inner, session, certificate, unsigned);
        signing.push(Signing { data, length, hash: previous, encrypted });
    }

    let mut writer = CaptureWriter::with_room_for(signing.iter().map(|block| block.length + 1024).sum());
    for block in signing {
        let data = block.data.finish(session)?;
        match &block.encrypted {
            None => writer.registration(&data, &block.hash),
            Some(encrypted) => writer.auth(&data, &block.hash, &encrypted.session_key, &encrypted.thumbprint),
        }
    }
    Ok(Answer::new(writer, images.iter().map(|image| image.score)))
}

/// The device must deliver what it was asked for: no other part, no excepted one, none twice.
fn as_asked(session: &Session, job: &CaptureJob, images: &[CapturedImage]) -> Result<(), Problem> {
    let asked = asked(job);
    let excepted = |part: BioSubType| job.exceptions.contains(&part);
    let right = images.len() == asked.len()
        && images
            .iter()
            .zip(&asked)
            .all(|(image, part)| image.part == *part && !image.part.is_some_and(excepted));
    if right {
        return Ok(());
    }
    tracing::error!(device = %session.id, "the device delivered other parts than it was asked for");
    Err(Problem::about(ProblemKind::DeviceRefused, "it delivered other parts than it was asked for"))
}

/// The parts of the answer; `None` is a face.
fn asked(job: &CaptureJob) -> Vec<Option<BioSubType>> {
    match job.parts.as_slice() {
        [] => vec![None],
        parts => parts.iter().copied().map(Some).collect(),
    }
}

fn encrypt(
    session: &Session,
    target: &EncryptionTarget,
    request: &CaptureRequest,
    captured_at: UtcMillis,
    record: &Secret,
) -> Result<Encrypted, Problem> {
    session::encrypt(record.expose(), &captured_at.to_wire(), &request.transaction_id, &target.certificate)
        .map_err(|error| internal(session, &error))
}

/// L1: verifies what the device delivered, block by block, and passes it on as it is.
///
/// # Errors
/// `DeviceRefused` when anything is not as it was asked for; nothing of the capture is passed on then.
pub(super) fn by_device(
    inner: &Inner,
    keys: &Keys,
    request: &CaptureRequest,
    job: &CaptureJob,
    blocks: &[SignedBlock],
) -> Result<Answer, Problem> {
    let refused = |why: &dyn std::fmt::Display| Problem::about(ProblemKind::DeviceRefused, why.to_string());
    let kind = match request.purpose {
        Purpose::Registration => Kind::Registration {
            previous_hash: request.bio.previous_hash,
            append_chip: job.append_chip_certificate,
        },
        Purpose::Auth => Kind::Auth {
            domain_uri: &request.domain_uri,
            thumbprint: keys.target(&request.domain_uri, inner.clock.now())?.certificate.thumbprint(),
        },
    };
    let parts = asked(job);
    let expected = ExpectedCapture {
        device: keys.l1()?,
        digital_id_signer: super::keys::signer(job.digital_id_key),
        kind,
        env: request.env,
        transaction_id: &request.transaction_id,
        requested_score: &request.bio.requested_score_text,
        service_version: &job.service_version,
        parts: &parts,
        exceptions: &job.exceptions,
        moment: super::keys::moment(inner),
    };
    let texts: Vec<&str> = blocks
        .iter()
        .map(|block| std::str::from_utf8(block.data.expose()))
        .collect::<Result<_, _>>()
        .map_err(|_| refused(&"a block is no text"))?;
    let delivered: Vec<Block<'_>> = blocks
        .iter()
        .zip(&texts)
        .map(|(block, data)| Block {
            data,
            hash: &block.hash,
            session_key: block.session_key.as_deref(),
            thumbprint: block.thumbprint.as_deref(),
        })
        .collect();
    let verified = verify_capture(&delivered, &expected).map_err(|fault| refused(&fault))?;
    let mut writer = CaptureWriter::with_room_for(texts.iter().map(|text| text.len() + 1024).sum());
    for (block, verified) in delivered.iter().zip(&verified) {
        match (block.session_key, block.thumbprint) {
            (Some(key), Some(thumbprint)) => writer.auth(block.data, &verified.hash, key, thumbprint),
            _ => writer.registration(block.data, &verified.hash),
        }
    }
    Ok(Answer::new(writer, verified.iter().map(|block| block.quality)))
}

/// The ISO record around an image of an L0 device.
fn record(session: &Session, purpose: Purpose, image: &CapturedImage) -> Result<Secret, Problem> {
    let identity = &session.description.identity;
    let details = |technology: u8| Details {
        captured_at: Some(image.captured_at),
        device: CaptureDevice { technology, ..CaptureDevice::default() },
        quality: vec![Quality::estimated(image.score)],
    };
    let touchless = identity.device_sub_type == DeviceSubType::Touchless;
    let bytes = image.image.expose();
    let encoded = match (identity.modality, image.part) {
        (Modality::Finger, Some(position)) => FingerImage {
            purpose,
            position,
            impression: if touchless { Impression::Contactless } else { Impression::Plain },
            dpi: image.dpi,
            details: details(if touchless { TOUCHLESS } else { OPTICAL }),
            image: bytes,
        }
        .encode(),
        (Modality::Iris, Some(eye)) => {
            IrisImage { purpose, eye, details: details(CAMERA), range: 0, image: bytes }.encode()
        }
        (Modality::Face, _) => FaceImage { purpose, details: details(VIDEO_FRAME), image: bytes }.encode(),
        (_, None) => return Err(ProblemKind::ExtractionFailed.into()),
    };
    encoded.map(Secret::new).map_err(|violation| {
        tracing::warn!(device = %session.id, %violation, "the image of the device cannot be used");
        Problem::from(ProblemKind::ExtractionFailed)
    })
}

/// Technology codes of ISO 19794-4 table 4: white light TIR and touchless imaging.
const OPTICAL: u8 = 1;
const TOUCHLESS: u8 = 3;
/// ISO 19794-6: CMOS or CCD.
const CAMERA: u8 = 1;
/// ISO 19794-5: a frame of a digital video camera.
const VIDEO_FRAME: u8 = 6;

/// A block that the host's FTM is signing.
struct Signature(oneshot::Receiver<Result<(jws::Unsigned, Vec<u8>), FtmError>>);

impl Signature {
    fn begin(inner: &Inner, session: &Session, certificate: &Certificate, unsigned: jws::Unsigned) -> Self {
        let key = certificate.spki_der();
        Self(inner.ftm.sign(Urgency::Interactive, session.id.as_str(), key, unsigned))
    }

    /// The signed block.
    fn finish(self, session: &Session) -> Result<String, Problem> {
        match self.0.blocking_recv() {
            Ok(Ok((unsigned, signature))) => Ok(unsigned.attach(&signature)),
            Ok(Err(FtmError::NoKey(_))) => {
                Err(Problem::about(ProblemKind::NotReady, "its key was just changed"))
            }
            Ok(Err(error)) => Err(internal(session, &error)),
            Err(_) => Err(Problem::about(ProblemKind::NotReady, "the host's FTM does not answer")),
        }
    }
}

fn internal(session: &Session, error: &dyn std::error::Error) -> Problem {
    tracing::error!(device = %session.id, %error, "capture cannot be signed");
    ProblemKind::Internal.into()
}
