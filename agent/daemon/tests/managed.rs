//! The whole daemon with virtual devices on real lines and a real management server: from plug-in to a new key, over the
//! control socket's own words.

// helpers of tests stand outside of test functions
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use biosim_image::Subject;
use biosim_mgmt::{Materials, Running};
use biosim_scanner::{
    CalibratedSubject, Factory, Kind, Maker, Options, Release, Scene, Spec, VirtualDevice, Workshop,
};
use biotrust_attest::metadata::{self, Document};
use biotrust_attest::signed::{self, Signer};
use biotrust_certs::{Domain, SignerPurpose, TestPki};
use biotrust_daemon::config;
use biotrust_daemon::control::{Care as _, Service as _};
use biotrust_daemon::host::Host;
use biotrust_daemon::run::Devices as _;
use biotrust_daemon::start;
use biotrust_model::time::{Clock as _, SystemClock};
use biotrust_model::{Level, Purpose};
use clap::Parser as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes, also on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// A provider: its PKI, its devices, its server.
struct Provider {
    workshop: Workshop,
    home: tempfile::TempDir,
    server: Running,
}

impl Provider {
    async fn open() -> Self {
        let now = SystemClock.now();
        let pki = Arc::new(TestPki::mint(TestPki::DEFAULT_SPEC, now).unwrap());
        let workshop = Workshop {
            seed: 11,
            maker: Maker {
                provider: pki.organisation(Domain::Device).to_owned(),
                provider_id: "EXAMPLE".into(),
            },
            subject: Arc::new(CalibratedSubject::new(Subject::new(11, None))),
            scene: Scene::default(),
            pki: Arc::clone(&pki),
            clock: Arc::new(SystemClock),
            factory: Arc::new(Factory::new(Arc::clone(&pki), Arc::new(SystemClock))),
        };
        let home = tempfile::tempdir().unwrap();
        let materials = Materials {
            pki: &pki,
            names: vec!["127.0.0.1".into()],
            listen: ([127, 0, 0, 1], 0).into(),
            metadata: None,
            now,
        };
        let file = biosim_mgmt::init(&home.path().join("mgmt"), &materials).unwrap();
        let config = biosim_mgmt::Config::load(&file).unwrap();
        let server = biosim_mgmt::serve(config, CancellationToken::new()).await.unwrap();
        Self { workshop, home, server }
    }

    fn device(&self, options: &Options) -> VirtualDevice {
        let spec = Spec { kind: Kind::Face, level: Level::L1, purpose: Purpose::Registration };
        VirtualDevice::build_with(spec, options, &self.workshop).unwrap()
    }

    /// The adopter's list of models.
    fn models(&self, number: u64) -> String {
        let (now, pki) = (SystemClock.now(), &self.workshop.pki);
        let day = Duration::from_secs(86_400);
        let document = Document { number, issued_at: now, next_update: now.plus(day), models: Vec::new() };
        let signer = pki.signer(SignerPurpose::Metadata, now).unwrap();
        let unsigned =
            signed::prepare(metadata::TYP, &Signer::Chain(&signer.chain), &document.to_json()).unwrap();
        let signature = signer.sign_rs256(unsigned.signing_input());
        unsigned.attach(&signature)
    }

    /// A daemon of this provider's customer.
    fn host(&self) -> Host {
        self.host_with("")
    }

    fn host_with(&self, more: &str) -> Host {
        let config = config::load(&self.configured(more)).unwrap().config;
        Host::start(&config, start::trust(&config).unwrap(), "http://127.0.0.1:4501/").unwrap()
    }

    /// The daemon as a process of its own, which can be killed.
    fn program(&self) -> Process {
        let socket = self.home.path().join("control.sock");
        let config = self.configured(&format!("[control]\nsocket = \"{}\"\n", socket.display()));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_biotrustd"));
        Process(command.arg("--config").arg(config).stderr(std::process::Stdio::null()).spawn().unwrap())
    }

