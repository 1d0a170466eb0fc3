//! Devices in the making: each on a thread of its own, so that a TPM, which takes seconds, keeps nobody waiting.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use biosim_scanner::ftm::FtmError;
use biosim_scanner::{ChipKind, Options, Spec, VirtualDevice, Workshop};
use biotrust_model::Level;

/// What to build.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The device.
    pub(crate) spec: Spec,
    /// How it is built; matters at L1.
    pub(crate) options: Options,
}

/// A device in the making. Dropping it waits for its thread, so that nothing of it stays behind.
pub(crate) struct Building {
    order: Order,
    thread: Option<JoinHandle<Result<VirtualDevice, FtmError>>>,
}

impl Building {
    /// Begins.
    pub(super) fn begin(workshop: &Workshop, order: Order) -> anyhow::Result<Self> {
        let (workshop, ordered) = (workshop.clone(), order.clone());
        let thread = std::thread::Builder::new()
            .name("building".to_owned())
            .spawn(move || VirtualDevice::build_with(ordered.spec, &ordered.options, &workshop))
            .context("starting a thread")?;
        Ok(Self { order, thread: Some(thread) })
    }

    /// Waits for the device.
    pub(super) fn finish(mut self) -> anyhow::Result<Slot> {
        let thread = self.thread.take().context("built already")?;
        let device = thread.join().map_err(|_| anyhow!("a thread that builds a device has failed"))?;
        let model = self.order.spec.kind.model();
        let device = device.map(Arc::new).with_context(|| match self.order.options.chip {
            ChipKind::Software => format!("building {model}"),
            ChipKind::Swtpm => format!("building {model} with a TPM as chip (--chip software does without)"),
        })?;
        let chip = (self.order.spec.level == Level::L1).then_some(self.order.options.chip);
        Ok(Slot { device, chip, parked: None })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A device of the lab.
#[derive(Clone)]
pub(crate) struct Slot {
    /// The one that is there.
    pub(crate) device: Arc<VirtualDevice>,
    /// Its chip, at L1.
    pub(super) chip: Option<ChipKind>,
    /// The good one, while one that is to be refused takes its place.
    pub(super) parked: Option<Arc<VirtualDevice>>,
}

/// How a chip is called.
pub(super) const fn chip_name(chip: ChipKind) -> &'static str {
    match chip {
        ChipKind::Software => "software",
        ChipKind::Swtpm => "swtpm",
    }
}
