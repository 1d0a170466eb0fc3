//! hwdb.
