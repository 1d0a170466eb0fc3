//! biotrustd: the trust agent between biometric devices and MOSIP clients.
//!
//! `http` takes requests and `control` takes orders; both know the devices only through a trait of their own.

pub mod config;
pub mod control;
pub mod http;
pub mod log;
pub mod port;
