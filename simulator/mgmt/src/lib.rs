//! A stand-in for a device provider's management server.
