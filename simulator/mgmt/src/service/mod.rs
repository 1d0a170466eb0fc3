//! What the server decides. Every request that is signed gets a signed reply; every decision becomes an event.
//!
//! A request passes, in this order: form and signature; the budget of its address, where its key is not known; its time; its id, once; its provider; its sender, by the chip
//! that the serial number belongs to or the keys that were certified for it; and then what its kind asks for.

mod budget;
mod enrol;
mod orders;
mod refusal;
mod sender;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use biotrust_attest::Challenge;
use biotrust_attest::metadata::Metadata;
use biotrust_attest::time_token::TimeToken;
use biotrust_certs::{AdopterStore, FtmStore};
use biotrust_mgmt::Stamp;
use biotrust_mgmt::envelope::{self, EnvelopeError, Received};
use biotrust_mgmt::message::{Refusal, Reply, ReplyBody, RequestBody};
use biotrust_mgmt::replay::{Stale, Window};
use biotrust_mgmt::time::{skew, skew_notice};
use biotrust_model::evidence::EvidencePurpose;
use biotrust_model::time::{Clock, UtcMillis};

use crate::config::{Config, PolicyConfig};
use crate::keys::{self, Issuer, ManagementSigner};
use crate::store::{Store, StoreError};
use budget::Budget;
use refusal::refuse;

/// Messages of the last minutes that this process remembers in memory, so that a flood of repeated messages never
/// reaches the database.
const REMEMBERED: usize = 200_000;

/// How long a time token may travel.
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// The server's mind: keys, trust, policy, database.
pub struct Service {
    pub(crate) store: Store,
    issuer: Issuer,
    signer: ManagementSigner,
    organisation: String,
    audience: String,
    ftm: FtmStore,
    models: Option<Metadata>,
    policy: PolicyConfig,
    clock: Arc<dyn Clock>,
    window: Mutex<Window>,
    budget: Mutex<Budget>,
}

/// A request that gets no signed reply.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
    /// Not a message of anybody.
    #[error("{0}")]
    NotAMessage(EnvelopeError),
    /// By a key that nobody knows, and not the first one from there.
    #[error("too many messages of unknown devices come from this address; send them later")]
    TooMany,
    /// The server cannot work.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl From<StoreError> for NoReply {
    fn from(error: StoreError) -> Self {
        Self::Internal(error.into())
    }
}

/// Why a request is not done.
enum Outcome {
    /// The device is told why.
    Refused(Refusal),
    /// The server cannot work.
    Internal(anyhow::Error),
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Outcome {
    fn from(error: StoreError) -> Self {
        Self::Internal(error.into())
    }
}

impl Service {
    /// Loads keys, trust and database. The files are read on the calling thread.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let issuer = keys::issuer(&config.issuer)?;
        let organisation = issuer.key.certificate().subject().organisation();
        let organisation =
            organisation.context("the issuing certificate has no organisation (O)")?.to_owned();
        let signer = ManagementSigner::load(&config.signer, &organisation)?;
        let ftm = FtmStore::load(&config.trust.ftm)?;
        let days = config.policy.certificate_days;
        if !(1..=366).contains(&days) || config.policy.rotate_days == 0 {
            bail!("[policy]: certificate_days must be 1 to 366, rotate_days 1 or more");
        }
        let store = Store::open(&config.database).await?;
        let models = match &config.trust.metadata {
            Some(file) => {
                let jws = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                let adopter = AdopterStore::load(&config.trust.adopter)?;
                let models = Metadata::verify(&jws, &adopter, clock.now(), store.metadata_floor().await?)
                    .with_context(|| format!("{}", file.display()))?;
                // Before it is used: an older one never comes back, on no server of this database.
                store.raise_metadata_floor(models.number()).await?;
                Some(models)
            }
            None => None,
        };
        Ok(Self {
            store,
            audience: config.audience.clone().unwrap_or_else(|| organisation.clone()),
            issuer,
            signer,
            organisation,
            ftm,
            models,
            policy: config.policy.clone(),
            clock,
            window: Mutex::new(Window::new(REMEMBERED)),
            budget: Mutex::default(),
        })
    }

    /// Answers a request that came from this address: a compact JWS for a compact JWS.
    ///
    /// # Errors
    /// When there is no reply to give: not a message, one too many of a stranger, or the server cannot work.
    pub async fn answer(&self, compact: &str, from: IpAddr) -> Result<String, NoReply> {
        let received = envelope::open_request(compact).map_err(NoReply::NotAMessage)?;
        let stranger = !self.knows(&received.sender).await?;
        if stranger && !self.within_budget(from) {
            return Err(NoReply::TooMany);
        }
        let now = self.clock.now();
        let (serial, kind) = (&received.request.serial, received.request.body.kind());
        let body = match self.decide(&received, now).await {
            Ok(body) => body,
            Err(Outcome::Internal(error)) => return Err(NoReply::Internal(error)),
            Err(Outcome::Refused(refusal)) => {
                // Of a device that repeats itself without end, some refusals tell as much as all.
                if stranger || self.within_budget(from) {
                    let (check, text) = (&refusal.check, &refusal.text);
                    tracing::info!(serial, kind = kind.as_str(), check, "refused: {text}");
                    self.store.record(now, serial, kind.as_str(), Some(check), text).await?;
                }
                ReplyBody::Refused(refusal)
            }
        };
        self.sign(&received, body).map_err(NoReply::Internal)
    }

