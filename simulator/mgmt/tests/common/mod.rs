//! A server in this process, and devices that talk to it as a host does: black box, through TLS.

#![allow(dead_code, unreachable_pub)] // each test program uses a part of it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests

pub mod postgres;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use biosim_mgmt::store::Store;
use biosim_mgmt::{Config, Materials, Running};
use biotrust_attest::evidence::{self, Claims};
use biotrust_attest::signed::Signer;
use biotrust_attest::testing::{Key, PublicForge, TpmForge, World};
use biotrust_attest::{Challenge, time_token};
use biotrust_certs::{DeviceStore, Domain};
use biotrust_mgmt::envelope::{self, Asked, Server};
use biotrust_mgmt::message::{Presented, Refusal, Reply, ReplyBody, Report, Request, RequestBody};
use biotrust_mgmt::{Bytes, MessageId, Nonce, Sha256, Stamp};
use biotrust_model::evidence::{EvidencePurpose, FtmKind, Proof};
use biotrust_model::time::{Clock, SystemClock, UtcMillis};
use biotrust_model::{DeviceIdentity, DeviceStatus, Level};
use biotrust_sbi::digital_id::DigitalId;
use tokio_util::sync::CancellationToken;

/// One world for all tests of a program: keys are slow to make.
pub static WORLD: LazyLock<World> = LazyLock::new(|| {
    // An hour ago, so that everything is valid even where a test turns its clock back a little.
    World::new(UtcMillis(SystemClock.now().0 - 3_600_000))
});

/// Keys that devices make. Drawn from a pool, for they are slow to make.
static POOL: LazyLock<Vec<Key>> = LazyLock::new(|| (0..6).map(|_| Key::generate()).collect());

/// The host's clock, shifted.
#[derive(Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn shift(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UtcMillis {
        UtcMillis(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }
}

/// A server that runs in this process, in a folder of its own.
pub struct Rig {
    pub dir: Arc<tempfile::TempDir>,
    pub config: Config,
    pub clock: Arc<TestClock>,
    pub running: Running,
    pub client: reqwest::Client,
    pub anchors: DeviceStore,
    pub organisation: String,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A server whose configuration is changed before it starts.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metadata = WORLD.publish(&WORLD.document(FtmKind::Tpm));
        let materials = Materials {
            pki: &WORLD.pki,
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            listen: ([127, 0, 0, 1], 0).into(),
            metadata: Some(metadata),
            now: SystemClock.now(),
        };
        let file = biosim_mgmt::init(&dir.path().join("server"), &materials).unwrap();
        let mut config = Config::load(&file).unwrap();
        change(&mut config);
        Self::run(Arc::new(dir), config, Arc::default()).await
    }

    async fn run(dir: Arc<tempfile::TempDir>, config: Config, clock: Arc<TestClock>) -> Self {
        let running =
            biosim_mgmt::serve_at(config.clone(), CancellationToken::new(), clock.clone()).await.unwrap();
        Self {
            dir,
            config,
            clock,
            running,
            client: client(&WORLD.pki.anchors_pem(Domain::Device)),
            anchors: WORLD.pki.store().unwrap(),
            organisation: WORLD.pki.organisation(Domain::Device).to_owned(),
        }
    }

    /// Stops the server and starts another one on the same files.
    pub async fn restart(self) -> Self {
        let Self { dir, config, clock, running, .. } = self;
        running.stop().await;
        Self::run(dir, config, clock).await
    }

    /// A second server on the same files, database and clock.
    pub async fn second(&self) -> Self {
        Self::run(Arc::clone(&self.dir), self.config.clone(), Arc::clone(&self.clock)).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.running.address.port())
    }

    /// The database, as the operator's commands open it.
    pub async fn store(&self) -> Store {
        Store::open(&self.config.database).await.unwrap()
    }

    /// Posts whatever.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let answer = self.client.post(self.url(biotrust_mgmt::PATH)).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Posts a signed request and opens the reply.
    pub async fn ask(&self, request: &Request, compact: String) -> ReplyBody {
        let (status, reply) = self.post(compact).await;
        assert_eq!(status, 200, "{reply}");
        let server = Server { store: &self.anchors, organisation: &self.organisation };
        envelope::open_reply(&reply, &Asked::of(request), &server, Some(self.clock.now())).unwrap()
    }

    /// The last event of a device: kind and failed check.
    pub async fn last_event(&self, serial: &str) -> (String, Option<String>) {
        let store = self.store().await;
        let event = store.events(Some(serial), 1).await.unwrap().pop().unwrap();
        store.close().await;
        (event.kind, event.check)
    }
}

