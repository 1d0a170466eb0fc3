//! Offers virtual devices to `usbip list` and `usbip attach` over TCP.
//!
//! USB/IP has neither authentication nor encryption: listen on the loopback address, or in a network that is yours. A
//! client has five seconds to say what it wants, and what it sends is bounded; then the connection belongs to the
//! [`Gadget`]'s own thread. One thread accepts, and each greeting has one for as long as it lasts.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use biotrust_driver_api::{PipeError, PipeErrorKind};

use crate::{Connection, Descriptors, Gadget, LocalPort, UsbDevice};

/// Protocol 1.1.1.
const VERSION: u16 = 0x0111;
const REQUEST_LIST: u16 = 0x8005;
const REPLY_LIST: u16 = 0x0005;
const REQUEST_IMPORT: u16 = 0x8003;
const REPLY_IMPORT: u16 = 0x0003;
/// `ST_NA`: not available.
const NOT_AVAILABLE: u32 = 1;
const BUS_ID: usize = 32;
const PATH: usize = 256;
/// A record of a device, without its interfaces.
const RECORD: usize = PATH + BUS_ID + 24;
/// Time for a greeting.
const GREETING: Duration = Duration::from_secs(5);
/// Greetings at the same time.
const MOST_GREETINGS: usize = 16;
/// Bus of all our devices.
const BUS: u32 = 1;

/// A server; it ends, and its devices are pulled, when it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    devices: Mutex<BTreeMap<String, Exported>>,
    last: AtomicUsize,
    greetings: AtomicUsize,
    stop: AtomicBool,
}

