//! `poll`: what the device says is noted, what is ordered is said.

use biotrust_mgmt::Sha256;
use biotrust_mgmt::message::{Command, ReplyBody, Report};
use biotrust_model::time::UtcMillis;

use super::refusal::refuse;
use super::sender::Standing;
use super::{Outcome, Service};
use crate::store::{Device, DeviceState};

const DAY: i64 = 86_400_000;

impl Service {
    pub(super) async fn poll(
        &self,
        serial: &str,
        standing: &Standing,
        report: &Report,
        now: UtcMillis,
    ) -> Result<ReplyBody, Outcome> {
        let Some(device) = &standing.device else {
            return Err(refuse("state", "the device is not registered", "register it first").into());
        };
        if let Some(outcome) = &report.update {
            self.store.update_ended(serial, outcome).await?;
            let text = outcome.error.as_ref().map_or("installed".to_owned(), |why| format!("failed: {why}"));
            self.store.record(now, serial, "update", None, &text).await?;
        }
        self.store.seen(serial, report, now).await?;
        Ok(ReplyBody::Commands { commands: self.orders(device, now).await?, next_poll_s: self.policy.poll_s })
    }

    /// What the device is to do. An order is repeated until it is carried out.
    async fn orders(&self, device: &Device, now: UtcMillis) -> Result<Vec<Command>, Outcome> {
        match device.state {
            DeviceState::Deregistering => return Ok(vec![Command::Deregister {}]),
            DeviceState::Deregistered | DeviceState::Approved => return Ok(Vec::new()),
            DeviceState::Registered => {}
        }
        let mut orders = Vec::new();
        if device.rotate_ordered.is_some() || self.key_is_old(device, now).await? {
            orders.push(Command::Rotate {});
        }
        if device.report_ordered.is_some() {
            self.store.report_passed_on(&device.serial).await?;
            orders.push(Command::Report {});
        }
        let updates = self.store.updates_of(&device.serial).await?;
        orders.extend(updates.into_iter().filter(|update| update.state == "ordered").map(|update| {
            Command::Update { manifest: update.manifest, image: format!("/v1/image/{}", update.id) }
        }));
        Ok(orders)
    }

    async fn key_is_old(&self, device: &Device, now: UtcMillis) -> Result<bool, Outcome> {
        let Some(spki) = device.current_key.as_ref().and_then(|spki| Sha256::parse(spki)) else {
            return Ok(false);
        };
        let life = i64::from(self.policy.rotate_days) * DAY;
        Ok(self.store.key(&spki).await?.is_some_and(|key| now.0.saturating_sub(key.issued_at) >= life))
    }
}
