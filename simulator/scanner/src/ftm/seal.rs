//! From captured images to signed blocks: ISO record, hash chain, encryption for authentication, data JWS.

use std::time::Duration;

use biotrust_driver_api::{CaptureJob, DigitalIdKey, SignedBlock};
use biotrust_model::time::UtcMillis;
use biotrust_model::{BioSubType, DeviceSubType, Modality, Purpose, Score, Secret};
use biotrust_sbi::answer::{BioValue, DataPayload, Use};
use biotrust_sbi::hash_chain;
use biotrust_sbi::iso::{CaptureDevice, Details, FaceImage, FingerImage, Impression, IrisImage, Quality};
use biotrust_sbi::session::{self, Encrypted};

use super::{Certified, Ftm, FtmError, request};

/// One captured image, as the sensor hands it over.
pub(crate) struct Shot<'a> {
    /// Which part was asked for; `None` for a face.
    pub(crate) part: Option<BioSubType>,
    /// JP2 file.
    pub(crate) jp2: &'a [u8],
    /// Pixels per inch; 0 where it has no meaning.
    pub(crate) dpi: u16,
    /// Quality by the device's own measure.
    pub(crate) score: Score,
}

impl Ftm {
    /// Makes the blocks of a capture whose frame is `age` old, in the order of `shots`, with the pair that the capture
    /// began with.
    pub(crate) fn seal(
        &self,
        job: &CaptureJob,
        pair: &Certified,
        shots: &[Shot<'_>],
        age: Duration,
    ) -> Result<Vec<SignedBlock>, FtmError> {
        request::capture(job, self.description.purpose)?;
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let at = UtcMillis(self.time.now().0.saturating_sub(age));
        // The specification leaves no choice for authentication.
        let signer = if job.auth.is_some() { DigitalIdKey::Chip } else { job.digital_id_key };
        let digital_id = self.digital_id_by(pair, signer, at)?;
        let x5c = self.data_certificates(job, pair)?;

        let mut hash = job.previous_hash;
        shots
            .iter()
            .map(|shot| {
                let record = Secret::new(self.record(job.purpose, shot, at)?);
                hash = hash_chain::next(&hash, record.expose());
                let encrypted = self.encrypt(job, &record, at)?;
                let bio_value = match &encrypted {
                    Some(encrypted) => BioValue::Text(&encrypted.bio_value),
                    None => BioValue::Record(record.expose()),
                };
                let payload = DataPayload {
                    digital_id: &digital_id,
                    device_code: &self.description.identity.serial_no,
                    service_version: &job.service_version,
                    modality: self.description.identity.modality,
                    bio_sub_type: shot.part,
                    for_use: match &job.auth {
                        Some(auth) => Use::Auth { domain_uri: &auth.domain_uri },
                        None => Use::Registration,
                    },
                    env: job.env,
                    bio_value,
                    transaction_id: &job.transaction_id,
                    timestamp: at,
                    requested_score: &job.requested_score_text,
                    quality_score: shot.score,
                };
                let unsigned = payload.prepare(&x5c);
                let signature = pair.key.sign_rs256(unsigned.signing_input())?;
                let (session_key, thumbprint) = encrypted.map(|e| (e.session_key, e.thumbprint)).unzip();
                Ok(SignedBlock {
                    data: Secret::new(unsigned.attach(&signature).into_bytes()),
                    hash: hash_chain::to_hex(&hash),
                    session_key,
                    thumbprint,
                })
            })
            .collect()
    }

    /// The certificates of a data block: the device's, and for a registration the one of a chip-signed digital ID.
    fn data_certificates<'a>(
        &'a self,
        job: &CaptureJob,
        device: &'a Certified,
    ) -> Result<Vec<&'a [u8]>, FtmError> {
        let mut x5c = vec![device.leaf()?];
        let chip_signed = job.digital_id_key == DigitalIdKey::Chip;
        if job.auth.is_none() && chip_signed && job.append_chip_certificate {
            x5c.push(self.chip_leaf()?);
        }
        Ok(x5c)
    }

    fn encrypt(
        &self,
        job: &CaptureJob,
        record: &Secret,
        at: UtcMillis,
    ) -> Result<Option<Encrypted>, FtmError> {
        let Some(auth) = &job.auth else { return Ok(None) };
        let certificate = self.encryption_certificate(&auth.domain_uri, at)?;
        session::encrypt(record.expose(), &at.to_wire(), &job.transaction_id, &certificate)
            .map(Some)
            .map_err(|_| FtmError::Internal("encryption"))
    }

    /// The ISO record around an image.
    fn record(&self, purpose: Purpose, shot: &Shot<'_>, at: UtcMillis) -> Result<Vec<u8>, FtmError> {
        let identity = &self.description.identity;
        let details = |technology| Details {
            captured_at: Some(at),
            device: CaptureDevice { technology, ..CaptureDevice::default() },
            quality: vec![Quality::estimated(shot.score)],
        };
        let touchless = identity.device_sub_type == DeviceSubType::Touchless;
        let image = shot.jp2;
        match (identity.modality, shot.part) {
            (Modality::Finger, Some(position)) => FingerImage {
                purpose,
                position,
                impression: if touchless { Impression::Contactless } else { Impression::Plain },
                dpi: shot.dpi,
                details: details(if touchless { technology::TOUCHLESS } else { technology::OPTICAL }),
                image,
            }
            .encode(),
            (Modality::Iris, Some(eye)) => {
                IrisImage { purpose, eye, details: details(technology::CMOS), range: 0, image }.encode()
            }
            (Modality::Face, None) => {
                FaceImage { purpose, details: details(technology::VIDEO_FRAME), image }.encode()
            }
            _ => return Err(FtmError::Internal("matching parts and modality")),
        }
        .map_err(|violation| FtmError::Record(violation.to_string()))
    }
}

/// Codes of ISO/IEC 19794 for the sensors that are simulated.
mod technology {
    /// 19794-4: white light, total internal reflection.
    pub(super) const OPTICAL: u8 = 1;
    /// 19794-4: white light, touchless.
    pub(super) const TOUCHLESS: u8 = 3;
    /// 19794-6: CMOS or CCD.
    pub(super) const CMOS: u8 = 1;
    /// 19794-5: frame of a digital video.
    pub(super) const VIDEO_FRAME: u8 = 6;
}
