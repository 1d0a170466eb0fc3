//! ISO/IEC 19794-4, -5 and -6:2011 image records, judged by the rules of MOSIP's validators.
//!
//! Own reader, written from the layouts in backends-crypto section 9 and the rules in ctk section 3.10; beyond those rules
//! also the length fields of header and representation must be right, the declared part must be the stated one, and what the
//! product never writes is refused: WSQ and extended blocks behind the image.

use crate::Fault;
use crate::jp2::{self, GREY, Jp2};

/// What a record is for; decides codec, image type and which positions may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Lossless.
    Registration,
    /// Lossy.
    Auth,
}

/// What was read from a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Finger position, eye label, or 0 for a face.
    pub part: u8,
    /// Quality of the first quality block, where there is one.
    pub quality: Option<u8>,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Bytes of the image.
    pub image_len: usize,
    /// Headers of the image.
    pub image: Jp2,
    /// Offset of the image in the record.
    pub image_offset: usize,
}

/// Reads big-endian fields and keeps track of the place.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Rules broken so far; a record is read on as far as its structure allows.
#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn unless(&mut self, holds: bool, rule: impl FnOnce() -> String) {
        if !holds {
            self.0.push(rule());
        }
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).ok_or("a length overflows")?;
        let field =
            self.bytes.get(self.at..end).ok_or_else(|| format!("the record ends before byte {end}"))?;
        self.at = end;
        Ok(field)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.u32_of(1)? as u8)
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(self.u32_of(2)? as u16)
    }

    fn u32_of(&mut self, n: usize) -> Result<u32, String> {
        Ok(self.take(n)?.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }
}

/// Judges a record of `bio_type` ("Finger", "Iris", "Face") and `part` (`bioSubType`, `None` for a face).
///
/// # Errors
/// Every rule that it breaks, in one message.
pub fn examine(record: &[u8], bio_type: &str, part: Option<&str>, purpose: Use) -> Result<Record, String> {
    let mut broken = Broken::default();
    let read = match bio_type {
        "Finger" => finger(record, part, purpose, &mut broken),
        "Iris" => iris(record, part, purpose, &mut broken),
        "Face" => face(record, purpose, &mut broken),
        other => Err(format!("no record format for bioType {other:?}")),
    };
    match read {
        Ok(facts) if broken.0.is_empty() => Ok(facts),
        Ok(_) => Err(broken.0.join("; ")),
        Err(structure) => {
            broken.0.push(structure);
            Err(broken.0.join("; "))
        }
    }
}

/// [`examine`], then every pixel through an independent decoder.
///
/// # Errors
/// A fault with `code`.
pub(crate) fn judge(
    record: &[u8],
    bio_type: &str,
    part: Option<&str>,
    purpose: Use,
    code: &'static str,
) -> Result<Record, Fault> {
    let facts = examine(record, bio_type, part, purpose).map_err(|why| Fault::coded(code, why))?;
    let image = record.get(facts.image_offset..facts.image_offset + facts.image_len).unwrap_or_default();
    let (width, height, channels) = jp2::decode(image).map_err(|why| Fault::coded(code, why))?;
    if (width, height, channels)
        != (facts.image.width, facts.image.height, usize::from(facts.image.components))
    {
        return Err(Fault::coded(
            code,
            format!("the image decodes to {width}x{height} in {channels} channels"),
        ));
    }
    Ok(facts)
}

/// Head of a record up to its representation: format, version, length, one representation, certification flag.
fn general_header(r: &mut Reader<'_>, ids: &[u8; 8], broken: &mut Broken) -> Result<u8, String> {
    let found = r.take(8)?;
    if found != ids {
        return Err(format!("format and version are {found:02x?}"));
    }
    let (length, total) = (r.u32_of(4)? as usize, r.bytes.len());
    broken.unless(length == total, || format!("the header says {length} bytes, the record has {total}"));
    let representations = r.u16()?;
    broken.unless(representations == 1, || format!("{representations} representations instead of 1"));
    r.u8()
}

