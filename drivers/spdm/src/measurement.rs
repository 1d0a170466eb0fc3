//! Measurement blocks: what runs in a device, in which mode.
//!
//! ```text
//! index | 01 | size (2) | type, bit 7: raw | size (2) | value
//! ```

use crate::error::{SpdmError, Why};
use crate::wire::Reader;

/// Longest record in bytes, and most blocks in it.
pub const MAX_RECORD: usize = 8 * 1024;
/// Most blocks in a record.
pub const MAX_BLOCKS: usize = 32;

const WHAT: &str = "measurement record";
/// `MeasurementSpecification`: DMTF.
const DMTF: u8 = 1;
const RAW: u8 = 0x80;

/// Indices of the profile.
pub mod index {
    /// Hash of the boot ROM.
    pub const ROM: u8 = 1;
    /// Hash of the boot loader.
    pub const LOADER: u8 = 2;
    /// Hash of the firmware.
    pub const FIRMWARE: u8 = 3;
    /// Hash of the keys and the policy of secure boot.
    pub const POLICY: u8 = 4;
    /// Security version number: raw, eight bytes, little endian.
    pub const SVN: u8 = 5;
    /// Version of the firmware: raw text.
    pub const VERSION: u8 = 6;
    /// Manifest.
    pub const MANIFEST: u8 = 0xFD;
    /// Device mode: [`super::DeviceMode`].
    pub const DEVICE_MODE: u8 = 0xFE;
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Immutable ROM.
    Rom = 0,
    /// Mutable firmware.
    Firmware = 1,
    /// Hardware configuration.
    HardwareConfiguration = 2,
    /// Firmware configuration.
    FirmwareConfiguration = 3,
    /// Freeform manifest.
    Manifest = 4,
    /// Device mode.
    DeviceMode = 5,
    /// Version of mutable firmware.
    Version = 6,
    /// Security version number of mutable firmware.
    Svn = 7,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Rom,
        Self::Firmware,
        Self::HardwareConfiguration,
        Self::FirmwareConfiguration,
        Self::Manifest,
        Self::DeviceMode,
        Self::Version,
        Self::Svn,
    ];
}

/// A value, or its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SHA-256 of it.
    Digest([u8; 32]),
    /// It.
    Raw(Vec<u8>),
}

impl Value {
    /// Bytes of either.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Digest(digest) => digest,
            Self::Raw(raw) => raw,
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// One of [`index`], or another.
    pub index: u8,
    /// What it is.
    pub kind: Kind,
    /// The measurement.
    pub value: Value,
}

impl Block {
    /// A hash of something.
    #[must_use]
    pub const fn digest(index: u8, kind: Kind, digest: [u8; 32]) -> Self {
        Self { index, kind, value: Value::Digest(digest) }
    }

    /// The security version number.
    #[must_use]
    pub fn svn(svn: u64) -> Self {
        Self { index: index::SVN, kind: Kind::Svn, value: Value::Raw(svn.to_le_bytes().to_vec()) }
    }

    /// The version of the firmware.
    #[must_use]
    pub fn version(version: &str) -> Self {
        Self { index: index::VERSION, kind: Kind::Version, value: Value::Raw(version.as_bytes().to_vec()) }
    }

    /// The device mode.
    #[must_use]
    pub fn device_mode(mode: DeviceMode) -> Self {
        let fields = [mode.operational_capabilities, mode.operational, mode.debug_capabilities, mode.debug];
        let raw = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        Self { index: index::DEVICE_MODE, kind: Kind::DeviceMode, value: Value::Raw(raw) }
    }

    /// The security version number, where this is one.
    #[must_use]
    pub fn as_svn(&self) -> Option<u64> {
        match (&self.value, self.kind) {
            (Value::Raw(raw), Kind::Svn) => raw.as_slice().try_into().ok().map(u64::from_le_bytes),
            _ => None,
        }
    }

    /// The version, where this is one in printable ASCII.
    #[must_use]
    pub fn as_version(&self) -> Option<&str> {
        match (&self.value, self.kind) {
            (Value::Raw(raw), Kind::Version) => {
                std::str::from_utf8(raw).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))
            }
            _ => None,
        }
    }

    /// The device mode, where this is one.
    #[must_use]
    pub fn as_device_mode(&self) -> Option<DeviceMode> {
        let (Value::Raw(raw), Kind::DeviceMode) = (&self.value, self.kind) else { return None };
        let mut reader = Reader::new(WHAT, raw);
        let mut field = || reader.u32().ok();
        let mode = DeviceMode {
            operational_capabilities: field()?,
            operational: field()?,
            debug_capabilities: field()?,
            debug: field()?,
        };
        reader.end().ok().map(|()| mode)
    }
}

