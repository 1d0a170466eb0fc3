//! A block in the making: signed as a real device does, with a place to be wrong in each part.

use biotrust_model::{BioSubType, DeviceIdentity, Env, Modality, Purpose, Score, time::UtcMillis};
use biotrust_sbi::answer::{BioValue, DataPayload, Use};
use biotrust_sbi::digital_id::DigitalId;
use biotrust_sbi::iso::{CaptureDevice, Details, FingerImage, Impression, Quality};
use biotrust_sbi::{base64url, hash_chain};
use rcgen::KeyPair;

use super::super::Block;
use crate::workshop::{CHIP_KEY, DEVICE_KEY, NOW, chip_chain, device_chain, identity, sign};

pub(super) const TRANSACTION: &str = "a1B2c3D4e5";
pub(super) const DOMAIN_URI: &str = "https://auth.example.org";
pub(super) const THUMBPRINT: &str = "0011223344556677889900AABBCCDDEEFF0011223344556677889900AABBCCDD";

/// Changes a text. It must change something, or the test that uses it tests nothing.
type Edit = Option<fn(&str) -> String>;

fn apply(edit: Edit, text: String) -> String {
    let Some(edit) = edit else { return text };
    let changed = edit(&text);
    assert_ne!(changed, text, "the edit hits nothing");
    changed
}

#[derive(Clone)]
pub(super) struct Draft {
    pub(super) purpose: Purpose,
    pub(super) modality: Modality,
    pub(super) part: Option<BioSubType>,
    pub(super) at: UtcMillis,
    pub(super) value: Vec<u8>,
    pub(super) key: &'static KeyPair,
    pub(super) x5c: Vec<Vec<u8>>,
    pub(super) edit: Edit,
    pub(super) identity: DeviceIdentity,
    pub(super) identity_at: UtcMillis,
    pub(super) identity_key: &'static KeyPair,
    pub(super) identity_x5c: Vec<Vec<u8>>,
    pub(super) edit_identity: Edit,
}

impl Draft {
    /// A good registration block of this finger.
    pub(super) fn registration(part: BioSubType) -> Self {
        let x5c = vec![device_chain()[0].clone(), chip_chain()[0].clone()];
        Self::new(Purpose::Registration, part, record(part), x5c)
    }

    /// A good authentication block of this finger. Nobody here can tell that its record is noise.
    pub(super) fn auth(part: BioSubType) -> Self {
        Self::new(Purpose::Auth, part, vec![0xE5; 600], vec![device_chain()[0].clone()])
    }

    fn new(purpose: Purpose, part: BioSubType, value: Vec<u8>, x5c: Vec<Vec<u8>>) -> Self {
        Self {
            purpose,
            modality: Modality::Finger,
            part: Some(part),
            at: NOW,
            value,
            key: &DEVICE_KEY,
            x5c,
            edit: None,
            identity: identity(),
            identity_at: NOW,
            identity_key: &CHIP_KEY,
            identity_x5c: vec![chip_chain()[0].clone()],
            edit_identity: None,
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn data(&self) -> String {
        let digital_id = DigitalId::at(self.identity.clone(), self.identity_at).to_json();
        let digital_id = sign(self.identity_key, &self.identity_x5c, &apply(self.edit_identity, digital_id));
        let payload = DataPayload {
            digital_id: &digital_id,
            device_code: &identity().serial_no,
            service_version: "0.1.0",
            modality: self.modality,
            bio_sub_type: self.part,
            for_use: match self.purpose {
                Purpose::Registration => Use::Registration,
                Purpose::Auth => Use::Auth { domain_uri: DOMAIN_URI },
            },
            env: Env::Staging,
            bio_value: BioValue::Record(&self.value),
            transaction_id: TRANSACTION,
            timestamp: self.at,
            requested_score: "60",
            quality_score: Score::clamped(71.5),
        };
        sign(self.key, &self.x5c, &apply(self.edit, payload.to_json()))
    }
}

/// A block with what stands beside it in the answer.
#[derive(Clone)]
pub(super) struct Delivered {
    pub(super) data: String,
    pub(super) hash: String,
    pub(super) session_key: Option<String>,
    pub(super) thumbprint: Option<String>,
}

impl Delivered {
    pub(super) fn block(&self) -> Block<'_> {
        Block {
            data: &self.data,
            hash: &self.hash,
            session_key: self.session_key.as_deref(),
            thumbprint: self.thumbprint.as_deref(),
        }
    }
}

/// What a device would deliver: the drafts, chained from nothing.
pub(super) fn deliver(drafts: &[Draft]) -> Vec<Delivered> {
    let mut previous = hash_chain::EMPTY;
    drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| {
            previous = hash_chain::next(&previous, &draft.value);
            let auth = draft.purpose == Purpose::Auth;
            Delivered {
                data: draft.data(),
                hash: hash_chain::to_hex(&previous),
                session_key: auth.then(|| base64url::encode([index as u8; 256])),
                thumbprint: auth.then(|| THUMBPRINT.to_owned()),
            }
        })
        .collect()
}

/// An ISO record of this finger. Only its headers are real, and only they are ever looked at here.
pub(super) fn record(position: BioSubType) -> Vec<u8> {
    let details = Details {
        captured_at: Some(NOW),
        device: CaptureDevice { technology: 1, vendor: 0, device_type: 0 },
        quality: vec![Quality::estimated(Score::clamped(71.5))],
    };
    let image = jp2();
    let finger = FingerImage {
        purpose: Purpose::Registration,
        position,
        impression: Impression::Plain,
        dpi: 500,
        details,
        image: &image,
    };
    finger.encode().unwrap()
}

/// Headers of a grey lossless JPEG 2000 file of 300 x 400 pixels.
fn jp2() -> Vec<u8> {
    let boxed = |kind: &[u8; 4], content: &[u8]| {
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
    };
    let size = |n: u32| n.to_be_bytes();
    let ihdr = [&size(400)[..], &size(300), &[0, 1, 7, 7, 0, 0]].concat();
    let colr = [&[1, 0, 0][..], &size(17)].concat();
    let header = [boxed(b"ihdr", &ihdr), boxed(b"colr", &colr)].concat();
    let corners = [300u32, 400, 0, 0, 300, 400, 0, 0].map(u32::to_be_bytes).concat();
    let siz = [&[0xFF, 0x51, 0, 41, 0, 0][..], &corners, &[0, 1, 7, 1, 1]].concat();
    let cod = [0xFF, 0x52, 0, 12, 0, 0, 0, 1, 0, 5, 4, 4, 0, 1];
    let codestream = [&[0xFF, 0x4F][..], &siz, &cod, &[0xFF, 0x90]].concat();
    let start = boxed(b"jP  ", &[0x0D, 0x0A, 0x87, 0x0A]);
    [start, boxed(b"ftyp", b"jp2 \0\0\0\0jp2 "), boxed(b"jp2h", &header), boxed(b"jp2c", &codestream)]
        .concat()
}
