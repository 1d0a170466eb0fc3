//! The device side of one connection: takes what the host sends, asks the device, and makes the answers.
//!
//! Sans-I/O: bytes in ([`Engine::receive`]), bytes out ([`Engine::take_output`]), time as an argument. It keeps what a
//! USB device controller keeps: the transfers that are pending on each endpoint, which endpoints have halted, and the
//! configuration; and it answers the standard requests. The host is not trusted, the device is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::wire::{self, Answer, Command, HEADER, MOST_HELD, MOST_PENDING, Submit, WireError, status};
use crate::{Reply, UsbDevice};

pub(crate) mod control;

/// What has happened on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Transfers that the host has started.
    pub submitted: u64,
    /// Transfers that were answered.
    pub completed: u64,
    /// Transfers that the host has called off while they were pending.
    pub unlinked: u64,
    /// Transfers that were answered with a stall.
    pub stalled: u64,
}

/// The device side of one connection.
#[derive(Debug, Default)]
pub struct Engine {
    /// bConfigurationValue that the host has set; 0 before.
    configuration: u8,
    halted: BTreeSet<u8>,
    /// Pending transfers by endpoint address; 0 is the control endpoint, both ways.
    queues: BTreeMap<u8, VecDeque<Pending>>,
    input: Vec<u8>,
    output: Vec<u8>,
    disconnected: bool,
    statistics: Statistics,
}

/// A transfer that is pending.
#[derive(Debug)]
struct Pending {
    submit: Submit,
    /// What it carries to the device, or has brought from it so far.
    data: Vec<u8>,
}

/// How a transfer goes on.
enum Progress {
    Waits,
    Done(i32),
}

impl Engine {
    /// Plugs the device in.
    pub fn new(device: &mut (impl UsbDevice + ?Sized), now: Instant) -> Self {
        device.reset(now);
        Self::default()
    }