/// A client that trusts these anchors only, by TLS 1.3.
pub fn client(anchors: &str) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in biotrust_certs::certificates(anchors.as_bytes()).unwrap() {
        roots.add(certificate.der().to_vec().into()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

/// How a device signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// L1: the chip of the world, or the world's other key as the chip.
    Chip { other: bool },
    /// L0: the device key.
    Software,
}

/// A device with its host.
pub struct TestDevice {
    pub kind: Kind,
    pub identity: DeviceIdentity,
    /// Place of its key in the pool, with the chain of its certificate.
    pub current: Option<(usize, Vec<Vec<u8>>)>,
    pub next: Option<usize>,
    /// What the host does to messages before they are signed.
    pub clock: Arc<TestClock>,
}

static IDS: AtomicU64 = AtomicU64::new(1);

/// A message id that no other test has.
pub fn new_id() -> MessageId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&IDS.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    id[8..].copy_from_slice(&SystemClock.now().0.to_be_bytes());
    MessageId(id)
}

pub fn device_key(place: usize) -> &'static Key {
    &POOL[place % POOL.len()]
}

impl TestDevice {
    pub fn new(rig: &Rig, kind: Kind, serial: &str) -> Self {
        let identity = DeviceIdentity { serial_no: serial.to_owned(), ..WORLD.identity() };
        Self { kind, identity, current: None, next: None, clock: Arc::clone(&rig.clock) }
    }

    pub fn l1(rig: &Rig) -> Self {
        Self::new(rig, Kind::Chip { other: false }, "SN0000000001")
    }

    pub fn l0(rig: &Rig, serial: &str) -> Self {
        Self::new(rig, Kind::Software, serial)
    }

    pub fn serial(&self) -> &str {
        &self.identity.serial_no
    }

