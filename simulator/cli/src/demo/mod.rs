//! The demo.
mod daemon;
mod http;
mod preview;
