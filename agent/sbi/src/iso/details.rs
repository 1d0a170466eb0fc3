//! What all three kinds of record share: identifiers and lengths, time of capture, device, quality.

use biotrust_model::Score;
use biotrust_model::time::UtcMillis;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::fields::Fields;
use super::rule::{Rule, Violation};

/// The sensor. Vendor and type are ids of the IBIA registry, both zero where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureDevice {
    /// Technology code of the modality; 0 not specified.
    pub technology: u8,
    /// Vendor id.
    pub vendor: u16,
    /// Type id, given by the vendor.
    pub device_type: u16,
}

/// A quality block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// 0 to 100, or 255 where it could not be computed.
    pub score: u8,
    /// Who made the algorithm; 0 unregistered. 0x000F is NIST.
    pub vendor: u16,
    /// Which algorithm of that vendor.
    pub algorithm: u16,
}

impl Quality {
    /// Id of our own estimator. Its vendor is 0 (unregistered): the score is not one of NIST's, and says so.
    pub const OWN_ALGORITHM: u16 = 1;

    /// A score of our own estimator.
    #[must_use]
    pub fn estimated(score: Score) -> Self {
        Self { score: score.as_u8(), vendor: 0, algorithm: Self::OWN_ALGORITHM }
    }
}

/// Time, device and quality of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// When; `None` where the record leaves date or time open.
    pub captured_at: Option<UtcMillis>,
    /// With what.
    pub device: CaptureDevice,
    /// How good, by one or more algorithms.
    pub quality: Vec<Quality>,
}

/// Identifier, version and record length: the first 12 bytes.
pub(super) fn read_start(
    fields: &mut Fields<'_>,
    format: &[u8; 4],
    version: &[u8; 4],
    length: usize,
) -> Result<(), Violation> {
    fields.expect(Rule::FormatIdentifier, format)?;
    fields.expect(Rule::Version, version)?;
    fields.u32(Rule::RecordLength, |stated| usize::try_from(stated) == Ok(length))?;
    fields.u16(Rule::Representations, |count| count == 1)?;
    Ok(())
}

/// Everything from the length of the representation to the quality blocks.
pub(super) fn read(
    fields: &mut Fields<'_>,
    representation: usize,
    known_technology: impl FnOnce(u8) -> bool,
) -> Result<Details, Violation> {
    fields.u32(Rule::RepresentationLength, |stated| usize::try_from(stated) == Ok(representation))?;
    let captured_at = read_time(fields)?;
    let technology = fields.u8(Rule::DeviceTechnology, known_technology)?;
    let vendor = fields.u16(Rule::DeviceType, |_| true)?;
    let device_type = fields.u16(Rule::DeviceType, |device_type| (device_type == 0) == (vendor == 0))?;
    let quality = (0..fields.u8(Rule::Quality, |_| true)?)
        .map(|_| {
            Ok(Quality {
                score: fields.u8(Rule::Quality, |score| score <= 100 || score == 255)?,
                vendor: fields.u16(Rule::Quality, |_| true)?,
                algorithm: fields.u16(Rule::Quality, |_| true)?,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Details { captured_at, device: CaptureDevice { technology, vendor, device_type }, quality })
}

/// Nine bytes: date, time of day, milliseconds; date or time of day may be all ones.
fn read_time(fields: &mut Fields<'_>) -> Result<Option<UtcMillis>, Violation> {
    const OPEN: u8 = 0xff;
    let rule = Rule::CaptureTime;
    let year = fields.u16(rule, |_| true)?;
    let no_date = year == 0xffff;
    let month = fields.u8(rule, |month| if no_date { month == OPEN } else { (1..=12).contains(&month) })?;
    let day = fields.u8(rule, |day| if no_date { day == OPEN } else { (1..=31).contains(&day) })?;
    let hour = fields.u8(rule, |hour| hour <= 23 || hour == OPEN)?;
    let no_time = hour == OPEN;
    let minute = fields.u8(rule, |minute| if no_time { minute == OPEN } else { minute <= 59 })?;
    let second = fields.u8(rule, |second| if no_time { second == OPEN } else { second <= 59 })?;
    let millis = fields.u16(rule, |millis| if no_time { millis == 0xffff } else { millis <= 999 })?;
    if no_date || no_time {
        return Ok(None);
    }
    // The parts are in range, so narrowing is exact; what may still be wrong is the 31st of a shorter month.
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|part| part as i8);
    let time = i16::try_from(year)
        .ok()
        .and_then(|year| {
            DateTime::new(year, month, day, hour, minute, second, i32::from(millis) * 1_000_000).ok()
        })
        .and_then(|time| Offset::UTC.to_timestamp(time).ok())
        .ok_or_else(|| Violation::new(rule, format!("no such date: {year}-{month}-{day}")))?;
    Ok(Some(UtcMillis(time.as_millisecond())))
}

/// Writes identifier, version, a record length to be set by [`finish`], and the number of representations.
pub(super) fn write_start(out: &mut Vec<u8>, format: &[u8; 4], version: &[u8; 4]) {
    out.extend_from_slice(format);
    out.extend_from_slice(version);
    out.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
}

/// Writes a representation length to be set by [`finish`], and the details.
pub(super) fn write(out: &mut Vec<u8>, details: &Details) -> Result<(), Violation> {
    out.extend_from_slice(&[0; 4]);
    write_time(out, details.captured_at);
    out.push(details.device.technology);
    out.extend_from_slice(&details.device.vendor.to_be_bytes());
    out.extend_from_slice(&details.device.device_type.to_be_bytes());
    let count = u8::try_from(details.quality.len())
        .map_err(|_| Violation::new(Rule::Quality, format!("{} blocks", details.quality.len())))?;
    out.push(count);
    for quality in &details.quality {
        out.push(quality.score);
        out.extend_from_slice(&quality.vendor.to_be_bytes());
        out.extend_from_slice(&quality.algorithm.to_be_bytes());
    }
    Ok(())
}

fn write_time(out: &mut Vec<u8>, at: Option<UtcMillis>) {
    let time = at
        .and_then(|at| jiff::Timestamp::from_millisecond(at.0).ok())
        .map(|stamp| Offset::UTC.to_datetime(stamp))
        .and_then(|time| Some((u16::try_from(time.year()).ok()?, time)));
    let Some((year, time)) = time else {
        out.extend_from_slice(&[0xff; 9]);
        return;
    };
    out.extend_from_slice(&year.to_be_bytes());
    out.extend([time.month(), time.day(), time.hour(), time.minute(), time.second()].map(|part| part as u8));
    out.extend_from_slice(&(time.millisecond() as u16).to_be_bytes());
}

/// Appends the image and sets both lengths. `header` is the length of the general header.
pub(super) fn finish(mut out: Vec<u8>, header: usize, image: &[u8]) -> Result<Vec<u8>, Violation> {
    let too_long = || Violation::new(Rule::RecordLength, "over 4 GiB");
    let image_length = u32::try_from(image.len()).map_err(|_| too_long())?;
    out.extend_from_slice(&image_length.to_be_bytes());
    out.extend_from_slice(image);
    let total = u32::try_from(out.len()).map_err(|_| too_long())?;
    let representation = u32::try_from(out.len().saturating_sub(header)).map_err(|_| too_long())?;
    for (at, length) in [(8, total), (header, representation)] {
        if let Some(field) = out.get_mut(at..at + 4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(out)
}
