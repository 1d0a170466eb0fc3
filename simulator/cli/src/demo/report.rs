//! What a demo did: one row a step, as a table for people or as JSON for programs.

use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde::Serialize;

/// Columns of a table that goes into a file.
const WIDTH: u16 = 140;

/// One thing that was done and judged.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// What was done, such as `RCAPTURE left slap`.
    pub(crate) step: String,
    /// Which device, or all.
    pub(crate) device: String,
    /// Its level.
    pub(crate) level: String,
    /// What came back.
    pub(crate) captured: String,
    /// Quality scores, where there are any.
    pub(crate) quality: String,
    /// How it was verified, or what is wrong with it.
    pub(crate) verified: Verified,
    /// From the request to the end of the answer.
    pub(crate) milliseconds: u128,
    /// More, for programs.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub(crate) details: serde_json::Value,
}

/// Outcome of the verification.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Verified {
    /// By whom.
    Accepted {
        /// Such as `registration packet: 31 checks`.
        by: String,
    },
    /// Why not.
    Refused {
        /// All faults that were found.
        why: String,
    },
}

/// All steps so far.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// In the order in which they were done.
    pub(crate) steps: Vec<Step>,
}

impl Default for Verified {
    /// Nobody has looked.
    fn default() -> Self {
        Self::Refused { why: "nothing was verified".to_owned() }
    }
}

impl Report {
    /// Steps that failed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&Step, &str)> {
        self.steps.iter().filter_map(|step| match &step.verified {
            Verified::Refused { why } => Some((step, why.as_str())),
            Verified::Accepted { .. } => None,
        })
    }

    /// Steps that failed, a line each.
    pub(crate) fn faults(&self) -> String {
        let line = |(step, why): (&Step, &str)| format!("FAILED {} ({}): {why}", step.step, step.device);
        self.failures().map(line).collect::<Vec<_>>().join("\n")
    }

    /// As a table, as wide as the terminal, or [`WIDTH`] without one.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        if !table.is_tty() {
            table.set_width(WIDTH);
        }
        let head = ["step", "device", "level", "captured", "quality", "verified", "ms"];
        table.set_header(head.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        for step in &self.steps {
            let verified = match &step.verified {
                Verified::Accepted { by } => Cell::new(by).fg(Color::Green),
                // Why, which may be long, stands below the table.
                Verified::Refused { .. } => Cell::new("FAILED").fg(Color::Red),
            };
            table.add_row(vec![
                Cell::new(&step.step),
                Cell::new(&step.device),
                Cell::new(&step.level),
                Cell::new(&step.captured),
                Cell::new(&step.quality),
                verified,
                Cell::new(step.milliseconds).set_alignment(CellAlignment::Right),
            ]);
        }
        table
    }

    /// One line: how it went.
    pub(crate) fn summary(&self, took: Duration) -> String {
        let all = self.steps.len();
        let failed = self.failures().count();
        match failed {
            0 => format!("{all} of {all} steps were verified, in {:.1} s", took.as_secs_f64()),
            _ => format!("{failed} of {all} steps FAILED, in {:.1} s", took.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verified: Verified) -> Report {
        let step = Step {
            step: "RCAPTURE left slap".into(),
            device: "Slap".into(),
            level: "L0".into(),
            captured: "3 fingers".into(),
            quality: "71-80".into(),
            verified,
            milliseconds: 912,
            details: serde_json::Value::Null,
        };
        Report { steps: vec![step] }
    }

    #[test]
    fn a_failure_is_loud_in_table_and_summary() {
        let good = report(Verified::Accepted { by: "registration packet: 31 checks".into() });
        assert_eq!(good.failures().count(), 0);
        assert!(good.summary(Duration::from_secs(2)).starts_with("1 of 1 steps were verified"));
        let bad = report(Verified::Refused { why: "hash chain".into() });
        assert_eq!(bad.failures().count(), 1);
        let table = bad.table().to_string();
        assert!(table.contains("FAILED") && table.contains("912"), "{table}");
        assert_eq!(bad.faults(), "FAILED RCAPTURE left slap (Slap): hash chain");
        assert!(bad.summary(Duration::ZERO).contains("1 of 1 steps FAILED"));
    }
}