    /// Key and chain of the chip, where there is one.
    pub fn chip(&self) -> Option<(&'static Key, Vec<Vec<u8>>)> {
        match self.kind {
            Kind::Software => None,
            Kind::Chip { other: false } => Some((&WORLD.chip, WORLD.chip_chain.clone())),
            Kind::Chip { other: true } => {
                static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
                    let life = Duration::from_secs(86_400 * 365);
                    WORLD.pki.issue_chip_certificate(WORLD.other.spki(), "FTM2", WORLD.now, life).unwrap()
                });
                Some((&WORLD.other, CHAIN.clone()))
            }
        }
    }

    /// Who signs messages now: a certified key, or the next one as it is.
    pub fn signer(&self) -> (&'static Key, Option<Vec<Vec<u8>>>) {
        match (self.chip(), &self.current, self.next) {
            (Some((key, chain)), _, _) => (key, Some(chain)),
            (None, Some((place, chain)), _) => (device_key(*place), Some(chain.clone())),
            (None, None, next) => (device_key(next.unwrap_or(0)), None),
        }
    }

    pub fn request(&self, body: RequestBody) -> Request {
        let (key, chain) = self.signer();
        let digital_id = DigitalId::at(self.identity.clone(), self.clock.now());
        let digital_id = match &chain {
            None => Presented::plain(&digital_id),
            Some(chain) => {
                let unsigned = digital_id.prepare(chain);
                let signature = key.sign(unsigned.signing_input());
                Presented::Signed(unsigned.attach(&signature))
            }
        };
        Request { id: new_id(), at: self.clock.now(), serial: self.serial().to_owned(), digital_id, body }
    }

    pub fn sign(&self, request: &Request) -> String {
        let (key, chain) = self.signer();
        let signer = match &chain {
            Some(chain) => Signer::Chain(chain),
            None => Signer::Key(key.spki()),
        };
        key.document(envelope::REQUEST_TYPE, &signer, &request.payload())
    }

    pub async fn say(&self, rig: &Rig, body: RequestBody) -> ReplyBody {
        let request = self.request(body);
        let compact = self.sign(&request);
        rig.ask(&request, compact).await
    }

    /// Asks for a challenge.
    pub async fn challenge(&self, rig: &Rig, purpose: EvidencePurpose) -> Challenge {
        match self.say(rig, RequestBody::Challenge { purpose }).await {
            ReplyBody::Challenge { challenge } => challenge,
            other => panic!("{other:?}"),
        }
    }

    /// Makes the next key.
    pub fn make_key(&mut self) -> usize {
        let place = self.current.as_ref().map_or(0, |(place, _)| place + 1);
        // Devices of one server must not share keys.
        let place = match self.kind {
            Kind::Chip { other: false } => place % 2,
            Kind::Software => place % 2 + 2,
            Kind::Chip { other: true } => place % 2 + 4,
        };
        self.next = Some(place);
        place
    }

    /// Evidence that speaks for the next key.
    pub fn evidence(&self, challenge: &Challenge) -> String {
        let key = device_key(self.next.unwrap());
        let now = self.clock.now();
        let Some((chip, chain)) = self.chip() else {
            let claims = Claims::beside(&self.identity, Level::L0, "1.2.3", None, &Proof::Software);
            let payload = evidence::payload(challenge, &claims, &Proof::Software, now);
            return key.document(evidence::TYP, &Signer::Key(key.spki()), &payload);
        };
        let mut forge = self.forge(challenge);
        forge.chip = (chip, chain);
        if self.kind == (Kind::Chip { other: true }) {
            // Its attestation key is certified for it.
            static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
                let (spki, life) = (WORLD.attestation.spki(), Duration::from_secs(86_400 * 365));
                WORLD.pki.issue_attestation_certificate(spki, "FTM2", WORLD.now, life).unwrap()
            });
            forge.attestation.1 = CHAIN.clone();
        }
        forge.evidence()
    }

    /// The ingredients of that evidence.
    pub fn forge(&self, challenge: &Challenge) -> TpmForge<'static> {
        let mut forge = TpmForge::new(&WORLD, challenge);
        forge.issued_at = self.clock.now();
        forge.claims.identity = self.identity.clone();
        let attributes = forge.device.as_ref().unwrap().attributes;
        forge.device = Some(PublicForge::of(device_key(self.next.unwrap()), attributes));
        if let Some((chip, chain)) = self.chip() {
            let claims =
                Claims::beside(&self.identity, Level::L1, "1.2.3", Some(&chain[0]), &Proof::Software);
            forge.claims.ftm_serial = claims.ftm_serial;
            forge.identity = PublicForge::of(chip, forge.identity.attributes);
        }
        forge
    }

    pub fn csr(&self) -> Bytes {
        Bytes(device_key(self.next.unwrap()).csr(self.serial()))
    }

    /// The whole way to a certificate; installs it.
    pub async fn enrol(&mut self, rig: &Rig) -> Result<Vec<Vec<u8>>, Refusal> {
        self.make_key();
        let ask = RequestBody::Challenge { purpose: EvidencePurpose::DeviceKey };
        let challenge = match self.say(rig, ask).await {
            ReplyBody::Challenge { challenge } => challenge,
            ReplyBody::Refused(refusal) => return Err(refusal),
            other => panic!("{other:?}"),
        };
        let evidence = self.evidence(&challenge);
        self.apply(rig, evidence).await
    }

    /// Applies with this evidence; installs what comes.
    pub async fn apply(&mut self, rig: &Rig, evidence: String) -> Result<Vec<Vec<u8>>, Refusal> {
        let csr = self.csr();
        let body = if self.current.is_some() {
            RequestBody::Rotate { evidence, csr }
        } else {
            RequestBody::Register { evidence, csr }
        };
        match self.say(rig, body).await {
            ReplyBody::Certificate { chain } => {
                let chain: Vec<Vec<u8>> = chain.into_iter().map(|bytes| bytes.0).collect();
                self.current = self.next.take().map(|place| (place, chain.clone()));
                Ok(chain)
            }
            ReplyBody::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// Hash of the key in use.
    pub fn spki(&self) -> Sha256 {
        Sha256::of(device_key(self.current.as_ref().unwrap().0).spki())
    }

    pub async fn confirm(&self, rig: &Rig, destroyed: Option<Sha256>) -> ReplyBody {
        let certificate_sha256 = Sha256::of(&self.current.as_ref().unwrap().1[0]);
        self.say(rig, RequestBody::Confirm { certificate_sha256, destroyed_spki_sha256: destroyed }).await
    }

    pub fn report(&self) -> Report {
        Report {
            status: DeviceStatus::Ready,
            reason: String::new(),
            level: if self.kind == Kind::Software { Level::L0 } else { Level::L1 },
            certificate_sha256: None,
            not_after: None,
            firmware: "1.2.3".to_owned(),
            svn: Some(3),
            service: "0.1.0".to_owned(),
            notices: Vec::new(),
            update: None,
        }
    }

    pub async fn time(&self, rig: &Rig) -> time_token::TimeToken {
        let nonce = [7; 32];
        let body = RequestBody::Time { nonce: Nonce(nonce), host_utc: Stamp(self.clock.now()) };
        match self.say(rig, body).await {
            ReplyBody::Time { token } => {
                time_token::verify(&token, &nonce, self.serial(), &rig.anchors, &rig.organisation).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
}

pub fn refusal(reply: ReplyBody) -> Refusal {
    match reply {
        ReplyBody::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A reply as another signer would make it.
pub fn reply_payload(request: &Request, body: ReplyBody, now: UtcMillis) -> String {
    Reply { re: request.id, at: now, digital_id: request.digital_id.clone(), body }.payload()
}
