//! `deviceStatus` on the wire.

use crate::vocabulary;

vocabulary!(
    /// What a device can do now. The browser client shows "Scanning" for ever on any other spelling.
    DeviceStatus, "device status", {
        /// Free, and everything it needs is in place.
        Ready = "Ready",
        /// A capture holds it.
        Busy = "Busy",
        /// Present or known, but not usable now.
        NotReady = "Not Ready",
        /// Present, without a certificate from its provider.
        NotRegistered = "Not Registered",
    }
);