/// Length, date, technology, vendor, type and quality blocks: the same at the head of all three representations.
fn representation_head(
    r: &mut Reader<'_>,
    technology_fits: impl Fn(u8) -> bool,
    broken: &mut Broken,
) -> Result<Option<u8>, String> {
    let start = r.at;
    let (length, left) = (r.u32_of(4)? as usize, r.bytes.len() - start);
    broken.unless(length == left, || format!("the representation says {length} bytes, there are {left}"));
    date_time(r.take(9)?, broken);
    let technology = r.u8()?;
    broken.unless(technology_fits(technology), || format!("capture technology {technology:#04x}"));
    let (vendor, device) = (r.u16()?, r.u16()?);
    broken.unless((vendor == 0) == (device == 0), || format!("vendor {vendor} with device type {device}"));
    let mut first = None;
    for _ in 0..r.u8()? {
        let score = r.u8()?;
        r.take(4)?;
        broken.unless(score <= 100 || score == 255, || format!("quality score {score}"));
        first = first.or(Some(score));
    }
    Ok(first)
}

/// Date and time: all fields in range, or the date or the time (or both) all ones.
fn date_time(field: &[u8], broken: &mut Broken) {
    let [y1, y2, month, day, hour, minute, second, ms1, ms2] = field else { return };
    let date_unset = field.iter().take(4).all(|b| *b == 0xff);
    let time_unset = field.iter().skip(4).all(|b| *b == 0xff);
    let date_valid = (1..=12).contains(month) && (1..=31).contains(day) && (*y1, *y2) != (0xff, 0xff);
    let time_valid = *hour <= 23 && *minute <= 59 && *second <= 59 && u16::from_be_bytes([*ms1, *ms2]) <= 999;
    broken.unless(date_unset || date_valid, || format!("capture date {:02x?}", field.get(..4)));
    broken.unless(time_unset || time_valid, || format!("capture time {:02x?}", field.get(4..)));
}

/// The image at the end: its declared length, then how it compares with what the record declares.
struct Declared {
    width: u16,
    height: u16,
    bit_depth: u8,
    lossless: Option<bool>,
    grey: bool,
}

fn image(
    r: &mut Reader<'_>,
    part: u8,
    quality: Option<u8>,
    declared: &Declared,
    broken: &mut Broken,
) -> Result<Record, String> {
    let image_len = r.u32_of(4)? as usize;
    let image_offset = r.at;
    let file = r.take(image_len)?;
    broken.unless(r.at == r.bytes.len(), || format!("{} bytes follow the image", r.bytes.len() - r.at));
    let image = jp2::inspect(file)?;
    let (width, height) = (declared.width, declared.height);
    broken.unless((image.width, image.height) == (width.into(), height.into()), || {
        format!("the record says {width}x{height}, the image is {}x{}", image.width, image.height)
    });
    broken.unless(image.bit_depth == declared.bit_depth, || {
        format!("bit depth {} in the record, {} in the image", declared.bit_depth, image.bit_depth)
    });
    if let Some(lossless) = declared.lossless {
        let word = |l: bool| if l { "lossless" } else { "lossy" };
        broken.unless(image.reversible == lossless, || {
            format!("declared {}, but the wavelet is {}", word(lossless), word(image.reversible))
        });
    }
    let grey = image.components == 1 && image.colour_space == GREY;
    let colour = image.components == 3 && image.colour_space == jp2::SRGB;
    broken.unless(if declared.grey { grey } else { colour }, || {
        format!("{} components in colour space {}", image.components, image.colour_space)
    });
    Ok(Record { part, quality, width, height, image_len, image, image_offset })
}

