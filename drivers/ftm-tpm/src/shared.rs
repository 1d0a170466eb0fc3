//! The one connection to the TPM that an FTM and its loaded keys share, made again when it is lost.

use std::sync::{Arc, Mutex, PoisonError};

use biotrust_driver_api::FtmError;

use crate::Options;
use crate::chip::Chip;
use crate::error::Result;

/// The connection. The lock is for the type checker's peace: one thread calls.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Connection>>);

struct Connection {
    options: Options,
    /// `None` after it was lost.
    chip: Option<Chip>,
}

impl Shared {
    pub(crate) fn open(options: Options) -> std::result::Result<Self, FtmError> {
        let chip = Chip::open(&options)?;
        Ok(Self(Arc::new(Mutex::new(Connection { options, chip: Some(chip) }))))
    }

    /// Does something with the TPM; once more over a new connection, where the one that was there turns out to be lost.
    pub(crate) fn with<T>(
        &self,
        mut work: impl FnMut(&mut Chip) -> Result<T>,
    ) -> std::result::Result<T, FtmError> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chip) = &mut connection.chip {
            match work(chip) {
                Err(fault) if fault.is_lost() => connection.chip = None,
                Err(fault) => {
                    if fault.ends_connection() {
                        connection.chip = None;
                    }
                    return Err(fault.into());
                }
                done => return Ok(done?),
            }
        }
        let chip = Chip::open(&connection.options)?;
        Ok(work(connection.chip.insert(chip))?)
    }
}
