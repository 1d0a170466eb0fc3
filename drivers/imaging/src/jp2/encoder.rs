//! The one place that drives `openjp2`, the Rust port of OpenJPEG; the only module of this crate with `unsafe`.
//!
//! The codec and the image have safe interfaces. The output stream has not: it wants three C callbacks and a pointer to
//! their state. Here that state is a growing buffer ([`Sink`]) on this function's stack, which outlives the stream.
//! Trusts `openjp2` to call the callbacks with a valid buffer and the pointer that it was given, while it runs and never
//! after the stream is gone.
#![allow(unsafe_code)] // see above; every block says why it is sound

use std::ffi::c_void;

use openjp2::openjpeg::{
    OPJ_BOOL, OPJ_CLRSPC_GRAY, OPJ_CLRSPC_SRGB, OPJ_CODEC_JP2, OPJ_COLOR_SPACE, OPJ_OFF_T, OPJ_SIZE_T,
    opj_cparameters_t, opj_stream_set_seek_function, opj_stream_set_skip_function, opj_stream_set_user_data,
    opj_stream_set_write_function, opj_stream_t,
};
use openjp2::{Codec, Stream, opj_image, opj_image_comptparm};

use super::Jp2Error;
use crate::{Gray, Rgb};

/// Wavelet and how far to go with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wavelet {
    /// 5/3, everything kept.
    Reversible,
    /// 9/7 with a target ratio of raw size to codestream size, or [`NO_TARGET`].
    Irreversible { target: f32 },
}

/// Keep everything that the quantiser left.
pub(super) const NO_TARGET: f32 = 0.0;

/// Interleaved 8-bit samples with their meaning.
pub(super) struct Planes<'a> {
    width: u32,
    height: u32,
    channels: usize,
    space: OPJ_COLOR_SPACE,
    samples: &'a [u8],
}

impl<'a> Planes<'a> {
    pub(super) fn gray(image: &'a Gray) -> Self {
        Self::new(image.width(), image.height(), Gray::CHANNELS, OPJ_CLRSPC_GRAY, image.pixels())
    }

    pub(super) fn rgb(image: &'a Rgb) -> Self {
        Self::new(image.width(), image.height(), Rgb::CHANNELS, OPJ_CLRSPC_SRGB, image.pixels())
    }

    fn new(width: u32, height: u32, channels: usize, space: OPJ_COLOR_SPACE, samples: &'a [u8]) -> Self {
        Self { width, height, channels, space, samples }
    }

    /// Bytes before compression.
    pub(super) fn raw_len(&self) -> usize {
        self.samples.len()
    }

    fn to_image(&self) -> Option<Box<opj_image>> {
        let component = opj_image_comptparm {
            dx: 1,
            dy: 1,
            w: self.width,
            h: self.height,
            x0: 0,
            y0: 0,
            prec: 8,
            bpp: 8,
            sgnd: 0,
        };
        let mut image = opj_image::create(&vec![component; self.channels], self.space)?;
        image.x1 = self.width;
        image.y1 = self.height;
        for (channel, plane) in image.comps_data_mut_iter()?.enumerate() {
            let samples = self.samples.iter().skip(channel).step_by(self.channels);
            for (to, from) in plane.iter_mut().zip(samples) {
                *to = i32::from(*from);
            }
        }
        Some(image)
    }

    /// As many decompositions as the shorter side allows, OpenJPEG's usual five at most.
    fn resolutions(&self) -> i32 {
        let shorter = self.width.min(self.height).max(1);
        (shorter.ilog2() + 1).min(6) as i32
    }
}

/// One JP2 file.
pub(super) fn encode(planes: &Planes<'_>, wavelet: Wavelet) -> Result<Vec<u8>, Jp2Error> {
    let mut image = planes.to_image().ok_or(Jp2Error::Encoder("allocate the image"))?;
    let mut parameters = opj_cparameters_t {
        tcp_numlayers: 1,
        cp_disto_alloc: 1,
        numresolution: planes.resolutions(),
        tcp_mct: i8::from(planes.channels == Rgb::CHANNELS) as _,
        ..Default::default()
    };
    if let Wavelet::Irreversible { target } = wavelet {
        parameters.irreversible = 1;
        if let Some(rate) = parameters.tcp_rates.first_mut() {
            *rate = target;
        }
    }
    let mut codec = Codec::new_encoder(OPJ_CODEC_JP2).ok_or(Jp2Error::Encoder("start"))?;
    done(codec.setup_encoder(&mut parameters, &mut image), "accept its parameters")?;
    written(planes.raw_len(), |stream| {
        done(codec.start_compress(&mut image, stream), "write the header")?;
        done(codec.encode(stream), "encode the image")?;
        done(codec.end_compress(stream), "finish the file")
    })
}

fn done(result: OPJ_BOOL, what: &'static str) -> Result<(), Jp2Error> {
    if result == 0 { Err(Jp2Error::Encoder(what)) } else { Ok(()) }
}