fn finger(record: &[u8], part: Option<&str>, purpose: Use, broken: &mut Broken) -> Result<Record, String> {
    let mut r = Reader { bytes: record, at: 0 };
    let certified = general_header(&mut r, b"FIR\x00020\x00", broken)?;
    broken.unless(certified <= 1, || format!("certification flag {certified}"));
    let fingers = r.u8()?;
    broken.unless(fingers == 1, || format!("{fingers} finger positions instead of 1"));
    let quality = representation_head(&mut r, |t| t <= 0x14, broken)?;
    if certified == 1 {
        let blocks = r.u8()?;
        r.take(3 * usize::from(blocks))?;
    }
    let position = r.u8()?;
    let expected = part.and_then(position_of);
    broken.unless(expected == Some(position), || format!("finger position {position} for {part:?}"));
    broken.unless(position != 0 || purpose == Use::Auth, || "an unknown finger in registration".to_owned());
    let number = r.u8()?;
    broken.unless(number <= 15, || format!("representation number {number}"));
    let unit = r.u8()?;
    broken.unless(unit == 1, || format!("scale unit {unit} instead of 1 (pixels per inch)"));
    let rates = [r.u16()?, r.u16()?, r.u16()?, r.u16()?];
    let [scan_x, scan_y, image_x, image_y] = rates;
    broken
        .unless(rates.iter().all(|rate| (490..=1010).contains(rate)), || format!("sampling rates {rates:?}"));
    broken
        .unless(image_x <= scan_x && image_y <= scan_y, || format!("image rate above scan rate: {rates:?}"));
    let bit_depth = r.u8()?;
    broken.unless(bit_depth == 8, || format!("bit depth {bit_depth}"));
    let compression = r.u8()?;
    let wanted = if purpose == Use::Registration { 5 } else { 4 };
    broken.unless(compression == wanted, || format!("compression {compression} instead of {wanted}"));
    let impression = r.u8()?;
    broken.unless(matches!(impression, 0..=15 | 0x18 | 0x1c | 0x1d), || {
        format!("impression type {impression:#04x}")
    });
    let declared = Declared {
        width: r.u16()?,
        height: r.u16()?,
        bit_depth,
        lossless: Some(purpose == Use::Registration),
        grey: true,
    };
    image(&mut r, position, quality, &declared, broken)
}

fn iris(record: &[u8], part: Option<&str>, purpose: Use, broken: &mut Broken) -> Result<Record, String> {
    let mut r = Reader { bytes: record, at: 0 };
    let certified = general_header(&mut r, b"IIR\x00020\x00", broken)?;
    broken.unless(certified == 0, || format!("certification flag {certified}"));
    let eyes = r.u8()?;
    broken.unless(eyes == 1, || format!("{eyes} eyes instead of 1"));
    let quality = representation_head(&mut r, |t| t <= 1, broken)?;
    let number = r.u16()?;
    broken.unless(number == 1, || format!("representation number {number} instead of 1"));
    let label = r.u8()?;
    let expected = match part {
        Some("Right") => Some(1),
        Some("Left") => Some(2),
        Some("UNKNOWN") => Some(0),
        _ => None,
    };
    broken.unless(expected == Some(label), || format!("eye label {label} for {part:?}"));
    broken.unless(label != 0 || purpose == Use::Auth, || "an unknown eye in registration".to_owned());
    let image_type = r.u8()?;
    let wanted = if purpose == Use::Registration { 3 } else { 7 };
    broken.unless(image_type == wanted, || format!("image type {image_type} instead of {wanted}"));
    let format = r.u8()?;
    broken.unless(format == 0x0a, || format!("image format {format:#04x} instead of 0x0a"));
    let properties = r.u8()?;
    let (horizontal, vertical, compression) = (properties & 3, properties >> 2 & 3, properties >> 6);
    broken.unless(horizontal <= 2 && vertical <= 2, || format!("orientation bits in {properties:#04x}"));
    let wanted = if purpose == Use::Registration { 1 } else { 2 };
    broken.unless(compression == wanted, || format!("compression history {compression} instead of {wanted}"));
    let (width, height, bit_depth) = (r.u16()?, r.u16()?, r.u8()?);
    broken.unless(bit_depth == 8, || format!("bit depth {bit_depth}"));
    // Range, roll angle and its uncertainty, then six limits of centre and diameter: any value.
    r.take(2 * 9)?;
    let declared =
        Declared { width, height, bit_depth, lossless: Some(purpose == Use::Registration), grey: true };
    image(&mut r, label, quality, &declared, broken)
}

