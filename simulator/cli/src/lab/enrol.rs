//! The device provider's management server, as far as an L0 device needs it: certifies the key that the daemon has made.

use std::time::Duration;

use anyhow::Context as _;
use biotrust_certs::TestPki;
use biotrust_model::ProblemKind;
use biotrust_model::time::UtcMillis;

use crate::agent::Agent;

/// Life of a device certificate.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// The first certificate of a device is dated back, so that the one after a rotation is younger by its date too.
const BACKDATED: i64 = 3600 * 1000;

/// Whether the daemon reports the device `serial` Not Registered, or refuses the certificate of an earlier run.
pub(super) fn is_needed(agent: &Agent, serial: &str) -> anyhow::Result<bool> {
    let known = agent.device(serial)?;
    let refused = ProblemKind::DeviceRefused.code().to_string();
    Ok(known.is_some_and(|device| {
        device.status.as_deref() == Some("Not Registered")
            || device.problem.is_some_and(|problem| problem.code == refused)
    }))
}

/// Enrols the device `serial` for the first time.
pub(super) fn certify_first(
    agent: &Agent,
    pki: &TestPki,
    serial: &str,
    now: UtcMillis,
) -> anyhow::Result<()> {
    certify(agent, pki, serial, UtcMillis(now.0 - BACKDATED)).map(drop)
}

/// Lets the daemon make a key for the device `serial` and certifies it from `from` on; gives the certificate's SHA-256.
pub(super) fn certify(agent: &Agent, pki: &TestPki, serial: &str, from: UtcMillis) -> anyhow::Result<String> {
    let csr = agent.enrol_begin(serial).with_context(|| format!("asking for a key for {serial}"))?;
    let chain = pki
        .issue_device_certificate(&csr, from, LIFETIME)
        .with_context(|| format!("certifying the key of {serial}"))?;
    agent.enrol_finish(serial, &chain).with_context(|| format!("handing over the certificate of {serial}"))
}
