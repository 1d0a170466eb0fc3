//! The one unsafe module of this crate: the calls of V4L2 (linux/videodev2.h) that it needs, as safe functions.
//!
//! Each structure is laid out as the kernel has it for 64-bit systems, and checked against the sizes that are part of the
//! call numbers. What the kernel writes into them is plain numbers, of which any is valid; what a camera writes into
//! shared memory is copied out before anybody looks at it.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::io::{Errno, Result};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the structures of V4L2 are laid out for 64-bit systems");

/// V4L2_BUF_TYPE_VIDEO_CAPTURE.
const CAPTURE: u32 = 1;
/// V4L2_MEMORY_MMAP.
const SHARED_MEMORY: u32 = 1;

/// struct v4l2_capability.
#[repr(C)]
#[derive(Default)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

/// struct v4l2_fmtdesc.
#[repr(C)]
#[derive(Default)]
struct FormatDescription {
    index: u32,
    kind: u32,
    flags: u32,
    description: [u8; 32],
    pixels: [u8; 4],
    mbus_code: u32,
    reserved: [u32; 3],
}

/// struct v4l2_frmsizeenum; of its union all six numbers of the stepwise kind.
#[repr(C)]
#[derive(Default)]
struct FrameSize {
    index: u32,
    pixels: [u8; 4],
    kind: u32,
    numbers: [u32; 6],
    reserved: [u32; 2],
}

/// struct v4l2_format; of its union the v4l2_pix_format, whose alignment is that of the union's pointers.
#[repr(C)]
struct Format {
    kind: u32,
    _padding: u32,
    width: u32,
    height: u32,
    pixels: [u8; 4],
    field: u32,
    bytes_per_line: u32,
    image_size: u32,
    rest: [u8; 200 - 6 * 4],
}

/// struct v4l2_streamparm; of its union the v4l2_captureparm.
#[repr(C)]
struct StreamParameters {
    kind: u32,
    capability: u32,
    mode: u32,
    numerator: u32,
    denominator: u32,
    rest: [u8; 200 - 4 * 4],
}

/// struct v4l2_requestbuffers.
#[repr(C)]
#[derive(Default)]
struct BufferRequest {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: [u8; 4],
}

/// struct v4l2_buffer; of its union the offset.
#[repr(C)]
#[derive(Default)]
struct BufferState {
    index: u32,
    kind: u32,
    used: u32,
    flags: u32,
    field: u32,
    _padding: u32,
    seconds: i64,
    microseconds: i64,
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    offset: u32,
    _rest_of_union: u32,
    length: u32,
    reserved: [u32; 2],
    _end: u32,
}

const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
const ENUM_FMT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
const S_FMT: Opcode = opcode::read_write::<Format>(b'V', 5);
const REQBUFS: Opcode = opcode::read_write::<BufferRequest>(b'V', 8);
const QUERYBUF: Opcode = opcode::read_write::<BufferState>(b'V', 9);
const QBUF: Opcode = opcode::read_write::<BufferState>(b'V', 15);
const DQBUF: Opcode = opcode::read_write::<BufferState>(b'V', 17);
const STREAMON: Opcode = opcode::write::<u32>(b'V', 18);
const STREAMOFF: Opcode = opcode::write::<u32>(b'V', 19);
const S_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 22);
const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrameSize>(b'V', 74);

/// What a node can do (V4L2_CAP_*), of this node where the kernel tells.
pub(super) fn capabilities(fd: impl AsFd) -> Result<u32> {
    const DEVICE_CAPS: u32 = 0x8000_0000;
    let mut answer = Capability::default();
    // SAFETY: VIDIOC_QUERYCAP writes a v4l2_capability, which `Capability` is.
    unsafe { ioctl(fd, Updater::<QUERYCAP, _>::new(&mut answer)) }?;
    Ok(if answer.capabilities & DEVICE_CAPS != 0 { answer.device_caps } else { answer.capabilities })
}

