//! Evidence in words, for people who look at it. Nothing is judged here.

use biotrust_model::evidence::{Attested, CertifiedKey, Proof, SpdmProof, TpmProof};
use biotrust_spdm::measurement::{Block, Value, index};
use biotrust_spdm::transcript::{Authentication, Measurements};

use super::{MAX_LENGTH, Payload, TYP};
use crate::key_statement::{self, KeyStatement};
use crate::shown;
use crate::signed::{self, ParsedSigner};
use crate::tpm::{Attest, Clock, Content, Public};

/// One part of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub title: String,
    /// Names and values, each in one line and fit for a terminal.
    pub lines: Vec<(String, String)>,
}

impl Section {
    fn new(title: &str) -> Self {
        Self { title: title.to_owned(), lines: Vec::new() }
    }

    fn add(&mut self, name: impl Into<String>, value: impl AsRef<str>) -> &mut Self {
        self.lines.push((name.into(), shown::sentence(value.as_ref())));
        self
    }

    fn add_known(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value.to_string());
        }
        self
    }
}

/// What stands in evidence, believed or not: who signed it, what it claims, and what its proof says.
///
/// # Errors
/// A sentence: why it is no evidence.
pub fn describe(evidence: &str) -> Result<Vec<Section>, String> {
    let parsed = signed::parse(TYP, evidence, MAX_LENGTH).map_err(|error| error.to_string())?;
    let payload = Payload::from_json(&parsed.payload)?;
    let mut signer = Section::new("Signed by");
    match (&parsed.signer, parsed.leaf()) {
        (ParsedSigner::Chain(chain), Some(leaf)) => {
            signer
                .add("subject", leaf.subject().to_string())
                .add("issuer", leaf.issuer().to_string())
                .add("valid", format!("{} to {}", leaf.not_before().to_wire(), leaf.not_after().to_wire()))
                .add("SHA-256", leaf.sha256())
                .add("certificates", chain.len().to_string());
        }
        _ => {
            signer.add("key without a certificate", hex::encode(crate::wire::sha256(parsed.spki())));
        }
    }
    let mut sections = vec![signer, answered(&payload), claimed(&payload)];
    match &payload.proof {
        Proof::Spdm(proof) => spdm(proof, &mut sections),
        Proof::Tpm(proof) => tpm(proof, &mut sections),
        _ => {
            let mut section = Section::new("Proof");
            section.add("software", "none: the keys lie in files of the host");
            sections.push(section);
        }
    }
    Ok(sections)
}

fn answered(payload: &Payload) -> Section {
    let mut section = Section::new("Answers");
    section
        .add("nonce", hex::encode(payload.nonce))
        .add("audience", &payload.audience)
        .add("purpose", payload.purpose.as_str())
        .add("at", payload.issued_at.to_wire());
    section
}

fn claimed(payload: &Payload) -> Section {
    let (claims, identity) = (&payload.claims, &payload.claims.identity);
    let mut section = Section::new("Claims");
    section
        .add("serial number", &identity.serial_no)
        .add("make", &identity.make)
        .add("model", &identity.model)
        .add("type", format!("{} {}", identity.modality, identity.device_sub_type))
        .add("provider", format!("{} ({})", identity.device_provider, identity.device_provider_id))
        .add("level", claims.level.as_str())
        .add("trust module", &claims.ftm_serial)
        .add("firmware", &claims.firmware)
        .add_known("security version", claims.svn)
        .add_known("starts", claims.boot_count)
        .add_known("debugging", claims.debug.map(super::DebugStatus::as_str));
    section
}

fn spdm(proof: &SpdmProof, sections: &mut Vec<Section>) {
    let mut section = Section::new("SPDM authentication");
    match Authentication::parse(&proof.authentication) {
        Ok(found) => {
            section
                .add("messages", proof.authentication.len().to_string())
                .add("binding", hex::encode(found.nonce))
                .add("certificates", found.certificates.len().to_string())
                .add("hash of the root", hex::encode(found.root_hash));
        }
        Err(error) => {
            section.add("unreadable", error.to_string());
        }
    }
    sections.push(section);

    let mut section = Section::new("SPDM measurements");
    match Measurements::parse(&proof.authentication, &proof.measurements) {
        Ok(found) => {
            section.add("binding", hex::encode(found.nonce));
            found.blocks.iter().for_each(|block| {
                section.add(name_of(block.index), measured(block));
            });
        }
        Err(error) => {
            section.add("unreadable", error.to_string());
        }
    }
    sections.push(section);

    let Some(jws) = &proof.key_statement else { return };
    let mut section = Section::new("Key statement of the chip");
    let read = signed::parse(key_statement::TYP, jws, key_statement::MAX_LENGTH)
        .map_err(|error| error.to_string())
        .and_then(|parsed| KeyStatement::from_json(&parsed.payload));
    match read {
        Ok(found) => {
            section
                .add("binding", hex::encode(found.binding))
                .add("SHA-256 of the key", hex::encode(found.spki_sha256))
                .add("origin", &found.origin)
                .add("exportable", found.exportable.to_string())
                .add("usage", &found.usage)
                .add("rotation", found.rotation.to_string())
                .add("security version", found.svn.to_string())
                .add("firmware", hex::encode(found.firmware_sha256))
                .add("mode", &found.device_mode);
        }
        Err(text) => {
            section.add("unreadable", text);
        }
    }
    sections.push(section);
}