fn face(record: &[u8], purpose: Use, broken: &mut Broken) -> Result<Record, String> {
    let mut r = Reader { bytes: record, at: 0 };
    let certified = general_header(&mut r, b"FAC\x00030\x00", broken)?;
    broken.unless(certified == 0, || format!("certification flag {certified}"));
    let temporal = r.u16()?;
    broken.unless(temporal == 0, || format!("temporal semantics {temporal}"));
    let quality = representation_head(&mut r, |t| t <= 6 || t >= 0x80, broken)?;
    let landmarks = r.u16()?;
    let (gender, eyes, hair, _height) = (r.u8()?, r.u8()?, r.u8()?, r.u8()?);
    broken.unless(matches!(gender, 0..=2 | 255), || format!("gender {gender}"));
    broken.unless(matches!(eyes, 0..=7 | 255), || format!("eye colour {eyes}"));
    broken.unless(matches!(hair, 0..=7 | 255), || format!("hair colour {hair}"));
    let mask = r.u32_of(3)?;
    broken.unless(mask <= 0x11, || format!("feature mask {mask:#08x} above 0x000011"));
    // Expression, three pose angles, three uncertainties, landmarks: any value.
    r.take(2 + 3 + 3 + 8 * usize::from(landmarks))?;
    let (kind, data_type) = (r.u8()?, r.u8()?);
    broken.unless(matches!(kind, 0..=3 | 0x80..=0x82), || format!("face image type {kind:#04x}"));
    let wanted = if purpose == Use::Registration { 2 } else { 1 };
    broken.unless(data_type == wanted, || format!("image data type {data_type} instead of {wanted}"));
    let (width, height) = (r.u16()?, r.u16()?);
    let sampling = r.u8()?;
    broken.unless(sampling <= 7, || format!("spatial sampling level {sampling}"));
    // Post-acquisition processing and cross reference.
    r.take(2 + 1)?;
    let colour = r.u8()?;
    broken.unless(colour == 1, || format!("colour space {colour} instead of 1 (24-bit RGB)"));
    // The tool kit does not compare the wavelet for a face; the registration and authentication rules do name it.
    let declared =
        Declared { width, height, bit_depth: 8, lossless: Some(purpose == Use::Registration), grey: false };
    image(&mut r, 0, quality, &declared, broken)
}

