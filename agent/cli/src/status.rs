//! `biotrust status`: the devices of this host, each with its state, what is wrong, who can mend it, and how.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::report::{Device, Report};
use crate::text::{count, plain};
use crate::{Outcome, control};

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
    match control::status(socket).and_then(|(status, _)| {
        Report::read(&status)
            .map(|report| (status, report))
            .map_err(|what| control::ControlError::NotOurs(socket.to_owned(), what))
    }) {
        Ok((status, report)) => {
            let output = if args.json { pretty(&status) } else { show(&report) };
            Outcome::new(output, if all_well(&report) { 0 } else { ATTENTION })
        }
        Err(error) if args.json => {
            let error = json!({ "code": error.code(), "message": error.to_string(), "next": error.next() });
            Outcome::new(pretty(&json!({ "error": error })), UNREACHABLE)
        }
        Err(error) => Outcome {
            output: String::new(),
            complaint: format!("{error}\nNext: {}\n", error.next()),
            exit_status: UNREACHABLE,
        },
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
        text.push_str(&table(&report.devices));
    }
    for notice in report.notices() {
        text.push_str(&format!("Note: {notice}\n"));
    }
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

fn table(devices: &[Device]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["Device", "Kind", "State", "Reason", "Who can mend it", "Next step"]);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    for device in devices {
        table.add_row([
            device.name(),
            device.kind(),
            device.state(),
            device.why(),
            device.who(),
            device.next(),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}
