//! installed
