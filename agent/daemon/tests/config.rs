//! The configuration from files, and that the documents tell all of it.

// helpers of tests stand outside of test functions
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use biotrust_daemon::config::{Config, ConfigError, FtmBackend, LogFormat, ServedPurpose, VendorStart, load};
use biotrust_driver_api::{Bus, DigitalIdKey};
use biotrust_model::{Env, Language, ProblemKind};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn load(&self, text: &str) -> Result<Config, ConfigError> {
        load(&self.write("biotrust.toml", text)).map(|loaded| loaded.config)
    }
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/users").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = Files::new().load("").unwrap();
    assert_eq!((config.sbi.ports.to_string().as_str(), config.sbi.port), ("4501-4600", None));
    assert_eq!(config.sbi.ports.ports().next(), Some(4501));
    assert_eq!((config.sbi.environment, config.sbi.language), (Env::Staging, Language::En));
    assert!(!config.sbi.allow_l0_auth && !config.sbi.allow_null_transaction_id);
    assert_eq!(config.buses.watch, [Bus::Serial, Bus::Usb, Bus::Hid, Bus::Video]);
    assert!(config.quirks.enable.is_empty());
    assert!(config.origins.auth.is_empty() && config.origins.developer.is_empty());
    assert_eq!((config.limits.body_bytes, config.limits.idle), (262_144, Duration::from_secs(10)));
    assert_eq!(
        (config.sbi.finish_margin, config.sbi.answer_early),
        (Duration::from_millis(400), Duration::ZERO)
    );
}

