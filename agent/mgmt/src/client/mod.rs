//! The client for one device, as a machine: what happened goes in, what is to be done comes out.
//!
//! The host keeps one [`State`] a device. It calls [`State::step`] with every [`Event`], stores the state durably, and
//! then carries out the [`Effect`]s. At most one [`Job`] is under way; the host answers each with exactly one
//! [`Event::Done`] that carries its ticket, within a time of its own choice, and answers with other tickets are ignored.
//! Killed at any point, it goes on with [`Event::Plugged`] after the next start: what was half done is finished or begun
//! anew, and the key in use stays in use until the device holds the next one with its certificate.
//!
//! The server orders; the machine obeys and keeps the clock: it asks for a new certificate at 80 % of the old one's life
//! even if no order came. There is no job that captures anything.

mod enrol;
mod farewell;
mod job;
mod schedule;
mod standing;
mod state;

pub use job::{Answer, Effect, Event, Facts, Failure, Held, Job, Wish};
pub use schedule::{Chance, Moment, Policy};
pub use standing::Standing;
pub use state::State;

#[cfg(test)]
mod tests;
