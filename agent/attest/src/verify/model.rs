//! What the adopter says about the model, and what follows: reference values, the floor, the level.

use biotrust_model::Level;
use biotrust_model::evidence::FtmKind;

use super::chip::Chip;
use super::proven::{Proven, State};
use super::{CheckName, Expected, Finding, Outcome, Report};
use crate::evidence::Payload;
use crate::metadata::{FirmwareRange, Freshness, Metadata, Model, Status};
use crate::shown;

/// The standing of a model.
pub(super) struct Standing<'m> {
    entry: Option<&'m Model>,
    /// Why a device of it is not L1, where it is not.
    not_l1: Option<String>,
}

/// Looks the model up and judges its status.
pub(super) fn standing<'m>(
    report: &mut Report,
    payload: &Payload,
    chip: Option<&Chip>,
    proven: &Proven,
    expected: &Expected<'m>,
) -> Standing<'m> {
    let Some(metadata) = expected.models else {
        report.add(CheckName::Model, Outcome::NotChecked, "there is no model metadata to look it up in");
        let not_l1 = match (expected.policy.l1_without_metadata, payload.kind()) {
            (false, _) => Some("there is no model metadata that says that its model is certified L1"),
            (true, FtmKind::Tpm) => Some(
                "there is no model metadata that says that its TPM is in the device, and not in a host beside it",
            ),
            (true, FtmKind::Spdm | FtmKind::Software) => None,
        };
        let not_l1 = not_l1.map(str::to_owned);
        return Standing { entry: None, not_l1 };
    };
    let freshness = metadata.freshness(expected.now);
    let silent = match freshness {
        Freshness::Current | Freshness::Overdue { .. } => None,
        Freshness::Expired { since } => {
            Some(format!("the model metadata is out of date since {}; get the current one", since.to_wire()))
        }
        Freshness::NotYet { from } => Some(format!(
            "the model metadata is dated {}, in the future; check the clock of this host",
            from.to_wire()
        )),
    };
    if let Some(text) = silent {
        report.add(CheckName::Model, Outcome::Warning, text.clone());
        return Standing { entry: None, not_l1: Some(text) };
    }
    let identity = &payload.claims.identity;
    let name = format!("{} {}", shown::value(&identity.make), shown::value(&identity.model));
    let Some(entry) = metadata.find(&identity.device_provider, &identity.make, &identity.model) else {
        let text = format!("{name} is not in the model metadata (number {})", metadata.number());
        report.add(CheckName::Model, Outcome::Warning, text.clone());
        return Standing { entry: None, not_l1: Some(text) };
    };
    let (outcome, text) = match judge_status(entry, effective_svn(payload, proven), expected) {
        Err(text) => (Outcome::Fail, format!("{name} {text}")),
        Ok(_) if !anchor_fits(entry, chip, payload) => {
            (Outcome::Fail, format!("{name} is certified with chips under other anchors than this one"))
        }
        Ok(Some(warning)) => (Outcome::Warning, format!("{name} {warning}")),
        Ok(None) => overdue(&name, metadata, freshness),
    };
    report.add(CheckName::Model, outcome, text);
    Standing { entry: Some(entry), not_l1: not_l1(entry, &name, payload, expected) }
}

fn overdue(name: &str, metadata: &Metadata, freshness: Freshness) -> (Outcome, String) {
    match freshness {
        Freshness::Overdue { until } => (
            Outcome::Warning,
            format!(
                "{name} is in good standing by metadata that was due for renewal on {}; it counts until {}",
                metadata.next_update().to_wire(),
                until.to_wire()
            ),
        ),
        _ => (Outcome::Pass, format!("{name} is in good standing (metadata number {})", metadata.number())),
    }
}

/// Refused: `Err`; to be looked at: a warning.
fn judge_status(entry: &Model, svn: Option<u64>, expected: &Expected<'_>) -> Result<Option<String>, String> {
    let concerns = |below: Option<u64>| below.is_none_or(|below| svn.is_none_or(|svn| svn < below));
    let mut warning = None;
    for report in entry.status.iter().filter(|report| concerns(report.below_svn)) {
        let word = match report.status {
            Status::Certified => continue,
            Status::UpdateRequired => "has to be updated",
            Status::Revoked => "has lost its certification",
            Status::Compromised => "is compromised",
        };
        let reason = match report.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({})", shown::value(reason)),
        };
        let text = format!("{word} as of {}{reason}", report.effective.to_wire());
        if report.effective <= expected.now {
            return Err(text);
        }
        warning = Some(text);
    }
    Ok(warning)
}

