//! The previews, judged by an independent decoder (zune-jpeg).

use super::*;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

struct Decoded {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    space: ColorSpace,
}

fn decode(file: &[u8]) -> Decoded {
    let mut decoder = JpegDecoder::new_with_options(
        ZCursor::new(file),
        DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB),
    );
    decoder.decode_headers().unwrap();
    let space = decoder.input_colorspace().unwrap();
    let pixels = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    Decoded { width, height, pixels, space }
}

impl Decoded {
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        self.pixels[at..at + 3].try_into().unwrap()
    }
}

fn near(a: [u8; 3], b: [u8; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) < 48)
}

fn score(value: f32) -> Option<Score> {
    Score::new(value)
}

#[test]
fn a_grey_frame_stays_grey() {
    let frame = Gray::filled(320, 240, 128).unwrap();
    let file = jpeg(&frame, &Marks::default(), Settings::default()).unwrap();
    assert!(file.starts_with(&[0xFF, 0xD8]) && file.ends_with(&[0xFF, 0xD9]));
    assert!(file.windows(2).any(|w| w == [0xFF, 0xC0]), "baseline");
    let image = decode(&file);
    assert_eq!((image.width, image.height, image.space), (320, 240, ColorSpace::Luma));
    assert!(image.pixels.iter().all(|p| p.abs_diff(128) < 3), "nothing is drawn unasked");
}

#[test]
fn marks_are_drawn_where_they_belong() {
    let frame = Rgb::filled(640, 480, 128).unwrap();
    let segments = [
        Segment { rect: Rect { x: 100, y: 100, width: 80, height: 120 }, quality: score(80.0) },
        Segment { rect: Rect { x: 300, y: 100, width: 80, height: 120 }, quality: score(20.0) },
    ];
    let marks =
        Marks { segments: &segments, quality: score(50.0), wanted: score(60.0), message: "PLACE FINGERS" };
    let image = decode(&jpeg(&frame, &marks, Settings { jpeg_quality: 95, ..Default::default() }).unwrap());
    assert!(near(image.at(100, 180), [40, 200, 80]), "good segment is green: {:?}", image.at(100, 180));
    assert!(near(image.at(300, 180), [245, 165, 0]), "bad segment is amber: {:?}", image.at(300, 180));
    assert!(near(image.at(140, 180), [128; 3]), "inside of a segment nothing changes");
    assert!(near(image.at(200, 470), [245, 165, 0]), "bar below the wanted score is amber");
    assert!(near(image.at(500, 470), [90; 3]), "the rest of the bar is empty: {:?}", image.at(500, 470));
    assert!(near(image.at(620, 30), [128; 3]), "right of the message nothing changes");
    let message: Vec<_> = (2..150).map(|x| image.at(x, 10)).collect();
    assert!(message.iter().any(|p| near(*p, [255; 3])) && message.iter().any(|p| near(*p, [0; 3])));
}

#[test]
fn the_bar_grows_with_the_score_and_turns_green() {
    let frame = Rgb::filled(640, 480, 255).unwrap();
    let filled = |value| {
        let marks = Marks { quality: score(value), wanted: score(60.0), ..Default::default() };
        let image = decode(&jpeg(&frame, &marks, Settings::default()).unwrap());
        (45..636).filter(|x| near(image.at(*x, 470), [40, 200, 80])).count()
    };
    assert_eq!(filled(40.0), 0);
    let (some, all) = (filled(70.0), filled(100.0));
    assert!(some > 350 && all > some + 100, "{some} {all}");
}

#[test]
fn large_frames_are_shrunk_and_boxes_with_them() {
    let frame = Gray::filled(1600, 1000, 255).unwrap();
    let segments = [Segment { rect: Rect { x: 300, y: 300, width: 300, height: 400 }, quality: None }];
    let marks = Marks { segments: &segments, ..Default::default() };
    let image = decode(&jpeg(&frame, &marks, Settings::default()).unwrap());
    assert_eq!((image.width, image.height), (533, 333));
    assert!(!near(image.at(100, 150), [255; 3]), "left edge of the box at a third of its place");
    assert!(near(image.at(150, 150), [255; 3]));
}

#[test]
fn odd_frames_and_settings_work() {
    for (width, height) in [(1, 1), (1, 700), (1600, 3), (17, 9)] {
        let frame = Gray::filled(width, height, 7).unwrap();
        let marks = Marks {
            quality: score(100.0),
            wanted: score(0.0),
            message: "\u{e9}\u{0}~",
            ..Default::default()
        };
        let file = jpeg(&frame, &marks, Settings { longest_side: 0, jpeg_quality: 0 }).unwrap();
        let image = decode(&file);
        assert_eq!(image.width.min(image.height), 1, "as small as it goes");
        decode(&jpeg(&frame, &marks, Settings { longest_side: 640, jpeg_quality: 255 }).unwrap());
    }
}
