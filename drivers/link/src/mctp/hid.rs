//! The link over HID reports: each report carries a piece of the stream of frames that a serial line carries.
//!
//! ```text
//! 01 | count | up to 62 bytes of the stream | zeros to 64 bytes
//! ```
//! HID has neither a length nor an order that one could rely on when a report is lost; the frames bring both.
//!
//! Pure. It trusts nothing: a report with another id, or with a count that is over its end, is dropped.

/// Bytes of a report, its id included.
pub const REPORT: usize = 64;
/// Id of the reports, in both directions.
pub const REPORT_ID: u8 = 1;
/// Bytes of the stream in a report.
const ROOM: usize = REPORT - 2;

/// Usage page of the collection: vendor defined.
pub const USAGE_PAGE: u16 = 0xFF00;
/// Usage of a biometric device.
pub const USAGE_DEVICE: u8 = 0x01;
/// Usage of a trust module beside a sensor.
pub const USAGE_MODULE: u8 = 0x02;

/// The report descriptor of a device with `usage`.
#[must_use]
pub fn descriptor(usage: u8) -> Vec<u8> {
    let room = (REPORT - 1) as u8;
    let [low, high] = USAGE_PAGE.to_le_bytes();
    let data = |usage, main| [0x09, usage, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 8, 0x95, room, main, 0x02];
    [
        // Usage page, usage, collection (application), report id.
        &[0x06, low, high, 0x09, usage, 0xA1, 0x01, 0x85, REPORT_ID][..],
        // Usage, minimum 0, maximum 255, 8 bits, 63 of them, input or output (data, variable, absolute).
        &data(0x20, 0x81),
        &data(0x21, 0x91),
        // End of the collection.
        &[0xC0],
    ]
    .concat()
}

/// Whether `descriptor` is of a device with `usage`.
#[must_use]
pub fn is_collection(descriptor: &[u8], usage: u8) -> bool {
    let [low, high] = USAGE_PAGE.to_le_bytes();
    descriptor.starts_with(&[0x06, low, high, 0x09, usage])
}

/// The report with the first bytes of `stream`, and the rest.
pub(super) fn split_report(stream: &[u8]) -> (Vec<u8>, &[u8]) {
    let (now, later) = stream.split_at(stream.len().min(ROOM));
    let mut report = Vec::with_capacity(REPORT);
    report.extend_from_slice(&[REPORT_ID, now.len() as u8]);
    report.extend_from_slice(now);
    report.resize(REPORT, 0);
    (report, later)
}

/// The bytes of the stream that `report` carries; none when it makes no sense.
pub(super) fn bytes(report: &[u8]) -> &[u8] {
    match report.split_first_chunk() {
        Some((&[REPORT_ID, count], rest)) => rest.get(..count.into()).unwrap_or_default(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_byte_by_byte() {
        let (report, rest) = split_report(&[7; 70]);
        assert_eq!((report.len(), rest.len()), (64, 8));
        assert_eq!(report[..3], [1, 62, 7]);
        let (report, rest) = split_report(rest);
        assert_eq!(report[..11], [1, 8, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
        assert!(rest.is_empty() && report.len() == 64);
    }

    #[test]
    fn reports_that_make_no_sense_carry_nothing() {
        assert_eq!(bytes(&[1, 2, 8, 9, 0]), [8, 9], "the control");
        for report in [&[][..], &[1], &[2, 2, 8, 9], &[1, 3, 8, 9], &[1, 0, 8], &[0, 1, 2, 3]] {
            assert!(bytes(report).is_empty(), "{report:?}");
        }
    }

    #[test]
    fn the_descriptor_describes_the_reports() {
        let descriptor = descriptor(USAGE_MODULE);
        assert!(descriptor.starts_with(&[0x06, 0x00, 0xFF, 0x09, 0x02]), "usage page and usage");
        assert!(is_collection(&descriptor, USAGE_MODULE) && !is_collection(&descriptor, USAGE_DEVICE));
        let counts: Vec<u8> = descriptor.windows(2).filter(|w| w[0] == 0x95).map(|w| w[1]).collect();
        assert_eq!(counts, [63, 63], "64 with the id");
        assert_eq!(descriptor.last(), Some(&0xC0));
    }

    proptest! {
        #[test]
        fn a_stream_survives(stream in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (mut rest, mut read) = (&stream[..], Vec::new());
            while !rest.is_empty() {
                let (report, later) = split_report(rest);
                read.extend_from_slice(bytes(&report));
                rest = later;
            }
            prop_assert_eq!(read, stream);
        }
    }
}