fn anchor_fits(entry: &Model, chip: Option<&Chip>, payload: &Payload) -> bool {
    // Who makes the modules in devices says nothing about one beside a device.
    let counts = !entry.anchors.is_empty() && entry.ftm == payload.kind() && !is_beside(payload);
    let Some(chip) = chip.filter(|_| counts) else { return true };
    let is_listed = |sha256: &String| entry.anchors.iter().any(|known| known.eq_ignore_ascii_case(sha256));
    // A chip without a path has failed already.
    chip.authorities.is_empty() || chip.authorities.iter().any(is_listed)
}

fn not_l1(entry: &Model, name: &str, payload: &Payload, expected: &Expected<'_>) -> Option<String> {
    let certified_later = entry
        .status
        .iter()
        .filter(|report| report.status == Status::Certified)
        .map(|report| report.effective)
        .min()
        .filter(|effective| *effective > expected.now);
    if entry.level != Level::L1 {
        return Some(format!("{name} is certified {}, not L1", entry.level));
    }
    if let Some(effective) = certified_later {
        return Some(format!("{name} is certified from {} on", effective.to_wire()));
    }
    (entry.ftm != payload.kind()).then(|| {
        format!("{name} is certified with a trust module of kind {}, not {}", entry.ftm, payload.kind())
    })
}

/// Measured state is authentic, agrees with the claims, and is known to the adopter.
pub(super) fn measurements(report: &mut Report, payload: &Payload, proven: &Proven, standing: &Standing<'_>) {
    let nothing = |report: &mut Report, text: &str| {
        report.add(CheckName::Measurements, Outcome::NotChecked, text);
    };
    // Values of a module in the device say nothing about one beside it.
    let entry = standing.entry.filter(|entry| entry.ftm == payload.kind() && !is_beside(payload));
    let ranges = entry.map(|entry| entry.firmware.as_slice()).unwrap_or_default();
    let finding = match &proven.state {
        Err(text) => Err(text.clone()),
        Ok(None) if payload.kind() == FtmKind::Software => {
            return nothing(report, "software measures nothing");
        }
        Ok(None) if ranges.is_empty() => return nothing(report, "nothing was measured"),
        Ok(None) => Err("the adopter knows what this model measures to, and nothing was measured".to_owned()),
        Ok(Some(state)) => match agrees(payload, state) {
            Err(text) => Err(text),
            Ok(()) if ranges.is_empty() => {
                return nothing(report, "measured by the chip; there are no reference values for this model");
            }
            Ok(()) => known(payload, state, ranges),
        },
    };
    report.judge(CheckName::Measurements, finding);
}

/// Whether the module is the host's, beside the sensor: what it measures is its own firmware, not that of the sensor. A
/// module in a device claims L1.
fn is_beside(payload: &Payload) -> bool {
    payload.claims.level == Level::L0
}

/// What is claimed is what is measured.
fn agrees(payload: &Payload, state: &State) -> Result<(), String> {
    let claimed = &payload.claims.firmware;
    match &state.version {
        Some(measured) if measured != claimed && !is_beside(payload) => Err(format!(
            "firmware \"{}\" is claimed, \"{}\" is measured",
            shown::value(claimed),
            shown::value(measured)
        )),
        _ => Ok(()),
    }
}

fn known(payload: &Payload, state: &State, ranges: &[FirmwareRange]) -> Finding {
    let version = state.version.as_deref().unwrap_or(&payload.claims.firmware);
    let svn = state.svn.or(payload.claims.svn).unwrap_or_default();
    let mut closest = None;
    let fitting = ranges.iter().filter(|range| {
        (range.svn_from..=range.svn_to).contains(&svn)
            && range.version.as_deref().is_none_or(|v| v == version)
    });
    for range in fitting {
        match compare(range, state) {
            Ok(count) => {
                return Ok(format!(
                    "{count} values of firmware \"{}\" are as they should be",
                    shown::value(version)
                ));
            }
            Err(text) => closest = Some(text),
        }
    }
    Err(closest.unwrap_or_else(|| {
        format!(
            "firmware \"{}\" with security version {svn} is not known to the adopter",
            shown::value(version)
        )
    }))
}

