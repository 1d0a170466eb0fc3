//! Good answers for tests of judges, made with keys and certificates of the moment (feature `testkit`).
//!
//! Panics where it cannot make one: it is a part of tests only.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // see above

use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use biotrust_model::time::UtcMillis;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    PublicKeyData as _, RsaKeySize,
};
use serde_json::{Value, json};

use crate::hash_chain::HashChain;
use crate::keymanager::KeyManager;
use crate::session::{self, IdaKey};

/// 2026-11-24T10:00:00Z.
pub const NOW: UtcMillis = UtcMillis(1_795_514_400_000);
/// [`NOW`] on the wire.
pub const NOW_TEXT: &str = "2026-11-24T10:00:00Z";

/// Small images by another encoder; see fixtures/README.md.
pub mod images {
    /// Grey, 64x96, 5/3.
    pub const FINGER_LOSSLESS: &[u8] = include_bytes!("../fixtures/finger-lossless.jp2");
    /// Grey, 64x96, 9/7.
    pub const FINGER_LOSSY: &[u8] = include_bytes!("../fixtures/finger-lossy.jp2");
    /// Grey, 60x80, 5/3.
    pub const IRIS_LOSSLESS: &[u8] = include_bytes!("../fixtures/iris-lossless.jp2");
    /// Grey, 60x80, 9/7.
    pub const IRIS_LOSSY: &[u8] = include_bytes!("../fixtures/iris-lossy.jp2");
    /// sRGB, 64x48, 5/3.
    pub const FACE_LOSSLESS: &[u8] = include_bytes!("../fixtures/face-lossless.jp2");
    /// sRGB, 64x48, 9/7, a little over 15:1.
    pub const FACE_LOSSY: &[u8] = include_bytes!("../fixtures/face-lossy.jp2");
}

/// ISO records laid out byte by byte.
pub mod records {
    const DATE: [u8; 9] = [0x07, 0xea, 11, 24, 10, 0, 0, 0, 123];

    fn u32b(n: usize) -> [u8; 4] {
        (n as u32).to_be_bytes()
    }

    fn size(image: &[u8]) -> [u8; 4] {
        let header = crate::jp2::inspect(image).unwrap();
        let [w, h] = [header.width, header.height].map(|n| (n as u16).to_be_bytes());
        [w[0], w[1], h[0], h[1]]
    }

    /// Finger record of this position and compression code.
    pub fn finger(position: u8, image: &[u8], compression: u8) -> Vec<u8> {
        let mut r = b"FIR\x00020\x00".to_vec();
        let total = 62 + image.len();
        r.extend(u32b(total));
        r.extend([0, 1, 0, 1]);
        r.extend(u32b(total - 16));
        r.extend(DATE);
        r.extend([1, 0, 9, 0, 1, 1, 80, 0, 15, 0, 15, position, 0, 1]);
        r.extend([1, 0xf4].repeat(4));
        r.extend([8, compression, 0]);
        r.extend(size(image));
        r.extend(u32b(image.len()));
        r.extend(image);
        r
    }

