//! A HID device, or a host, that sends any reports: both ends of the link, and the line to a trust module, take them
//! without panic, hang or growth. And a message that is sent through reports comes out whole, whatever came before.
//!
//! The first byte chooses: raw reports, or the rest as the stream in good reports.
#![no_main]

use biotrust_link::module::ModuleRole;
use biotrust_link::{DeviceRole, Framing, HostRole, Incoming, hid};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let mut host = HostRole::over(Framing::Hid, 1);
    let mut device = DeviceRole::over(Framing::Hid);
    let mut module = ModuleRole::new(Framing::Hid);
    let reports: Vec<Vec<u8>> = if choice & 1 == 0 {
        rest.chunks(usize::from(*choice).max(1)).map(<[u8]>::to_vec).collect()
    } else {
        Framing::Hid.transfers(rest).map(std::borrow::Cow::into_owned).collect()
    };
    let _ = hid::is_collection(rest, hid::USAGE_DEVICE);
    let mut received = Vec::new();
    for report in &reports {
        let _ = device.receive(report);
        let _ = module.receive(report);
        if host.receive(report, &mut received).is_err() {
            break;
        }
        received.clear();
    }
    // The first frame after nonsense may be lost with it; the next is not, unless a question is still being answered.
    for last in [false, true] {
        let line = module.ask(rest.get(..rest.len().min(1000)).unwrap_or_default()).expect("it is short");
        let mut came = Vec::new();
        for report in Framing::Hid.transfers(&line) {
            assert_eq!(report.len(), hid::REPORT);
            came.extend(device.receive(&report));
        }
        let is_told = came.iter().any(|one| matches!(one, Incoming::Spdm { .. } | Incoming::Reply(_)));
        assert!(is_told || !last, "a question was lost");
    }
});
