//! A camera that sends anything: frames in all pixel formats become pixels or an error, without panic, hang or growth.
//!
//! The first bytes choose the format; a JPEG gets the size that was agreed on, so that its pixels are reached.
#![no_main]

use biotrust_driver_api::{FourCc, VideoFormat};
use biotrust_v4l2::{frame, jpeg};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(([choice, width, height, padding], rest)) = bytes.split_first_chunk::<4>() else { return };
    let pixels = [FourCc::MJPG, FourCc::YUYV, FourCc::GREY, FourCc(*b"NV12")][usize::from(choice & 3)];
    let (mut width, mut height) = (u32::from(*width), u32::from(*height));
    let mut data = rest.to_vec();
    if pixels == FourCc::MJPG {
        if choice & 4 != 0 {
            data.extend([0xff, 0xd9]);
        }
        if let Ok(header) = jpeg::Header::read(&data) {
            assert!(header.length <= data.len());
            assert!(header.decodable(&data).len() <= data.len() + 16);
            // Small ones only: a picture costs time by its size.
            if header.width <= 512 && header.height <= 512 {
                (width, height) = (header.width.into(), header.height.into());
            }
        }
    }
    let stride = u32::from(*padding) * u32::from(choice >> 3);
    let format = VideoFormat { pixels, width, height, stride };
    if let Ok(image) = frame::colour(&data, &format) {
        assert_eq!(image.pixels().len(), (width * height * 3) as usize);
    }
    if let Ok(image) = frame::grey(&data, &format) {
        assert_eq!(image.pixels().len(), (width * height) as usize);
    }
    if let Ok(part) = frame::jpeg(&data) {
        assert!(data.starts_with(part));
    }
});