#[test]
fn every_key_is_read() {
    let files = Files::new();
    let pem = files.write("any.pem", "");
    let (pem, links) = (pem.display(), files.0.path().display());
    let config = files
        .load(&format!(
            r#"
            [sbi]
            ports = "4510-4519"
            port = 8080
            purpose = "registration"
            environment = "Pre-Production"
            language = "ar"
            allow_l0_auth = true
            allow_null_transaction_id = true
            digital_id_key = "device"
            append_chip_certificate = false
            finish_margin_ms = 250
            answer_early_ms = 2000
            info_reuse_ms = 0
            hard_ceiling_ms = 9000
            [origins]
            auth = ["https://login.example"]
            registration = ["https://reg.example", "http://localhost:4200"]
            developer = []
            [limits]
            head_bytes = 8192
            body_bytes = 1024
            header_seconds = 1
            idle_seconds = 2
            answer_seconds = 600
            connections = 8
            streams_per_device = 1
            [trust]
            device_anchors = ["{pem}"]
            ftm_anchors = ["{pem}", "{pem}"]
            [ftm]
            backend = "tpm"
            tcti = "swtpm:host=127.0.0.1,port=2321"
            seal_to_tpm = true
            ek_anchors = ["{pem}"]
            [attestation]
            interval_s = 60
            required = true
            l1_without_metadata = false
            clock_tolerance_s = 5
            [metadata]
            file = "{pem}"
            anchors = ["{pem}"]
            grace_days = 0
            [management]
            url = "https://mgmt.example:8443/base"
            anchors = ["{pem}"]
            organisation = "Example Devices Ltd"
            poll_s = 30
            offline_days = 7
            renew_at_percent = 50
            require_time = true
            [encryption]
            certificate = "{pem}"
            anchors = ["{pem}"]
            [encryption.domains]
            "https://auth.example" = "{pem}"
            [encryption.fetch]
            anchors = ["{pem}"]
            interval_s = 600
            [encryption.fetch.domains]
            "https://other.example" = "https://ida.example/getCertificate?applicationId=IDA&referenceId=IDA-FIR"
            [encryption.fetch.token]
            url = "https://auth.example/v1/authmanager/authenticate/clientidsecretkey"
            client_id = "mosip-regproc-client"
            secret_file = "{pem}"
            app_id = "regproc"
            [buses]
            watch = ["video", "usb"]
            [quirks]
            directories = ["/not/there"]
            enable = ["uvc-camera"]
            [serial]
            links = "{links}"
            [[serial.port]]
            path = "/dev/ttyNOT-THERE"
            driver = "r30x"
            [[vendor.driver]]
            name = "acme"
            socket = "/run/biotrust-driver/acme.sock"
            [[vendor.driver]]
            name = "other-1"
            command = ["/opt/other/driver", "--quiet"]
            user = "other"
            [state]
            directory = "/not/there"
            [control]
            socket = "/not/there/control.sock"
            [log]
            filter = "warn,biotrust_daemon::http=debug"
            format = "json"
            "#
        ))
        .unwrap();
    assert_eq!((config.sbi.ports.ports().last(), config.sbi.port), (Some(4519), Some(8080)));
    assert_eq!(
        (config.sbi.purpose, config.sbi.environment),
        (ServedPurpose::Registration, Env::PreProduction)
    );
    assert_eq!((config.sbi.language, config.sbi.digital_id_key), (Language::Ar, DigitalIdKey::Device));
    assert!(config.sbi.allow_l0_auth && config.sbi.allow_null_transaction_id);
    assert!(!config.sbi.append_chip_certificate);
    assert_eq!(config.sbi.hard_ceiling, Some(Duration::from_secs(9)));
    assert_eq!(
        (config.sbi.finish_margin, config.sbi.answer_early, config.sbi.info_reuse),
        (Duration::from_millis(250), Duration::from_secs(2), Duration::ZERO)
    );
    assert_eq!(config.origins.registration[1].as_str(), "http://localhost:4200");
    assert_eq!((config.limits.head_bytes, config.limits.header), (8192, Duration::from_secs(1)));
    assert_eq!(
        (config.limits.idle, config.limits.answer),
        (Duration::from_secs(2), Duration::from_secs(600))
    );
    assert_eq!((config.trust.ftm_anchors.len(), config.encryption.domains.len()), (2, 1));
    assert_eq!(
        (config.ftm.backend, config.ftm.tcti.as_str()),
        (FtmBackend::Tpm, "swtpm:host=127.0.0.1,port=2321")
    );
    assert_eq!((config.attestation.interval, config.attestation.required), (Duration::from_secs(60), true));
    assert!(!config.attestation.l1_without_metadata && config.metadata.grace.is_zero());
    let management = config.management;
    assert_eq!(management.url.unwrap().to_string(), "https://mgmt.example:8443/base");
    assert_eq!((management.poll, management.renew_at_percent), (Duration::from_secs(30), 50));
    assert_eq!((management.offline, management.require_time), (Duration::from_secs(7 * 86_400), true));
    let fetch = config.encryption.fetch.unwrap();
    assert_eq!((fetch.interval, fetch.domains.len()), (Duration::from_secs(600), 1));
    assert_eq!(fetch.token.unwrap().client_id, "mosip-regproc-client");
    assert_eq!(config.buses.watch, [Bus::Usb, Bus::Video]);
    let starts: Vec<_> = config.vendor.driver.iter().map(|driver| driver.start.clone()).collect();
    let argv = ["/opt/other/driver", "--quiet"].map(String::from).to_vec();
    assert_eq!(
        starts,
        [
            VendorStart::Socket("/run/biotrust-driver/acme.sock".into()),
            VendorStart::Command { argv, user: Some("other".into()) }
        ]
    );
    assert_eq!(config.quirks.directories, [Path::new("/not/there")]);
    assert_eq!(config.quirks.enable, ["uvc-camera"]);
    let port = &config.serial.port[0];
    assert_eq!((port.path.as_path(), port.driver.as_deref()), (Path::new("/dev/ttyNOT-THERE"), Some("r30x")));
    assert_eq!(
        (config.log.format, config.state.directory.as_path()),
        (LogFormat::Json, Path::new("/not/there"))
    );
}

