//! JPEG 2000 files by their headers: the boxes around the codestream, and of the codestream SIZ and COD.
//!
//! What back ends look at: size, depth, the wavelet (reversible 5/3 counts as lossless, irreversible 9/7 as lossy), the
//! enumerated colour space, and the density. Input is untrusted; every box and segment moves forward, so work is
//! bounded by the length.

use crate::bytes::Reader;

/// The 12 bytes that every JP2 file begins with; a bare codestream (`FF4F`) is refused by back ends.
pub const SIGNATURE: [u8; 12] = *b"\0\0\0\x0cjP  \r\n\x87\n";

/// What the headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jp2Info {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Number of components.
    pub components: u16,
    /// Bits of every component.
    pub bit_depth: u8,
    /// Reversible wavelet.
    pub reversible: bool,
    /// Density in dots per inch, horizontal and vertical, rounded; `None` without a usable `res ` box.
    pub dpi: Option<(u16, u16)>,
    /// Colour space.
    pub colour: Colour,
}

/// Colour space of the first `colr` box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Enumerated 16.
    Srgb,
    /// Enumerated 17.
    Grey,
    /// Any other, which back ends do not decode; `None` for a profile.
    Other(Option<u32>),
}

/// Why the headers cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Jp2Error {
    /// No signature box.
    #[error("not a JPEG 2000 file (JP2)")]
    Signature,
    /// Ends within a box or segment.
    #[error("the JPEG 2000 file is cut off or has a wrong length in it")]
    Truncated,
    /// A box or segment that must be there is not.
    #[error("the JPEG 2000 file has no {0}")]
    Missing(&'static str),
    /// Not in the form of this part of the standard.
    #[error("the JPEG 2000 file has an impossible {0}")]
    Invalid(&'static str),
}

/// Reads the headers of a JP2 file.
///
/// # Errors
/// It is none, or one of the headers is absent, cut off or impossible.
pub fn inspect(file: &[u8]) -> Result<Jp2Info, Jp2Error> {
    let mut boxes = Reader::new(file);
    if boxes.take(SIGNATURE.len()) != Some(&SIGNATURE) {
        return Err(Jp2Error::Signature);
    }
    let mut header = None;
    while !boxes.is_empty() {
        match next_box(&mut boxes)? {
            (b"jp2h", content) => header = Some(read_header(content)?),
            (b"jp2c", codestream) => {
                let (colour, dpi) = header.ok_or(Jp2Error::Missing("header box before its codestream"))?;
                let (size, reversible) = read_codestream(codestream)?;
                let Size { width, height, components, bit_depth } = size;
                return Ok(Jp2Info { width, height, components, bit_depth, reversible, dpi, colour });
            }
            _ => {}
        }
    }
    Err(Jp2Error::Missing("codestream"))
}

/// Type and content of the next box. Length 0 reaches to the end, length 1 means that 64 bits of length follow.
fn next_box<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8; 4], &'a [u8]), Jp2Error> {
    let length = reader.u32().ok_or(Jp2Error::Truncated)?;
    let kind = reader.take(4).and_then(<[u8]>::first_chunk).ok_or(Jp2Error::Truncated)?;
    let content = match length {
        0 => Some(reader.rest()),
        1 => {
            let length = reader.u64().and_then(|length| length.checked_sub(16)).ok_or(Jp2Error::Truncated)?;
            usize::try_from(length).ok().and_then(|length| reader.take(length))
        }
        _ => length.checked_sub(8).and_then(|length| reader.take(length as usize)),
    };
    Ok((kind, content.ok_or(Jp2Error::Truncated)?))
}

type Dpi = Option<(u16, u16)>;

/// Colour and density of a `jp2h` box. The size in its `ihdr` is not looked at: decoders go by the codestream.
fn read_header(content: &[u8]) -> Result<(Colour, Dpi), Jp2Error> {
    let mut boxes = Reader::new(content);
    let (mut colour, mut dpi) = (None, None);
    while !boxes.is_empty() {
        match next_box(&mut boxes)? {
            (b"colr", content) if colour.is_none() => colour = Some(read_colour(content)?),
            (b"res ", content) => dpi = read_density(content)?,
            _ => {}
        }
    }
    Ok((colour.ok_or(Jp2Error::Missing("colour box"))?, dpi))
}

fn read_colour(content: &[u8]) -> Result<Colour, Jp2Error> {
    let mut reader = Reader::new(content);
    let method = reader.u8().ok_or(Jp2Error::Truncated)?;
    reader.take(2).ok_or(Jp2Error::Truncated)?;
    if method != 1 {
        return Ok(Colour::Other(None));
    }
    Ok(match reader.u32().ok_or(Jp2Error::Truncated)? {
        16 => Colour::Srgb,
        17 => Colour::Grey,
        other => Colour::Other(Some(other)),
    })
}

