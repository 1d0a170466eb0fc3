//! The device side of USB/IP: virtual USB devices for the kernel (vhci), for usbip over TCP, and for drivers in the same process.