/// Runs `write` with a stream and returns what was written to it.
fn written(
    expected: usize,
    write: impl FnOnce(&mut Stream) -> Result<(), Jp2Error>,
) -> Result<Vec<u8>, Jp2Error> {
    let mut sink = Sink { bytes: Vec::with_capacity(expected), position: 0 };
    // The stream buffers little: the sink is memory already.
    let mut stream = Stream::new_custom(4096, false);
    let handle: *mut opj_stream_t = (&raw mut stream).cast();
    // SAFETY: an `opj_stream_t` handle is by openjp2's definition a pointer to a `Stream`, this one is live and not
    // aliased during the calls. The callbacks match the signatures, and interpret the user data as the `Sink` that is
    // passed here. `sink` is declared before `stream` and not moved or touched until `stream` has been dropped below, so
    // the pointer is valid and unique whenever a callback runs; nothing is freed through it (`None`).
    unsafe {
        opj_stream_set_write_function(handle, Some(sink_write));
        opj_stream_set_skip_function(handle, Some(sink_skip));
        opj_stream_set_seek_function(handle, Some(sink_seek));
        opj_stream_set_user_data(handle, (&raw mut sink).cast(), None);
    }
    let result = write(&mut stream);
    drop(stream); // flushes what it still buffers
    result.map(|()| sink.bytes)
}

/// A file in memory: writes go to a position that can be moved, over a hole or back to fill in a length.
struct Sink {
    bytes: Vec<u8>,
    position: usize,
}

/// Widest hole that may be left to be filled in later; box heads need far less.
const MAX_HOLE: usize = 4096;

impl Sink {
    fn write(&mut self, data: &[u8]) {
        let end = self.position.saturating_add(data.len());
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        if let Some(room) = self.bytes.get_mut(self.position..end) {
            room.copy_from_slice(data);
        }
        self.position = end;
    }

    /// Moves to an absolute position, no further than [`MAX_HOLE`] behind what was written, or says no.
    fn seek(&mut self, position: Option<usize>) -> bool {
        match position.filter(|position| *position <= self.bytes.len().saturating_add(MAX_HOLE)) {
            Some(position) => {
                self.position = position;
                true
            }
            None => false,
        }
    }
}

/// Write callback: all of the buffer is always taken.
unsafe extern "C" fn sink_write(buffer: *mut c_void, length: OPJ_SIZE_T, state: *mut c_void) -> OPJ_SIZE_T {
    if buffer.is_null() || state.is_null() {
        return OPJ_SIZE_T::MAX; // openjp2's "failed"
    }
    // SAFETY: `state` is the `Sink` of `written`, unique here (see there).
    let sink = unsafe { &mut *state.cast::<Sink>() };
    // SAFETY: openjp2 passes a slice of its own of this length, only to be read, for the time of the call.
    sink.write(unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) });
    length
}

/// Skip callback: moves by an offset of either sign; -1 is "failed".
unsafe extern "C" fn sink_skip(offset: OPJ_OFF_T, state: *mut c_void) -> OPJ_OFF_T {
    if state.is_null() {
        return -1;
    }
    // SAFETY: `state` is the `Sink` of `written`, unique here (see there).
    let sink = unsafe { &mut *state.cast::<Sink>() };
    let target = isize::try_from(offset).ok().and_then(|offset| sink.position.checked_add_signed(offset));
    if sink.seek(target) { offset } else { -1 }
}

/// Seek callback: moves to an offset from the start; 0 is "failed".
unsafe extern "C" fn sink_seek(offset: OPJ_OFF_T, state: *mut c_void) -> OPJ_BOOL {
    if state.is_null() {
        return 0;
    }
    // SAFETY: `state` is the `Sink` of `written`, unique here (see there).
    let sink = unsafe { &mut *state.cast::<Sink>() };
    OPJ_BOOL::from(sink.seek(usize::try_from(offset).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_stream_writes_into_its_sink_and_can_go_back() {
        let bytes = written(0, |stream| {
            stream.write_all(&[1; 5000]).unwrap(); // more than the stream buffers
            stream.skip(2).unwrap();
            stream.write_all(b"end").unwrap();
            stream.seek(5001).unwrap();
            stream.write_all(b"L").unwrap();
            stream.seek(1).unwrap();
            stream.write_all(&[7]).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(bytes.len(), 5005);
        assert_eq!(bytes[..3], [1, 7, 1]);
        assert_eq!(&bytes[5000..], b"\0Lend");
    }

    #[test]
    fn moves_to_places_that_do_not_exist_are_refused() {
        let result = written(0, |stream| {
            assert!(stream.seek(-1).is_err(), "before the start");
            assert!(stream.seek(MAX_HOLE as i64 + 1).is_err(), "far behind the end");
            Err(Jp2Error::Encoder("test"))
        });
        assert_eq!(result, Err(Jp2Error::Encoder("test")), "and errors come through");
    }

    #[test]
    fn callbacks_survive_null() {
        let null = std::ptr::null_mut();
        // SAFETY: the callbacks check for null before they follow a pointer; that is what is tested.
        unsafe {
            assert_eq!(sink_write(null, 4, null), OPJ_SIZE_T::MAX);
            assert_eq!(sink_skip(4, null), -1);
            assert_eq!(sink_seek(4, null), 0);
        }
    }
}
