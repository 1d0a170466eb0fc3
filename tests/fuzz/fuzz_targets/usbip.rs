//! Both ends of USB/IP against anybody at the other end: a host that sends any commands to a virtual device, in any pieces,
//! and a device, or a server, that sends any answers to a host.
//!
//! The first byte chooses: commands, raw answers, or answers with the numbers that are waited for.
#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use biosim_usbip::{
    Control, Descriptors, Engine, HEADER, Identity, LocalPort, Reply, Speed, UsbDevice, interfaces,
};
use biotrust_driver_api::{Endpoint, EndpointKind, Interface, Recipient, RequestKind, Setup, UsbPort};
use libfuzzer_sys::fuzz_target;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

fuzz_target!(init: {
    // The standard library ignores SIGPIPE (13) before `main`, and here `main` is libFuzzer's.
    // SAFETY: 1 is SIG_IGN, and no thread has been started yet.
    unsafe { signal(13, 1) };
}, |bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice & 3 {
        0 | 1 => host(rest, usize::from(*choice).max(1)),
        2 => device(rest),
        _ => device(&answers(rest)),
    }
});

/// What a host sends.
fn host(bytes: &[u8], piece: usize) {
    let now = Instant::now();
    let mut echo = Echo::default();
    let mut engine = Engine::new(&mut echo, now);
    for piece in bytes.chunks(piece) {
        if engine.receive(piece, &mut echo, now).is_err() {
            break;
        }
        let _ = engine.take_output();
    }
    let done = engine.statistics();
    assert!(done.completed + done.unlinked <= done.submitted);
}

/// What a device sends: nobody waits for it when the line has ended.
fn device(bytes: &[u8]) {
    let _ = interfaces(bytes);
    let (host, mut device) = UnixStream::pair().expect("a socket");
    device.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket");
    if device.write_all(bytes).is_err() || device.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let (began, threads) = (Instant::now(), threads());
    if let Ok(port) = LocalPort::over(host, 1) {
        let soon = Duration::from_millis(100);
        let ask =
            Setup { kind: RequestKind::Vendor, recipient: Recipient::Device, request: 1, value: 0, index: 0 };
        let _ = port.control_in(ask, &mut [0; 8], soon);
        let known: Vec<_> = port.interfaces().iter().map(|one| (one.number, one.endpoints.clone())).collect();
        for (number, endpoints) in known.into_iter().take(4) {
            let _ = port.claim(number);
            for endpoint in endpoints.iter().take(4) {
                let _ = port.submit(endpoint.address, 100);
                let _ = port.complete(endpoint.address, soon);
                let _ = port.write(endpoint.address, b"out", soon);
                port.cancel(endpoint.address);
            }
        }
    }
    // The reader ends too; what it holds while it does is no leak.
    while self::threads() > threads && began.elapsed() < Duration::from_secs(4) {
        std::thread::yield_now();
    }
    assert!(began.elapsed() < Duration::from_secs(4), "somebody waits for a line that has ended");
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Answers to the first, second, ... question. Each is a status and a length, and its data.
fn answers(mut bytes: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    let mut sequence = 0;
    while let [status, length, rest @ ..] = bytes {
        let (data, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        sequence += 1;
        let status = if *status < 200 { 0 } else { -i32::from(*status - 200) };
        let mut header = [0; HEADER];
        for (at, word) in [(0, 3), (1, sequence), (5, status.cast_unsigned()), (6, data.len() as u32)] {
            header[at * 4..at * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        line.extend(header);
        line.extend(data);
    }
    line
}

static DESCRIPTORS: LazyLock<Descriptors> = LazyLock::new(|| {
    let endpoint = |address, kind, max_packet| Endpoint { address, kind, max_packet };
    let interface = Interface {
        number: 0,
        class: 0xff,
        sub_class: 0,
        protocol: 0,
        endpoints: vec![
            endpoint(0x02, EndpointKind::Bulk, 64),
            endpoint(0x82, EndpointKind::Bulk, 64),
            endpoint(0x81, EndpointKind::Interrupt, 8),
        ],
    };
    Descriptors::new(Speed::Full, &Identity::default(), &[interface.into()])
});

/// Sends back what it gets; stalls and babbles now and then.
#[derive(Default)]
struct Echo {
    stored: Vec<u8>,
}

impl UsbDevice for Echo {
    fn descriptors(&self) -> &Descriptors {
        &DESCRIPTORS
    }

    fn control(&mut self, request: Control<'_>, _: Instant) -> Reply {
        match request {
            Control::In { setup, .. } if setup.request & 1 == 0 => {
                Reply::Data(vec![0; usize::from(setup.value)])
            }
            Control::In { .. } => Reply::Nak,
            Control::Out { .. } => Reply::Ack,
        }
    }

    fn write(&mut self, _: u8, data: &[u8], _: Instant) -> Reply {
        if data.first() == Some(&0xff) {
            return Reply::Stall;
        }
        self.stored.extend(data);
        Reply::Ack
    }

    fn read(&mut self, _: u8, room: usize, _: Instant) -> Reply {
        match self.stored.len() {
            0 => Reply::Nak,
            length => Reply::Data(self.stored.drain(..(room + 1).min(length)).collect()),
        }
    }
}
