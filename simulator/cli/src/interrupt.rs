//! Ctrl-C and its relatives, turned into a flag that everything waits on.

use anyhow::Context as _;
use biotrust_driver_api::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process; a second one ends it at once.
pub(crate) fn install() -> anyhow::Result<Cancel> {
    let cancel = Cancel::new();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listening for signals")?;
    let flag = cancel.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if flag.is_cancelled() {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                flag.cancel();
            }
        })
        .context("starting the thread for signals")?;
    Ok(cancel)
}