/// Counts the values that fit, or names the first that does not.
fn compare(range: &FirmwareRange, state: &State) -> Result<usize, String> {
    for (index, good) in &range.reference.0 {
        let Some(digest) = state.digests.get(index) else {
            return Err(format!("index {index} is not measured"));
        };
        let digest = hex::encode(digest);
        if !good.iter().any(|value| value.eq_ignore_ascii_case(&digest)) {
            return Err(format!("index {index} measures to {digest}, which is not known to the adopter"));
        }
    }
    Ok(range.reference.0.len())
}

/// The security version number: measured, or where the module measures none, claimed.
pub(super) fn effective_svn(payload: &Payload, proven: &Proven) -> Option<u64> {
    let measured = proven.state.as_ref().ok().and_then(Option::as_ref).and_then(|state| state.svn);
    match payload.kind() {
        FtmKind::Spdm if is_beside(payload) => None,
        FtmKind::Spdm => measured,
        FtmKind::Tpm | FtmKind::Software => measured.or(payload.claims.svn),
    }
}

/// Not older than the floor.
pub(super) fn svn(
    report: &mut Report,
    payload: &Payload,
    proven: &Proven,
    standing: &Standing<'_>,
    expected: &Expected<'_>,
) {
    let minimum = standing.entry.map_or(0, |entry| entry.minimum_svn);
    let floor = minimum.max(expected.policy.svn_floor);
    let whose = if floor == minimum { "the adopter's minimum" } else { "what this device had before" };
    // Keys of the host: the scanner beside them is not measured.
    let may_be_silent = match payload.kind() {
        FtmKind::Spdm => is_beside(payload),
        FtmKind::Tpm => is_beside(payload) || floor == 0,
        FtmKind::Software => true,
    };
    let finding = match (effective_svn(payload, proven), payload.claims.svn) {
        (None, _) if may_be_silent => {
            let text = "the device tells no security version number";
            return report.add(CheckName::Svn, Outcome::NotChecked, text);
        }
        (None, _) => Err(format!("no security version number is measured; the floor is {floor}")),
        (Some(svn), Some(claimed)) if svn != claimed => {
            Err(format!("security version {claimed} is claimed, {svn} is measured"))
        }
        (Some(svn), _) if svn < floor => {
            Err(format!("security version {svn} is below {floor}, {whose}: update the firmware"))
        }
        (Some(svn), _) => Ok(format!("security version {svn}, floor {floor}")),
    };
    report.judge(CheckName::Svn, finding);
}

/// The level that is granted, and why it is not L1 where it is not.
pub(super) fn level(
    report: &mut Report,
    payload: &Payload,
    standing: &Standing<'_>,
) -> (Level, Option<String>) {
    let claimed = payload.claims.level;
    let why = match (payload.kind(), claimed) {
        (FtmKind::Software, _) => Some("its keys lie in files of the host".to_owned()),
        (FtmKind::Tpm, Level::L0) => {
            Some("the trust module is the host's, beside the scanner and not in it".to_owned())
        }
        (FtmKind::Spdm, Level::L0) => {
            Some("key in a module: the trust module is beside the sensor and not in it".to_owned())
        }
        (_, Level::L1) => standing.not_l1.clone(),
    };
    let granted = if why.is_none() { Level::L1 } else { Level::L0 };
    match &why {
        None => report.add(CheckName::Level, Outcome::Pass, "L1, as claimed and certified"),
        Some(why) if claimed == granted => report.add(CheckName::Level, Outcome::Pass, format!("L0: {why}")),
        Some(why) => {
            report.add(CheckName::Level, Outcome::Warning, format!("L1 is claimed, L0 is granted: {why}"))
        }
    }
    (granted, why)
}