/// Capture resolution, or else display resolution.
fn read_density(content: &[u8]) -> Result<Dpi, Jp2Error> {
    let mut boxes = Reader::new(content);
    let (mut capture, mut display) = (None, None);
    while !boxes.is_empty() {
        match next_box(&mut boxes)? {
            (b"resc", content) => capture = read_resolution(content),
            (b"resd", content) => display = read_resolution(content),
            _ => {}
        }
    }
    Ok(capture.or(display))
}

/// Vertical before horizontal; each numerator, denominator, and later a power of ten, in dots per metre.
fn read_resolution(content: &[u8]) -> Dpi {
    let mut reader = Reader::new(content);
    let (vertical, vertical_by) = (reader.u16()?, reader.u16()?);
    let (horizontal, horizontal_by) = (reader.u16()?, reader.u16()?);
    let (vertical_exponent, horizontal_exponent) = (reader.u8()? as i8, reader.u8()? as i8);
    let dpi = |numerator: u16, denominator: u16, exponent: i8| {
        let per_metre = f64::from(numerator) / f64::from(denominator) * 10f64.powi(i32::from(exponent));
        let dpi = (per_metre * 0.0254).round();
        (1.0..=65535.0).contains(&dpi).then_some(dpi as u16)
    };
    Some((
        dpi(horizontal, horizontal_by, horizontal_exponent)?,
        dpi(vertical, vertical_by, vertical_exponent)?,
    ))
}

struct Size {
    width: u32,
    height: u32,
    components: u16,
    bit_depth: u8,
}

const SOC: u16 = 0xff4f;
const SIZ: u16 = 0xff51;
const COD: u16 = 0xff52;
const SOT: u16 = 0xff90;

/// Size, and whether the wavelet is reversible. The main header ends at the first tile part.
fn read_codestream(codestream: &[u8]) -> Result<(Size, bool), Jp2Error> {
    let mut reader = Reader::new(codestream);
    if reader.u16() != Some(SOC) || reader.u16() != Some(SIZ) {
        return Err(Jp2Error::Invalid("start of its codestream"));
    }
    let size = read_size(segment(&mut reader)?)?;
    loop {
        match reader.u16().ok_or(Jp2Error::Truncated)? {
            COD => return Ok((size, read_coding(segment(&mut reader)?)?)),
            SOT => return Err(Jp2Error::Missing("coding style (COD)")),
            marker if marker >= 0xff00 => segment(&mut reader)?,
            _ => return Err(Jp2Error::Invalid("marker")),
        };
    }
}

/// Content of a marker segment; its length counts itself.
fn segment<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Jp2Error> {
    let length = reader.u16().and_then(|length| length.checked_sub(2)).ok_or(Jp2Error::Truncated)?;
    reader.take(usize::from(length)).ok_or(Jp2Error::Truncated)
}

fn read_size(content: &[u8]) -> Result<Size, Jp2Error> {
    let mut reader = Reader::new(content);
    let mut next = |skip: usize| {
        reader.take(skip)?;
        reader.u32()
    };
    let corners = (next(2), next(0), next(0), next(0));
    let (Some(right), Some(bottom), Some(left), Some(top)) = corners else { return Err(Jp2Error::Truncated) };
    reader.take(16).ok_or(Jp2Error::Truncated)?; // tiles
    let components = reader.u16().ok_or(Jp2Error::Truncated)?;
    let width = right.checked_sub(left).filter(|width| *width > 0);
    let height = bottom.checked_sub(top).filter(|height| *height > 0);
    let (Some(width), Some(height)) = (width, height) else { return Err(Jp2Error::Invalid("size")) };

    let mut depths = (0..components).map(|_| {
        let depth = reader.u8().ok_or(Jp2Error::Truncated)?;
        let sampling = reader.u16().ok_or(Jp2Error::Truncated)?;
        // The top bit marks signed samples, which images never have; subsampling would make components unequal.
        if depth < 38 && sampling == 0x0101 { Ok(depth + 1) } else { Err(Jp2Error::Invalid("component")) }
    });
    let bit_depth = depths.next().ok_or(Jp2Error::Invalid("number of components"))??;
    for depth in depths {
        if depth? != bit_depth {
            return Err(Jp2Error::Invalid("mixture of component depths"));
        }
    }
    Ok(Size { width, height, components, bit_depth })
}

fn read_coding(content: &[u8]) -> Result<bool, Jp2Error> {
    // Scod, progression, layers (2), colour transform, levels, block width, block height, style; then the wavelet.
    match content.get(9).ok_or(Jp2Error::Truncated)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Jp2Error::Invalid("wavelet")),
    }
}
