//! The document: its members, as they stand in the JSON.

use std::collections::BTreeMap;

use biotrust_model::Level;
use biotrust_model::evidence::FtmKind;
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::shown;
use crate::wire::millis;

/// Most models in one document.
const MAX_MODELS: usize = 10_000;

/// The payload of the JWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Rolling number: every publication has a higher one.
    pub number: u64,
    /// When it was made.
    #[serde(rename = "iat", with = "millis")]
    pub issued_at: UtcMillis,
    /// When the next one is due.
    #[serde(with = "millis")]
    pub next_update: UtcMillis,
    /// What is known, one entry a model.
    pub models: Vec<Model>,
}

/// What an adopter says about one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Legal name of the device provider.
    pub provider: String,
    /// Brand.
    pub make: String,
    /// Model.
    pub model: String,
    /// Level that it is certified for.
    pub level: Level,
    /// Kind of trust module that it was certified with.
    pub ftm: FtmKind,
    /// Authorities under which its chip certificates may be, roots or others on their path: SHA-256 of the certificate
    /// (DER), 64 hexadecimal characters. Empty: any anchor of domain FTM. For level L1 name the one that certifies nothing
    /// but modules inside of devices: a host signs whatever its owner wants with the identity key of its TPM, also what a
    /// module would say.
    #[serde(default)]
    pub anchors: Vec<String>,
    /// Certificates of laboratories, for people.
    #[serde(default)]
    pub certifications: Vec<Certification>,
    /// What has become of it, any order.
    #[serde(default)]
    pub status: Vec<StatusReport>,
    /// Lowest security version number that is still accepted.
    #[serde(default)]
    pub minimum_svn: u64,
    /// Firmware that is known. Empty: any, unmeasured.
    #[serde(default)]
    pub firmware: Vec<FirmwareRange>,
}

/// A claim of certification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certification {
    /// Scheme, e.g. "FIPS 140-2 Level 3".
    pub scheme: String,
    /// Number of the certificate.
    pub number: String,
}

/// What has become of a model, or of some of its firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusReport {
    /// What.
    pub status: Status,
    /// From when on.
    #[serde(with = "millis")]
    pub effective: UtcMillis,
    /// Firmware below this security version number only; absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below_svn: Option<u64>,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// Standing of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Certified.
    Certified,
    /// To be updated until the effective date; refused from then on.
    UpdateRequired,
    /// No longer certified.
    Revoked,
    /// Keys or secrets of it are known to others.
    Compromised,
}

/// Firmware with the values that it measures to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareRange {
    /// Lowest security version number that these values hold for.
    pub svn_from: u64,
    /// Highest.
    pub svn_to: u64,
    /// Version text; absent: any of that range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What is measured.
    pub reference: ReferenceValues,
}

/// Reference values: for each index of SPDM measurements or of a TPM's PCRs, the digests that are good. An index that is
/// not listed may measure to anything; one that is listed must be there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferenceValues(
    /// SHA-256 values by index, 64 hexadecimal characters each.
    pub BTreeMap<u8, Vec<String>>,
);

impl Document {
    /// Reads a payload.
    ///
    /// # Errors
    /// A sentence: what is not as it must be.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(json).map_err(|error| shown::value(&error.to_string()))?;
        if read.models.len() > MAX_MODELS {
            return Err(format!("{} models; at most {MAX_MODELS} are read", read.models.len()));
        }
        if read.next_update <= read.issued_at {
            return Err("the next update is due before this one was made".to_owned());
        }
        Ok(read)
    }

    /// The payload of the JWS.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers and strings always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"number":3,"iat":1000,"next_update":2000,"models":[{"provider":"Example Devices Ltd",
        "make":"ACME","model":"Slap-4","level":"L1","ftm":"spdm","anchors":["AB"],
        "certifications":[{"scheme":"FIPS 140-2 Level 3","number":"1234"}],
        "status":[{"status":"update-required","effective":1500,"below_svn":2}],"minimum_svn":1,
        "firmware":[{"svn_from":1,"svn_to":9,"reference":{"1":["00"],"254":["11","22"]}}]}]}"#;

    #[test]
    fn json_and_back() {
        let document = Document::from_json(JSON.as_bytes()).unwrap();
        let [model] = document.models.as_slice() else { panic!("one model") };
        assert_eq!(
            (model.level, model.ftm, model.status[0].status),
            (Level::L1, FtmKind::Spdm, Status::UpdateRequired)
        );
        assert_eq!(model.firmware[0].reference.0[&254], ["11", "22"]);
        assert_eq!(Document::from_json(document.to_json().as_bytes()), Ok(document));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (from, to, why) in [
            (r#""next_update":2000"#, r#""next_update":1000"#, "before this one"),
            (r#""level":"L1""#, r#""level":"L2""#, "L2"),
            (r#""number":3"#, r#""number":-3"#, "u64"),
            (r#""number":3"#, r#""number":3,"more":1"#, "more"),
            (r#""status":"update-required""#, r#""status":"fine""#, "fine"),
        ] {
            let error = Document::from_json(JSON.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
