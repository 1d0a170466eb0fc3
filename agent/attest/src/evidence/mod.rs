//! Evidence: an EAT (RFC 9711) in a JWT, one shape for every kind of trust module, with the raw proof inside.
//!
//! What the claims say for themselves is only the word of whoever wrote them. [`crate::verify`] compares every one that
//! matters with what the proof says, and derives the rest from the proof alone; measurements stand in the proof and
//! nowhere else.

mod claims;
mod describe;
mod proof;

pub use claims::{Claims, DebugStatus};
pub use describe::{Section, describe};

use biotrust_model::evidence::{EvidencePurpose, FtmKind, Proof};
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::challenge::Challenge;
use crate::shown;
use crate::wire::bytes32;
use claims::ClaimsWire;
use proof::ProofWire;

/// `typ` of the JWS.
pub const TYP: &str = "eat+jwt";

/// `eat_profile`: everything that a verifier must know about the form.
pub const PROFILE: &str = "tag:biotrust.example,2026:ftm-evidence-1";

/// Longest evidence, in characters. Real ones have 10,000 to 40,000.
pub const MAX_LENGTH: usize = 256 << 10;

/// The payload of evidence, read and not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Nonce that it answers.
    pub nonce: [u8; 32],
    /// Whom it is for.
    pub audience: String,
    /// What it is for.
    pub purpose: EvidencePurpose,
    /// When it was made, by the clock of whoever made it.
    pub issued_at: UtcMillis,
    /// What is claimed.
    pub claims: Claims,
    /// What is proven.
    pub proof: Proof,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    eat_profile: String,
    #[serde(with = "bytes32")]
    eat_nonce: [u8; 32],
    aud: String,
    /// NumericDate: seconds, with a fraction for the milliseconds.
    iat: serde_json::Number,
    mosip_purpose: EvidencePurpose,
    #[serde(flatten)]
    claims: ClaimsWire,
    mosip_evidence: ProofWire,
}

/// The payload (JSON) that a chip key, or at L0 a device key, signs as an answer to `challenge`.
#[must_use]
pub fn payload(challenge: &Challenge, claims: &Claims, proof: &Proof, now: UtcMillis) -> String {
    let wire = Wire {
        eat_profile: PROFILE.to_owned(),
        eat_nonce: challenge.nonce,
        aud: challenge.audience.clone(),
        iat: to_numeric_date(now),
        mosip_purpose: challenge.purpose,
        claims: claims.into(),
        mosip_evidence: proof.into(),
    };
    // Strings and numbers always serialise.
    serde_json::to_string(&wire).unwrap_or_default()
}

impl Payload {
    /// Reads the payload of a JWS of type [`TYP`].
    ///
    /// # Errors
    /// A sentence: what is not as the profile wants it.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(json)
            .map_err(|error| format!("the claims cannot be read: {}", shown::value(&error.to_string())))?;
        if wire.eat_profile != PROFILE {
            return Err(format!(
                "the profile is \"{}\"; only \"{PROFILE}\" is known",
                shown::value(&wire.eat_profile)
            ));
        }
        let issued_at =
            from_numeric_date(&wire.iat).ok_or_else(|| "iat is not a time of this age".to_owned())?;
        Ok(Self {
            nonce: wire.eat_nonce,
            audience: wire.aud,
            purpose: wire.mosip_purpose,
            issued_at,
            claims: Claims::try_from(wire.claims)?,
            proof: wire.mosip_evidence.into(),
        })
    }

    /// Which kind of module made the proof.
    #[must_use]
    pub const fn kind(&self) -> FtmKind {
        self.proof.kind()
    }
}

/// Seconds since 1970 as JWT wants them, with three digits after the point.
fn to_numeric_date(at: UtcMillis) -> serde_json::Number {
    let text = format!("{}.{:03}", at.0.div_euclid(1000), at.0.rem_euclid(1000));
    text.parse().unwrap_or_else(|_| serde_json::Number::from(at.0.div_euclid(1000)))
}

#[allow(clippy::cast_possible_truncation)] // checked to be within the years up to 9999
fn from_numeric_date(number: &serde_json::Number) -> Option<UtcMillis> {
    let millis = (number.as_f64()? * 1000.0).round();
    (0.0..253_402_300_800_000.0).contains(&millis).then_some(UtcMillis(millis as i64))
}

#[cfg(test)]
mod tests {
    use biotrust_model::{DeviceIdentity, DeviceSubType, Level, Modality};
    use biotrust_sbi::base64url;
    use proptest::prelude::*;

    use super::*;

    fn claims() -> Claims {
        Claims {
            identity: DeviceIdentity {
                serial_no: "SN0000000001".to_owned(),
                make: "ACME".to_owned(),
                model: "A model with a name of more than 32 bytes".to_owned(),
                modality: Modality::Iris,
                device_sub_type: DeviceSubType::Double,
                device_provider: "Example Devices Ltd".to_owned(),
                device_provider_id: "EXAMPLE".to_owned(),
            },
            level: Level::L1,
            ftm_serial: "FTM1".to_owned(),
            firmware: "1.2.3".to_owned(),
            svn: Some(u64::MAX),
            boot_count: Some(3),
            debug: Some(DebugStatus::DisabledPermanently),
        }
    }

    fn payload_at(now: UtcMillis) -> String {
        let challenge = Challenge::new([1; 32], "me", EvidencePurpose::State, now);
        payload(&challenge, &claims(), &Proof::Software, now)
    }

    #[test]
    fn claims_are_those_of_rfc_9711() {
        let json: serde_json::Value =
            serde_json::from_str(&payload_at(UtcMillis(1_893_456_000_007))).unwrap();
        assert_eq!(json["eat_profile"], PROFILE);
        assert_eq!(json["eat_nonce"], base64url::encode([1; 32]));
        assert_eq!(json["iat"].to_string(), "1893456000.007");
        let bytes = |name: &str| base64url::decode(json[name].as_str().unwrap()).unwrap();
        assert_eq!((bytes("ueid").len(), bytes("ueid")[0]), (33, 1), "a random UEID has 16, 24 or 32 bytes");
        assert_eq!(bytes("oemid").len(), 16, "a random OEM id has 16 bytes");
        assert_eq!(bytes("hwmodel").len(), 32, "hwmodel has 1 to 32 bytes");
        assert_eq!(json["swversion"], serde_json::json!(["1.2.3"]));
        assert_eq!(json["dbgstat"], "disabled-permanently");
        assert_eq!(json["mosip_svn"], u64::MAX);
    }

    proptest! {
        #[test]
        fn milliseconds_survive(at in 0_i64..253_402_300_800_000) {
            let read = Payload::from_json(payload_at(UtcMillis(at)).as_bytes()).unwrap();
            prop_assert_eq!(read.issued_at, UtcMillis(at));
            prop_assert_eq!(read.claims, claims());
        }

        #[test]
        fn no_bytes_make_it_panic(json in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Payload::from_json(&json).is_err());
        }
    }

    #[test]
    fn times_outside_our_age_are_none() {
        let good = payload_at(UtcMillis(1_893_456_000_007));
        for bad in ["-1", "1e300", "253402300800", "null", "\"1893456000\""] {
            let changed = good.replace("1893456000.007", bad);
            assert!(Payload::from_json(changed.as_bytes()).is_err(), "{bad}");
        }
    }
}
