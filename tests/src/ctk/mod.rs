//! MOSIP's compliance tool kit for devices, written from its observed behaviour: what its front end sends and how it decodes, which
//! rules its schemas hold, what its validators check, and all 116 compliance cases. Notes: ctk, sections 1 to 4.
//!
//! Stricter than the original in one point: its array schemas look at the first element only, ours at all of them.

pub mod cases;
pub mod decode;
pub mod request;
pub mod run;
pub mod schema;
pub mod validators;

pub use cases::{CASES, Call, Case, Expect, Operator, Project, Shot, Validator};
