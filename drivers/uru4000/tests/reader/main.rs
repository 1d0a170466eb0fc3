//! The driver on a virtual reader that knows nothing of it: fingers, and everything that can go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test; it places what it does in time"
)]

mod faults;
mod fingers;
mod rig;
