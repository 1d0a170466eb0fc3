//! Checks of what the evidence claims: freshness, mode, time, identity.

use biotrust_model::Level;
use biotrust_model::evidence::{EvidencePurpose, FtmKind};

use super::chip::Chip;
use super::proven::Proven;
use super::{CheckName, Expected, Outcome, Report};
use crate::evidence::{DebugStatus, Payload};
use crate::shown;

/// Oldest evidence that is accepted, beside the tolerance of clocks; a challenge can be answered for a minute.
const MAX_AGE_MS: i64 = 60_000;

/// Answers the challenge, in its time.
pub(super) fn challenge(report: &mut Report, payload: &Payload, expected: &Expected<'_>) {
    let Some(challenge) = expected.challenge else {
        let text = "no challenge was given: this may be old, or made for somebody else";
        return report.add(CheckName::Challenge, Outcome::NotChecked, text);
    };
    let tolerance = expected.policy.tolerance_ms();
    let finding = if payload.nonce != challenge.nonce {
        Err("it answers another nonce".to_owned())
    } else if payload.audience != challenge.audience {
        Err(format!(
            "it was made for \"{}\", not for \"{}\"",
            shown::value(&payload.audience),
            shown::value(&challenge.audience)
        ))
    } else if payload.purpose != challenge.purpose {
        Err(format!("it was made for purpose {}, not {}", payload.purpose, challenge.purpose))
    } else if expected.now > challenge.expires_at {
        Err(format!("the challenge expired at {}; ask for a new one", challenge.expires_at.to_wire()))
    } else if challenge.issued_at.since(expected.now) > tolerance {
        Err("the challenge was given out in the future; check the clock of this host".to_owned())
    } else if challenge.issued_at.since(payload.issued_at) > tolerance {
        Err("it is dated before the challenge was given out".to_owned())
    } else if payload.issued_at.since(challenge.expires_at) > tolerance {
        Err("it is dated after the challenge expired".to_owned())
    } else {
        Ok(format!("fresh answer to a challenge of {}", challenge.issued_at.to_wire()))
    };
    report.judge(CheckName::Challenge, finding);
}

/// Normal operation; nothing that could look inside is or was active.
pub(super) fn device_mode(report: &mut Report, payload: &Payload, proven: &Proven) {
    let claimed = payload.claims.debug;
    if let Some(status @ (DebugStatus::Enabled | DebugStatus::Disabled)) = claimed {
        let text = format!("the device says that debugging is {}", status.as_str());
        return report.add(CheckName::DeviceMode, Outcome::Fail, text);
    }
    let finding = match payload.kind() {
        FtmKind::Spdm => match &proven.state {
            // The measurements have failed; their mode is worth nothing.
            Err(_) | Ok(None) => {
                Err("the mode is not known: there are no measurements to believe".to_owned())
            }
            Ok(Some(state)) => match state.mode {
                None => Err("the device measures no mode".to_owned()),
                Some(mode) if mode.is_normal() => Ok("normal, and never debugged".to_owned()),
                Some(mode) => Err(format!(
                    "operational mode {:#x}, debug states {:#x}; only 0x4 and 0x0 are accepted",
                    mode.operational, mode.debug
                )),
            },
        },
        FtmKind::Tpm if payload.claims.level == Level::L1 => match claimed {
            Some(status) if status.is_permanently_off() => {
                Ok(format!("debugging is {}, by the device's own word", status.as_str()))
            }
            _ => Err("a device of level L1 must say that debugging is permanently disabled".to_owned()),
        },
        FtmKind::Tpm | FtmKind::Software => {
            let text = "keys of the host: there is no device mode to prove";
            return report.add(CheckName::DeviceMode, Outcome::NotChecked, text);
        }
    };
    report.judge(CheckName::DeviceMode, finding);
}

/// Whoever dated the evidence knows the time, and so does the module.
pub(super) fn trusted_time(report: &mut Report, payload: &Payload, proven: &Proven, expected: &Expected<'_>) {
    let (outcome, text) = match time(payload, proven, expected) {
        Err(text) => (Outcome::Fail, text),
        Ok((text, None)) => (Outcome::Pass, text),
        Ok((text, Some(doubt))) => (Outcome::Warning, format!("{text}; {doubt}")),
    };
    report.add(CheckName::TrustedTime, outcome, text);
}

