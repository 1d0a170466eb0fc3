//! Proof of a module that speaks SPDM: the transcripts of an authentication and of its measurements, and the chip's own
//! statement about the device key.

use biotrust_model::evidence::{Binding, SpdmProof};
use biotrust_spdm::measurement::{Block, Value, index};
use biotrust_spdm::transcript::{Authentication, Measurements};

use super::Finding;
use super::chip::Chip;
use super::proven::{KeyProof, Proven, State};
use crate::key_statement::{self, KeyStatement};
use crate::shown;
use crate::signed::{self, ParsedSigner};

pub(super) fn judge(proof: &SpdmProof, chip: &Chip, binding: &Binding) -> Proven {
    let authentication = Authentication::parse(&proof.authentication).map_err(|error| error.to_string());
    let measurements =
        Measurements::parse(&proof.authentication, &proof.measurements).map_err(|error| error.to_string());
    let statement = proof.key_statement.as_ref().map(|jws| statement(jws, chip)).transpose();
    let chip_model = authentication.as_ref().map_err(Clone::clone).and_then(|found| is_chip(found, chip));
    let summary = authentication.as_ref().ok().map(|found| found.summary);
    let state = measurements.as_ref().map_err(Clone::clone).and_then(|found| state(found, summary, chip));
    let device_key = match &statement {
        Err(text) => Err(text.clone()),
        Ok(None) => Ok(KeyProof::Absent),
        Ok(Some(statement)) => key(statement, chip, state.as_ref().ok()),
    };
    let nonces = [
        ("authentication", authentication.ok().map(|found| found.nonce)),
        ("measurements", measurements.ok().map(|found| found.nonce)),
        ("key statement", statement.ok().flatten().map(|found| found.binding)),
    ];
    Proven {
        binding: bound(&nonces, binding),
        chip_model: Some(chip_model),
        device_key,
        state: state.map(Some),
        clock: Ok(None),
        valid_until: None,
    }
}

/// The authentication is by the chip of the certificate that signs the evidence.
fn is_chip(authentication: &Authentication, chip: &Chip) -> Finding {
    if authentication.certificates.first().map(Vec::as_slice) != Some(chip.certificate.der()) {
        return Err("another certificate than the chip's was authenticated".to_owned());
    }
    authentication.verify(chip.certificate.spki_der()).map_err(|error| error.to_string())?;
    Ok("the chip has authenticated itself over SPDM 1.2".to_owned())
}

/// The measurements are the chip's, and nothing changed since the authentication.
fn state(found: &Measurements, summary: Option<[u8; 32]>, chip: &Chip) -> Result<State, String> {
    found.verify(chip.certificate.spki_der()).map_err(|error| error.to_string())?;
    if summary.is_some_and(|summary| summary != found.summary) {
        return Err("other measurements than during the authentication".to_owned());
    }
    let digests = found.blocks.iter().filter_map(|block| match &block.value {
        Value::Digest(digest) => Some((block.index, digest.to_vec())),
        Value::Raw(_) => None,
    });
    Ok(State {
        digests: digests.collect(),
        svn: found.block(index::SVN).and_then(Block::as_svn),
        version: found.block(index::VERSION).and_then(Block::as_version).map(str::to_owned),
        mode: found.block(index::DEVICE_MODE).and_then(Block::as_device_mode),
    })
}

/// The statement, signed by the chip.
fn statement(jws: &str, chip: &Chip) -> Result<KeyStatement, String> {
    let wrong = |error: signed::SignedError| format!("the key statement: {error}");
    let parsed = signed::parse(key_statement::TYP, jws, key_statement::MAX_LENGTH).map_err(wrong)?;
    let by_chip = match &parsed.signer {
        ParsedSigner::Chain(chain) => chain.first().is_some_and(|der| der == chip.certificate.der()),
        ParsedSigner::Key(_) => false,
    };
    if !by_chip {
        return Err("the key statement is not signed by this chip".to_owned());
    }
    parsed.verify().map_err(wrong)?;
    KeyStatement::from_json(&parsed.payload)
}

/// The statement was made by the firmware that is measured, in this chip, in normal mode.
fn key(statement: &KeyStatement, chip: &Chip, state: Option<&State>) -> Result<KeyProof, String> {
    if Some(statement.ftm_serial.as_str()) != chip.certificate.subject().common_name() {
        return Err(format!(
            "the key statement is by trust module \"{}\", not by the one of the chip certificate",
            shown::value(&statement.ftm_serial)
        ));
    }
    if statement.device_mode != "normal" {
        return Err(format!(
            "the key statement was made in mode \"{}\"",
            shown::value(&statement.device_mode)
        ));
    }
    if let Some(state) = state {
        let firmware = state.digests.get(&index::FIRMWARE).map(Vec::as_slice);
        if firmware != Some(&statement.firmware_sha256) || state.svn != Some(statement.svn) {
            return Err("the key statement was made by other firmware than the measured one".to_owned());
        }
    }
    Ok(KeyProof::Statement(Box::new(statement.clone())))
}

fn bound(nonces: &[(&str, Option<[u8; 32]>)], binding: &Binding) -> Finding {
    let found: Vec<_> = nonces.iter().filter_map(|(name, nonce)| nonce.map(|nonce| (*name, nonce))).collect();
    if let Some((name, _)) = found.iter().find(|(_, nonce)| *nonce != binding.0) {
        return Err(format!("the {name} carries another binding: it answers something else"));
    }
    match found.as_slice() {
        [] => Err("no part of the proof can be read that could carry it".to_owned()),
        _ => {
            Ok(format!("carried by: {}", found.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")))
        }
    }
}
