//! An image as the reader sends it: a header, then rows of 384 bytes, in blocks that are each scrambled or not.
//!
//! The transfer is untrusted: it is read by a few rules, and what breaks one is no image. [`Scan::parse`] reads it,
//! [`Scan::wanted_key`] and [`Scan::unlock`] take the scrambling off, key by key, and [`Scan::picture`] is the finger.

use biotrust_imaging::{Gray, ImageError as PixelError};
use zeroize::Zeroizing;

use crate::scramble::KeyStream;

/// Bytes of the header.
pub const HEADER: usize = 64;
/// Pixels in a row.
pub const COLUMNS: usize = 384;
/// Rows that a transfer has room for; an image has fewer.
pub const ROWS: usize = 290;
/// Most rows that an image has.
const MOST_ROWS: usize = ROWS - 1;
/// Bytes to ask for.
pub const TRANSFER: usize = HEADER + ROWS * COLUMNS;
/// Fewer rows than this (6.4 mm) are no fingerprint.
pub const FEWEST_ROWS: usize = 128;

/// Where the header has what. All else in it is of unknown meaning.
const ROW_COUNT: usize = 4;
const KEY_NUMBER: usize = 6;
pub(crate) const BLOCKS: usize = 16;
pub(crate) const BLOCK_COUNT: usize = 15;

/// Mean grey difference of neighbours that a picture does not reach. Ridges change by about 40 a pixel when they are crossed,
/// and less along their run; neighbours that have nothing to do with each other differ by a third of the range, 85.
const NOISE: u32 = 60;

/// Why a transfer is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Not even a header.
    #[error("the transfer ended in its header, after {0} of {HEADER} bytes")]
    NoHeader(usize),
    /// A number of rows that no image has.
    #[error("the image header tells of {0} rows; an image has {FEWEST_ROWS} to {MOST_ROWS}")]
    Rows(usize),
    /// Fewer bytes than the header promises.
    #[error("the transfer ended after {got} of {expected} bytes")]
    Short {
        /// Bytes that came.
        got: usize,
        /// Bytes that the header promises.
        expected: usize,
    },
    /// The blocks do not make up the rows.
    #[error("the blocks of the image header cover {0} rows; an image has {FEWEST_ROWS} to {MOST_ROWS}")]
    Blocks(usize),
    /// The picture could not be made.
    #[error("the picture could not be made")]
    Picture(#[source] PixelError),
}

/// Rows that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    flags: u8,
    rows: usize,
}

impl Block {
    const CHANGES_KEY: u8 = 0x80;
    const KEEPS_KEY: u8 = 0x04;
    const SCRAMBLED: u8 = 0x02;
    const ABSENT: u8 = 0x01;

    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Rows of it that were sent.
    const fn sent(self) -> usize {
        if self.has(Self::ABSENT) { 0 } else { self.rows }
    }
}

/// An image on its way from the transfer to the picture.
pub struct Scan {
    blocks: Vec<Block>,
    pixels: Zeroizing<Vec<u8>>,
    /// Number of the key that is wanted or in use.
    key: u8,
    /// Block that is to be unlocked next; all of them are when it is beyond.
    next: usize,
    /// Rows of `pixels` before that block.
    done: usize,
}

impl Scan {
    /// Reads a transfer.
    ///
    /// # Errors
    /// [`ScanError`] when it is no image.
    pub fn parse(transfer: Vec<u8>) -> Result<Self, ScanError> {
        let mut pixels = Zeroizing::new(transfer);
        let got = pixels.len();
        let header: [u8; HEADER] = *pixels.first_chunk().ok_or(ScanError::NoHeader(got))?;
        let byte = |at: usize| header.get(at).copied().unwrap_or(0);
        let rows = usize::from(u16::from_le_bytes([byte(ROW_COUNT), byte(ROW_COUNT + 1)]));
        if !(FEWEST_ROWS..=MOST_ROWS).contains(&rows) {
            return Err(ScanError::Rows(rows));
        }
        let expected = HEADER + rows * COLUMNS;
        if got < expected {
            return Err(ScanError::Short { got, expected });
        }
        pixels.truncate(expected);
        pixels.drain(..HEADER);

        let blocks = (0..BLOCK_COUNT).map(|at| BLOCKS + 2 * at);
        let blocks = blocks.map(|at| Block { flags: byte(at), rows: usize::from(byte(at + 1)) });
        let blocks = within(blocks.take_while(|block| block.rows > 0), rows);
        let sent: usize = blocks.iter().map(|block| block.sent()).sum();
        if sent < FEWEST_ROWS || blocks.iter().map(|block| block.rows).sum::<usize>() > ROWS {
            return Err(ScanError::Blocks(sent));
        }
        pixels.truncate(sent * COLUMNS);
        let mut scan = Self { blocks, pixels, key: byte(KEY_NUMBER), next: 0, done: 0 };
        if !scan.is_scrambled() {
            scan.next = scan.blocks.len();
        }
        Ok(scan)
    }

