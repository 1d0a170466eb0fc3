//! Which parts a capture request means, in which order.
//!
//! The device must check `count` (spec section 7), clients send it beside a list of parts that may be missing, and the
//! compliance kit tries every way in which the two can disagree. Here they are brought together or refused with 109.

use biotrust_model::{BioSubType, DeviceSubType, Modality, Problem, ProblemKind, Purpose, SubId};

use crate::request::BioRequest;

/// What to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One entry for each record of the answer, in the order of the answer and of the hash chain. `None` is a face.
    pub parts: Vec<Option<BioSubType>>,
    /// The face is an exception photo: with the hands beside it, and ICAO rules off.
    pub exception_photo: bool,
}

impl Plan {
    fn of(parts: Vec<BioSubType>) -> Self {
        Self { parts: parts.into_iter().map(Some).collect(), exception_photo: false }
    }
}

/// Brings type, count, parts, exceptions and sub-id of a request together for a device of this build.
///
/// Registration: the parts of the sub-id, or those of them that the request names, without the exceptions; with sub-id 0
/// (devices for one finger or eye) the parts that the request names. Authentication: the parts that the request names;
/// where it names none, `count` times [`BioSubType::Unknown`]. Face: one.
///
/// # Errors
/// [`ProblemKind::CountNotSupported`] where `count` is not the number that results, or is zero;
/// [`ProblemKind::AttributeInvalid`] where a part, sub-id or type cannot be had from the device, or is asked for twice.
pub fn segments(bio: &BioRequest, device: DeviceSubType, purpose: Purpose) -> Result<Plan, Problem> {
    if !device.fits(bio.modality) {
        return Err(invalid("bio[0].type: not what the device captures"));
    }
    if bio.modality == Modality::Face {
        return face(bio, purpose);
    }
    let parts = match purpose {
        Purpose::Registration => registration(bio, device)?,
        Purpose::Auth => authentication(bio)?,
    };
    if parts.is_empty() || parts.len() != usize::from(bio.count) {
        return Err(ProblemKind::CountNotSupported.into());
    }
    if parts
        .iter()
        .enumerate()
        .any(|(index, part)| *part != BioSubType::Unknown && parts.iter().take(index).any(|p| p == part))
    {
        return Err(invalid("bio[0].bioSubType: the same part twice"));
    }
    Ok(Plan::of(parts))
}

fn face(bio: &BioRequest, purpose: Purpose) -> Result<Plan, Problem> {
    if bio.sub_id != SubId(0) {
        return Err(invalid("bio[0].deviceSubId: 0 for a face"));
    }
    if bio.count != 1 {
        return Err(ProblemKind::CountNotSupported.into());
    }
    let exception_photo = purpose == Purpose::Registration && !bio.exceptions.is_empty();
    Ok(Plan { parts: vec![None], exception_photo })
}

fn registration(bio: &BioRequest, device: DeviceSubType) -> Result<Vec<BioSubType>, Problem> {
    if bio.sub_types.contains(&BioSubType::Unknown) {
        return Err(invalid("bio[0].bioSubType: a registration needs named parts"));
    }
    let offered = offered(bio, device)?;
    if bio.sub_types.iter().any(|part| !offered.contains(part)) {
        return Err(invalid("bio[0].bioSubType: not among the parts of deviceSubId"));
    }
    let wanted = match (bio.sub_types.is_empty(), bio.sub_id) {
        (false, _) => &bio.sub_types,
        (true, SubId(0)) => {
            return Err(Problem::about(
                ProblemKind::AttributeMissing,
                "bio[0].bioSubType, with deviceSubId 0",
            ));
        }
        (true, _) => &offered,
    };
    Ok(wanted.iter().filter(|part| !bio.exceptions.contains(part)).copied().collect())
}

/// The parts that a registration device of this build has under the sub-id of the request.
fn offered(bio: &BioRequest, device: DeviceSubType) -> Result<Vec<BioSubType>, Problem> {
    let parts: Vec<BioSubType> = match (device, bio.sub_id) {
        // One at a time, so any named one will do.
        (DeviceSubType::Single | DeviceSubType::Touchless | DeviceSubType::Double, SubId(0)) => {
            BioSubType::ALL.iter().filter(|part| part.modality() == Some(bio.modality)).copied().collect()
        }
        (DeviceSubType::Single, sub_id) => match sub_id.parts(bio.modality) {
            [one] => vec![*one],
            _ => Vec::new(),
        },
        (_, sub_id) => sub_id.parts(bio.modality).to_vec(),
    };
    if parts.is_empty() { Err(invalid("bio[0].deviceSubId: not a part of the device")) } else { Ok(parts) }
}

fn authentication(bio: &BioRequest) -> Result<Vec<BioSubType>, Problem> {
    if bio.sub_id != SubId(0) {
        return Err(invalid("bio[0].deviceSubId: 0 for an authentication"));
    }
    if bio.sub_types.iter().any(|part| part.modality().is_some_and(|of| of != bio.modality)) {
        return Err(invalid("bio[0].bioSubType: not of the type of the request"));
    }
    if bio.sub_types.iter().any(|part| bio.exceptions.contains(part)) {
        return Err(invalid("bio[0].exception: a part that is asked for"));
    }
    let most = if bio.modality == Modality::Iris { 2 } else { 10 };
    if bio.count > most {
        return Err(ProblemKind::CountNotSupported.into());
    }
    // A list that names nothing (the browser client's default is one UNKNOWN, whatever the count) leaves it to count.
    let names_nothing = bio.sub_types.iter().all(|part| *part == BioSubType::Unknown);
    Ok(if names_nothing { vec![BioSubType::Unknown; usize::from(bio.count)] } else { bio.sub_types.clone() })
}

fn invalid(subject: &str) -> Problem {
    Problem::about(ProblemKind::AttributeInvalid, subject)
}

#[cfg(test)]
mod tests;