    /// Iris record of this eye label.
    pub fn iris(label: u8, image: &[u8], registration: bool) -> Vec<u8> {
        let mut r = b"IIR\x00020\x00".to_vec();
        let total = 73 + image.len();
        r.extend(u32b(total));
        r.extend([0, 1, 0, 1]);
        r.extend(u32b(total - 16));
        r.extend(DATE);
        let (kind, properties) = if registration { (3, 0x40) } else { (7, 0x80) };
        r.extend([1, 0, 9, 0, 1, 1, 80, 0, 15, 0, 15, 0, 1, label, kind, 0x0a, properties]);
        r.extend(size(image));
        r.extend([8, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        r.extend([0; 12]);
        r.extend(u32b(image.len()));
        r.extend(image);
        r
    }

    /// Face record.
    pub fn face(image: &[u8], registration: bool) -> Vec<u8> {
        let mut r = b"FAC\x00030\x00".to_vec();
        let total = 73 + image.len();
        r.extend(u32b(total));
        r.extend([0, 1, 0, 0, 0]);
        r.extend(u32b(total - 17));
        r.extend(DATE);
        r.extend([2, 0, 9, 0, 1, 1, 80, 0, 15, 0, 15, 0, 0, 0, 255, 255, 0, 0, 0, 0]);
        r.extend([0; 8]);
        r.extend([1, if registration { 2 } else { 1 }]);
        r.extend(size(image));
        r.extend([0, 0, 0, 0, 1]);
        r.extend(u32b(image.len()));
        r.extend(image);
        r
    }
}

/// A key with its certificate.
pub struct Holder {
    /// RSA-2048.
    pub key: KeyPair,
    /// Certificate.
    pub der: Vec<u8>,
    /// Certificate.
    pub pem: String,
}

impl Holder {
    /// A compact JWS with this holder's certificate first in `x5c`.
    pub fn sign(&self, payload: &str, more_x5c: &[&Holder]) -> String {
        let x5c: Vec<String> =
            std::iter::once(self).chain(more_x5c.iter().copied()).map(|h| STANDARD.encode(&h.der)).collect();
        self.sign_with_header(&json!({"alg": "RS256", "typ": "JWT", "x5c": x5c}).to_string(), payload)
    }

    /// A compact JWS with this header.
    pub fn sign_with_header(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let key = RsaKeyPair::from_pkcs8(&self.key.serialize_der()).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), input.as_bytes(), &mut signature)
            .unwrap();
        assert!(!key.public_key().as_ref().is_empty());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a certificate is for.
#[derive(Clone, Copy)]
pub enum Kind {
    /// May sign certificates.
    Ca,
    /// May not.
    Leaf,
    /// Leaf of 2024.
    Expired,
    /// Leaf of 2030.
    NotYet,
    /// CA flag without the right to sign certificates.
    CaWithoutCertSign,
}

/// Issues a certificate with this common name under C=FR, O=Judges; self-signed without `issuer`.
pub fn issue(name: &str, kind: Kind, issuer: Option<&Holder>) -> Holder {
    issue_named(
        &[(DnType::CountryName, "FR"), (DnType::OrganizationName, "Judges"), (DnType::CommonName, name)],
        kind,
        issuer,
    )
}

/// [`issue`] with the whole name.
pub fn issue_named(name: &[(DnType, &str)], kind: Kind, issuer: Option<&Holder>) -> Holder {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    for (kind, value) in name {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let (from, to) = match kind {
        Kind::Expired => (2024, 2025),
        Kind::NotYet => (2030, 2040),
        _ => (2025, 2040),
    };
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    match kind {
        Kind::Ca => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        Kind::CaWithoutCertSign => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
        _ => params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
    }
    let certificate = match issuer {
        None => params.self_signed(&key),
        Some(issuer) => {
            let der = issuer.der.clone().into();
            params.signed_by(&key, &Issuer::from_ca_cert_der(&der, &issuer.key).unwrap())
        }
    }
    .unwrap();
    Holder { key, der: certificate.der().to_vec(), pem: certificate.pem() }
}

/// The whole test PKI.
pub struct Pki {
    /// Anchor of domain DEVICE.
    pub device_root: Holder,
    /// Provider under it.
    pub device_ca: Holder,
    /// Device under the provider.
    pub device: Holder,
    /// Expired 2025.
    pub expired_device: Holder,
    /// Valid from 2030.
    pub future_device: Holder,
    /// Anchor of domain FTM.
    pub ftm_root: Holder,
    /// Chip under it.
    pub chip: Holder,
    /// Encryption certificate.
    pub ida: Holder,
    /// Another one.
    pub other_ida: Holder,
    /// In no domain.
    pub stranger: Holder,
}

/// The PKI, made once.
pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let device_root = issue("Device root", Kind::Ca, None);
        let device_ca = issue("Device provider", Kind::Ca, Some(&device_root));
        let ftm_root = issue("FTM root", Kind::Ca, None);
        Pki {
            device: issue("Device", Kind::Leaf, Some(&device_ca)),
            expired_device: issue("Device", Kind::Expired, Some(&device_ca)),
            future_device: issue("Device", Kind::NotYet, Some(&device_ca)),
            chip: issue("Chip", Kind::Leaf, Some(&ftm_root)),
            ida: issue("IDA", Kind::Leaf, None),
            other_ida: issue("IDA", Kind::Leaf, None),
            stranger: issue("Stranger", Kind::Ca, None),
            device_root,
            device_ca,
            ftm_root,
        }
    })
}

/// The stores that trust it.
pub fn key_manager() -> KeyManager {
    let pki = pki();
    KeyManager::from_pem(&format!("{}{}", pki.device_root.pem, pki.device_ca.pem), &pki.ftm_root.pem).unwrap()
}

/// The key of `Pki::ida`.
pub fn ida_key() -> IdaKey {
    IdaKey::from_pem(&pki().ida.key.serialize_pem(), &pki().ida.pem).unwrap()
}

/// The payload of a digital ID.
pub fn digital_id(bio_type: &str, sub_type: &str) -> Value {
    json!({
        "serialNo": "JUDGE0000001", "make": "Judges", "model": "J-1", "type": bio_type, "deviceSubType": sub_type,
        "deviceProvider": "Judges", "deviceProviderId": "judges", "dateTime": NOW_TEXT,
    })
}

/// Knobs of a capture answer; the default is a good one.
pub struct Recipe<'a> {
    /// bioType, bioSubType and clear record of each element.
    pub parts: Vec<(&'static str, Option<&'static str>, Vec<u8>)>,
    /// Signs the data.
    pub data_signer: &'a Holder,
    /// Signs the digital ID.
    pub id_signer: &'a Holder,
    /// Lists the digital ID's certificate second in the data's `x5c`.
    pub append_chip: bool,
    /// Changes the digital ID's payload.
    pub edit_id: &'a dyn Fn(&mut Value),
    /// Changes the data payload before it is signed.
    pub edit_data: &'a dyn Fn(&mut Value),
    /// Changes the data payload's text before it is signed.
    pub edit_text: &'a dyn Fn(String) -> String,
    /// Changes an entry of the answer.
    pub edit_entry: &'a dyn Fn(usize, &mut Value),
}

