//! biotrustd: the trust agent between biometric devices and MOSIP clients.

fn main() {}
