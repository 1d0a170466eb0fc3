//! Virtual biometric devices: sensor, subject, FTM, and the device end of the link on a pseudo-terminal.
