//! What may change while the fleet runs: whom to encrypt for, what is known about models, whether the time is known.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use biotrust_attest::metadata::Metadata;

use super::state::{Event, Hold};
use super::unit::Unit;
use super::{Encryption, Fleet, Inner};

impl Fleet {
    /// From now on captures are encrypted for these. Devices that encrypt themselves are given them.
    pub fn set_encryption(&self, encryption: Encryption) {
        self.0.encryption.store(Arc::new(encryption));
        self.appraise_all();
    }

    /// From now on models are judged by this.
    pub fn set_models(&self, models: Option<Metadata>) {
        self.0.models.store(models.map(Arc::new));
        for (_, session) in self.0.open_units() {
            session.forget_evidence();
        }
        self.appraise_all();
    }

    /// Says whether the time of this host can be believed; `Some` says why not, in one sentence, and keeps every device
    /// Not Ready.
    pub fn set_untimed(&self, why: Option<String>) {
        let changed = self.0.untimed.send_if_modified(|held| {
            let changed = *held != why;
            held.clone_from(&why);
            changed
        });
        if changed {
            for unit in self.0.units().iter() {
                unit.note(Event::Held(Hold::HostTime, why.clone()));
            }
            self.0.publish();
        }
    }

    /// Keeps the device with this serial number Not Ready, for as long as it is connected or until this is called with
    /// `None`; `Some` says why, in one sentence. Tells whether there is such a device.
    pub fn set_held(&self, serial: &str, why: Option<&str>) -> bool {
        let mut named = self.0.open_units();
        named.retain(|(_, session)| session.description.identity.serial_no == serial);
        let note = |unit: &Unit| unit.note(Event::Held(Hold::Management, why.map(str::to_owned)));
        if named.iter().filter(|(unit, _)| note(unit)).count() > 0 {
            self.0.publish();
        }
        !named.is_empty()
    }

    /// Has every device looked at again, soon.
    fn appraise_all(&self) {
        for unit in self.0.units().iter() {
            // the clock of the fleet sees to it
            unit.wants_appraisal.store(true, Ordering::Relaxed);
        }
        self.0.publish();
    }
}

impl Inner {
    /// Whom to encrypt for, at this moment.
    pub(super) fn encryption(&self) -> Arc<Encryption> {
        self.encryption.load_full()
    }
}
