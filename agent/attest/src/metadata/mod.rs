//! Signed model metadata: what an adopter says about models of devices, in the spirit of FIDO's metadata service.
//!
//! A compact JWS of type [`TYP`] by a signer of purpose Metadata under an anchor of the adopter. It has a rolling number
//! that may never go back, and a date for the next one: a verifier that is offline goes on with the old one until that
//! date and a grace, and then trusts no model any more.

mod document;
mod find;

pub use document::{Certification, Document, FirmwareRange, Model, ReferenceValues, Status, StatusReport};

use std::time::Duration;

use biotrust_certs::{AdopterStore, SignerPurpose};
use biotrust_model::time::UtcMillis;

use crate::shown;
use crate::signed::{self, SignedError};

/// `typ` of the JWS.
pub const TYP: &str = "model-metadata+jwt";

/// Longest metadata, in characters.
pub const MAX_LENGTH: usize = 8 << 20;

/// How long metadata is used beyond its next-update date where the caller does not say otherwise.
pub const GRACE: Duration = Duration::from_secs(30 * 86_400);

/// Why metadata is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not such a document, or not signed by somebody who may.
    #[error("model metadata: {0}")]
    Signed(#[from] SignedError),
    /// Signed, and still not metadata.
    #[error("model metadata cannot be read: {0}")]
    Content(String),
    /// Older than what was used before: a rollback.
    #[error(
        "model metadata has number {number}, older than {floor} which was used before; get the current one"
    )]
    Rollback {
        /// Its number.
        number: u64,
        /// Lowest that is accepted.
        floor: u64,
    },
}

/// Metadata whose signature and number have been verified.
#[derive(Debug, Clone)]
pub struct Metadata {
    document: Document,
    index: find::Index,
    grace: Duration,
}

/// How up to date metadata is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Its time has not come: says nothing yet. Or the clock is wrong.
    NotYet {
        /// When it was made.
        from: UtcMillis,
    },
    /// The next one is not due yet.
    Current,
    /// The next one is due since then; used until `until`.
    Overdue {
        /// When the grace ends.
        until: UtcMillis,
    },
    /// Overdue beyond the grace since then: says nothing any more.
    Expired {
        /// When the grace ended.
        since: UtcMillis,
    },
}

impl Metadata {
    /// Verifies metadata: signed by a metadata signer under an anchor of `store`, and numbered `floor` or higher. Keep
    /// [`Self::number`] as the next floor.
    ///
    /// The signer's certificate must be valid at `now` or, where that is outside of the time that the metadata is made for,
    /// at the nearer end of that: whoever is offline, or does not know the time, must not be left without any. What such
    /// metadata is worth is for [`Self::freshness`] to say.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn verify(
        jws: &str,
        store: &AdopterStore,
        now: UtcMillis,
        floor: u64,
    ) -> Result<Self, MetadataError> {
        let parsed = signed::parse(TYP, jws.trim(), MAX_LENGTH)?;
        // Read first for its dates only; it is believed below, once the signature is known to be good.
        let document = Document::from_json(&parsed.payload).map_err(MetadataError::Content)?;
        let at = now.max(document.issued_at).min(document.next_update);
        signed::verify_by_purpose(&parsed, store, SignerPurpose::Metadata, None, at)?;
        if document.number < floor {
            return Err(MetadataError::Rollback { number: document.number, floor });
        }
        let index = find::Index::of(&document).map_err(|why| MetadataError::Content(shown::value(&why)))?;
        Ok(Self { document, index, grace: GRACE })
    }

    /// The same with another grace.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Rolling number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.document.number
    }

    /// When the next one is due.
    #[must_use]
    pub const fn next_update(&self) -> UtcMillis {
        self.document.next_update
    }

    /// How long it is used beyond that.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// How up to date it is at `now`.
    #[must_use]
    pub fn freshness(&self, now: UtcMillis) -> Freshness {
        let end = self.document.next_update.plus(self.grace);
        match now {
            now if self.document.issued_at.since(now) > CLOCK_TOLERANCE_MS => {
                Freshness::NotYet { from: self.document.issued_at }
            }
            now if now <= self.document.next_update => Freshness::Current,
            now if now <= end => Freshness::Overdue { until: end },
            _ => Freshness::Expired { since: end },
        }
    }

    /// Everything in it.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }
}

/// How far the clocks of adopter and host may differ.
const CLOCK_TOLERANCE_MS: i64 = 300_000;
