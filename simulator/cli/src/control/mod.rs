//! biosim's own control socket: what can be asked, and the server.

pub(crate) mod server;

use biotrust_model::BioSubType;
use serde::{Deserialize, Serialize};

use crate::args::{Fault, State};

/// A request on the control socket, one JSON object a line: `{"op":"quality","value":30}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// The devices.
    List,
    /// Put the subject in front of the devices or take it away.
    Subject {
        /// Whether it is there.
        present: bool,
    },
    /// Quality that images settle at.
    Quality {
        /// 0 to 100.
        value: u8,
    },
    /// Fingers and eyes that the subject does not have.
    Missing {
        /// Replaces what was missing before.
        parts: Vec<BioSubType>,
    },
    /// State that a device reports of itself.
    Device {
        /// `deviceId` or serial number.
        id: String,
        /// The state.
        state: State,
    },
    /// Pull the plug.
    Unplug {
        /// `deviceId` or serial number.
        id: String,
    },
    /// Plug in again.
    Replug {
        /// `deviceId` or serial number.
        id: String,
    },
    /// Pull the plug of a device of `biosim hardware` in the middle of whatever is under way.
    Yank {
        /// Name or serial number.
        id: String,
    },
    /// Something is wrong with a device of `biosim hardware` or its bus, or nothing any more.
    HwFault {
        /// Name or serial number.
        id: String,
        /// Name of the fault, or `none`.
        fault: String,
    },
    /// A finger lies on a device of `biosim hardware`, or on all of them, or it does not.
    Finger {
        /// Name or serial number; all where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Whether it lies there.
        present: bool,
    },
    /// New key, new certificate.
    RotateKey {
        /// `deviceId` or serial number.
        id: String,
    },
    /// Something is wrong with an L1 device, or nothing any more.
    Fault {
        /// `deviceId` or serial number.
        id: String,
        /// What.
        fault: Fault,
    },
    /// A start.
    Reboot {
        /// `deviceId` or serial number.
        id: String,
    },
    /// A start without power before it.
    PowerCycle {
        /// `deviceId` or serial number.
        id: String,
    },
    /// The clock of an L1 device stands still.
    StopClock {
        /// `deviceId` or serial number.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_documented_form() {
        for (line, request) in [
            (r#"{"op":"list"}"#, Request::List),
            (r#"{"op":"quality","value":30}"#, Request::Quality { value: 30 }),
            (r#"{"op":"subject","present":false}"#, Request::Subject { present: false }),
            (
                r#"{"op":"missing","parts":["Left RingFinger"]}"#,
                Request::Missing { parts: vec![BioSubType::LeftRingFinger] },
            ),
            (
                r#"{"op":"device","id":"X","state":"not-ready"}"#,
                Request::Device { id: "X".into(), state: State::NotReady },
            ),
            (r#"{"op":"finger","present":true}"#, Request::Finger { id: None, present: true }),
            (
                r#"{"op":"hw-fault","id":"X","fault":"nak"}"#,
                Request::HwFault { id: "X".into(), fault: "nak".into() },
            ),
            (r#"{"op":"rotate-key","id":"X"}"#, Request::RotateKey { id: "X".into() }),
            (
                r#"{"op":"fault","id":"X","fault":"debug"}"#,
                Request::Fault { id: "X".into(), fault: Fault::Debug },
            ),
            (r#"{"op":"power-cycle","id":"X"}"#, Request::PowerCycle { id: "X".into() }),
            (r#"{"op":"stop-clock","id":"X"}"#, Request::StopClock { id: "X".into() }),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
        for bad in [r#"{"op":"qualty"}"#, r#"{"op":"quality"}"#, r#"{"op":"quality","value":1,"x":2}"#] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
        }
    }
}