    /// Takes bytes from the host, in pieces of any size, and does all that can be done now.
    ///
    /// # Errors
    /// When the host does not keep to the protocol: close the connection.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        device: &mut (impl UsbDevice + ?Sized),
        now: Instant,
    ) -> Result<(), WireError> {
        self.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
            match wire::command(header)? {
                Command::Submit(submit) => {
                    self.admit(&submit)?;
                    let Some((data, after)) = after.split_at_checked(submit.payload()) else { break };
                    rest = after;
                    self.statistics.submitted += 1;
                    let queue = self.queues.entry(submit.endpoint).or_default();
                    queue.push_back(Pending { submit, data: data.to_vec() });
                    self.serve(submit.endpoint, device, now);
                }
                Command::Unlink { sequence, victim } => {
                    rest = after;
                    self.unlink(sequence, victim);
                }
            }
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        self.input = input;
        self.poll(device, now);
        Ok(())
    }

    /// Asks the device again about all that is pending: something has happened to it, or its time has come.
    pub fn poll(&mut self, device: &mut (impl UsbDevice + ?Sized), now: Instant) {
        let endpoints: Vec<u8> = self.queues.keys().copied().collect();
        // What one endpoint takes may give another one something to say, so until nothing moves. Each round but the last
        // completes a transfer.
        loop {
            let before = self.statistics.completed;
            for endpoint in &endpoints {
                self.serve(*endpoint, device, now);
            }
            if self.statistics.completed == before || self.disconnected {
                return;
            }
        }
    }

    /// What is to be sent to the host.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether the device has fallen off the bus: close the connection once the output is sent.
    #[must_use]
    pub const fn disconnected(&self) -> bool {
        self.disconnected
    }

    /// What has happened so far.
    #[must_use]
    pub const fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Whether there is room for a transfer, and its number is free.
    fn admit(&self, submit: &Submit) -> Result<(), WireError> {
        let pending = self.queues.values().flatten();
        let (mut count, mut held) = (1, submit.length);
        for other in pending {
            if other.submit.sequence == submit.sequence {
                return Err(WireError::Sequence(submit.sequence));
            }
            count += 1;
            held += other.submit.length;
        }
        if count > MOST_PENDING || held > MOST_HELD { Err(WireError::Pending) } else { Ok(()) }
    }

    /// A transfer that is still pending is called off and never answered; of one that is not, the host has the answer.
    fn unlink(&mut self, sequence: u32, victim: u32) {
        let mut status = status::OK;
        for queue in self.queues.values_mut() {
            let before = queue.len();
            queue.retain(|pending| pending.submit.sequence != victim);
            if queue.len() < before {
                status = status::UNLINKED;
                self.statistics.unlinked += 1;
            }
        }
        wire::push_answer(&mut self.output, Answer::Unlink { sequence, status });
    }

    /// Serves the transfers of an endpoint in order until one has to wait.
    fn serve(&mut self, endpoint: u8, device: &mut (impl UsbDevice + ?Sized), now: Instant) {
        while !self.disconnected
            && let Some(mut pending) = self.queues.get_mut(&endpoint).and_then(VecDeque::pop_front)
        {
            match self.advance(&mut pending, device, now) {
                Progress::Waits => {
                    self.queues.entry(endpoint).or_default().push_front(pending);
                    return;
                }
                Progress::Done(status) => self.complete(&pending, status),
            }
        }
    }

    fn advance(
        &mut self,
        pending: &mut Pending,
        device: &mut (impl UsbDevice + ?Sized),
        now: Instant,
    ) -> Progress {
        let endpoint = pending.submit.endpoint;
        if endpoint == 0 {
            return self.control(pending, device, now);
        }
        let Some(known) = device.descriptors().endpoint(endpoint) else {
            return Progress::Done(status::NO_ENDPOINT);
        };
        if self.halted.contains(&endpoint) {
            return Progress::Done(status::STALL);
        }
        if !pending.submit.to_host {
            return match device.write(endpoint, &pending.data, now) {
                Reply::Data(_) | Reply::Ack => Progress::Done(status::OK),
                other => self.refuse(endpoint, &other),
            };
        }
        let packet = usize::from(known.max_packet).max(1);
        loop {
            let room = pending.submit.length.saturating_sub(pending.data.len());
            if room == 0 {
                return Progress::Done(status::OK);
            }
            match device.read(endpoint, room, now) {
                Reply::Data(data) => {
                    let short = data.is_empty() || data.len() % packet != 0;
                    let babbles = data.len() > room;
                    pending.data.extend_from_slice(data.get(..room).unwrap_or(&data));
                    if babbles {
                        return Progress::Done(status::BABBLE);
                    }
                    if short {
                        return Progress::Done(status::OK);
                    }
                }
                Reply::Ack => return Progress::Done(status::OK),
                other => return self.refuse(endpoint, &other),
            }
        }
    }

    /// What becomes of a transfer that the device does not take.
    fn refuse(&mut self, endpoint: u8, reply: &Reply) -> Progress {
        match reply {
            Reply::Stall => {
                self.halted.insert(endpoint);
                Progress::Done(status::STALL)
            }
            Reply::Disconnect => {
                self.disconnected = true;
                Progress::Waits
            }
            Reply::Data(_) | Reply::Ack | Reply::Nak => Progress::Waits,
        }
    }

    fn complete(&mut self, pending: &Pending, status: i32) {
        self.statistics.completed += 1;
        if status == status::STALL {
            self.statistics.stalled += 1;
        }
        let Submit { sequence, to_host, .. } = pending.submit;
        let carried = if to_host || status == status::OK { pending.data.as_slice() } else { &[] };
        wire::push_answer(&mut self.output, Answer::Submit { sequence, status, length: carried.len() });
        if to_host {
            self.output.extend_from_slice(carried);
        }
    }
}

#[cfg(test)]
mod tests;
