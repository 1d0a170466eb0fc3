//! A challenge: what evidence has to answer, and for whom and what.

use std::time::Duration;

use biotrust_model::evidence::{Binding, EvidencePurpose};
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::wire::{bytes32, millis, sha256};

/// How long a challenge can be answered.
const LIFETIME: Duration = Duration::from_secs(60);

/// Longest life of a challenge that is read from outside.
pub const MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// Longest audience, in bytes.
const MAX_AUDIENCE: usize = 256;

/// Separates this binding from every other use of SHA-256 over a nonce.
const DOMAIN: &[u8] = b"MOSIP-FTM-v1\0";

/// A challenge, as a verifier gives it out once and remembers it until it is answered.
///
/// JSON: `{"nonce":<32 bytes, base64url>,"aud":…,"purpose":"identity|devkey|state|time","iat":<ms>,"exp":<ms>}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Random, used once.
    #[serde(with = "bytes32")]
    pub nonce: [u8; 32],
    /// Who asks: evidence for one verifier is worth nothing to another.
    #[serde(rename = "aud")]
    pub audience: String,
    /// What for.
    pub purpose: EvidencePurpose,
    /// When it was given out.
    #[serde(rename = "iat", with = "millis")]
    pub issued_at: UtcMillis,
    /// Last instant at which an answer counts.
    #[serde(rename = "exp", with = "millis")]
    pub expires_at: UtcMillis,
}

/// Why a text is no challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Not its JSON.
    #[error("the challenge cannot be read: {0}")]
    Json(String),
    /// No audience, or a very long one.
    #[error("the audience of the challenge has {0} bytes; 1 to {MAX_AUDIENCE} are allowed")]
    Audience(usize),
    /// Ends before it begins, or lives for more than [`MAX_LIFETIME`].
    #[error("the challenge lives for {0} ms; more than 0 and at most an hour are allowed")]
    Lifetime(i64),
}

impl Challenge {
    /// A challenge of `now` that can be answered for 60 s. `nonce` must be fresh randomness.
    #[must_use]
    pub fn new(
        nonce: [u8; 32],
        audience: impl Into<String>,
        purpose: EvidencePurpose,
        now: UtcMillis,
    ) -> Self {
        Self { nonce, audience: audience.into(), purpose, issued_at: now, expires_at: now.plus(LIFETIME) }
    }

    /// Reads a challenge that came from outside.
    ///
    /// # Errors
    /// Not a challenge, or one that no honest verifier gives out.
    pub fn from_json(json: &str) -> Result<Self, ChallengeError> {
        let challenge: Self = serde_json::from_str(json)
            .map_err(|error| ChallengeError::Json(crate::shown::value(&error.to_string())))?;
        let (audience, life) = (challenge.audience.len(), challenge.expires_at.since(challenge.issued_at));
        if !(1..=MAX_AUDIENCE).contains(&audience) {
            return Err(ChallengeError::Audience(audience));
        }
        let most = i64::try_from(MAX_LIFETIME.as_millis()).unwrap_or(i64::MAX);
        if life <= 0 || life > most {
            return Err(ChallengeError::Lifetime(life));
        }
        Ok(challenge)
    }

    /// What every proof for this challenge carries.
    #[must_use]
    pub fn binding(&self) -> Binding {
        binding(&self.nonce, &self.audience, self.purpose)
    }
}

/// `SHA-256("MOSIP-FTM-v1" 00 purpose 00 nonce SHA-256(audience))`.
pub(crate) fn binding(nonce: &[u8; 32], audience: &str, purpose: EvidencePurpose) -> Binding {
    let parts = [DOMAIN, purpose.as_str().as_bytes(), b"\0", nonce, &sha256(audience.as_bytes())].concat();
    Binding(sha256(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge() -> Challenge {
        Challenge::new([7; 32], "biotrustd", EvidencePurpose::DeviceKey, UtcMillis(1_700_000_000_123))
    }

    /// Computed with `printf 'MOSIP-FTM-v1\0devkey\0' ...| sha256sum`.
    #[test]
    fn known_binding() {
        assert_eq!(
            hex::encode(challenge().binding().0),
            "169259b0ee41f14ff8688061758a631bc7ac19ca0d206cadc5f33e3740e26f8f"
        );
    }

    #[test]
    fn every_member_counts_for_the_binding_and_the_dates_do_not() {
        let good = challenge().binding();
        let mut other = challenge();
        other.nonce[31] ^= 1;
        assert_ne!(other.binding(), good);
        assert_ne!(Challenge { audience: "biotrustD".to_owned(), ..challenge() }.binding(), good);
        assert_ne!(Challenge { purpose: EvidencePurpose::State, ..challenge() }.binding(), good);
        assert_eq!(Challenge { issued_at: UtcMillis(1), ..challenge() }.binding(), good);
    }

    #[test]
    fn json_and_back() {
        let json = serde_json::to_string(&challenge()).unwrap();
        assert!(json.contains(r#""purpose":"devkey","iat":1700000000123,"exp":1700000060123"#), "{json}");
        assert_eq!(Challenge::from_json(&json), Ok(challenge()));
        let long = json.replace("1700000060123", "1700003600124");
        assert_eq!(Challenge::from_json(&long), Err(ChallengeError::Lifetime(3_600_001)));
        let backward = json.replace("1700000060123", "1700000000123");
        assert_eq!(Challenge::from_json(&backward), Err(ChallengeError::Lifetime(0)));
        let nobody = json.replace("biotrustd", "");
        assert_eq!(Challenge::from_json(&nobody), Err(ChallengeError::Audience(0)));
        for bad in [json.replace("devkey", "anything"), json.replace("BwcH", "Bw"), "{}".to_owned()] {
            assert!(matches!(Challenge::from_json(&bad), Err(ChallengeError::Json(_))), "{bad}");
        }
    }
}
