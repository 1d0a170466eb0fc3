//! `biotrust status`: the devices of this host, each with its state, what is wrong, who can mend it, and how.

use std::path::Path;

use biotrust_model::time::UtcMillis;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::Outcome;
use crate::report::{self, Device, Report, span};
use crate::text::{count, plain};

/// Lists the devices with their state, the reason, who can mend it and the next step
///
/// Exit status: 0 all devices are ready, 1 something needs attention, 2 the daemon cannot be asked.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the daemon's whole status as JSON
    #[arg(long)]
    json: bool,
}

/// Columns where standard output is no terminal.
const WIDTH: u16 = 120;

const ATTENTION: u8 = 1;
const UNREACHABLE: u8 = 2;

pub(crate) fn run(args: &Args, socket: &Path) -> Outcome {
    match report::ask(socket) {
        Ok((status, report)) => {
            let output = if args.json { pretty(&status) } else { show(&report) };
            Outcome::new(output, if all_well(&report) { 0 } else { ATTENTION })
        }
        Err(error) => Outcome { exit_status: UNREACHABLE, ..Outcome::failed(args.json, &error) },
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn all_well(report: &Report) -> bool {
    !report.devices.is_empty() && !report.devices.iter().any(Device::needs_attention)
}

fn show(report: &Report) -> String {
    let mut text = String::new();
    if report.devices.is_empty() {
        text.push_str(
            "No device is connected.\nNext: Plug a device in; see `biotrust doctor` if it does not appear.\n",
        );
    } else {
        text.push_str(&table(&report.devices, report.now()));
    }
    for notice in report.notices() {
        text.push_str(&format!("Note: {notice}\n"));
    }
    text.push_str(&server(report));
    let ailing = report.devices.iter().filter(|device| device.needs_attention()).count();
    let address = match &report.sbi {
        Some(sbi) => format!("serves {}", plain(&sbi.url)),
        None => "serves no port yet".to_owned(),
    };
    text.push_str(&format!(
        "{}, {} attention. biotrustd {} (pid {}) {address}\n",
        count(report.devices.len(), "device"),
        match ailing {
            0 => "none needs".to_owned(),
            1 => "1 needs".to_owned(),
            n => format!("{n} need"),
        },
        plain(&report.version),
        report.pid,
    ));
    text
}

fn table(devices: &[Device], now: UtcMillis) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["Device", "Kind", "State", "Keys", "Reason", "Who can mend it", "Next step"]);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    for device in devices {
        table.add_row([
            device.name(),
            device.kind(),
            device.state(),
            device.keys(now),
            device.why(),
            device.who(),
            device.next(),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

/// Where devices are managed from, and what time it is; nothing where nobody manages them.
fn server(report: &Report) -> String {
    let (Some(server), Some(time)) = (&report.management_server, &report.time) else { return String::new() };
    let time = match (time.trusted, time.age_s, time.skew_ms) {
        (true, Some(age), Some(skew)) => format!(
            "its time was told {} ago, this host's clock is {}.{:03} s {}",
            span(age),
            skew.unsigned_abs() / 1000,
            skew.unsigned_abs() % 1000,
            if skew < 0 { "behind" } else { "ahead" },
        ),
        _ => format!("no time from it: {}", plain(time.why_not.as_deref().unwrap_or_default())),
    };
    format!("Managed by {}; {time}\n", plain(server))
}
