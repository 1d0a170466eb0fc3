//! The files, judged by an independent decoder (hayro-jpeg2000) and by their bytes.

use super::*;
use proptest::prelude::*;

/// Ridges with noise: compresses like a finger.
fn ridges(width: u32, height: u32) -> Gray {
    let mut state = 1u32;
    let pixels = (0..width * height)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let wave = libm::sinf((x + 0.6 * y + libm::sinf(y / 40.0) * 20.0) * 0.7) * 80.0;
            (140.0 + wave + (state >> 28) as f32) as u8
        })
        .collect();
    Gray::new(width, height, pixels).unwrap()
}

fn colours(width: u32, height: u32) -> Rgb {
    let gray = ridges(width, height);
    let pixels = gray.pixels().iter().enumerate().flat_map(|(i, v)| [*v, (i % 251) as u8, 255 - *v / 2]);
    Rgb::new(width, height, pixels.collect()).unwrap()
}

/// Transform byte of the COD marker segment: 1 reversible 5/3, 0 irreversible 9/7.
fn wavelet(file: &[u8]) -> u8 {
    let at = file.windows(2).position(|w| w == [0xFF, 0x52]).expect("COD marker");
    file[at + 13]
}

fn colour_space(file: &[u8]) -> u32 {
    let at = file.windows(4).position(|w| w == b"colr").expect("colr box");
    assert_eq!(file[at + 4], 1, "enumerated");
    u32::from_be_bytes(file[at + 7..at + 11].try_into().unwrap())
}

fn decode(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let image =
        hayro_jpeg2000::Image::new(file, &hayro_jpeg2000::DecodeSettings::default()).expect("decodes");
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let pixels = image.decode(&mut context).expect("decodes").data_u8();
    (image.width(), image.height(), pixels)
}

const SIGNATURE: [u8; 12] = [0, 0, 0, 12, 0x6A, 0x50, 0x20, 0x20, 0x0D, 0x0A, 0x87, 0x0A];

#[test]
fn lossless_grey_is_bit_identical() {
    let image = ridges(317, 403);
    let file = encode_gray(&image, Codec::Lossless, Some(Dpi::FINGER)).unwrap();
    assert!(file.starts_with(&SIGNATURE));
    assert_eq!((wavelet(&file), colour_space(&file)), (1, 17));
    assert!(file.len() < image.pixels().len(), "it does compress");
    let (width, height, pixels) = decode(&file);
    assert_eq!((width, height), (317, 403));
    assert!(pixels == image.pixels());
}

#[test]
fn lossless_colour_is_bit_identical() {
    let image = colours(120, 90);
    let file = encode_rgb(&image, Codec::Lossless, None).unwrap();
    assert_eq!((wavelet(&file), colour_space(&file)), (1, 16));
    let (width, height, pixels) = decode(&file);
    assert_eq!((width, height), (120, 90));
    assert!(pixels == image.pixels());
    assert!(!file.windows(4).any(|w| w == b"res "), "no density was given");
}

#[test]
fn lossy_is_irreversible_near_and_within_its_ratio() {
    let image = ridges(400, 500);
    for ratio in [2, 10, 15] {
        let file = encode_gray(&image, Codec::Lossy { ratio }, Some(Dpi::FINGER)).unwrap();
        assert_eq!((wavelet(&file), colour_space(&file)), (0, 17), "ratio {ratio}");
        let got = image.pixels().len() / file.len();
        assert!(got <= ratio as usize, "{got}:1 of {ratio}:1");
        let (width, height, pixels) = decode(&file);
        assert_eq!((width, height), (400, 500));
        let error: f64 =
            pixels.iter().zip(image.pixels()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum::<f64>()
                / pixels.len() as f64;
        assert!(error > 0.0, "lossy means that something is lost");
        assert!(error < 150.0, "mean square error {error} at {ratio}:1");
    }
}

#[test]
fn lossy_colour_comes_back_in_colour() {
    let image = colours(240, 320);
    let file = encode_rgb(&image, Codec::Lossy { ratio: 15 }, None).unwrap();
    assert_eq!((wavelet(&file), colour_space(&file)), (0, 16));
    assert!(image.pixels().len() / file.len() <= 15);
    assert_eq!(decode(&file).2.len(), image.pixels().len());
}

#[test]
fn density_is_readable_and_harmless() {
    let image = ridges(64, 64);
    let bare = encode_gray(&image, Codec::Lossless, None).unwrap();
    let with = encode_gray(&image, Codec::Lossless, Some(Dpi::FINGER)).unwrap();
    assert_eq!(with.len(), bare.len() + 26);
    let at = with.windows(4).position(|w| w == b"resc").unwrap();
    assert_eq!(with[at + 4..at + 14], [0x4C, 0xE5, 0, 1, 0x4C, 0xE5, 0, 1, 0, 0]);
    assert!(decode(&with) == decode(&bare));
}

#[test]
fn impossible_ratios_are_errors() {
    let image = ridges(64, 64);
    for ratio in [0, 16] {
        assert_eq!(encode_gray(&image, Codec::Lossy { ratio }, None), Err(Jp2Error::Ratio(ratio)));
    }
    let blank = Gray::filled(300, 300, 200).unwrap();
    let refused = encode_gray(&blank, Codec::Lossy { ratio: 15 }, None);
    assert!(matches!(refused, Err(Jp2Error::Uniform { limit: 15, got }) if got > 15), "{refused:?}");
    assert!(encode_gray(&blank, Codec::Lossless, None).is_ok(), "lossless has no limit");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No size makes the encoder fail or change a pixel.
    #[test]
    fn any_size_survives(width in 1u32..40, height in 1u32..40, seed in any::<u64>()) {
        let mut state = seed | 1;
        let pixels = (0..width * height).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let image = Gray::new(width, height, pixels.collect()).unwrap();
        let (w, h, back) = decode(&encode_gray(&image, Codec::Lossless, Some(Dpi::FINGER)).unwrap());
        prop_assert_eq!((w, h), (width, height));
        prop_assert!(back == image.pixels());
        let lossy = encode_gray(&image, Codec::Lossy { ratio: 15 }, None).unwrap();
        prop_assert!(image.pixels().len() / lossy.len() <= 15);
    }
}
