//! Carries out what the machine of a device wants done: a message, a key, a proof, the time.

use biotrust_attest::time_token;
use biotrust_certs::{Csr, sha256_hex};
use biotrust_mgmt::client::{Answer, Failure, Job};
use biotrust_mgmt::envelope::{self, Asked};
use biotrust_mgmt::message::{MAX_TEXT, Presented, ReplyBody, Report, Request, RequestBody, UpdateOutcome};
use biotrust_mgmt::{Bytes, MessageId, Nonce, Sha256, Stamp};
use biotrust_model::time::{Clock as _, UtcMillis};

use super::hands::Hands;
use super::{Shared, firmware};
use crate::catalog::SERVICE_VERSION;
use crate::fleet::{ManageError, ManagedDevice, Presentation};

/// Most notices in a report.
const MAX_NOTICES: usize = 16;

/// Does it, for `device`.
pub(super) async fn carry_out<H: Hands>(
    shared: &Shared<H>,
    device: &ManagedDevice,
    job: Job,
) -> Result<Answer, Failure> {
    let hands = &*shared.hands;
    let serial = device.identity.serial_no.as_str();
    Ok(match job {
        Job::SyncTime => {
            sync_time(shared, device).await?;
            Answer::TimeSet
        }
        Job::MakeKey => {
            let csr = hands.begin_rotation(serial).await.map_err(by_device)?;
            let spki = Csr::verify(&csr).map_err(|error| Failure::Device(error.to_string()))?;
            Answer::KeyMade { spki: Sha256::of(spki.spki_der()), csr: Bytes(csr) }
        }
        Job::Send(body) => Answer::Replied(ask(shared, device, body).await?),
        Job::Prove(challenge) => {
            Answer::Proven(hands.prove_next_key(serial, challenge).await.map_err(by_device)?)
        }
        Job::Install { chain } => {
            let chain = chain.into_iter().map(|Bytes(der)| der).collect();
            let rotated = hands.finish_rotation(serial, chain).await.map_err(by_device)?;
            tracing::info!(serial, certificate = rotated.certificate_sha256, "certificate installed");
            Answer::Installed
        }
        Job::Poll { full, update } => {
            let report = report(shared, device, full, update).await;
            Answer::Replied(ask(shared, device, RequestBody::Poll(report)).await?)
        }
        Job::Sign(body) => Answer::Signed(signed(shared, device, body).await?.0),
        Job::DestroyKeys => {
            destroy(shared, serial).await?;
            Answer::Destroyed
        }
        Job::Post(message) => {
            let request = envelope::open_request(&message)
                .map_err(|error| Failure::Device(format!("what was signed cannot be read: {error}")))?;
            let asked = Asked::of(&request.request);
            Answer::Replied(post(shared, device, message, &asked).await?)
        }
        Job::Update { manifest, image } => {
            firmware::update(shared, device, &manifest, &image).await?;
            Answer::Updated
        }
    })
}

/// Asks the server for the time, for the device's nonce where it has a clock of its own; sets this host's clock, and the
/// device's.
async fn sync_time<H: Hands>(shared: &Shared<H>, device: &ManagedDevice) -> Result<(), Failure> {
    let serial = device.identity.serial_no.as_str();
    let own = shared.hands.clock(serial).await.map_err(by_device)?;
    let nonce = match &own {
        Some(clock) => clock.nonce,
        None => random()?,
    };
    let host_utc = Stamp(shared.clock.host());
    let asked_at = shared.clock.uptime();
    let reply = ask(shared, device, RequestBody::Time { nonce: Nonce(nonce), host_utc }).await?;
    let token = match reply {
        ReplyBody::Time { token } => token,
        ReplyBody::Refused(refusal) => {
            return Err(Failure::Unreachable(format!("no time: {} ({})", refusal.text, refusal.check)));
        }
        _ => return Err(Failure::Distrusted("no time in the answer to a question for the time".into())),
    };
    let organisation = shared.server.organisation(&device.identity.device_provider);
    let told = time_token::verify(&token, &nonce, serial, shared.server.anchors(), organisation)
        .map_err(|error| Failure::Distrusted(error.to_string()))?;
    let told =
        shared.clock.measure(told.utc, asked_at).map_err(|error| Failure::Unreachable(error.to_string()))?;
    shared.remember_time(told).await?;
    if own.is_some() {
        shared.hands.set_clock(serial, token).await.map_err(by_device)?;
    }
    Ok(())
}

