//! biotrustd: the trust agent between biometric devices and MOSIP clients.
//!
//! [`http`] takes requests and [`control`] takes orders; both know the devices only through a trait of their own. [`fleet`]
//! are the devices; [`host`] is all of it together: the devices, the [`time`], the [`encryption`] certificates and the
//! [`management`] server. [`run`] is the life of the daemon, [`start`] makes its parts out of the configuration.

pub mod catalog;
pub mod config;
pub mod control;
pub mod encryption;
pub mod fleet;
pub mod host;
pub mod http;
pub mod https;
pub mod log;
pub mod management;
pub mod port;
pub mod run;
pub mod start;
pub mod store;
pub mod time;