/// What is known about the time, and a doubt about the module's own clock.
fn time(
    payload: &Payload,
    proven: &Proven,
    expected: &Expected<'_>,
) -> Result<(String, Option<&'static str>), String> {
    const UNSAFE: &str = "the TPM's clock is not safe: a loss of power may have set it back";
    let tolerance = expected.policy.tolerance_ms();
    let age = expected.now.since(payload.issued_at);
    let clock = proven.clock.clone()?;
    let clock_matters = payload.purpose == EvidencePurpose::Time && payload.kind() == FtmKind::Tpm;
    match clock {
        Some(clock) if !clock.safe && clock_matters => return Err(UNSAFE.to_owned()),
        None if clock_matters => {
            return Err("the TPM was asked for its time and does not tell it".to_owned());
        }
        _ => {}
    }
    // Stored evidence is as old as it is; a challenge is what makes age matter.
    if expected.challenge.is_some() && age > MAX_AGE_MS.saturating_add(tolerance) {
        return Err(format!("it is dated {} s ago: its clock stands still or is slow", age / 1000));
    }
    if age < -tolerance {
        return Err(format!("it is dated {} s in the future", age.unsigned_abs() / 1000));
    }
    let restarts = clock.map(|clock| format!(", after {} restarts of the TPM", clock.reset_count));
    let text = format!("dated {}{}", payload.issued_at.to_wire(), restarts.unwrap_or_default());
    // After a power cut a clock is not safe for an hour or so; nothing but a question for the time depends on it.
    Ok((text, clock.filter(|clock| !clock.safe).map(|_| UNSAFE)))
}

/// Who it is, and whether the chip is its chip.
pub(super) fn identity(report: &mut Report, payload: &Payload, chip: Option<&Chip>, expected: &Expected<'_>) {
    let claims = &payload.claims;
    let identity = &claims.identity;
    let who = format!(
        "{} {} {}",
        shown::value(&identity.make),
        shown::value(&identity.model),
        shown::value(&identity.serial_no)
    );
    let finding = match chip {
        None if expected.known_chip.is_some() => {
            Err(format!("{who} is known to have a chip, and shows none"))
        }
        Some(chip) if expected.known_chip.is_some_and(|key| key != chip.certificate.spki_der()) => {
            Err(format!("{who} is known to live with another chip: one of the two is a copy"))
        }
        Some(chip) if chip.certificate.subject().common_name() != Some(claims.ftm_serial.as_str()) => {
            Err(format!(
                "the trust module says that it is \"{}\"; its certificate is for \"{}\"",
                shown::value(&claims.ftm_serial),
                shown::value(chip.certificate.subject().common_name().unwrap_or_default())
            ))
        }
        _ => match expected.identity.and_then(|wanted| difference(wanted, identity)) {
            Some((member, wanted, found)) => Err(format!(
                "its {member} is \"{}\"; \"{}\" was expected",
                shown::value(&found),
                shown::value(&wanted)
            )),
            None => Ok(()),
        },
    };
    match finding {
        Err(text) => report.add(CheckName::Identity, Outcome::Fail, text),
        Ok(()) if expected.identity.is_none() => {
            let text = format!("it says that it is {who}; nobody in particular was expected");
            report.add(CheckName::Identity, Outcome::NotChecked, text);
        }
        Ok(()) => report.add(CheckName::Identity, Outcome::Pass, who),
    }
}

/// The first member that differs: its name, what was wanted, what was found.
fn difference(
    wanted: &biotrust_model::DeviceIdentity,
    found: &biotrust_model::DeviceIdentity,
) -> Option<(&'static str, String, String)> {
    let members = |identity: &biotrust_model::DeviceIdentity| {
        [
            identity.serial_no.clone(),
            identity.make.clone(),
            identity.model.clone(),
            identity.modality.to_string(),
            identity.device_sub_type.to_string(),
            identity.device_provider.clone(),
            identity.device_provider_id.clone(),
        ]
    };
    const NAMES: [&str; 7] =
        ["serial number", "make", "model", "type", "sub-type", "provider", "provider id"];
    let pairs = members(wanted).into_iter().zip(members(found));
    NAMES.into_iter().zip(pairs).find(|(_, (a, b))| a != b).map(|(name, (a, b))| (name, a, b))
}
