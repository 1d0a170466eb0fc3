//! The signed blocks of an answer: made by this host at L0, verified at L1.
//!
//! Blocking; runs on the capture lane. Clear biometrics of an L0 capture live here for the time of one answer; an L1
//! authentication is never in the clear on this host.

use biotrust_driver_api::{CaptureJob, CapturedImage, SignedBlock};
use biotrust_model::{DeviceSubType, Modality, Problem, ProblemKind, Purpose, Secret};
use biotrust_sbi::answer::{self, DataPayload, Use};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::iso::{CaptureDevice, Details, FaceImage, FingerImage, Impression, IrisImage, Quality};
use biotrust_sbi::request::CaptureRequest;
use biotrust_sbi::session::{self, Encrypted};
use biotrust_sbi::{hash_chain, jws};
use biotrust_trust::block::{Block, ExpectedCapture, Kind, verify_capture};
use bytes::Bytes;

use super::Inner;
use super::ftm::Urgency;
use super::keys::Keys;
use super::unit::Session;

/// A record that is ready to be signed.
struct Prepared {
    unsigned: jws::Unsigned,
    hash: [u8; 32],
    encrypted: Option<Encrypted>,
}

/// L0: builds the records, hashes, encrypts for an authentication, and signs everything with the host's device key.
///
/// # Errors
/// The problem to tell the client.
pub(super) fn by_host(
    inner: &Inner,
    session: &Session,
    keys: &Keys,
    request: &CaptureRequest,
    images: &[CapturedImage],
) -> Result<Bytes, Problem> {
    let x5c = [keys.l0()?.certificate().der()];
    let identity = &session.description.identity;
    let digital_id = DigitalId::at(identity.clone(), inner.clock.now()).prepare(&x5c);
    let signature = sign(inner, session, vec![digital_id.signing_input().to_vec()])?;
    let digital_id = digital_id.attach(signature.first().ok_or(ProblemKind::Internal)?);

    let mut previous = request.bio.previous_hash;
    let mut prepared = Vec::with_capacity(images.len());
    for image in images {
        let record = record(session, request.purpose, image)?;
        previous = hash_chain::next(&previous, record.expose());
        let timestamp = image.captured_at;
        let encrypted = match request.purpose {
            Purpose::Registration => None,
            Purpose::Auth => {
                let target = inner.trust.encryption.target(&request.domain_uri);
                let certificate = &target.ok_or(ProblemKind::EncryptionKeyMissing)?.certificate;
                let wire = timestamp.to_wire();
                let sealed = session::encrypt(record.expose(), &wire, &request.transaction_id, certificate);
                Some(sealed.map_err(|error| internal(session, &error))?)
            }
        };
        let clear = encrypted.is_none().then(|| biotrust_sbi::base64url::encode(record.expose()));
        let bio_value =
            encrypted.as_ref().map_or_else(|| clear.as_deref().unwrap_or_default(), |e| &e.bio_value);
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
        prepared.push(Prepared {
            unsigned: jws::prepare(&x5c, &payload.to_json()),
            hash: previous,
            encrypted,
        });
    }

    let inputs = prepared.iter().map(|one| one.unsigned.signing_input().to_vec()).collect();
    let signatures = sign(inner, session, inputs)?;
    let entries: Vec<String> = prepared
        .into_iter()
        .zip(&signatures)
        .map(|(one, signature)| {
            let data = one.unsigned.attach(signature);
            match &one.encrypted {
                None => answer::capture_entry_registration(&data, &one.hash),
                Some(encrypted) => answer::capture_entry_auth(&data, &one.hash, encrypted),
            }
        })
        .collect();
    Ok(Bytes::from(answer::capture_answer(&entries)))
}

/// L1: verifies what the device delivered, block by block, and passes it on as it is.
///
/// # Errors
/// `DeviceRefused` when anything is not as it was asked for; nothing of the capture is passed on then.
pub(super) fn by_device(
    inner: &Inner,
    session: &Session,
    keys: &Keys,
    request: &CaptureRequest,
    job: &CaptureJob,
    blocks: &[SignedBlock],
) -> Result<Bytes, Problem> {
    let refused = |why: &dyn std::fmt::Display| {
        tracing::error!(device = %session.id, %why, "the device delivered something else than it was asked for");
        Problem::about(ProblemKind::DeviceRefused, why.to_string())
    };
    let target = inner.trust.encryption.target(&request.domain_uri);
    let kind = match request.purpose {
        Purpose::Registration => Kind::Registration {
            previous_hash: request.bio.previous_hash,
            append_chip: job.append_chip_certificate,
        },
        Purpose::Auth => Kind::Auth {
            domain_uri: &request.domain_uri,
            thumbprint: target.ok_or(ProblemKind::EncryptionKeyMissing)?.certificate.thumbprint(),
        },
    };
    let parts: Vec<_> = match job.parts.as_slice() {
        [] => vec![None],
        parts => parts.iter().copied().map(Some).collect(),
    };
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
    let entries: Vec<String> = delivered
        .iter()
        .zip(&verified)
        .map(|(block, verified)| match (block.session_key, block.thumbprint) {
            (Some(session_key), Some(thumbprint)) => {
                let sealed = Encrypted {
                    bio_value: String::new(), // it is inside `data`
                    session_key: session_key.to_owned(),
                    thumbprint: thumbprint.to_owned(),
                };
                answer::capture_entry_auth(block.data, &verified.hash, &sealed)
            }
            _ => answer::capture_entry_registration(block.data, &verified.hash),
        })
        .collect();
    Ok(Bytes::from(answer::capture_answer(&entries)))
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

fn sign(inner: &Inner, session: &Session, inputs: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Problem> {
    let key = session.id.as_str();
    match inner.ftm.sign(Urgency::Interactive, key, inputs).blocking_recv() {
        Ok(Ok(signatures)) => Ok(signatures),
        Ok(Err(error)) => Err(internal(session, &error)),
        Err(_) => Err(Problem::about(ProblemKind::NotReady, "the host's FTM does not answer")),
    }
}

fn internal(session: &Session, error: &dyn std::error::Error) -> Problem {
    tracing::error!(device = %session.id, %error, "capture cannot be signed");
    ProblemKind::Internal.into()
}