fn name_of(at: u8) -> String {
    let name = match at {
        index::ROM => "ROM",
        index::LOADER => "loader",
        index::FIRMWARE => "firmware",
        index::POLICY => "secure-boot policy",
        index::SVN => "security version",
        index::VERSION => "version",
        index::MANIFEST => "manifest",
        index::DEVICE_MODE => "device mode",
        _ => "other",
    };
    format!("{at:02X} {name}")
}

fn measured(block: &Block) -> String {
    if let Some(svn) = block.as_svn() {
        return svn.to_string();
    }
    if let Some(version) = block.as_version() {
        return version.to_owned();
    }
    if let Some(mode) = block.as_device_mode() {
        let word = if mode.is_normal() { "normal" } else { "not normal" };
        return format!("{word} (operational {:#x}, debug {:#x})", mode.operational, mode.debug);
    }
    match &block.value {
        Value::Digest(digest) => hex::encode(digest),
        Value::Raw(raw) => format!("{} bytes", raw.len()),
    }
}

fn tpm(proof: &TpmProof, sections: &mut Vec<Section>) {
    let mut section = Section::new("TPM attestation key");
    section.add("certificates", proof.attestation_chain.len().to_string());
    public(&proof.attestation_public, &mut section);
    sections.push(section);
    for (title, key) in
        [("TPM identity key", Some(&proof.identity)), ("TPM device key", proof.device_key.as_ref())]
    {
        let Some(CertifiedKey { public: area, attested }) = key else { continue };
        let mut section = Section::new(title);
        public(area, &mut section);
        attest(attested, &mut section);
        sections.push(section);
    }
    if let Some(quote) = &proof.quote {
        let mut section = Section::new("TPM quote");
        quote.pcrs.iter().for_each(|(index, value)| {
            section.add(format!("PCR {index}"), hex::encode(value));
        });
        attest(&quote.attested, &mut section);
        sections.push(section);
    }
    if let Some(time) = &proof.time {
        let mut section = Section::new("TPM clock");
        attest(time, &mut section);
        sections.push(section);
    }
}

fn public(area: &[u8], section: &mut Section) {
    match Public::parse(area) {
        Ok(key) => {
            section.add("attributes", format!("{:?}", key.attributes)).add("name", hex::encode(key.name))
        }
        Err(error) => section.add("unreadable", error.to_string()),
    };
}

fn attest(part: &Attested, section: &mut Section) {
    let Attest { extra_data, clock, content, firmware_version, .. } = match Attest::parse(&part.attest) {
        Ok(found) => found,
        Err(error) => {
            section.add("unreadable", error.to_string());
            return;
        }
    };
    let what = match content {
        Content::Certify { name, .. } => format!("the key {}", hex::encode(name)),
        Content::Quote { pcrs, .. } => format!("PCRs {:?}", pcrs.0),
        Content::Time { time } => format!("{time} ms since its start"),
    };
    let Clock { clock, reset_count, restart_count, safe } = clock;
    let safe = if safe { "safe" } else { "not safe" };
    section
        .add("attests", what)
        .add("binding", hex::encode(extra_data))
        .add("clock", format!("{clock} ms, {safe}, {reset_count} resets, {restart_count} restarts"))
        .add("TPM firmware", format!("{firmware_version:016x}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SpdmForge, TpmForge, World};
    use biotrust_model::Level;
    use biotrust_model::evidence::EvidencePurpose;
    use biotrust_model::time::UtcMillis;

    #[test]
    fn everything_is_shown() {
        let world = World::new(UtcMillis(1_893_456_000_000));
        let challenge = world.challenge(EvidencePurpose::DeviceKey);
        let titles = |evidence: &str| {
            let sections = describe(evidence).unwrap();
            assert!(
                sections.iter().all(|section| !section.lines.iter().any(|(name, _)| name == "unreadable"))
            );
            sections.into_iter().map(|section| section.title).collect::<Vec<_>>()
        };
        let tpm = titles(&TpmForge::new(&world, &challenge).evidence());
        assert_eq!(tpm.len(), 8, "{tpm:?}");
        let spdm = titles(&SpdmForge::new(&world, &challenge).evidence());
        assert_eq!(spdm[3..], ["SPDM authentication", "SPDM measurements", "Key statement of the chip"]);
        let software = titles(&world.software_evidence(&challenge, Level::L0));
        assert_eq!(software, ["Signed by", "Answers", "Claims", "Proof"]);
        assert!(describe("a.b.c").is_err());
    }

    #[test]
    fn names_steer_no_terminal() {
        let mut section = Section::new("x");
        section.add("a", "b\u{1b}[2J\nc");
        assert_eq!(section.lines[0].1, r"b\u{1b}[2J\nc");
    }
}
