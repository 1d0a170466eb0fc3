//! The body of CAPTURE and RCAPTURE.

use std::time::Duration;

use biotrust_model::{BioSubType, Env, Modality, Problem, ProblemKind, Purpose, SPEC_VERSION, Score, SubId};

use super::fields::{Fields, as_text, invalid};
use super::json::{self, Json};
use crate::hash_chain;

/// Longest time that a client may ask us to wait: the default of the specification's companion.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest `domainUri`; it comes back in every answer of the capture.
const MAX_DOMAIN_URI: usize = 2048;

/// Most members of `customOpts` (spec section 7).
const MAX_CUSTOM_OPTS: usize = 50;

/// Most entries of `bioSubType` and `exception` that are looked at; there are ten fingers and two eyes.
const MAX_PARTS: usize = 32;

/// Switches of the reader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Accepts a request whose `transactionId` is null or absent and gives it this one instead. Off by default; two
    /// clients need it (an Android relay, and the desktop client when it speaks 1.0). Must be fresh for each request.
    pub null_transaction_id: Option<String>,
}

/// What a client wants captured. `captureTime` is not in here: clients send it in every form or not at all, and
/// nothing depends on it.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptureRequest {
    /// Environment that the client believes to be in.
    pub env: Env,
    /// Purpose; the one of the verb.
    pub purpose: Purpose,
    /// Always [`SPEC_VERSION`]; the answer repeats it.
    pub spec_version: String,
    /// How long to wait at most, 1 ms to [`MAX_TIMEOUT`].
    pub timeout: Duration,
    /// 4 to 50 letters, digits and hyphens, to be repeated byte for byte.
    pub transaction_id: String,
    /// Authentication domain, to be repeated; empty where absent, and always for a registration.
    pub domain_uri: String,
    /// The one element of `bio`.
    pub bio: BioRequest,
}

/// What to capture with which device. Which parts that means is for [`crate::plan::segments`].
#[derive(Debug, Clone, PartialEq)]
pub struct BioRequest {
    /// Modality.
    pub modality: Modality,
    /// How many records are wanted.
    pub count: u8,
    /// Named parts; empty where the client leaves it to us. Never holds a part of another modality.
    pub sub_types: Vec<BioSubType>,
    /// Parts that the person does not have or must not present; never `UNKNOWN`.
    pub exceptions: Vec<BioSubType>,
    /// Score at which to stop early.
    pub requested_score: Score,
    /// That score as the answer must repeat it.
    pub requested_score_text: String,
    /// Device id, or serial number.
    pub device_id: String,
    /// Part of the device.
    pub sub_id: SubId,
    /// Where the hash chain starts.
    pub previous_hash: [u8; 32],
}

/// Reads the body of CAPTURE (`Purpose::Auth`) or RCAPTURE (`Purpose::Registration`).
///
/// `bio` must have exactly one element, although it is an array: no client sends two, the specification leaves open
/// where the hash chain of a second one starts and how answers belong to elements, and the compliance kit judges the
/// first only. Capturing one and dropping the rest would be worse than saying so.
///
/// # Errors
/// The first thing that is wrong: no JSON; a mandatory member missing (nothing is defaulted) or impossible; another
/// specVersion; another purpose than the verb's; a bad transaction id; too many customOpts.
pub fn parse_capture(verb: Purpose, body: &[u8], options: &ReadOptions) -> Result<CaptureRequest, Problem> {
    let object = json::parse(body)?;
    let fields = Fields::new(&object, "");
    let env = fields.word("env", "Staging, Developer, Pre-Production or Production")?;
    let purpose: Purpose = fields.word("purpose", "Auth or Registration")?;
    if purpose != verb {
        return Err(Problem::about(
            ProblemKind::WrongPurpose,
            format!("purpose: this operation is for {verb}"),
        ));
    }
    let spec_version = fields.text("specVersion")?;
    if spec_version != SPEC_VERSION {
        return Err(ProblemKind::SpecVersionNotSupported.into());
    }
    let timeout = timeout(&fields)?;
    let transaction_id = transaction_id(&fields, options)?;
    let domain_uri = if verb == Purpose::Auth { domain_uri(&fields)? } else { String::new() };
    check_custom_opts(&fields)?;
    let bio = match fields.required("bio")? {
        Json::List(elements) => match elements.as_slice() {
            [Json::Object(element)] => read_bio(&Fields::new(element, "bio[0]."))?,
            [_] => return Err(invalid("bio[0]: an object")),
            _ => return Err(invalid("bio: exactly one element")),
        },
        _ => return Err(invalid("bio: an array")),
    };
    Ok(CaptureRequest { env, purpose, spec_version, timeout, transaction_id, domain_uri, bio })
}