/// Modes of a device, as bits of DSP0274.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMode {
    /// Modes that it can be in.
    pub operational_capabilities: u32,
    /// Mode that it is in: 1 manufacturing, 2 validation, 4 normal, 8 recovery, 10h RMA, 20h decommissioned.
    pub operational: u32,
    /// Debug states that it can be in.
    pub debug_capabilities: u32,
    /// 1 non-invasive debug is active, 2 invasive; 4 and 8: has been since the last reset; 10h: invasive has been since
    /// manufacture.
    pub debug: u32,
}

impl DeviceMode {
    /// Operational mode "normal".
    pub const NORMAL: u32 = 4;
    /// Operational mode "manufacturing".
    pub const MANUFACTURING: u32 = 1;
    /// Invasive debug is active.
    pub const INVASIVE_DEBUG: u32 = 2;
    /// All debug states.
    const ALL_DEBUG: u32 = 0x1F;

    /// Of a device in the field.
    #[must_use]
    pub const fn normal() -> Self {
        Self {
            operational_capabilities: Self::NORMAL,
            operational: Self::NORMAL,
            debug_capabilities: Self::ALL_DEBUG,
            debug: 0,
        }
    }

    /// Whether it is in normal mode, and no debug state is or has been active.
    #[must_use]
    pub const fn is_normal(&self) -> bool {
        self.operational == Self::NORMAL && self.debug == 0
    }
}

/// The record of `blocks`.
///
/// # Errors
/// [`SpdmError::TooLong`], and whatever [`decode`] would find.
pub fn encode(blocks: &[Block]) -> Result<Vec<u8>, SpdmError> {
    let mut record = Vec::new();
    for Block { index, kind, value } in blocks {
        let (raw, bytes) = match value {
            Value::Digest(digest) => (0, &digest[..]),
            Value::Raw(raw) => (RAW, &raw[..]),
        };
        let too_long = SpdmError::TooLong { what: WHAT, limit: MAX_RECORD };
        let size = u16::try_from(bytes.len()).ok().filter(|size| usize::from(*size) < MAX_RECORD);
        let size = size.ok_or(too_long)?;
        record.extend_from_slice(&[*index, DMTF]);
        record.extend_from_slice(&(size + 3).to_le_bytes());
        record.push(*kind as u8 | raw);
        record.extend_from_slice(&size.to_le_bytes());
        record.extend_from_slice(bytes);
    }
    decode(&record).map(|_| record)
}