    /// Some readers flag blocks as scrambled and send them in the clear; so the pixels have the last word: of a scrambled
    /// row no pixel has anything to do with its neighbours.
    fn is_scrambled(&self) -> bool {
        let mut row = 0;
        for block in &self.blocks {
            if block.has(Block::SCRAMBLED) && block.sent() >= 2 {
                let pair = self.pixels.get(row * COLUMNS..(row + 2) * COLUMNS).unwrap_or_default();
                return is_noise(pair);
            }
            row += block.sent();
        }
        false
    }

    /// Number of the key that is needed to go on; `None` when the image is in the clear.
    #[must_use]
    pub fn wanted_key(&self) -> Option<u8> {
        (self.next < self.blocks.len()).then_some(self.key)
    }

    /// Goes on with the wanted key, up to where the next one is wanted.
    pub fn unlock(&mut self, mut stream: KeyStream) {
        while let Some(block) = self.blocks.get_mut(self.next) {
            if block.has(Block::CHANGES_KEY) {
                block.flags &= !Block::CHANGES_KEY;
                self.key = self.key.wrapping_add(1);
                return;
            }
            let bytes = block.rows * COLUMNS;
            if !block.has(Block::KEEPS_KEY) {
                if block.has(Block::SCRAMBLED) && !block.has(Block::ABSENT) {
                    let start = self.done * COLUMNS;
                    stream.descramble(self.pixels.get_mut(start..start + bytes).unwrap_or_default());
                } else {
                    stream.skip(bytes);
                }
            }
            self.done += block.sent();
            self.next += 1;
        }
    }

    /// The finger: dark ridges on a light ground. Rows that the reader left out are white; the reader sends bright ridges,
    /// and, where `turned`, stands upside down.
    ///
    /// # Errors
    /// [`ScanError::Picture`]; not for an image that could be parsed.
    pub fn picture(&self, turned: bool) -> Result<Gray, ScanError> {
        let rows: usize = self.blocks.iter().map(|block| block.rows).sum();
        let mut picture = Vec::with_capacity(rows * COLUMNS);
        let mut sent = self.pixels.chunks_exact(COLUMNS);
        for block in &self.blocks {
            for row in sent.by_ref().take(block.sent()) {
                picture.extend(row.iter().map(|grey| !grey));
            }
            picture.resize(picture.len() + (block.rows - block.sent()) * COLUMNS, u8::MAX);
        }
        if turned {
            picture.reverse();
        }
        Gray::new(COLUMNS as u32, rows as u32, picture).map_err(ScanError::Picture)
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scan({} rows, {:?})", self.pixels.len() / COLUMNS, self.blocks)
    }
}

/// The blocks as far as the rows go that were sent: the last one may promise more.
fn within(blocks: impl Iterator<Item = Block>, rows: usize) -> Vec<Block> {
    let mut left = rows;
    let mut kept = Vec::new();
    for mut block in blocks {
        if left == 0 {
            break;
        }
        if !block.has(Block::ABSENT) {
            block.rows = block.rows.min(left);
            left -= block.rows;
        }
        kept.push(block);
    }
    kept
}

/// Whether in two rows of pixels neither the one below nor the one beside has anything to do with a pixel.
fn is_noise(pair: &[u8]) -> bool {
    let Some((upper, lower)) = pair.split_at_checked(COLUMNS) else { return false };
    let mean = |pairs: &mut dyn Iterator<Item = (&u8, &u8)>| {
        let (sum, count) =
            pairs.fold((0u32, 0u32), |(sum, count), (a, b)| (sum + u32::from(a.abs_diff(*b)), count + 1));
        sum / count.max(1)
    };
    let below = mean(&mut upper.iter().zip(lower));
    let beside = mean(&mut upper.iter().zip(upper.iter().skip(1)));
    below >= NOISE && beside >= NOISE
}

#[cfg(test)]
mod tests;
