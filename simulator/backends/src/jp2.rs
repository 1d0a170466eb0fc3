//! What MOSIP's image checks read from a JPEG 2000 file, and whether an independent decoder can decode it.
//!
//! "Lossless" is one bit there: the wavelet in the COD marker (1 reversible 5/3, 0 irreversible 9/7). A raw codestream is refused,
//! so is any colour space but sRGB and grey; backends-crypto, section 10.

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

/// Enumerated colour space of `colr`: sRGB.
pub const SRGB: u32 = 16;
/// Enumerated colour space of `colr`: grey.
pub const GREY: u32 = 17;

/// Headers of a JP2 file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jp2 {
    /// Pixels across, from `ihdr`.
    pub width: u32,
    /// Pixels down, from `ihdr`.
    pub height: u32,
    /// Components.
    pub components: u16,
    /// Bits of a component.
    pub bit_depth: u8,
    /// Enumerated colour space.
    pub colour_space: u32,
    /// Whether the wavelet is the reversible one.
    pub reversible: bool,
    /// Pixels per inch (across, down) from the `res ` box, where there is one.
    pub dpi: Option<(f64, f64)>,
}

/// Type and contents of a box.
type TypedBox<'a> = (&'a [u8], &'a [u8]);

/// A reader that never runs over the end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(n).ok_or("the image is cut off")?;
        self.0 = tail;
        Ok(head)
    }

    fn uint(&mut self, n: usize) -> Result<u32, String> {
        Ok(self.take(n)?.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// The next box: its type and contents.
    fn next_box(&mut self) -> Result<Option<TypedBox<'a>>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let length = self.uint(4)? as usize;
        let kind = self.take(4)?;
        let contents = match length {
            0 => self.take(self.0.len())?,
            1 => return Err("a box with a 64-bit length".to_owned()),
            _ => self.take(length.checked_sub(8).ok_or("a box shorter than its head")?)?,
        };
        Ok(Some((kind, contents)))
    }
}

/// Reads boxes and the main header of the codestream.
///
/// # Errors
/// When it is no JP2 file as MOSIP's decoders want it.
pub fn inspect(file: &[u8]) -> Result<Jp2, String> {
    const SIGNATURE: &[u8] = b"\x00\x00\x00\x0cjP  \r\n\x87\n";
    if !file.starts_with(SIGNATURE) {
        return Err("the image is no JP2 file (no signature box)".to_owned());
    }
    let mut boxes = Bytes(file);
    let (mut header, mut codestream) = (None, None);
    while let Some((kind, contents)) = boxes.next_box()? {
        match kind {
            b"jp2h" => header = Some(contents),
            b"jp2c" => codestream = Some(contents),
            _ => {}
        }
    }
    let mut header = Bytes(header.ok_or("there is no jp2h box")?);
    let (mut size, mut colour_space, mut dpi) = (None, None, None);
    while let Some((kind, contents)) = header.next_box()? {
        let mut body = Bytes(contents);
        match kind {
            b"ihdr" => size = Some((body.uint(4)?, body.uint(4)?, body.uint(2)?, body.uint(1)?)),
            b"colr" if colour_space.is_none() => {
                let method = body.uint(1)?;
                body.take(2)?;
                if method != 1 {
                    return Err(format!("colr method {method} instead of 1 (enumerated)"));
                }
                colour_space = Some(body.uint(4)?);
            }
            b"res " => dpi = Some(resolution(contents)?),
            _ => {}
        }
    }
    let (height, width, components, depth) = size.ok_or("there is no ihdr box")?;
    let colour_space = colour_space.ok_or("there is no colr box")?;
    if !matches!(colour_space, SRGB | GREY) {
        return Err(format!("colour space {colour_space} is neither 16 (sRGB) nor 17 (grey)"));
    }
    let main = main_header(codestream.ok_or("there is no jp2c box")?)?;
    if (main.width, main.height) != (width, height) {
        return Err(format!("ihdr says {width}x{height}, the codestream {}x{}", main.width, main.height));
    }
    Ok(Jp2 {
        width,
        height,
        components: components as u16,
        bit_depth: (depth & 0x7f) as u8 + 1,
        colour_space,
        reversible: main.reversible,
        dpi,
    })
}

struct MainHeader {
    width: u32,
    height: u32,
    reversible: bool,
}