/// Finger position of ISO/IEC 19794-4: right hand 1 to 5 from the thumb, left hand 6 to 10.
fn position_of(part: &str) -> Option<u8> {
    if part == "UNKNOWN" {
        return Some(0);
    }
    let (hand, finger) = part.split_once(' ')?;
    let base = match hand {
        "Right" => 1,
        "Left" => 6,
        _ => return None,
    };
    let order = ["Thumb", "IndexFinger", "MiddleFinger", "RingFinger", "LittleFinger"];
    Some(base + u8::try_from(order.iter().position(|name| *name == finger)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{images, records};

    fn good() -> Vec<(Vec<u8>, &'static str, Option<&'static str>, Use)> {
        vec![
            (
                records::finger(7, images::FINGER_LOSSLESS, 5),
                "Finger",
                Some("Left IndexFinger"),
                Use::Registration,
            ),
            (records::finger(0, images::FINGER_LOSSY, 4), "Finger", Some("UNKNOWN"), Use::Auth),
            (records::finger(1, images::FINGER_LOSSY, 4), "Finger", Some("Right Thumb"), Use::Auth),
            (records::iris(2, images::IRIS_LOSSLESS, true), "Iris", Some("Left"), Use::Registration),
            (records::iris(1, images::IRIS_LOSSY, false), "Iris", Some("Right"), Use::Auth),
            (records::face(images::FACE_LOSSLESS, true), "Face", None, Use::Registration),
            (records::face(images::FACE_LOSSY, false), "Face", None, Use::Auth),
        ]
    }

    #[test]
    fn good_records_pass_and_decode() {
        for (record, bio_type, part, purpose) in good() {
            let facts =
                judge(&record, bio_type, part, purpose, "X").unwrap_or_else(|e| panic!("{bio_type}: {e}"));
            assert_eq!(facts.image_offset + facts.image_len, record.len());
        }
    }

    #[test]
    fn the_other_purpose_and_another_part_are_refused() {
        for (record, bio_type, part, purpose) in good() {
            let other = if purpose == Use::Auth { Use::Registration } else { Use::Auth };
            assert!(examine(&record, bio_type, part, other).is_err(), "{bio_type} {purpose:?}");
            if bio_type != "Face" {
                let wrong = if bio_type == "Iris" {
                    if part == Some("Left") { "Right" } else { "Left" }
                } else {
                    "Left Thumb"
                };
                assert!(examine(&record, bio_type, Some(wrong), purpose).is_err());
            }
        }
    }

    /// Each offset of the layouts, with a value that breaks exactly its rule.
    #[test]
    fn each_rule_has_a_value_that_breaks_it() {
        let finger: &[(usize, u8, &str)] = &[
            (3, 1, "format"),
            (7, 1, "format"),
            (11, 0xff, "header says"),
            (13, 2, "representations"),
            (14, 2, "certification"),
            (15, 2, "finger positions"),
            (19, 0xff, "representation says"),
            (22, 13, "capture date"),
            (23, 0, "capture date"),
            (24, 24, "capture time"),
            (26, 60, "capture time"),
            (29, 0x15, "technology"),
            (33, 0, "vendor"),
            (35, 101, "quality score"),
            (40, 11, "finger position"),
            (41, 16, "representation number"),
            (42, 2, "scale unit"),
            (43, 4, "sampling rates"),
            (47, 2, "image rate"),
            (51, 16, "bit depth"),
            (52, 3, "compression"),
            (53, 0x10, "impression"),
            (55, 65, "the record says"),
            (57, 97, "the record says"),
            (61, 0, "no JP2|is cut|follow"),
            (62, 1, "no JP2"),
        ];
        let iris: &[(usize, u8, &str)] = &[
            (14, 1, "certification"),
            (15, 2, "eyes"),
            (29, 2, "technology"),
            (41, 2, "representation number"),
            (42, 0, "unknown eye"),
            (43, 2, "image type"),
            (44, 2, "image format"),
            (45, 0x43, "orientation"),
            (45, 0x80, "compression"),
            (47, 81, "the record says"),
            (50, 16, "bit depth"),
        ];
        let face: &[(usize, u8, &str)] = &[
            (7, 1, "format"),
            (14, 1, "certification"),
            (16, 1, "temporal"),
            (20, 0, "representation says"),
            (30, 7, "technology"),
            (43, 3, "gender"),
            (44, 8, "eye colour"),
            (45, 8, "hair colour"),
            (49, 0x12, "feature mask"),
            (58, 4, "face image type"),
            (59, 1, "image data type"),
            (61, 65, "the record says"),
            (64, 8, "sampling level"),
            (68, 2, "colour space"),
        ];
        let all = good();
        for (index, rules) in [(0, finger), (3, iris), (5, face)] {
            let (record, bio_type, part, purpose) = &all[index];
            for (offset, value, rule) in rules {
                let mut changed = record.clone();
                changed[*offset] = *value;
                let why =
                    examine(&changed, bio_type, *part, *purpose).expect_err(&format!("{bio_type} {offset}"));
                assert!(
                    rule.split('|').any(|r| why.contains(r)),
                    "{bio_type} {offset}: {why} (wanted {rule})"
                );
            }
            let mut longer = record.clone();
            longer.push(0);
            assert!(examine(&longer, bio_type, *part, *purpose).unwrap_err().contains("follow the image"));
            for len in 0..record.len() {
                assert!(examine(&record[..len], bio_type, *part, *purpose).is_err(), "cut at {len}");
            }
        }
    }

    #[test]
    fn the_declared_codec_must_be_the_real_one() {
        let record = records::finger(7, images::FINGER_LOSSY, 5);
        let why = examine(&record, "Finger", Some("Left IndexFinger"), Use::Registration).unwrap_err();
        assert!(why.contains("wavelet"), "{why}");
        let record = records::face(images::FACE_LOSSLESS, false);
        assert!(examine(&record, "Face", None, Use::Auth).unwrap_err().contains("wavelet"));
    }

    #[test]
    fn unset_dates_are_allowed_in_halves() {
        let (record, bio_type, part, purpose) = &good()[0];
        for range in [20..24, 24..29, 20..29] {
            let mut changed = record.clone();
            changed[range].fill(0xff);
            assert!(examine(&changed, bio_type, *part, *purpose).is_ok());
        }
    }
}
