//! The requests that the tool kit's front end builds. ctk, section 1.2.

use serde_json::{Value, json};

use super::cases::{Call, Case, Project, Shot};
use super::decode::Selected;

/// `previousHash` of a first capture: SHA-256 of nothing, in lower case.
pub const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The body of a case's call; `{}` for MOSIPDINFO.
#[must_use]
pub fn body(
    case: &Case,
    project: Project,
    selected: &Selected,
    previous_hash: &str,
    start_iso: &str,
) -> Value {
    match case.call {
        Call::Discover { wrong_type } => {
            let bio_type = project.bio_type();
            json!({"type": if wrong_type { bio_type.to_uppercase() } else { bio_type.to_owned() }})
        }
        Call::Info(_) => json!({}),
        Call::Capture(shot) => capture(case, &shot, project, selected, previous_hash, start_iso),
    }
}

fn capture(
    case: &Case,
    shot: &Shot,
    project: Project,
    selected: &Selected,
    previous_hash: &str,
    start_iso: &str,
) -> Value {
    let mut bio = json!({
        "type": project.bio_type(), "count": shot.count, "bioSubType": shot.parts,
        "requestedScore": shot.score, "deviceId": selected.device_id, "deviceSubId": shot.sub_id,
        "previousHash": previous_hash,
    });
    let registration = project.purpose() == "Registration";
    if registration {
        bio["exception"] = json!(shot.exception);
    }
    let transaction_id =
        shot.transaction_id.map_or_else(|| format!("{}-{}", case.name(), next() % 1000), str::to_owned);
    let mut body = json!({
        "env": "Developer", "purpose": selected.purpose, "specVersion": selected.spec_version,
        "timeout": shot.timeout, "captureTime": start_iso, "transactionId": transaction_id, "bio": [bio],
        "customOpts": null,
    });
    if !registration {
        body["domainUri"] = json!("");
    }
    if let Some(name) = shot.renamed {
        match name.strip_prefix("bio[0].") {
            Some(name) => rename(&mut body["bio"][0], name),
            None => rename(&mut body, name),
        }
    }
    body
}

/// Appends "XXX" to a member's name and keeps its value.
fn rename(object: &mut Value, name: &str) {
    let members = object.as_object_mut().expect("an object");
    let value = members.remove(name).unwrap_or_else(|| panic!("no member {name}"));
    members.insert(format!("{name}XXX"), value);
}

fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
