//! The MOSIP SBI wire, version 0.9.5: requests in, answers out, and the cryptography between them.
//!
//! Pure: no I/O, no clock, no threads; every time is an argument. What comes from outside (request bodies, JWS and
//! records from devices) is not trusted and is read within limits. Nothing here blocks; a signature is made elsewhere,
//! between [`jws::prepare`] and [`jws::Unsigned::attach`], because the key may sit in a chip.
//!
//! The way of a capture: [`request::parse_capture`] reads what the client wants, [`plan::segments`] decides which parts
//! that means, [`iso`] turns each image into a record, [`hash_chain`] and [`session`] seal it, and [`answer`] writes it.

pub mod answer;
pub mod base64url;
mod bytes;
pub mod digital_id;
pub mod error;
pub mod hash_chain;
pub mod iso;
mod json;
pub mod jws;
#[cfg(test)]
mod known_answers;
pub mod plan;
pub mod request;
pub mod session;
