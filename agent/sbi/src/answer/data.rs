//! The payload that a capture signs.

use biotrust_model::time::UtcMillis;
use biotrust_model::{BioSubType, Env, Modality, Purpose, Score};

use crate::base64url;
use crate::json::Object;
use crate::jws::{self, Unsigned};

/// What the capture is for, and what only that use carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use<'a> {
    /// RCAPTURE: twelve members; the desktop client refuses `domainUri`.
    Registration,
    /// CAPTURE: thirteen members.
    Auth {
        /// As the request had it; empty where it had none, never null.
        domain_uri: &'a str,
    },
}

impl Use<'_> {
    /// The purpose.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::Registration => Purpose::Registration,
            Self::Auth { .. } => Purpose::Auth,
        }
    }
}

/// A record as the payload is to hold it.
#[derive(Clone, Copy)]
pub enum BioValue<'a> {
    /// Unpadded base64url already, as an encrypted record comes.
    Text(&'a str),
    /// The bytes of a record.
    Record(&'a [u8]),
}

/// One captured record with what must be said about it. Not printable: `bio_value` may be a record in the clear.
#[derive(Clone, Copy)]
pub struct DataPayload<'a> {
    /// Signed digital ID, made for this capture.
    pub digital_id: &'a str,
    /// Serial number.
    pub device_code: &'a str,
    /// Version of this service.
    pub service_version: &'a str,
    /// Modality.
    pub modality: Modality,
    /// Part; not written for a face, for which every other form is refused somewhere.
    pub bio_sub_type: Option<BioSubType>,
    /// Use.
    pub for_use: Use<'a>,
    /// Environment, as in the request.
    pub env: Env,
    /// The record: encrypted for an authentication, in the clear for a registration.
    pub bio_value: BioValue<'a>,
    /// As in the request, byte for byte.
    pub transaction_id: &'a str,
    /// Time of the capture. For an authentication, [`UtcMillis::to_wire`] of it is what the record was encrypted with.
    pub timestamp: UtcMillis,
    /// As in the request.
    pub requested_score: &'a str,
    /// What was reached.
    pub quality_score: Score,
}

/// The member whose value the registration packet cuts out.
const BIO_VALUE: &str = "bioValue";

impl DataPayload<'_> {
    /// As JSON.
    ///
    /// The registration client cuts the value out after the first text `bioValue` in the payload; where an earlier value
    /// holds that text too (a serial number, or base64url by chance), its first letter is written as `\u0062`.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self.bio_value {
            BioValue::Text(text) => self.json(text),
            BioValue::Record(record) => self.json(&base64url::encode(record)),
        }
    }

    /// Ready to be signed: what [`jws::prepare`] makes of [`Self::to_json`]. A record goes through both rounds of base64
    /// without a copy of it in between.
    #[must_use]
    pub fn prepare(&self, x5c: &[impl AsRef<[u8]>]) -> Unsigned {
        let BioValue::Record(record) = self.bio_value else {
            return jws::prepare(x5c, &self.to_json());
        };
        let around = self.json("");
        // the first such text is the member's name, and its value is the empty string
        let value = around.find(BIO_VALUE).map_or(around.len(), |at| at + BIO_VALUE.len() + r#"":""#.len());
        let (head, tail) = around.split_at(value.min(around.len()));
        jws::prepare_around(x5c, head, record, tail)
    }

    fn json(&self, bio_value: &str) -> String {
        let mut head = Object::new()
            .text("digitalId", self.digital_id)
            .text("deviceCode", self.device_code)
            .text("deviceServiceVersion", self.service_version)
            .text("bioType", self.modality.as_str());
        if let Some(part) = self.bio_sub_type.filter(|_| self.modality != Modality::Face) {
            head = head.text("bioSubType", part.as_str());
        }
        head = head.text("purpose", self.for_use.purpose().as_str()).text("env", self.env.as_str());
        if let Use::Auth { domain_uri } = self.for_use {
            head = head.text("domainUri", domain_uri);
        }
        head.map(
            |text| if text.contains(BIO_VALUE) { text.replace(BIO_VALUE, r"\u0062ioValue") } else { text },
        )
        .reserve(bio_value.len() + 256)
        .text(BIO_VALUE, bio_value)
        .text("transactionId", self.transaction_id)
        .text("timestamp", &self.timestamp.to_wire())
        .text("requestedScore", self.requested_score)
        .text("qualityScore", &self.quality_score.to_string())
        .finish()
    }
}