/// SIZ and COD of a codestream.
fn main_header(codestream: &[u8]) -> Result<MainHeader, String> {
    let mut bytes = Bytes(codestream);
    if bytes.uint(2)? != 0xff4f {
        return Err("the codestream does not begin with SOC".to_owned());
    }
    let (mut size, mut reversible) = (None, None);
    loop {
        let marker = bytes.uint(2)?;
        if matches!(marker, 0xff90 | 0xffd9) {
            break;
        }
        let length = bytes.uint(2)? as usize;
        let mut body = Bytes(bytes.take(length.checked_sub(2).ok_or("a marker shorter than its length")?)?);
        match marker {
            0xff51 => {
                body.take(2)?;
                let (x1, y1, x0, y0) = (body.uint(4)?, body.uint(4)?, body.uint(4)?, body.uint(4)?);
                size = Some((x1.wrapping_sub(x0), y1.wrapping_sub(y0)));
            }
            // Scod, progression, layers, component transform, levels, code block width and height and style: 9 bytes.
            0xff52 => {
                body.take(9)?;
                reversible = Some(body.uint(1)? == 1);
            }
            _ => {}
        }
    }
    let (width, height) = size.ok_or("the codestream has no SIZ")?;
    Ok(MainHeader { width, height, reversible: reversible.ok_or("the codestream has no COD")? })
}

/// Capture (or display) resolution in pixels per inch.
fn resolution(superbox: &[u8]) -> Result<(f64, f64), String> {
    const METRES_PER_INCH: f64 = 0.0254;
    let (kind, contents) = Bytes(superbox).next_box()?.ok_or("an empty res box")?;
    if !matches!(kind, b"resc" | b"resd") {
        return Err("the res box holds neither resc nor resd".to_owned());
    }
    let mut body = Bytes(contents);
    let mut fraction =
        || -> Result<f64, String> { Ok(f64::from(body.uint(2)?) / f64::from(body.uint(2)?.max(1))) };
    let (down, across) = (fraction()?, fraction()?);
    let mut exponent = || -> Result<f64, String> { Ok(10f64.powi(i32::from(body.uint(1)? as u8 as i8))) };
    let (down, across) = (down * exponent()?, across * exponent()?);
    Ok((across * METRES_PER_INCH, down * METRES_PER_INCH))
}

/// Decodes every pixel with hayro and answers width, height and channels.
///
/// # Errors
/// When the decoder refuses the file.
pub fn decode(file: &[u8]) -> Result<(u32, u32, usize), String> {
    let settings = DecodeSettings { strict: true, ..DecodeSettings::default() };
    let image = Image::new(file, &settings).map_err(|e| format!("the image does not decode: {e}"))?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|e| format!("the image does not decode: {e}"))?;
    Ok((image.width(), image.height(), decoded.components().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::images;

    #[test]
    fn wavelet_size_and_density_are_read() {
        let finger = inspect(images::FINGER_LOSSLESS).unwrap();
        assert_eq!((finger.width, finger.height, finger.components, finger.bit_depth), (64, 96, 1, 8));
        assert!(finger.reversible && finger.colour_space == GREY);
        let (across, down) = finger.dpi.unwrap();
        assert!((across - 500.0).abs() < 1.0 && (down - 500.0).abs() < 1.0, "{across} {down}");
        assert!(!inspect(images::FINGER_LOSSY).unwrap().reversible);
        let face = inspect(images::FACE_LOSSLESS).unwrap();
        assert_eq!((face.components, face.colour_space), (3, SRGB));
        for (file, channels) in
            [(images::FINGER_LOSSY, 1), (images::IRIS_LOSSLESS, 1), (images::FACE_LOSSY, 3)]
        {
            let header = inspect(file).unwrap();
            assert_eq!(decode(file).unwrap(), (header.width, header.height, channels));
        }
    }

    #[test]
    fn raw_codestreams_wrong_colours_and_cuts_are_refused() {
        let file = images::FINGER_LOSSLESS;
        let start = file.windows(4).position(|w| w == [0xff, 0x4f, 0xff, 0x51]).unwrap();
        assert!(inspect(&file[start..]).is_err(), "raw codestream");
        let mut sycc = file.to_vec();
        let colr = sycc.windows(4).position(|w| w == b"colr").unwrap();
        sycc[colr + 10] = 18;
        assert!(inspect(&sycc).unwrap_err().contains("18"));
        for len in 0..start + 40 {
            assert!(inspect(&file[..len]).is_err(), "cut at {len}");
        }
        assert!(decode(&file[..start + 30]).is_err());
    }
}
