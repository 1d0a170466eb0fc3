//! biotrustd: the trust agent between biometric devices and MOSIP clients.
//!
//! [`http`] takes requests and [`control`] takes orders; both know the devices only through a trait of their own, which
//! [`fleet`] implements. [`run`] is the life of the daemon, [`start`] puts its parts together.

pub mod catalog;
pub mod config;
pub mod control;
pub mod fleet;
pub mod http;
pub mod log;
pub mod port;
pub mod run;
pub mod start;
pub mod store;
