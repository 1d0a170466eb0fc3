//! What the TPM says, as states that a person can do something about; the raw code always stays beside the text.

use biotrust_driver_api::FtmError;
use tss_esapi::Error;
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind as Kind};

/// Why something failed, before it is known whether trying again makes sense.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The TPM or the library answered with an error.
    Tss {
        /// What was being done.
        doing: &'static str,
        /// The answer.
        error: Error,
    },
    /// We know already.
    Known(FtmError),
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// Says what was being done when the library failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T> Doing<T> for tss_esapi::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|error| Fault::Tss { doing, error })
    }
}

impl From<FtmError> for Fault {
    fn from(error: FtmError) -> Self {
        Self::Known(error)
    }
}

impl Fault {
    /// What kind of answer of the TPM it is.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            // Codes of the layers above the TPM have bits of their own and must not be taken for the TPM's.
            Self::Tss { error: Error::Tss2Error(code), .. } if layer(*code) == Some(0) => code.kind(),
            _ => None,
        }
    }

    /// Whether the connection or everything that we had in the TPM is gone: somebody cut its power. A new connection may
    /// work.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Tss { error: Error::Tss2Error(code), .. } if layer(*code) == Some(TCTI) => true,
            _ => matches!(
                self.kind(),
                Some(Kind::ReferenceS0 | Kind::ReferenceS1 | Kind::ReferenceH0 | Kind::Initialize)
            ),
        }
    }

    /// Whether the library can go on after it. It cannot after an answer that it did not believe: its state is that of
    /// a command that never ended.
    pub(crate) fn ends_connection(&self) -> bool {
        match self {
            Self::Tss { error: Error::Tss2Error(code), .. } => layer(*code) == Some(ESYS) || self.is_lost(),
            _ => self.is_lost(),
        }
    }
}

/// Layers as in the third byte of a code: the library's own checks, and the transport.
const ESYS: u32 = 0x07;
const TCTI: u32 = 0x0a;
/// The library's code for an answer whose HMAC is wrong.
const ANSWER_NOT_AUTHENTIC: u32 = 0x0007_001b;

/// The code as a number. The library shows it, but has no function that gives it.
fn raw(code: Tss2ResponseCode) -> Option<u32> {
    let shown = match code {
        Tss2ResponseCode::Success => return Some(0),
        Tss2ResponseCode::FormatZero(code) => code.to_string(),
        Tss2ResponseCode::FormatOne(code) => code.to_string(),
    };
    u32::from_str_radix(shown.rsplit_once("0x")?.1, 16).ok()
}

fn layer(code: Tss2ResponseCode) -> Option<u32> {
    raw(code).map(|raw| (raw >> 16) & 0xff)
}

impl From<Fault> for FtmError {
    fn from(fault: Fault) -> Self {
        let (kind, lost) = (fault.kind(), fault.is_lost());
        let (doing, error) = match fault {
            Fault::Known(error) => return error,
            Fault::Tss { doing, error } => (doing, error),
        };
        let raw = match error {
            Error::Tss2Error(code) => raw(code),
            Error::WrapperError(_) => None,
        };
        let code = raw.map(|raw| format!(" (TPM code {raw:#05x})")).unwrap_or_default();
        match kind.and_then(state) {
            None if raw == Some(ANSWER_NOT_AUTHENTIC) => Self::State {
                state: format!("{doing}: an answer of the TPM was changed on its way{code}"),
                next: "look for a device between the host and its TPM; do not use this host".into(),
            },
            Some((is, next)) => Self::State { state: format!("{doing}: {is}{code}"), next: next.to_owned() },
            None if lost => Self::State {
                state: format!("{doing}: the TPM does not answer{code}"),
                next: "see that it is there and has power, then start the service again".into(),
            },
            None => Self::Failed { doing, why: format!("{error}{code}") },
        }
    }
}

/// States of a TPM that need somebody to do something: what it is, and what to do.
fn state(kind: Kind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        Kind::Lockout => (
            "the TPM is in lockout after wrong passwords",
            "wait until it recovers by itself, or end it with the lockout password: `tpm2_dictionarylockout -c`",
        ),
        Kind::AuthFail | Kind::BadAuth => (
            "the TPM refuses the password of its owner or endorsement hierarchy",
            "give the right passwords in the configuration of the FTM",
        ),
        Kind::Integrity => (
            "what was made in the TPM cannot be loaded any more: it was cleared or replaced",
            "register the device again; provision a new TPM first",
        ),
        Kind::ObjectMemory | Kind::SessionMemory | Kind::SessionHandles | Kind::Memory => (
            "another program fills the TPM's memory",
            "use the resource manager of the kernel, `device:/dev/tpmrm0`, for every program",
        ),
        Kind::NvSpace => (
            "the TPM has no room for more data",
            "remove what is not needed (`tpm2_getcap handles-nv-index`), then provision it again",
        ),
        Kind::Hierarchy | Kind::AuthUnavailable | Kind::Disabled => (
            "the TPM or one of its hierarchies is switched off",
            "switch the TPM on in the firmware setup of the host",
        ),
        Kind::Failure => {
            ("the TPM failed its self-test", "switch the host off and on; if it stays, replace the TPM")
        }
        Kind::Initialize => ("the TPM was not started", "start the service again"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: u32) -> Fault {
        Fault::Tss { doing: "signing", error: Error::Tss2Error(code.into()) }
    }

    #[test]
    fn a_state_tells_what_it_is_what_to_do_and_the_code() {
        for (code, word) in
            [(0x921, "lockout"), (0x1df, "cleared"), (0x902, "memory"), (0x98e, "password"), (0x12f, "off")]
        {
            let FtmError::State { state, next } = fault(code).into() else { panic!("{code:#x}") };
            assert!(state.contains(word) && state.contains(&format!("{code:#05x}")), "{state}");
            assert!(!next.is_empty());
        }
        let FtmError::Failed { why, .. } = fault(0x1c4).into() else { panic!("a mere failure") };
        assert!(why.contains("0x1c4"), "{why}");
    }

    #[test]
    fn a_lost_tpm_is_told_from_a_failed_command() {
        for lost in [0x000a_000a, 0x918, 0x910, 0x100] {
            assert!(fault(lost).is_lost(), "{lost:#x}");
        }
        for other in [0x921, 0x1df, 0x0007_001b] {
            assert!(!fault(other).is_lost(), "{other:#x}");
        }
        assert!(fault(0x0007_001b).ends_connection() && !fault(0x921).ends_connection());
        assert!(matches!(FtmError::from(fault(0x000a_000a)), FtmError::State { .. }));
    }
}