    /// Writes a configuration.
    fn configured(&self, more: &str) -> PathBuf {
        let home = self.home.path();
        let links = home.join("links");
        std::fs::create_dir_all(&links).unwrap();
        let write = |name: &str, domain| {
            let path = home.join(name);
            std::fs::write(&path, self.workshop.pki.anchors_pem(domain)).unwrap();
            path.display().to_string()
        };
        let (device, ftm) = (write("device.pem", Domain::Device), write("ftm.pem", Domain::Ftm));
        let text = format!(
            "[sbi]\nenvironment = \"Developer\"\n\
             [trust]\ndevice_anchors = [\"{device}\"]\nftm_anchors = [\"{ftm}\"]\n\
             [management]\nurl = \"https://{}\"\nanchors = [\"{device}\"]\nrequire_time = true\npoll_s = 10\n\
             [buses]\nwatch = []\n[serial]\nlinks = \"{}\"\n[state]\ndirectory = \"{}\"\n",
            self.server.address,
            links.display(),
            home.join("state").display(),
        ) + more;
        let file = home.join("biotrust.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// What the provider's operator types.
    async fn order(&self, words: &[&str]) {
        let config = self.home.path().join("mgmt/mgmt.toml").display().to_string();
        let words = ["mgmt", "--config", &config].into_iter().chain(words.iter().copied());
        let args = biosim_mgmt::Args::parse_from(words);
        let mut said = Vec::new();
        tokio::task::spawn_blocking(move || biosim_mgmt::run(args, &mut said)).await.unwrap().unwrap();
    }

    fn links(&self) -> PathBuf {
        self.home.path().join("links")
    }
}

/// A process that ends at once, as by a power cut of the host.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn device(host: &Host, serial: &str) -> Value {
    let status = host.status();
    let devices = status["devices"].as_array().unwrap();
    devices.iter().find(|device| device["serial"] == serial).cloned().unwrap_or_default()
}

async fn until(host: &Host, serial: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let now = device(host, serial);
            if holds(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} did not come: {:#}", host.status()))
}

fn plug(device: &VirtualDevice, links: &Path) {
    device.plug(links).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_registers_rotates_and_leaves() {
    let provider = Provider::open().await;
    let host = provider.host();
    let options = Options { registered: false, require_time: true, ..Options::default() };
    let scanner = provider.device(&options);
    let serial = scanner.serial().to_owned();
    plug(&scanner, &provider.links());

    // registration, with the time first
    let ready = until(&host, &serial, "registration", |device| {
        device["status"] == "Ready" && device["management"]["registered"] == true
    })
    .await;
    assert_eq!((ready["level"].as_str(), ready["keys_at"].as_str()), (Some("L1"), Some("L1")));
    assert!(ready["attested_s"].is_u64() && ready["management"]["renewal"].is_string(), "{ready:#}");
    let status = host.status();
    assert_eq!((&status["time"]["trusted"], status["time"]["skew_ms"].is_i64()), (&true.into(), true));
    let clocks = host.time(&serial).await.unwrap();
    assert!(clocks["device"]["skew_ms"].as_i64().is_some_and(|skew| skew.abs() < 2_000), "{clocks}");

    // rotation by a person
    let before = ready["certificate"]["sha256"].clone();
    let rotated = host.rotate(&serial).await.unwrap();
    let after = until(&host, &serial, "the new certificate", |device| {
        device["status"] == "Ready" && device["certificate"]["sha256"] != before
    })
    .await;
    assert_eq!(rotated["certificate_sha256"], after["certificate"]["sha256"]);
    assert!(host.evidence(&serial).unwrap()["evidence"].as_str().unwrap().split('.').count() == 3);

    // the daemon starts anew: nothing is registered twice
    host.stop();
    host.closed(Duration::from_secs(5)).await;
    drop(host);
    let host = provider.host();
    let again = until(&host, &serial, "Ready again", |device| device["status"] == "Ready").await;
    assert_eq!(again["certificate"]["sha256"], after["certificate"]["sha256"]);

    // the end
    until(&host, &serial, "management", |device| device["management"]["registered"] == true).await;
    let left = host.deregister(&serial).await.unwrap();
    assert_eq!(left["told"], true);
    until(&host, &serial, "Not Registered", |device| device["status"] == "Not Registered").await;
    host.stop();
    host.closed(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_the_provider_does_not_believe_is_told_why() {
    let provider = Provider::open().await;
    let host = provider.host();
    let mut options = Options { registered: false, ..Options::default() };
    options.faults.debug_mode = true;
    let scanner = provider.device(&options);
    let serial = scanner.serial().to_owned();
    plug(&scanner, &provider.links());
    let refused =
        until(&host, &serial, "a refusal", |device| device["management"]["refusal"].is_object()).await;
    assert_eq!(refused["status"], "Not Registered");
    let notices = host.status()["notices"].to_string();
    assert!(notices.contains("certifies nothing"), "{notices}");
    let error = host.rotate(&serial).await.unwrap_err().to_string();
    assert!(error.contains("debug"), "{error}");
    host.stop();
    host.closed(Duration::from_secs(5)).await;
}

/// Once ordered by the server, and once brought by a technician; one that is not for it is refused before anything is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firmware_is_updated_by_order_and_by_hand() {
    let provider = Provider::open().await;
    let host = provider.host();
    let options = Options { registered: false, release: Release::outdated(), ..Options::default() };
    let scanner = provider.device(&options);
    let serial = scanner.serial().to_owned();
    plug(&scanner, &provider.links());
    until(&host, &serial, "registration", |device| device["status"] == "Ready").await;
    let identity = scanner.description().identity;

    let update = provider.workshop.factory.update(&identity, &Release::current()).unwrap();
    let (manifest, image) = (provider.home.path().join("m.jwt"), provider.home.path().join("i.bin"));
    std::fs::write(&manifest, &update.manifest).unwrap();
    std::fs::write(&image, &update.image).unwrap();
    let (manifest, image) = (manifest.display().to_string(), image.display().to_string());
    provider.order(&["update", &serial, "--manifest", &manifest, "--image", &image]).await;
    let version = Release::current().version;
    until(&host, &serial, "the ordered update", |device| {
        device["firmware"] == version.as_str() && device["status"] == "Ready"
    })
    .await;

    let next = provider.workshop.factory.update(&identity, &Release::next()).unwrap();
    let mut other = identity.clone();
    other.model = "ANOTHER".into();
    let foreign = provider.workshop.factory.update(&other, &Release::next()).unwrap();
    let error = host.update_begin(&serial, foreign.manifest).await.unwrap_err().to_string();
    assert!(error.contains("ANOTHER"), "{error}");
    let error = host.update_begin(&serial, update.manifest).await.err();
    // what runs may be brought again; what is older may not
    let old = provider.workshop.factory.update(&identity, &Release::outdated()).unwrap();
    assert!(error.is_none() && host.update_begin(&serial, old.manifest).await.is_err());

    let begun = host.update_begin(&serial, next.manifest.clone()).await.unwrap();
    assert_eq!(begun["size"], next.image.len());
    let number = begun["update"].as_u64().unwrap();
    let mut flipped = next.image.clone();
    flipped[10] ^= 1;
    host.update_data(number, flipped).unwrap();
    let error = host.update_finish(number).await.unwrap_err().to_string();
    assert!(error.contains("not the one that was signed"), "{error}");

    let begun = host.update_begin(&serial, next.manifest).await.unwrap();
    let number = begun["update"].as_u64().unwrap();
    for piece in next.image.chunks(32 * 1024) {
        host.update_data(number, piece.to_vec()).unwrap();
    }
    assert_eq!(host.update_finish(number).await.unwrap()["from"], version.as_str());
    let version = Release::next().version;
    until(&host, &serial, "the update by hand", |device| {
        device["firmware"] == version.as_str() && device["status"] == "Ready"
    })
    .await;
    host.stop();
    host.closed(Duration::from_secs(5)).await;
}

/// Waits until the device holds more than `least` bytes of an update and is not through; how many, and of how many.
async fn in_the_middle(scanner: &VirtualDevice, least: u64) -> (u64, u64) {
    let begun = Instant::now();
    loop {
        if let Some(pending) = scanner.firmware().and_then(|firmware| firmware.pending)
            && pending.received > least
        {
            assert!(pending.received < pending.size, "it was too fast to be cut");
            return (pending.received, pending.size);
        }
        assert!(begun.elapsed() < PATIENCE, "no update comes");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// The fewest bytes that the device was seen to hold until it ran `version`: the whole image, were it never seen receiving.
async fn fewest_until(scanner: &VirtualDevice, version: &str) -> u64 {
    let (begun, mut fewest) = (Instant::now(), u64::MAX);
    loop {
        let firmware = scanner.firmware();
        if firmware.as_ref().is_some_and(|firmware| firmware.version == version) {
            return fewest;
        }
        if let Some(pending) = firmware.and_then(|firmware| firmware.pending) {
            fewest = fewest.min(pending.received);
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come to {version}");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// A technician's update loses its cable; a server's order loses the daemon. Both go on where they ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_cut_goes_on_where_it_ended() {
    let provider = Provider::open().await;
    let host = provider.host();
    let options = Options { registered: false, release: Release::outdated(), ..Options::default() };
    let scanner = provider.device(&options);
    let serial = scanner.serial().to_owned();
    plug(&scanner, &provider.links());
    until(&host, &serial, "registration", |device| device["status"] == "Ready").await;
    let identity = scanner.description().identity;
    let update = |release: &Release| provider.workshop.factory.update(&identity, release).unwrap();
    // the very same manifest: another one is another update
    let brought = update(&Release::current());
    let by_hand = async || {
        let begun = host.update_begin(&serial, brought.manifest.clone()).await?;
        let number = begun["update"].as_u64().unwrap();
        for piece in brought.image.chunks(32 * 1024) {
            host.update_data(number, piece.to_vec())?;
        }
        host.update_finish(number).await
    };

    let cut = async {
        let reached = in_the_middle(&scanner, 32 * 1024).await;
        scanner.unplug();
        reached
    };
    let (current, outdated) = (Release::current(), Release::outdated());
    let (lost, (held, size)) = tokio::join!(by_hand(), cut);
    assert!(lost.is_err(), "{lost:?}");
    let firmware = scanner.firmware().unwrap();
    let pending = firmware.pending.unwrap();
    assert_eq!(
        (firmware.version.as_str(), pending.version.as_str()),
        (&*outdated.version, &*current.version)
    );
    assert!(held <= pending.received && pending.received < size, "{held} {pending:?} of {size}");
    plug(&scanner, &provider.links());
    until(&host, &serial, "it again, with what it ran", |device| {
        device["status"] == "Ready" && device["firmware"] == outdated.version.as_str()
    })
    .await;
    let (done, fewest) = tokio::join!(by_hand(), fewest_until(&scanner, &current.version));
    assert_eq!(done.unwrap()["from"], outdated.version.as_str());
    assert!(fewest >= pending.received, "it began again: {fewest} after {}", pending.received);
    assert_eq!(scanner.firmware().unwrap().failed_attempts, 0, "a cut is no failed attempt");
    until(&host, &serial, "the update by hand", |device| {
        device["status"] == "Ready" && device["firmware"] == current.version.as_str()
    })
    .await;
    host.stop();
    host.closed(Duration::from_secs(5)).await;
    drop(host);

    let (next, files) =
        (update(&Release::next()), ["m.jwt", "i.bin"].map(|name| provider.home.path().join(name)));
    std::fs::write(&files[0], &next.manifest).unwrap();
    std::fs::write(&files[1], &next.image).unwrap();
    let [manifest, image] = files.map(|file| file.display().to_string());
    provider.order(&["update", &serial, "--manifest", &manifest, "--image", &image]).await;
    let program = provider.program();
    let (held, size) = in_the_middle(&scanner, 32 * 1024).await;
    drop(program);
    let pending = scanner.firmware().unwrap().pending.unwrap();
    assert!(held <= pending.received && pending.received < size, "{held} {pending:?} of {size}");
    let host = provider.host();
    let version = Release::next().version;
    assert!(fewest_until(&scanner, &version).await >= pending.received, "it began again");
    until(&host, &serial, "the ordered update", |device| {
        device["status"] == "Ready" && device["firmware"] == version.as_str()
    })
    .await;
    host.stop();
    host.closed(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_models_is_replaced_while_the_daemon_runs_but_never_by_an_older_one() {
    let provider = Provider::open().await;
    let (list, anchor) = (provider.home.path().join("models.jws"), provider.home.path().join("adopter.pem"));
    std::fs::write(&list, provider.models(5)).unwrap();
    std::fs::write(&anchor, provider.workshop.pki.adopter_anchor_pem()).unwrap();
    let more = format!("[metadata]\nfile = \"{}\"\nanchors = [\"{}\"]\n", list.display(), anchor.display());
    let host = provider.host_with(&more);
    let notice = |host: &Host| host.status()["notices"].to_string();
    let replace = |text: String| {
        let new = list.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &list).unwrap();
    };
    for (text, says) in [
        (provider.models(4), Some("a new list of models is not used")),
        (provider.models(6), None),
        ("nonsense".to_owned(), Some("a new list of models is not used")),
        (provider.models(7), None),
    ] {
        replace(text);
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let told = notice(&host).contains("a new list of models is not used");
                if told == says.is_some() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{says:?}: {}", notice(&host)));
    }
    host.stop();
    host.closed(Duration::from_secs(5)).await;
}
