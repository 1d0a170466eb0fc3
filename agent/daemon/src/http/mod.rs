//! The Secure Biometric Interface over HTTP/1.1 on 127.0.0.1.
//!
//! The way of a request: [`server`] accepts the connection and counts it, [`connection`] reads the head within its
//! limits, [`routes`] checks `Host`, finds the operation and checks `Origin`, [`body`] reads the body, the operation's
//! own module parses it with `biotrust-sbi`, asks the [`Service`] and answers. One request per connection.
//!
//! Trust: everything that comes in is hostile, be it a program of another user of this host or a web page that a
//! browser here has open. What one peer can use up is bounded by `[limits]`. Nothing in here blocks.

mod answer;
mod body;
mod caller;
mod capture;
mod connection;
mod cors;
mod discover;
mod info;
mod peer;
mod routes;
mod server;
mod service;
mod stream;
mod verb;

pub use server::{Settings, serve};
pub use service::{FrameStream, Service};