struct Exported {
    gadget: Gadget<dyn UsbDevice>,
    number: u32,
    connection: Option<Connection>,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(address: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let accepting = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("usbip server".into())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self { shared, address, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Offers a device; gives the bus id by which it is attached, such as `1-3`.
    pub fn export(&self, gadget: &Gadget<dyn UsbDevice>) -> String {
        let number = self.shared.last.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{BUS}-{number}");
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let exported = Exported { gadget: gadget.clone(), number, connection: None };
        self.shared.devices().insert(id.clone(), exported);
        id
    }

    /// Takes a device away. Whoever has attached it loses it.
    pub fn withdraw(&self, id: &str) {
        // Its connection ends here, outside of the lock.
        let withdrawn = self.shared.devices().remove(id);
        drop(withdrawn);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, GREETING);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let devices = std::mem::take(&mut *self.shared.devices());
        drop(devices);
    }
}

impl Shared {
    fn devices(&self) -> MutexGuard<'_, BTreeMap<String, Exported>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.greetings.fetch_add(1, Ordering::AcqRel) >= MOST_GREETINGS {
            shared.greetings.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let greeted = Arc::clone(shared);
        let spawned = std::thread::Builder::new().name("usbip greeting".into()).spawn(move || {
            // A client that does not keep to the protocol is hung up on.
            let _ = greet(client, &greeted);
            greeted.greetings.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            shared.greetings.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn greet(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_read_timeout(Some(GREETING))?;
    client.set_write_timeout(Some(GREETING))?;
    client.set_nodelay(true)?;
    let mut head = [0; 8];
    client.read_exact(&mut head)?;
    let [version_high, version_low, code_high, code_low, ..] = head;
    if u16::from_be_bytes([version_high, version_low]) != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    match u16::from_be_bytes([code_high, code_low]) {
        REQUEST_LIST => client.write_all(&list(shared)),
        REQUEST_IMPORT => {
            let mut id = [0; BUS_ID];
            client.read_exact(&mut id)?;
            let end = id.iter().position(|byte| *byte == 0).unwrap_or(BUS_ID);
            let id = String::from_utf8_lossy(id.get(..end).unwrap_or_default()).into_owned();
            import(client, &id, shared)
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn list(shared: &Shared) -> Vec<u8> {
    let devices = shared.devices();
    let free: Vec<_> = devices.iter().filter(|(_, exported)| !exported.gadget.is_plugged()).collect();
    let mut reply = head(REPLY_LIST, 0);
    reply.extend(u32::try_from(free.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (id, exported) in free {
        let descriptors = exported.gadget.descriptors();
        push_record(&mut reply, id, exported.number, &descriptors);
        for interface in descriptors.interfaces() {
            reply.extend([interface.class, interface.sub_class, interface.protocol, 0]);
        }
    }
    reply
}

fn import(mut client: TcpStream, id: &str, shared: &Shared) -> io::Result<()> {
    let mut devices = shared.devices();
    let Some(exported) = devices.get_mut(id).filter(|exported| !exported.gadget.is_plugged()) else {
        drop(devices);
        return client.write_all(&head(REPLY_IMPORT, NOT_AVAILABLE));
    };
    // Written before the device may say anything: 320 bytes, which fit into the socket's buffer.
    let mut reply = head(REPLY_IMPORT, 0);
    push_record(&mut reply, id, exported.number, &exported.gadget.descriptors());
    client.write_all(&reply)?;
    client.set_read_timeout(None)?;
    client.set_write_timeout(None)?;
    // The one before it has ended, for its device is free.
    exported.connection = Some(exported.gadget.connect(client)?);
    Ok(())
}

fn head(code: u16, status: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(8);
    head.extend(VERSION.to_be_bytes());
    head.extend(code.to_be_bytes());
    head.extend(status.to_be_bytes());
    head
}

fn push_record(reply: &mut Vec<u8>, id: &str, number: u32, descriptors: &Descriptors) {
    push_padded(reply, &format!("/sys/devices/virtual/biosim/{id}"), PATH);
    push_padded(reply, id, BUS_ID);
    for word in [BUS, number, descriptors.speed().number()] {
        reply.extend(word.to_be_bytes());
    }
    let [_, _, _, _, class, sub_class, protocol, _, v0, v1, p0, p1, r0, r1, ..] = *descriptors.device();
    let interfaces = u8::try_from(descriptors.interfaces().len()).unwrap_or(u8::MAX);
    // Numbers of a descriptor are little endian, those of USB/IP are big endian.
    reply.extend([v1, v0, p1, p0, r1, r0, class, sub_class, protocol]);
    reply.extend([descriptors.configuration_value(), 1, interfaces]);
}

fn push_padded(reply: &mut Vec<u8>, text: &str, length: usize) {
    let end = reply.len() + length;
    reply.extend(text.bytes().take(length - 1));
    reply.resize(end, 0);
}

/// Imports a device from a USB/IP server, ours or another, as a port in this process.
///
/// # Errors
/// `Gone` when there is no server or no such device; `Os` when it does not answer as a USB device does.
pub fn import_from(address: SocketAddr, id: &str) -> Result<LocalPort, PipeError> {
    let failed = |error: &io::Error| PipeError {
        kind: PipeErrorKind::Gone,
        os: error.raw_os_error(),
        doing: format!("importing {id} from the USB/IP server at {address}: {error}"),
    };
    let mut stream = TcpStream::connect_timeout(&address, GREETING).map_err(|error| failed(&error))?;
    let devid = ask(&mut stream, id).map_err(|error| failed(&error))?;
    LocalPort::over(stream, devid)
}

fn ask(stream: &mut TcpStream, id: &str) -> io::Result<u32> {
    stream.set_read_timeout(Some(GREETING))?;
    stream.set_nodelay(true)?;
    let mut request = head(REQUEST_IMPORT, 0);
    push_padded(&mut request, id, BUS_ID);
    stream.write_all(&request)?;
    let mut reply = [0; 8];
    stream.read_exact(&mut reply)?;
    if reply.as_slice() != head(REPLY_IMPORT, 0) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no such device, or it is in use"));
    }
    let mut record = [0; RECORD];
    stream.read_exact(&mut record)?;
    stream.set_read_timeout(None)?;
    let word = |at: usize| {
        let bytes = record.get(PATH + BUS_ID + at..).and_then(|rest| rest.first_chunk());
        bytes.copied().map_or(0, u32::from_be_bytes)
    };
    Ok((word(0) << 16) | word(4))
}

#[cfg(test)]
mod tests;
