//! The biotrust link: MCTP serial framing, messages, both roles as pure state machines, and the driver on top.
