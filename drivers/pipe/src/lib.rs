//! Byte pipes over serial lines and TCP, and a watcher for serial links that come and go.