/// Reads a record. Indices ascend, so that there is one block of each.
///
/// # Errors
/// [`SpdmError::Malformed`], [`SpdmError::TooLong`].
pub fn decode(record: &[u8]) -> Result<Vec<Block>, SpdmError> {
    if record.len() > MAX_RECORD {
        return Err(SpdmError::TooLong { what: WHAT, limit: MAX_RECORD });
    }
    let mut reader = Reader::new(WHAT, record);
    let mut blocks: Vec<Block> = Vec::new();
    while !reader.is_at_end() {
        let index = reader.u8()?;
        let after = blocks.last().map_or(0, |block| block.index);
        if index <= after || index == u8::MAX || blocks.len() == MAX_BLOCKS {
            return Err(reader.bad(Why::Value("Index")));
        }
        reader.constant("MeasurementSpecification", DMTF)?;
        let outer = reader.u16()?;
        let kind = reader.u8()?;
        let size = reader.u16()?;
        if size.checked_add(3) != Some(outer) {
            return Err(reader.bad(Why::Value("MeasurementSize")));
        }
        let bytes = reader.take(size.into())?;
        let value = if kind & RAW != 0 {
            Value::Raw(bytes.to_vec())
        } else {
            Value::Digest(
                bytes.try_into().map_err(|_| reader.bad(Why::Value("DMTFSpecMeasurementValueSize")))?,
            )
        };
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind & !RAW);
        let kind = kind.ok_or(reader.bad(Why::Value("DMTFSpecMeasurementValueType")))?;
        blocks.push(Block { index, kind, value });
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::blocks;

    #[test]
    fn blocks_are_written_as_the_standard_says() {
        let svn = encode(&[Block::svn(0x0102)]).unwrap();
        assert_eq!(svn, [5, 1, 11, 0, 0x87, 8, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        let rom = encode(&[Block::digest(index::ROM, Kind::Rom, [9; 32])]).unwrap();
        assert_eq!(rom, [&[1, 1, 35, 0, 0, 32, 0][..], &[9; 32]].concat());
        let mode = encode(&[Block::device_mode(DeviceMode::normal())]).unwrap();
        let fields = [4, 0, 0, 0, 4, 0, 0, 0, 0x1F, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(mode, [&[0xFE, 1, 19, 0, 0x85, 16, 0][..], &fields].concat());
    }

    #[test]
    fn what_was_measured_can_be_asked() {
        let read = decode(&encode(&blocks()).unwrap()).unwrap();
        assert_eq!(read, blocks());
        assert_eq!(read.iter().find_map(Block::as_svn), Some(7));
        assert_eq!(read.iter().find_map(Block::as_version), Some("1.2.3"));
        assert!(read.iter().find_map(Block::as_device_mode).unwrap().is_normal());
        // Of another kind, digested, or of the wrong size, it is not that.
        let raw = |kind, bytes: &[u8]| Block { index: 9, kind, value: Value::Raw(bytes.to_vec()) };
        assert_eq!(raw(Kind::Version, &[0; 8]).as_svn(), None);
        assert_eq!(raw(Kind::Svn, &[0; 7]).as_svn(), None);
        assert_eq!(Block::digest(5, Kind::Svn, [0; 32]).as_svn(), None);
        assert_eq!(raw(Kind::Version, b"1 2").as_version(), None);
        assert_eq!(raw(Kind::DeviceMode, &[4; 15]).as_device_mode(), None);
        assert_eq!(raw(Kind::DeviceMode, &[4; 17]).as_device_mode(), None);
    }

    #[test]
    fn every_mode_but_normal_and_every_debug_bit_shows() {
        assert!(DeviceMode::normal().is_normal());
        for bit in 0..32 {
            let debug = DeviceMode { debug: 1 << bit, ..DeviceMode::normal() };
            assert!(!debug.is_normal());
            let other = DeviceMode { operational: 1 << bit, ..DeviceMode::normal() };
            assert_eq!(other.is_normal(), 1 << bit == DeviceMode::NORMAL);
            let both = DeviceMode { operational: DeviceMode::NORMAL | 1 << bit, ..DeviceMode::normal() };
            assert_eq!(both.is_normal(), 1 << bit == DeviceMode::NORMAL);
        }
    }

    #[test]
    fn each_rule_of_a_record_has_its_error() {
        let good = encode(&blocks()).unwrap();
        for (at, value, field) in [
            (0, 0, "Index"),
            (39, 1, "Index"), // a second block of the first index
            (1, 2, "MeasurementSpecification"),
            (2, 34, "MeasurementSize"),
            (4, 8, "DMTFSpecMeasurementValueType"),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            let why = Why::Value(field);
            assert_eq!(decode(&bad).unwrap_err(), SpdmError::Malformed { what: WHAT, why });
        }
        let digest = [1, 1, 34, 0, 0, 31, 0].into_iter().chain([0; 31]).collect::<Vec<u8>>();
        assert!(decode(&digest).is_err(), "31 bytes are no SHA-256");
        let ends: Vec<usize> = (0..good.len()).filter(|end| decode(&good[..*end]).is_ok()).collect();
        assert_eq!(ends, [0, 39, 78, 117, 156, 171, 183], "only whole blocks");
        assert!(encode(&[Block::svn(1), Block::svn(1)]).is_err());
        let many =
            |count: u8| (1..=count).map(|i| Block::digest(i, Kind::Firmware, [0; 32])).collect::<Vec<_>>();
        assert!(encode(&many(32)).is_ok() && encode(&many(33)).is_err());
        let long = |length| Block { index: 1, kind: Kind::Manifest, value: Value::Raw(vec![0; length]) };
        assert!(encode(&[long(MAX_RECORD - 7)]).is_ok());
        assert!(encode(&[long(MAX_RECORD - 6)]).is_err() && encode(&[long(70_000)]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(record in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(blocks) = decode(&record) {
                prop_assert_eq!(encode(&blocks).unwrap(), record);
            }
        }
    }
}
