//! The management protocol between a host and the device provider's management server, without I/O.