#[test]
fn drop_ins_are_merged_in_the_order_of_their_names() {
    let files = Files::new();
    files.write(
        "conf.d/50-site.toml",
        "[sbi]\nlanguage = \"fr\"\n[origins]\nauth = [\"https://b.example\"]\n",
    );
    files.write("conf.d/90-last.toml", "[sbi]\nlanguage = \"ar\"\n");
    files.write("conf.d/10-first.toml", "[limits]\nconnections = 99\n");
    files.write("conf.d/99-not.toml.disabled", "nonsense");
    let base = files.write(
        "biotrust.toml",
        "[sbi]\nlanguage = \"en\"\npurpose = \"auth\"\n[origins]\nauth = [\"https://a.example\", \"https://c.example\"]\n",
    );
    let loaded = load(&base).unwrap();
    assert_eq!(loaded.files.len(), 4);
    let config = loaded.config;
    assert_eq!((config.sbi.language, config.sbi.purpose), (Language::Ar, ServedPurpose::Auth));
    assert_eq!(config.limits.connections, 99);
    let origins: Vec<_> = config.origins.auth.iter().map(|origin| origin.as_str()).collect();
    assert_eq!(origins, ["https://b.example"], "a list is replaced as a whole");
}

#[test]
fn what_cannot_be_is_refused_with_its_place_and_what_can() {
    let files = Files::new();
    files.write("conf.d/a.toml", "");
    for (text, place, says) in [
        ("[sbi]\nprot = 4501\n", "2:1", "unknown field `prot`, expected one of `ports`, `port`"),
        ("[sib]\n", "1:2", "unknown field `sib`, expected one of `sbi`, `origins`"),
        ("[limits]\n\n  body_bytes = 1\n", "3:16", "1 is out of range, allowed is 1024 to 262144"),
        ("[limits]\nbody_bytes = -5\n", "2:14", "out of range"),
        ("[limits]\nbody_bytes = \"big\"\n", "2:14", "expected i64"),
        ("[sbi]\nports = \"4500-4600\"\n", "2:9", "4501-4600"),
        ("[sbi]\nports = \"4520-4510\"\n", "2:9", "4501-4600"),
        ("[sbi]\nports = \"all\"\n", "2:9", "4501-4600"),
        ("[sbi]\nport = 70000\n", "2:8", "70000"),
        ("[sbi]\npurpose = \"both\"\n", "2:11", "`all`, `registration`, `auth`"),
        ("[sbi]\nenvironment = \"Test\"\n", "2:15", "`Staging`, `Developer`, `Pre-Production`, `Production`"),
        ("[sbi]\nlanguage = \"de\"\n", "2:12", "`en`, `fr`, `ar`"),
        ("[sbi]\ndigital_id_key = \"ftm\"\n", "2:18", "`chip`, `device`"),
        ("[sbi]\nfinish_margin_ms = 49\n", "2:20", "49 is out of range, allowed is 50 to 5000"),
        ("[sbi]\nanswer_early_ms = 2001\n", "2:19", "2001 is out of range, allowed is 0 to 2000"),
        ("[sbi]\nallow_l0_auth = 1\n", "2:17", "expected a boolean"),
        (
            "[origins]\nauth = [\"https://ok.example\", \"https://a.example/\"]\n",
            "2:8",
            "`https://a.example/` is not an origin: an origin ends after host and port",
        ),
        ("[origins]\ndeveloper = [\"*\"]\n", "2:13", "begins with https://"),
        ("[trust]\ndevice_anchors = [\"/not/there.pem\"]\n", "2:18", "/not/there.pem`: No such file"),
        ("[trust]\nftm_anchors = [\"/\"]\n", "2:15", "is not a file"),
        ("[encryption]\ncertificate = \"ida.pem\"\n", "2:15", "is not an absolute path"),
        ("[encryption.domains]\n\"x\" = \"/not/there\"\n", "2:7", "No such file"),
        ("[ftm]\nbackend = \"hsm\"\n", "2:11", "`software`, `tpm`"),
        ("[ftm]\nport = \"ttyUSB0\"\n", "2:8", "is not an absolute path"),
        ("[ftm]\nbaud = 300\n", "2:8", "300 is out of range, allowed is 9600 to 4000000"),
        ("[ftm]\ntcti = \"cmd:sh\"\n", "2:8", "`cmd` is none of `device`, `swtpm`"),
        ("[attestation]\ninterval_s = 59\n", "2:14", "59 is out of range, allowed is 60 to 2592000"),
        ("[attestation]\ninterval = 60\n", "2:1", "unknown field `interval`, expected one of `interval_s`"),
        ("[metadata]\ngrace_days = 366\n", "2:14", "366 is out of range, allowed is 0 to 365"),
        ("[management]\nurl = \"http://m.example\"\n", "2:7", "does not begin with https://"),
        ("[management]\nurl = \"https://me:pw@m.example\"\n", "2:7", "no user and no password"),
        ("[management]\nurl = \"m.example\"\n", "2:7", "is not a URL"),
        ("[management]\nrenew_at_percent = 96\n", "2:20", "96 is out of range, allowed is 10 to 95"),
        ("[management]\norganisation = \" \"\n", "2:16", "leave the key out"),
        ("[management]\nserver = \"x\"\n", "2:1", "unknown field `server`, expected one of `url`, `anchors`"),
        ("[encryption.fetch]\nurl = \"https://a.example\"\n", "1:1", "missing field `anchors`"),
        ("[encryption.fetch]\nsecret = \"s\"\n", "2:1", "unknown field `secret`"),
        ("[serial]\nlinks = \"/not/there\"\n", "2:9", "No such file"),
        ("[[serial.port]]\nbaud = 9600\n", "2:1", "unknown field `baud`, expected `path` or `driver`"),
        ("[buses]\nwatch = [\"usb\", \"i2c\"]\n", "2:9", "`i2c` is none of `serial`, `usb`, `hid`, `video`"),
        ("[buses]\nwatch = \"usb\"\n", "2:9", "expected a sequence"),
        ("[quirks]\ndirectories = [\"quirks.d\"]\n", "2:15", "`quirks.d` is not an absolute path"),
        ("[[vendor.driver]]\nname = \"A b\"\n", "1:1", "`A b` is no name of a driver"),
        ("[[vendor.driver]]\nname = \"a\"\n", "1:1", "give either `socket` or `command`"),
        (
            "[[vendor.driver]]\nname = \"a\"\nsocket = \"/s\"\nuser = \"u\"\n",
            "1:1",
            "whom a driver behind a `socket` runs as",
        ),
        ("[[vendor.driver]]\nname = \"a\"\nsocket = \"s\"\n", "1:1", "`s` is not an absolute path"),
        ("[[vendor.driver]]\nname = \"a\"\ncommand = [\"d\"]\n", "1:1", "the absolute path of a program"),
        ("[[vendor.driver]]\nname = \"a\"\ncommand = []\n", "1:1", "the absolute path of a program"),
        ("[[vendor.driver]]\nname = \"a\"\ncommand = [\"/d\"]\n", "1:1", "give the `user` that it runs as"),
        (
            "[[vendor.driver]]\nname = \"a\"\ncommand = [\"/d\"]\nuser = \"u\"\nsame_user = true\n",
            "1:1",
            "exclude each other",
        ),
        (
            "[[vendor.driver]]\nname = \"a\"\nsocket = \"/s\"\n[[vendor.driver]]\nname = \"a\"\nsocket = \"/t\"\n",
            "1:1",
            "driver `a` is there twice",
        ),
        ("[quirks]\nenable = true\n", "2:10", "expected a sequence"),
        ("[[serial.port]]\n", "1:1", "missing field `path`"),
        (
            "[sbi]\n[[serial.port]]\npath = \"/dev/ttyS0\"\n[[serial.port]]\npath = \"/dev//ttyS0\"\n",
            "2:1",
            "`/dev//ttyS0` is there twice: list each line once",
        ),
        ("[control]\nsocket = \"run/c.sock\"\n", "2:10", "is not an absolute path"),
        ("[log]\nfilter = \"a=b=c\"\n", "2:10", "is not a log filter"),
        ("[log]\nformat = \"xml\"\n", "2:10", "`text` or `json`"),
        ("[sbi\n", "1:5", "unclosed"),
        ("[sbi]\nport = 1\nport = 2\n", "3:1", "duplicate key"),
    ] {
        let error = files.load(text).unwrap_err().to_string();
        let place = format!("{}:{place}: ", files.path("biotrust.toml").display());
        assert!(error.starts_with(&place), "{text:?}: {error}");
        assert!(error.contains(says), "{text:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// What no line alone is wrong about.
#[test]
fn keys_that_need_or_exclude_each_other_are_told_together() {
    let files = Files::new();
    let pem = files.write("any.pem", "");
    let pem = pem.display();
    let fetch = format!("[encryption.fetch]\nanchors = [\"{pem}\"]\n");
    for (text, says) in [
        (
            "[management]\nurl = \"https://m.example\"\n".to_owned(),
            "[management] url needs [management] anchors",
        ),
        ("[management]\nrequire_time = true\n".to_owned(), "require_time needs [management] url"),
        (format!("[metadata]\nfile = \"{pem}\"\n"), "[metadata] file needs [metadata] anchors"),
        (fetch.clone(), "[encryption.fetch] needs a url"),
        (
            format!("[encryption]\ncertificate = \"{pem}\"\n{fetch}url = \"https://a.example\"\n"),
            "keep one of the two",
        ),
        (
            format!(
                "[encryption.domains]\nx = \"{pem}\"\n{fetch}[encryption.fetch.domains]\nx = \"https://a.example\"\n"
            ),
            "\"x\" is in [encryption.domains] and in [encryption.fetch.domains]",
        ),
    ] {
        let error = files.load(&text).unwrap_err().to_string();
        assert!(error.contains(says) && error.lines().count() == 1, "{text:?}: {error}");
    }
    // two files may each hold a half
    files.write("conf.d/10-mgmt.toml", &format!("[management]\nanchors = [\"{pem}\"]\n"));
    files.load("[management]\nurl = \"https://m.example\"\n").unwrap();
}

#[test]
fn a_mistake_in_a_drop_in_names_the_drop_in() {
    let files = Files::new();
    let bad = files.write("conf.d/20-bad.toml", "\n[sbi]\nnonsense = true\n");
    let error = files.load("[sbi]\nlanguage = \"en\"\n").unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:3:1: unknown field", bad.display())), "{error}");
}

#[test]
fn a_socket_path_that_no_socket_can_have_is_refused() {
    let error = Files::new().load(&format!("[control]\nsocket = \"/{}\"\n", "x".repeat(107))).unwrap_err();
    assert!(error.to_string().contains("108 bytes"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_so() {
    let error = load(Path::new("/not/there/biotrust.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    assert!(error.to_string().contains("/not/there/biotrust.toml"));
}

/// The keys that the parser knows are those that it names when it meets an unknown one.
#[test]
fn the_document_lists_every_key() {
    let files = Files::new();
    let text = document("configuration.md");
    let keys = |table: &str| -> Vec<String> {
        let error = files.load(&format!("{table}\nno_such_key = 1\n")).unwrap_err().to_string();
        let known = error.split_once("expected ").unwrap().1;
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut count = 0;
    for table in keys("") {
        assert!(text.contains(&format!("## [{table}]")), "no section for [{table}]");
        for key in keys(&format!("[{table}]")) {
            assert!(text.contains(&format!("`{key}`")), "[{table}] {key} is not explained");
            count += 1;
        }
    }
    assert!(count > 30, "the test has seen {count} keys only");
    for table in ["[[serial.port]]", "[[vendor.driver]]", "[encryption.fetch]", "[encryption.fetch.token]"] {
        for key in keys(table) {
            assert!(text.contains(&format!("`{key}`")), "{table} {key} is not explained");
        }
    }
}

#[test]
fn the_example_in_the_document_is_valid() {
    let text = document("configuration.md");
    let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // its files need not be here
    let without_files: String =
        example.lines().filter(|line| !line.contains(".pem")).map(|l| format!("{l}\n")).collect();
    Files::new().load(&without_files).unwrap();
}

#[test]
fn the_document_lists_every_error_code() {
    let text = document("errors.md");
    for kind in ProblemKind::ALL {
        let row = format!("| {} | {} |", kind.code(), kind.text(Language::En));
        assert!(text.contains(&row), "not in the table: {row}");
        assert!(text.contains(kind.next_step()), "no next step for {}", kind.code());
    }
    let tables_of_codes = text.split("## HTTP statuses").next().unwrap();
    let rows = tables_of_codes
        .lines()
        .filter(|line| line.split('|').nth(1).is_some_and(|c| c.trim().parse::<u16>().is_ok()));
    assert_eq!(rows.count(), ProblemKind::ALL.len(), "a code too many");
}
