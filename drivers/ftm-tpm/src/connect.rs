//! Reaching the TPM: the way to it, its start, and what others left in it.

use std::fs::File;
use std::io::ErrorKind;
use std::str::FromStr;

use biotrust_driver_api::FtmError;
use tss_esapi::Context;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Kind;
use tss_esapi::constants::{CapabilityType, PropertyTag, StartupType};
use tss_esapi::handles::TpmHandle;
use tss_esapi::structures::CapabilityData;
use tss_esapi::tcti_ldr::TctiNameConf;

use crate::error::{Doing, Fault, Result};

/// First handle of loaded sessions, and of transient objects.
const LOADED_SESSIONS: u32 = 0x0200_0000;
const TRANSIENT: u32 = 0x8000_0000;

/// TPMA_PERMANENT.inLockout.
const IN_LOCKOUT: u32 = 1 << 9;

/// Connects, starts the TPM where nobody has, and flushes what a process that was killed left in it.
pub(crate) fn connect(tcti: &str) -> Result<Context> {
    let name = TctiNameConf::from_str(tcti).map_err(|_| FtmError::State {
        state: format!("{tcti:?} is not the address of a TPM"),
        next: "write `device:/dev/tpmrm0` or `swtpm:host=127.0.0.1,port=N`".into(),
    })?;
    reach(tcti)?;
    let mut context = Context::new(name).map_err(|error| FtmError::State {
        state: format!("no TPM answers at {tcti}: {error}"),
        next: "see that it is there and that no other program holds it".into(),
    })?;
    if let Err(fault) = permanent(&mut context) {
        if fault.kind() != Some(Kind::Initialize) {
            return Err(fault);
        }
        context.startup(StartupType::Clear).doing("starting the TPM")?;
    }
    sweep(&mut context)?;
    Ok(context)
}

/// Whether we are the only one who talks to the TPM, so that nobody else flushes and shuts it down.
pub(crate) fn is_alone(tcti: &str) -> bool {
    !(tcti.starts_with("tabrmd") || tcti.contains("tpmrm"))
}

/// A device that cannot be opened has a reason that the library does not tell.
fn reach(tcti: &str) -> std::result::Result<(), FtmError> {
    let Some(path) = tcti.strip_prefix("device:") else { return Ok(()) };
    let Err(error) = File::options().read(true).write(true).open(path) else { return Ok(()) };
    let (state, next) = match error.kind() {
        ErrorKind::PermissionDenied => (
            format!("this service may not open {path}"),
            "add its user to the group that owns the device (`tss` on Debian), then start it again"
                .to_owned(),
        ),
        ErrorKind::NotFound => (
            format!("there is no TPM at {path}"),
            "switch the TPM on in the firmware setup of the host, or choose another back end".to_owned(),
        ),
        ErrorKind::ResourceBusy => (
            format!("another program holds {path}"),
            "use the resource manager of the kernel, `device:/dev/tpmrm0`".to_owned(),
        ),
        _ => (format!("{path} cannot be opened: {error}"), "see `dmesg` for the TPM".to_owned()),
    };
    Err(FtmError::State { state, next })
}

/// Flushes every transient object and session. Through a resource manager we see only our own, of which there are none
/// yet; without one we are alone, and what is there is of a process that did not end well.
fn sweep(context: &mut Context) -> Result<()> {
    for first in [TRANSIENT, LOADED_SESSIONS] {
        for handle in handles(context, first)? {
            let object = context.tr_from_tpm_public(handle).doing("finding what was left in the TPM")?;
            context.flush_context(object).doing("flushing what was left in the TPM")?;
        }
    }
    Ok(())
}

/// Handles from `first` on, of the same type.
pub(crate) fn handles(context: &mut Context, first: u32) -> Result<Vec<TpmHandle>> {
    let asked = capability(context, CapabilityType::Handles, first, 64).doing("listing handles")?;
    match asked {
        CapabilityData::Handles(list) => Ok(list.into_inner()),
        _ => Ok(Vec::new()),
    }
}

/// Whether wrong passwords have locked the TPM.
pub(crate) fn in_lockout(context: &mut Context) -> Result<bool> {
    Ok(permanent(context)? & IN_LOCKOUT != 0)
}

fn permanent(context: &mut Context) -> Result<u32> {
    property(context, PropertyTag::Permanent)
}

/// A property as it is now; the library's own function remembers what it was.
pub(crate) fn property(context: &mut Context, tag: PropertyTag) -> Result<u32> {
    let asked = capability(context, CapabilityType::TpmProperties, tag.into(), 1);
    match asked.doing("asking the TPM for its state")? {
        CapabilityData::TpmProperties(list) => Ok(list.find(tag).map_or(0, |found| found.value())),
        _ => Err(Fault::Known(FtmError::Failed {
            doing: "asking the TPM for its state",
            why: "no answer".into(),
        })),
    }
}

/// The answer to this command cannot be encrypted, and the TPM refuses a session that wants to.
fn capability(
    context: &mut Context,
    what: CapabilityType,
    first: u32,
    count: u32,
) -> tss_esapi::Result<CapabilityData> {
    context.execute_without_session(|context| Ok(context.get_capability(what, first, count)?.0))
}
