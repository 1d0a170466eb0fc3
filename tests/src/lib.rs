//! Black-box tests of the whole: real programs, real sockets, clients that behave like the real ones.
//!
//! Nothing of the daemon is linked. An [`Instance`] is `biosim demo --serve-only`: the daemon and virtual devices as processes of
//! their own. What comes back is judged by `biosim-backends` and by the compliance tool kit's rules in [`ctk`].
//! The helpers panic with a clear sentence when an expectation of the harness itself fails.

pub mod browser;
pub mod byhand;
pub mod ctk;
pub mod desktop;
pub mod http;
pub mod instance;
pub mod mjpeg;
pub mod pairs;
pub mod requests;
pub mod shared;
pub mod site;
pub mod wait;

pub use http::{Connection, Reply, Request};
pub use instance::{Device, Instance};
pub use site::Site;

/// The time now, for judges.
#[must_use]
pub fn now() -> biotrust_model::time::UtcMillis {
    use biotrust_model::time::Clock as _;
    biotrust_model::time::SystemClock.now()
}

/// When a packet with what was captured just now would be made. A client needs a second for it at the least, and the
/// clock of a virtual machine may be set back by some milliseconds in between: the judge, who forgives nothing, would
/// then see a capture from the future.
#[must_use]
pub fn packet_time() -> biotrust_model::time::UtcMillis {
    now().plus(std::time::Duration::from_secs(1))
}
