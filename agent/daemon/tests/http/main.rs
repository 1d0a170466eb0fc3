//! HTTP over real sockets: the rows and facts of the client notes that are HTTP's, the caller policy, the limits, and
//! what happens when peers leave or the daemon stops. The devices are a scripted service behind the real seam.

#![allow(unreachable_pub)] // nothing is exported from a test program

#[cfg(test)]
mod callers;
#[cfg(test)]
mod client;
#[cfg(test)]
mod desktop;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod leaving;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod writing;
