//! How long generators, estimators and encoders take: the best of several runs each, one thread. The figures in
//! `docs/developers/imaging.md` come from here.

use std::hint::black_box;
use std::time::{Duration, Instant};

use biosim_image::Subject;
use biotrust_imaging::jp2::{Codec, encode_gray, encode_rgb};
use biotrust_imaging::preview::{Marks, Settings, jpeg};
use biotrust_imaging::{Dpi, Gray, Rect, quality, segment};
use biotrust_model::{BioSubType, Purpose, Score};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn time<T, E: Into<Box<dyn std::error::Error>>>(
    what: &str,
    mut run: impl FnMut() -> Result<T, E>,
) -> Outcome {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        black_box(run().map_err(Into::into)?);
        best = best.min(start.elapsed());
    }
    #[allow(clippy::print_stdout)] // its purpose
    {
        println!("{what:<44} {:8.2} ms", best.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn fine<T>(value: T) -> Result<T, std::convert::Infallible> {
    Ok(value)
}

fn main() -> Outcome {
    let subject = Subject::new(1, None);
    let thumb = BioSubType::LeftThumb;
    let lossy = Codec::Lossy { ratio: 15 };
    let marks = Marks {
        quality: Score::new(70.0),
        wanted: Score::new(60.0),
        message: "HOLD STILL",
        ..Marks::default()
    };

    time("master and first impression, 320 x 400", || Subject::new(1, None).finger(thumb, 0, 1.0))?;
    time("impression, 320 x 400", || subject.finger(thumb, 0, 1.0))?;
    time("slap of four, 1600 x 1000", || subject.slap(&BioSubType::LEFT_SLAP, 0, 1.0))?;
    time("iris, registration", || subject.iris(BioSubType::Left, Purpose::Registration, 0, 1.0))?;
    time("iris, authentication", || subject.iris(BioSubType::Left, Purpose::Auth, 0, 1.0))?;
    time("first face, 480 x 640", || Subject::new(1, None).face(0, 1.0, &[]))?;
    time("face, 480 x 640", || subject.face(0, 1.0, &[]))?;
    time("first exception photo, 960 x 640", || Subject::new(1, None).face(0, 1.0, &[thumb]))?;

    let slap = subject.slap(&BioSubType::LEFT_SLAP, 0, 1.0)?.image;
    let finger = slap.crop(Rect { x: 1160, y: 200, width: 400, height: 500 })?;
    let iris = subject.iris(BioSubType::Left, Purpose::Registration, 0, 1.0)?;
    let face = subject.face(0, 1.0, &[])?;
    let frame: Gray = slap.crop(Rect { x: 300, y: 100, width: 640, height: 480 })?;
    time("finger quality, 400 x 500", || fine(quality::finger(&finger, Dpi::FINGER)))?;
    time("iris quality", || fine(quality::iris(&iris.image, &iris.geometry)))?;
    time("face quality, 480 x 640", || fine(quality::face(&face)))?;
    time("slap into fingers, 1600 x 1000", || fine(segment::fingers(&slap, Dpi::FINGER)))?;
    time("JPEG 2000 lossless, finger 400 x 500", || {
        encode_gray(&finger, Codec::Lossless, Some(Dpi::FINGER))
    })?;
    time("JPEG 2000 15:1, finger 400 x 500", || encode_gray(&finger, lossy, Some(Dpi::FINGER)))?;
    time("JPEG 2000 lossless, iris", || encode_gray(&iris.image, Codec::Lossless, None))?;
    time("JPEG 2000 lossless, face 480 x 640", || encode_rgb(&face, Codec::Lossless, None))?;
    time("JPEG 2000 15:1, face 480 x 640", || encode_rgb(&face, lossy, None))?;
    time("preview, grey 640 x 480", || jpeg(&frame, &marks, Settings::default()))?;
    time("preview, grey slap 1600 x 1000", || jpeg(&slap, &marks, Settings::default()))?;
    time("preview, colour 480 x 640", || jpeg(&face, &marks, Settings::default()))?;
    Ok(())
}