fn read_bio(fields: &Fields<'_>) -> Result<BioRequest, Problem> {
    let modality = fields.word("type", "Finger, Iris or Face")?;
    let count = u8::try_from(fields.whole("count")?).map_err(|_| ProblemKind::CountNotSupported)?;
    let (requested_score, requested_score_text) = score(fields.required("requestedScore")?)
        .ok_or_else(|| fields.invalid("requestedScore", "0 to 100"))?;
    let previous_hash = match fields.get("previousHash") {
        None => hash_chain::parse_previous(None),
        Some(Json::Text(text)) => hash_chain::parse_previous(Some(text)),
        Some(_) => Err(hash_chain::NotAHash),
    };
    Ok(BioRequest {
        modality,
        count,
        sub_types: sub_types(fields, modality)?,
        exceptions: exceptions(fields)?,
        requested_score,
        requested_score_text,
        device_id: fields.device_id("deviceId")?,
        sub_id: fields.sub_id("deviceSubId")?,
        previous_hash: previous_hash.map_err(|_| fields.invalid("previousHash", "64 hex digits"))?,
    })
}

/// `timeout` in milliseconds.
pub(super) fn timeout(fields: &Fields<'_>) -> Result<Duration, Problem> {
    let timeout = Duration::from_millis(fields.whole("timeout")?);
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(fields.invalid("timeout", "1 to 300000 milliseconds"));
    }
    Ok(timeout)
}

fn transaction_id(fields: &Fields<'_>, options: &ReadOptions) -> Result<String, Problem> {
    let id = match fields.get("transactionId") {
        Some(value) => as_text(value),
        None => options.null_transaction_id.clone(),
    };
    id.filter(|id| {
        (4..=50).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
    .ok_or_else(|| ProblemKind::InvalidTransactionId.into())
}

fn domain_uri(fields: &Fields<'_>) -> Result<String, Problem> {
    match fields.get("domainUri") {
        None => Ok(String::new()),
        Some(Json::Text(uri)) if uri.len() <= MAX_DOMAIN_URI => Ok(uri.clone()),
        Some(_) => Err(fields.invalid("domainUri", "a string of at most 2048 bytes")),
    }
}

fn check_custom_opts(fields: &Fields<'_>) -> Result<(), Problem> {
    match fields.get("customOpts") {
        None => Ok(()),
        Some(Json::Text(text)) if text.is_empty() => Ok(()),
        Some(Json::Object(opts)) if opts.len() <= MAX_CUSTOM_OPTS => Ok(()),
        Some(Json::Object(_)) => Err(ProblemKind::TooManyCustomOpts.into()),
        Some(_) => Err(fields.invalid("customOpts", "null or an object")),
    }
}

/// The score, and the text to repeat in a form that the compliance kit's schema allows: digits without leading zeros,
/// with or without a point and more digits.
fn score(value: &Json) -> Option<(Score, String)> {
    let text = match value {
        Json::Whole(number) => number.to_string(),
        Json::Real(number) => number.abs().to_string(),
        Json::Text(text) => text.clone(),
        _ => return None,
    };
    if matches!(value, Json::Real(number) if *number < 0.0) {
        return None;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
    let digits =
        |part: &str| (1..=20).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // As f64: in f32, 100.000001 would round down to a score that is allowed.
    let score = text.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number))?;
    let shown = text.trim_start_matches('0');
    let zero = if shown.is_empty() || shown.starts_with('.') { "0" } else { "" };
    Some((Score::new(score as f32)?, format!("{zero}{shown}")))
}

fn sub_types(fields: &Fields<'_>, modality: Modality) -> Result<Vec<BioSubType>, Problem> {
    let parts = parts(fields, "bioSubType")?;
    let fits = |part: &BioSubType| match part.modality() {
        Some(of_part) => of_part == modality,
        None => modality != Modality::Face,
    };
    if parts.iter().all(fits) {
        Ok(parts)
    } else {
        Err(fields.invalid("bioSubType", "parts of the same type"))
    }
}

/// Parts of any modality: an exception photo lists missing fingers and eyes, and one client sends the same list with
/// every capture.
fn exceptions(fields: &Fields<'_>) -> Result<Vec<BioSubType>, Problem> {
    let parts = parts(fields, "exception")?;
    if parts.contains(&BioSubType::Unknown) {
        return Err(fields.invalid("exception", "named fingers and eyes"));
    }
    Ok(parts)
}

/// An array of parts. A face has none, for which clients send null, an empty array, or an array of null, `""` or
/// `"null"`; such entries say nothing and are passed over.
fn parts(fields: &Fields<'_>, name: &str) -> Result<Vec<BioSubType>, Problem> {
    let list = fields.list(name)?;
    if list.len() > MAX_PARTS {
        return Err(fields.invalid(name, "at most 32 entries"));
    }
    let mut parts = Vec::with_capacity(list.len());
    for entry in list {
        match entry {
            Json::Null => {}
            Json::Text(text) if text.is_empty() || text == "null" => {}
            Json::Text(text) => {
                parts.push(text.parse().map_err(|_| fields.invalid(name, "names of fingers and eyes"))?);
            }
            _ => return Err(fields.invalid(name, "an array of strings")),
        }
    }
    Ok(parts)
}
