//! Offers virtual devices to `usbip attach` over TCP.