/// Signs and sends a question; the answer is a verified one.
async fn ask<H: Hands>(
    shared: &Shared<H>,
    device: &ManagedDevice,
    body: RequestBody,
) -> Result<ReplyBody, Failure> {
    let (message, asked) = signed(shared, device, body).await?;
    post(shared, device, message, &asked).await
}

async fn post<H: Hands>(
    shared: &Shared<H>,
    device: &ManagedDevice,
    message: String,
    asked: &Asked,
) -> Result<ReplyBody, Failure> {
    let now = shared.clock.trusted().ok();
    shared.server.post(message, asked, &device.identity.device_provider, now).await
}

async fn signed<H: Hands>(
    shared: &Shared<H>,
    device: &ManagedDevice,
    body: RequestBody,
) -> Result<(String, Asked), Failure> {
    let serial = device.identity.serial_no.as_str();
    let digital_id = match shared.hands.digital_id(serial).await.map_err(by_device)? {
        Presentation::Signed(compact) => Presented::Signed(compact),
        Presentation::Plain(json) => Presented::Plain(
            serde_json::from_str(&json).map_err(|error| Failure::Device(format!("digital ID: {error}")))?,
        ),
    };
    let request = Request {
        id: MessageId(random()?),
        at: shared.clock.now(),
        serial: serial.to_owned(),
        digital_id,
        body,
    };
    let asked = Asked::of(&request);
    let message = shared.hands.sign(serial, request.payload()).await.map_err(by_device)?;
    Ok((message, asked))
}

/// Destroys the device keys. That there are none is what was wanted.
async fn destroy<H: Hands>(shared: &Shared<H>, serial: &str) -> Result<(), Failure> {
    match shared.hands.destroy_key(serial).await {
        Ok(_) | Err(ManageError::NotRegistered(_)) => Ok(()),
        Err(error) => Err(by_device(error)),
    }
}

async fn report<H: Hands>(
    shared: &Shared<H>,
    device: &ManagedDevice,
    full: bool,
    update: Option<UpdateOutcome>,
) -> Report {
    let serial = device.identity.serial_no.as_str();
    // as it is now, not as it was when the job was given out
    let now = shared.device(serial);
    let device = now.as_ref().unwrap_or(device);
    let firmware = shared.hands.firmware(serial).await.ok().flatten();
    let certificate = device.certificate.as_ref();
    Report {
        status: device.status,
        reason: device.problem.as_ref().map(ToString::to_string).map(short).unwrap_or_default(),
        level: device.level,
        certificate_sha256: certificate.and_then(|one| Sha256::parse(&sha256_hex(one.der()))),
        not_after: certificate.map(|one| Stamp(one.not_after())),
        firmware: short(firmware.as_ref().map_or_else(|| device.firmware.clone(), |own| own.version.clone())),
        svn: firmware.map(|own| own.svn),
        service: SERVICE_VERSION.to_owned(),
        notices: match full {
            true => shared.hands.notices().into_iter().take(MAX_NOTICES).map(short).collect(),
            false => Vec::new(),
        },
        update,
    }
}

fn short(mut text: String) -> String {
    while text.len() > MAX_TEXT {
        text.pop();
    }
    text
}

pub(super) fn by_device(error: ManageError) -> Failure {
    Failure::Device(error.to_string())
}

/// Random bytes that nobody can foresee.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::Device("no random numbers".into()))?;
    Ok(bytes)
}

/// Now, for a machine: trusted where it can be.
pub(super) fn moment(
    now: UtcMillis,
    trusted: bool,
    policy: &biotrust_mgmt::client::Policy,
) -> biotrust_mgmt::client::Moment<'_> {
    let chance = random::<8>().map(u64::from_le_bytes).unwrap_or_default();
    biotrust_mgmt::client::Moment { now, trusted, chance: biotrust_mgmt::client::Chance(chance), policy }
}
