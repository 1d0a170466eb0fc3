//! `biosim mgmt`: runs the server, and gives the operator's orders.
//!
//! Orders go into the database (see [`crate::store`] for why), where the server finds them at the device's next poll.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use biotrust_attest::manifest::{self, MAX_IMAGE, Manifest};
use biotrust_attest::signed;
use biotrust_certs::{SignerPurpose, TestPki};
use biotrust_model::time::{Clock, SystemClock, UtcMillis};
use clap::{Parser, Subcommand};
use comfy_table::{Table, presets};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::init::{Materials, init};
use crate::service::random;
use crate::store::{Device, Event, Store};

/// The management server of a device provider, and its operator's commands.
#[derive(Debug, Parser)]
pub struct Args {
    /// Configuration of the server.
    #[arg(long, global = true, env = "BIOSIM_MGMT_CONFIG", default_value = "mgmt.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, certificates and a configuration for a trial, in a new folder.
    Init {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Host name or address that the server is reached by (repeatable).
        #[arg(long = "name", default_values = ["localhost", "127.0.0.1"])]
        names: Vec<String>,
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:8443")]
        listen: SocketAddr,
    },
    /// Run the server until it gets SIGINT or SIGTERM.
    Serve,
    /// List the devices.
    Devices {
        /// As JSON, with keys and updates.
        #[arg(long)]
        json: bool,
    },
    /// Let a device register: an L0 device, one that was de-registered, or any where the policy is a list.
    Approve {
        /// Serial number.
        serial: String,
        /// It is a model instead: all its L1 devices may register.
        #[arg(long)]
        model: bool,
    },
    /// Order a new device key.
    Rotate {
        /// Serial number.
        serial: String,
    },
    /// Order a report.
    Report {
        /// Serial number.
        serial: String,
    },
    /// Order the end of the device keys. The device may not register again before it is approved again.
    Deregister {
        /// Serial number.
        serial: String,
    },
    /// Order a firmware update.
    Update {
        /// Serial number.
        serial: String,
        /// Signed manifest, a compact JWS.
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
        /// The image.
        #[arg(long, value_name = "FILE")]
        image: PathBuf,
    },
    /// Show the audit trail.
    Events {
        /// Of this device only.
        #[arg(long)]
        serial: Option<String>,
        /// So many, the newest.
        #[arg(long, default_value_t = 100)]
        last: u32,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

/// Carries out a command; what people should see goes to `out`. Blocking.
///
/// # Errors
/// One sentence for whoever typed it.
pub fn run(args: Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(carry_out(args, out))
}

async fn carry_out(args: Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = SystemClock.now();
    if let Command::Init { dir, names, listen } = args.command {
        let pki = TestPki::mint(TestPki::DEFAULT_SPEC, now)?;
        let file = init(&dir, &Materials { pki: &pki, names, listen, metadata: None, now })?;
        writeln!(
            out,
            "wrote {}; start it with: biosim mgmt --config {} serve",
            file.display(),
            file.display()
        )?;
        return Ok(());
    }
    let config = Config::load(&args.config)?;
    if matches!(args.command, Command::Serve) {
        return serve(config, out).await;
    }
    let store = Store::open(&config.database).await?;
    let done = order(args.command, &store, now, out).await;
    store.close().await;
    done
}

async fn serve(config: Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let running = crate::serve::serve_at(config, stop, Arc::new(SystemClock)).await?;
    writeln!(out, "management server on https://{}", running.address)?;
    out.flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    running.stop().await;
    Ok(())
}

async fn order(command: Command, store: &Store, now: UtcMillis, out: &mut dyn Write) -> anyhow::Result<()> {
    let (serial, done, text) = match command {
        Command::Init { .. } | Command::Serve => return Ok(()),
        Command::Devices { json } => return devices(store, json, out).await,
        Command::Events { serial, last, json } => {
            return events(store, serial.as_deref(), last, json, out).await;
        }
        Command::Approve { serial, model: false } => {
            store.approve_serial(&serial, now).await?;
            (serial, true, "approved".to_owned())
        }
        Command::Approve { serial: model, model: true } => {
            store.approve_model(&model, now).await?;
            store.record(now, "", "operator", None, &format!("model {model} approved")).await?;
            writeln!(out, "model {model}: approved")?;
            return Ok(());
        }
        Command::Rotate { serial } => {
            let done = store.order_rotation(&serial, now).await?;
            (serial, done, "rotation ordered; it begins at the device's next poll".to_owned())
        }
        Command::Report { serial } => {
            let done = store.order_report(&serial, now).await?;
            (serial, done, "report ordered".to_owned())
        }
        Command::Deregister { serial } => {
            let done = store.order_farewell(&serial).await?;
            (serial, done, "de-registration ordered; the keys go at the device's next poll".to_owned())
        }
        Command::Update { serial, manifest, image } => {
            let device = store.device(&serial).await?;
            if let Some(device) = &device {
                update(store, device, &manifest, &image, now).await?;
            }
            (serial, device.is_some(), "update ordered; it begins at the device's next poll".to_owned())
        }
    };
    if !done {
        bail!("there is no registered device {serial}; `biosim mgmt devices` lists them");
    }
    store.record(now, &serial, "operator", None, &text).await?;
    writeln!(out, "{serial}: {text}")?;
    Ok(())
}

/// Orders an update, after a look at what an operator can mix up: files, devices, signers. Whether the signer is trusted
/// is for the device to say, which has the anchors.
async fn update(
    store: &Store,
    device: &Device,
    manifest: &Path,
    image: &Path,
    now: UtcMillis,
) -> anyhow::Result<()> {
    let jws =
        std::fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let size = std::fs::metadata(image).with_context(|| format!("cannot read {}", image.display()))?.len();
    if size == 0 || size > MAX_IMAGE {
        bail!("{} has {size} bytes; 1 to {MAX_IMAGE} are an image", image.display());
    }
    let content = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    check(jws.trim(), device, &content)
        .with_context(|| format!("{} with {}", manifest.display(), image.display()))?;
    let mut id = [0; 16];
    random(&mut id)?;
    store.order_update(&hex::encode(id), &device.serial, jws.trim(), content, now).await?;
    Ok(())
}

fn check(jws: &str, device: &Device, image: &[u8]) -> anyhow::Result<()> {
    let parsed = signed::parse(manifest::TYP, jws, manifest::MAX_LENGTH)?;
    parsed.verify()?;
    let signer = parsed.leaf().filter(|leaf| leaf.has_purpose(SignerPurpose::Firmware));
    let signer = signer.context("the manifest is not signed by a signer of firmware")?;
    let manifest = Manifest::from_json(&parsed.payload)?;
    manifest.is_for(signer.subject().organisation().unwrap_or_default(), &device.make, &device.model)?;
    Ok(manifest.check_image(image)?)
}

async fn devices(store: &Store, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let devices = store.devices().await?;
    if json {
        let mut list = Vec::with_capacity(devices.len());
        for device in &devices {
            let mut entry = serde_json::to_value(device)?;
            if let Some(members) = entry.as_object_mut() {
                members
                    .insert("keys".to_owned(), serde_json::to_value(store.keys_of(&device.serial).await?)?);
                members.insert(
                    "updates".to_owned(),
                    serde_json::to_value(store.updates_of(&device.serial).await?)?,
                );
            }
            list.push(entry);
        }
        writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["SERIAL", "MODEL", "LEVEL", "STATE", "STATUS", "FIRMWARE", "SEEN", "ORDERS"]);
    for device in &devices {
        table.add_row(row(device));
    }
    writeln!(out, "{table}")?;
    Ok(())
}

fn row(device: &Device) -> [String; 8] {
    let orders = [(device.rotate_ordered, "rotate"), (device.report_ordered, "report")];
    let orders: Vec<&str> = orders.iter().filter(|(at, _)| at.is_some()).map(|(_, word)| *word).collect();
    // What a device says of itself must not steer the operator's terminal.
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), plain);
    [
        plain(&device.serial),
        plain(&format!("{} {}", device.make, device.model)),
        device.level.clone(),
        device.state.to_string(),
        text(&device.status),
        text(&device.firmware),
        device.last_seen.map_or_else(|| "-".to_owned(), |at| UtcMillis(at).to_wire()),
        if orders.is_empty() { "-".to_owned() } else { orders.join(", ") },
    ]
}

async fn events(
    store: &Store,
    serial: Option<&str>,
    last: u32,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for event in store.events(serial, last).await? {
        if json {
            writeln!(out, "{}", serde_json::to_string(&event)?)?;
        } else {
            let Event { at, serial, kind, outcome, check, text, .. } = event;
            let check = check.map_or(String::new(), |check| format!(" ({check})"));
            writeln!(out, "{} {serial} {kind} {outcome}{check}: {text}", UtcMillis(at).to_wire())?;
        }
    }
    Ok(())
}