impl Recipe<'static> {
    /// Two fingers of an L1 device, for registration.
    pub fn registration() -> Self {
        let left = records::finger(7, images::FINGER_LOSSLESS, 5);
        let middle = records::finger(8, images::FINGER_LOSSLESS, 5);
        Self {
            parts: vec![
                ("Finger", Some("Left IndexFinger"), left),
                ("Finger", Some("Left MiddleFinger"), middle),
            ],
            data_signer: &pki().device,
            id_signer: &pki().chip,
            append_chip: true,
            edit_id: &|_| {},
            edit_data: &|_| {},
            edit_text: &|text| text,
            edit_entry: &|_, _| {},
        }
    }

    /// An unknown finger and a thumb of an L1 device, for authentication.
    pub fn auth() -> Self {
        let unknown = records::finger(0, images::FINGER_LOSSY, 4);
        let thumb = records::finger(1, images::FINGER_LOSSY, 4);
        Self {
            parts: vec![("Finger", Some("UNKNOWN"), unknown), ("Finger", Some("Right Thumb"), thumb)],
            append_chip: false,
            ..Self::registration()
        }
    }
}

impl Recipe<'_> {
    fn data(&self, bio_type: &str, part: Option<&str>, value: &str, purpose: &str, txn: &str) -> String {
        let mut id = digital_id(bio_type, "Slap");
        (self.edit_id)(&mut id);
        let chip: &[&Holder] = if self.append_chip { &[self.id_signer] } else { &[] };
        let mut data = json!({
            "digitalId": self.id_signer.sign(&id.to_string(), &[]),
            "deviceCode": "JUDGE0000001", "deviceServiceVersion": "1.0.0", "bioType": bio_type, "bioSubType": part,
            "purpose": purpose, "env": "Staging", "bioValue": value, "transactionId": txn, "timestamp": NOW_TEXT,
            "requestedScore": "60", "qualityScore": "80.5",
        });
        if part.is_none() {
            data.as_object_mut().unwrap().remove("bioSubType");
        }
        if purpose == "Auth" {
            data["domainUri"] = json!("https://ida.example");
        }
        (self.edit_data)(&mut data);
        self.data_signer.sign(&(self.edit_text)(data.to_string()), chip)
    }

    /// An RCAPTURE answer.
    pub fn registration_answer(&self) -> Vec<u8> {
        let mut chain = HashChain::starting_from("").unwrap();
        let entries: Vec<Value> = self
            .parts
            .iter()
            .enumerate()
            .map(|(i, (bio_type, part, record))| {
                let data =
                    self.data(bio_type, *part, &URL_SAFE_NO_PAD.encode(record), "Registration", REG_TXN);
                let mut entry = json!({
                    "specVersion": "0.9.5", "data": data, "hash": chain.advance(record),
                    "error": {"errorCode": "0", "errorInfo": "Success"},
                });
                (self.edit_entry)(i, &mut entry);
                entry
            })
            .collect();
        json!({"biometrics": entries}).to_string().into_bytes()
    }

    /// A CAPTURE answer, sealed for `ida`, with session keys from `session_key`.
    pub fn auth_answer(&self, ida: &Holder, session_key: &dyn Fn(usize) -> [u8; 32]) -> Vec<u8> {
        let mut chain = HashChain::starting_from("").unwrap();
        let spki = ida.key.subject_public_key_info();
        let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).unwrap()).unwrap();
        let entries: Vec<Value> = self
            .parts
            .iter()
            .enumerate()
            .map(|(i, (bio_type, part, record))| {
                let key = session_key(i);
                let derived = session::derive(NOW_TEXT, AUTH_TXN).unwrap();
                let mut sealed = record.clone();
                LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
                    .seal_in_place_append_tag(
                        Nonce::assume_unique_for_key(derived.iv),
                        Aad::from(derived.aad),
                        &mut sealed,
                    )
                    .unwrap();
                let mut wrapped = vec![0; public.ciphertext_size()];
                public.encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut wrapped, None).unwrap();
                let data = self.data(bio_type, *part, &URL_SAFE_NO_PAD.encode(sealed), "Auth", AUTH_TXN);
                let mut entry = json!({
                    "specVersion": "0.9.5", "data": data, "hash": chain.advance(record),
                    "sessionKey": URL_SAFE_NO_PAD.encode(wrapped),
                    "thumbprint": hex::encode_upper(crate::hash_chain::sha256(&ida.der)),
                    "error": {"errorCode": "0", "errorInfo": "Success"},
                });
                (self.edit_entry)(i, &mut entry);
                entry
            })
            .collect();
        json!({"biometrics": entries}).to_string().into_bytes()
    }
}

/// Transaction id of registration answers.
pub const REG_TXN: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
/// Transaction id of authentication answers.
pub const AUTH_TXN: &str = "a1B2c3D4e5";

/// A session key per element.
pub fn fresh(i: usize) -> [u8; 32] {
    [i as u8 + 1; 32]
}
