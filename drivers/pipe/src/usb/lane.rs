//! The queue of transfers of one endpoint, whatever its kind and direction.

use std::time::{Duration, Instant};

use biotrust_driver_api::{Endpoint, EndpointKind};
use nusb::transfer::{Buffer, Bulk, Completion, In, Interrupt, Out, TransferError};
use nusb::{Interface, MaybeFuture};

/// How a transfer ended that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Gone,
    TimedOut,
    Stalled,
    /// On the wire, or by the system's own word.
    Fault(Option<i32>),
}

impl From<TransferError> for Outcome {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Disconnected => Self::Gone,
            TransferError::Stall => Self::Stalled,
            TransferError::Cancelled => Self::TimedOut,
            TransferError::Fault | TransferError::InvalidArgument => Self::Fault(None),
            TransferError::Unknown(code) => Self::Fault(i32::try_from(code).ok()),
        }
    }
}

/// An open endpoint.
pub(super) enum Lane {
    BulkIn(nusb::Endpoint<Bulk, In>),
    BulkOut(nusb::Endpoint<Bulk, Out>),
    InterruptIn(nusb::Endpoint<Interrupt, In>),
    InterruptOut(nusb::Endpoint<Interrupt, Out>),
}

macro_rules! each {
    ($lane:expr, $endpoint:ident => $what:expr) => {
        match $lane {
            Lane::BulkIn($endpoint) => $what,
            Lane::BulkOut($endpoint) => $what,
            Lane::InterruptIn($endpoint) => $what,
            Lane::InterruptOut($endpoint) => $what,
        }
    };
}

impl Lane {
    pub(super) fn open(interface: &Interface, endpoint: Endpoint) -> Result<Self, nusb::Error> {
        let inward = endpoint.address & 0x80 != 0;
        Ok(match (endpoint.kind, inward) {
            (EndpointKind::Bulk, true) => Self::BulkIn(interface.endpoint(endpoint.address)?),
            (EndpointKind::Bulk, false) => Self::BulkOut(interface.endpoint(endpoint.address)?),
            (EndpointKind::Interrupt, true) => Self::InterruptIn(interface.endpoint(endpoint.address)?),
            (EndpointKind::Interrupt, false) => Self::InterruptOut(interface.endpoint(endpoint.address)?),
        })
    }

    pub(super) fn pending(&self) -> usize {
        each!(self, endpoint => endpoint.pending())
    }

    /// Queues a transfer from the device, of whole packets; false when this endpoint is not from the device.
    pub(super) fn ask(&mut self, length: usize) -> bool {
        let whole = |packet: usize| Buffer::new(length.max(1).next_multiple_of(packet.max(1)));
        match self {
            Self::BulkIn(endpoint) => endpoint.submit(whole(endpoint.max_packet_size())),
            Self::InterruptIn(endpoint) => endpoint.submit(whole(endpoint.max_packet_size())),
            Self::BulkOut(_) | Self::InterruptOut(_) => return false,
        }
        true
    }

    /// Queues a transfer to the device; false when this endpoint is not to the device.
    pub(super) fn send(&mut self, data: &[u8]) -> bool {
        match self {
            Self::BulkOut(endpoint) => endpoint.submit(data.to_vec().into()),
            Self::InterruptOut(endpoint) => endpoint.submit(data.to_vec().into()),
            Self::BulkIn(_) | Self::InterruptIn(_) => return false,
        }
        true
    }

    /// Waits for the oldest transfer, of which there must be one, and gives what came. It stays queued when the time is
    /// over.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<Vec<u8>, Outcome> {
        let done = each!(self, endpoint => endpoint.wait_next_complete(timeout));
        let Completion { buffer, actual_len, status } = done.ok_or(Outcome::TimedOut)?;
        status?;
        let mut bytes = buffer.into_vec();
        bytes.truncate(actual_len);
        Ok(bytes)
    }

    /// Calls off all transfers and takes them back; false when the host controller keeps some for longer than `limit`.
    pub(super) fn cancel(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        each!(self, endpoint => {
            endpoint.cancel_all();
            while endpoint.pending() > 0 {
                if endpoint.wait_next_complete(limit.saturating_sub(start.elapsed())).is_none() {
                    return false;
                }
            }
        });
        true
    }

    /// The call that ends the halt, to be made on any thread.
    pub(super) fn clear_halt(&mut self) -> Box<dyn FnOnce() -> Result<(), nusb::Error> + Send> {
        each!(self, endpoint => {
            let call = endpoint.clear_halt();
            Box::new(move || call.wait())
        })
    }
}
