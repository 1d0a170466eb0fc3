//! What peers can make the daemon hold in memory. A program of its own, and one test at a time, because the memory of
//! the whole process is measured.

#![allow(unreachable_pub)] // nothing is exported from a test program

#[cfg(test)]
#[path = "../http/client.rs"]
#[allow(dead_code)]
mod client;
#[cfg(test)]
#[path = "../http/fake.rs"]
#[allow(dead_code)]
mod fake;
#[cfg(test)]
#[path = "../http/requests.rs"]
#[allow(dead_code)]
mod requests;
#[cfg(test)]
mod tests;
