//! Drivers of vendors as processes of their own: the protocol, the host side with its supervisor, and what a Rust driver is built with.
