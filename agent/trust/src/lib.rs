//! Evidence appraisal without I/O: is this device what it says it is, is this block what was asked for.