/// The pixel format number `index`; `None` after the last.
pub(super) fn pixel_format(fd: impl AsFd, index: u32) -> Result<Option<[u8; 4]>> {
    let mut answer = FormatDescription { index, kind: CAPTURE, ..FormatDescription::default() };
    // SAFETY: VIDIOC_ENUM_FMT reads and writes a v4l2_fmtdesc, which `FormatDescription` is.
    match unsafe { ioctl(fd, Updater::<ENUM_FMT, _>::new(&mut answer)) } {
        Ok(()) => Ok(Some(answer.pixels)),
        Err(Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sizes of a pixel format.
pub(super) enum Size {
    /// One, in pixels.
    Discrete(u32, u32),
    /// A range: least and largest width, least and largest height, in pixels.
    Range { width: (u32, u32), height: (u32, u32) },
}

/// The size number `index` of a pixel format; `None` after the last, and where the driver cannot tell.
pub(super) fn frame_size(fd: impl AsFd, pixels: [u8; 4], index: u32) -> Result<Option<Size>> {
    const DISCRETE: u32 = 1;
    let mut answer = FrameSize { index, pixels, ..FrameSize::default() };
    // SAFETY: VIDIOC_ENUM_FRAMESIZES reads and writes a v4l2_frmsizeenum, which `FrameSize` is.
    match unsafe { ioctl(fd, Updater::<ENUM_FRAMESIZES, _>::new(&mut answer)) } {
        Ok(()) => {
            let [a, b, _, c, d, _] = answer.numbers;
            Ok(Some(match answer.kind {
                DISCRETE => Size::Discrete(a, b),
                _ => Size::Range { width: (a, b), height: (c, d) },
            }))
        }
        Err(Errno::INVAL | Errno::NOTTY) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A format that was set.
pub(super) struct Set {
    pub(super) pixels: [u8; 4],
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes_per_line: u32,
}

/// Sets the format, or what the driver has nearest to it.
pub(super) fn set_format(fd: impl AsFd, pixels: [u8; 4], width: u32, height: u32) -> Result<Set> {
    /// V4L2_FIELD_ANY: whole frames or what the driver has.
    const ANY_FIELD: u32 = 0;
    let mut format = Format {
        kind: CAPTURE,
        _padding: 0,
        width,
        height,
        pixels,
        field: ANY_FIELD,
        bytes_per_line: 0,
        image_size: 0,
        rest: [0; 176],
    };
    // SAFETY: VIDIOC_S_FMT reads and writes a v4l2_format, which `Format` is; the type says which part of the union.
    unsafe { ioctl(fd, Updater::<S_FMT, _>::new(&mut format)) }?;
    let Format { pixels, width, height, bytes_per_line, .. } = format;
    Ok(Set { pixels, width, height, bytes_per_line })
}

/// Asks for so many frames a second.
pub(super) fn set_rate(fd: impl AsFd, fps: u8) -> Result<()> {
    let mut parameters = StreamParameters {
        kind: CAPTURE,
        capability: 0,
        mode: 0,
        numerator: 1,
        denominator: u32::from(fps.max(1)),
        rest: [0; 184],
    };
    // SAFETY: VIDIOC_S_PARM reads and writes a v4l2_streamparm, which `StreamParameters` is.
    unsafe { ioctl(fd, Updater::<S_PARM, _>::new(&mut parameters)) }
}

/// Asks for `count` buffers of shared memory (0 gives them back); answers how many there are.
pub(super) fn request_buffers(fd: impl AsFd, count: u32) -> Result<u32> {
    let mut request =
        BufferRequest { count, kind: CAPTURE, memory: SHARED_MEMORY, ..BufferRequest::default() };
    // SAFETY: VIDIOC_REQBUFS reads and writes a v4l2_requestbuffers, which `BufferRequest` is. The kernel refuses to give
    // back buffers while they are mapped.
    unsafe { ioctl(fd, Updater::<REQBUFS, _>::new(&mut request)) }?;
    Ok(request.count)
}

/// A buffer of the kernel's, mapped for reading. The mapping outlives the node.
pub(super) struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and is only read.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the buffer number `index`.
    pub(super) fn new(fd: impl AsFd, index: u32) -> Result<Self> {
        let mut state = BufferState { index, kind: CAPTURE, memory: SHARED_MEMORY, ..BufferState::default() };
        // SAFETY: VIDIOC_QUERYBUF reads and writes a v4l2_buffer, which `BufferState` is.
        unsafe { ioctl(&fd, Updater::<QUERYBUF, _>::new(&mut state)) }?;
        let length = usize::try_from(state.length).map_err(|_| Errno::OVERFLOW)?;
        let offset = u64::from(state.offset);
        // SAFETY: a new mapping at an address of the kernel's choice overlays nothing of ours.
        let start =
            unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, fd, offset) }?;
        Ok(Self { start: NonNull::new(start).ok_or(Errno::NOMEM)?, length })
    }

    /// Copies the first `length` bytes, or all there are.
    pub(super) fn copy(&self, length: usize) -> Vec<u8> {
        let length = length.min(self.length);
        let mut bytes: Vec<u8> = Vec::with_capacity(length);
        // SAFETY: `length` bytes are mapped for reading at `start` and allocated at `bytes`, which do not overlap. The
        // camera may still write (it should not, between dequeue and queue): bytes of any value are valid, and nothing
        // refers to the mapping itself.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr().cast::<u8>(), bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}

/// Gives the buffer number `index` to the camera.
pub(super) fn queue(fd: impl AsFd, index: u32) -> Result<()> {
    let mut state = BufferState { index, kind: CAPTURE, memory: SHARED_MEMORY, ..BufferState::default() };
    // SAFETY: VIDIOC_QBUF reads and writes a v4l2_buffer, which `BufferState` is.
    unsafe { ioctl(fd, Updater::<QBUF, _>::new(&mut state)) }
}

/// A buffer that the camera has filled.
pub(super) struct Filled {
    pub(super) index: u32,
    /// Bytes of it that hold the frame.
    pub(super) used: usize,
    pub(super) sequence: u32,
    /// The driver says that the frame is spoilt.
    pub(super) spoilt: bool,
}

/// Takes the oldest buffer that the camera has filled; `None` when there is none.
pub(super) fn dequeue(fd: impl AsFd) -> Result<Option<Filled>> {
    const ERROR: u32 = 0x40;
    let mut state = BufferState { kind: CAPTURE, memory: SHARED_MEMORY, ..BufferState::default() };
    // SAFETY: VIDIOC_DQBUF reads and writes a v4l2_buffer, which `BufferState` is.
    match unsafe { ioctl(fd, Updater::<DQBUF, _>::new(&mut state)) } {
        Ok(()) => Ok(Some(Filled {
            index: state.index,
            used: usize::try_from(state.used).unwrap_or(usize::MAX),
            sequence: state.sequence,
            spoilt: state.flags & ERROR != 0,
        })),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Starts the stream.
pub(super) fn stream_on(fd: impl AsFd) -> Result<()> {
    let mut kind = CAPTURE;
    // SAFETY: VIDIOC_STREAMON reads an int.
    unsafe { ioctl(fd, Updater::<STREAMON, _>::new(&mut kind)) }
}

/// Ends the stream: all buffers are ours again.
pub(super) fn stream_off(fd: impl AsFd) -> Result<()> {
    let mut kind = CAPTURE;
    // SAFETY: VIDIOC_STREAMOFF reads an int.
    unsafe { ioctl(fd, Updater::<STREAMOFF, _>::new(&mut kind)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers as a C compiler makes them of linux/videodev2.h on x86-64: they hold the sizes of the structures.
    #[test]
    fn call_numbers_are_those_of_the_kernel() {
        assert_eq!(QUERYCAP, 0x8068_5600);
        assert_eq!(ENUM_FMT, 0xc040_5602);
        assert_eq!(S_FMT, 0xc0d0_5605);
        assert_eq!(REQBUFS, 0xc014_5608);
        assert_eq!(QUERYBUF, 0xc058_5609);
        assert_eq!(QBUF, 0xc058_560f);
        assert_eq!(DQBUF, 0xc058_5611);
        assert_eq!(STREAMON, 0x4004_5612);
        assert_eq!(STREAMOFF, 0x4004_5613);
        assert_eq!(S_PARM, 0xc0cc_5616);
        assert_eq!(ENUM_FRAMESIZES, 0xc02c_564a);
    }

    /// Of the members that are used, as `offsetof` has them in C.
    #[test]
    fn members_are_where_the_kernel_has_them() {
        use std::mem::offset_of;
        assert_eq!((offset_of!(Capability, capabilities), offset_of!(Capability, device_caps)), (84, 88));
        assert_eq!(offset_of!(FormatDescription, pixels), 44);
        assert_eq!((offset_of!(FrameSize, kind), offset_of!(FrameSize, numbers)), (8, 12));
        assert_eq!((offset_of!(Format, width), offset_of!(Format, bytes_per_line)), (8, 24));
        assert_eq!(offset_of!(StreamParameters, numerator), 12);
        assert_eq!((offset_of!(BufferState, used), offset_of!(BufferState, flags)), (8, 12));
        assert_eq!((offset_of!(BufferState, sequence), offset_of!(BufferState, memory)), (56, 60));
        assert_eq!((offset_of!(BufferState, offset), offset_of!(BufferState, length)), (64, 72));
    }
}