    fn within_budget(&self, from: IpAddr) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(from, Instant::now())
    }

    /// The image of an update that is under way.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn image(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.image(id).await
    }

    async fn decide(&self, received: &Received, now: UtcMillis) -> Result<ReplyBody, Outcome> {
        self.fresh(received, now).await?;
        let request = &received.request;
        if received.identity.device_provider != self.organisation {
            let text = format!("the device is of {:?}", short(&received.identity.device_provider));
            return Err(refuse("provider", text, "use the management server of the device's provider").into());
        }
        let standing = self.standing(received, now).await?;
        let serial = request.serial.as_str();
        let done = match &request.body {
            RequestBody::Challenge { purpose } => return self.challenge(received, *purpose, now).await,
            RequestBody::Time { nonce, host_utc } => {
                if let Some(notice) = skew_notice(skew(host_utc.0, now)) {
                    self.store.record(now, serial, "time", None, &notice).await?;
                }
                return self.time(serial, nonce.0, now);
            }
            RequestBody::Register { evidence, csr } | RequestBody::Rotate { evidence, csr } => {
                return self.enrol(received, &standing, evidence, &csr.0, now).await;
            }
            RequestBody::Poll(report) => return self.poll(serial, &standing, report, now).await,
            RequestBody::Confirm { certificate_sha256, destroyed_spki_sha256 } => {
                let (new, old) = (certificate_sha256, destroyed_spki_sha256.as_ref());
                if !self.store.confirm(serial, new, old, now).await? {
                    let text = format!("no certificate {new} was issued to this device");
                    return Err(refuse("certificate", text, "register the device anew").into());
                }
                let gone = old.map_or(String::new(), |old| format!("; key {old} is destroyed"));
                format!("certificate {new} is in use{gone}")
            }
            RequestBody::Deregistered { destroyed_spki_sha256: spki } => {
                if !self.store.farewell(serial, spki, now).await? {
                    let text = format!("no key {spki} was certified for this device");
                    return Err(refuse("key", text, "nothing; the device has no key of ours").into());
                }
                format!("key {spki} is destroyed")
            }
        };
        self.store.record(now, serial, request.body.kind().as_str(), None, &done).await?;
        Ok(ReplyBody::Ack {})
    }

    /// In its time, and for the first time.
    async fn fresh(&self, received: &Received, now: UtcMillis) -> Result<(), Outcome> {
        let request = &received.request;
        let stamp = Stamp(request.at);
        let stale = |stale: Stale| {
            let next = match stale {
                Stale::Known(_) => "send each message once",
                Stale::Full(_) => "send fewer messages",
                Stale::Old(_) | Stale::Future(_) => "ask for the time first",
            };
            Outcome::from(Refusal { retry_s: Some(60), ..refuse("fresh", stale.to_string(), next) })
        };
        let timely = request.body.kind().is_timely();
        let admitted = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.admit(request.id, stamp, timely, now)
        };
        admitted.map_err(stale)?;
        // The database remembers for the other servers, and for this one after a restart.
        if self.store.remember(request.id, stamp, now).await? {
            Ok(())
        } else {
            Err(stale(Stale::Known(request.id)))
        }
    }

    async fn challenge(
        &self,
        received: &Received,
        purpose: EvidencePurpose,
        now: UtcMillis,
    ) -> Result<ReplyBody, Outcome> {
        let mut nonce = [0; 32];
        random(&mut nonce).map_err(Outcome::Internal)?;
        let challenge = Challenge::new(nonce, self.audience.clone(), purpose, now);
        let sender = biotrust_mgmt::Sha256::of(received.sender.spki()).to_string();
        if !self.store.give(&received.request.serial, &sender, &challenge).await? {
            let refusal =
                refuse("challenge", "too many challenges of this device are open", "answer one, or wait");
            return Err(Refusal { retry_s: Some(60), ..refusal }.into());
        }
        Ok(ReplyBody::Challenge { challenge })
    }

    fn time(&self, serial: &str, nonce: [u8; 32], now: UtcMillis) -> Result<ReplyBody, Outcome> {
        let token = TimeToken { nonce, utc: now, exp: now.plus(TOKEN_LIFE), aud: serial.to_owned() };
        let make = || -> anyhow::Result<String> {
            let unsigned = token.prepare(&self.signer.chain)?;
            let signature = self.signer.sign(unsigned.signing_input())?;
            Ok(unsigned.attach(&signature))
        };
        Ok(ReplyBody::Time { token: make().map_err(Outcome::Internal)? })
    }

    fn sign(&self, received: &Received, body: ReplyBody) -> anyhow::Result<String> {
        let request = &received.request;
        let reply =
            Reply { re: request.id, at: self.clock.now(), digital_id: request.digital_id.clone(), body };
        let unsigned = envelope::prepare_reply(&reply, &self.signer.chain)?;
        let signature = self.signer.sign(unsigned.signing_input())?;
        Ok(unsigned.attach(&signature))
    }
}

/// Fills `bytes` with randomness.
pub(crate) fn random(bytes: &mut [u8]) -> anyhow::Result<()> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| anyhow::anyhow!("no randomness"))
}

/// The start of what somebody sent, without control characters.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
