//! Writes one image of everything to a directory, to be looked at: `gallery DIRECTORY [SEED]`.

use std::io::Write;
use std::path::{Path, PathBuf};

use biosim_image::Subject;
use biotrust_imaging::{Gray, Rgb};
use biotrust_model::{BioSubType, Purpose};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().ok_or("usage: gallery DIRECTORY [SEED]")?.into();
    let seed = arguments.next().map_or(Ok(1), |text| text.parse())?;
    std::fs::create_dir_all(&directory)?;
    let subject = Subject::new(seed, None);
    for (number, quality) in [1.0, 0.6, 0.2].into_iter().enumerate() {
        for eye in BioSubType::EYES {
            for purpose in [Purpose::Registration, Purpose::Auth] {
                let name = format!("iris-{eye}-{purpose}-{number}.pgm");
                gray(&directory.join(name), &subject.iris(eye, purpose, number as u64, quality)?.image)?;
            }
        }
        for (name, missing) in [
            ("face", &[][..]),
            ("exception", &[BioSubType::LeftThumb, BioSubType::RightRingFinger, BioSubType::Left]),
        ] {
            let image = subject.face(number as u64, quality, missing)?;
            colour(&directory.join(format!("{name}-{number}.ppm")), &image)?;
        }
        let slap = subject.slap(&BioSubType::LEFT_SLAP, number as u64, quality)?;
        gray(&directory.join(format!("slap-{number}.pgm")), &slap.image)?;
    }
    Ok(())
}

fn gray(path: &Path, image: &Gray) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    write!(file, "P5\n{} {}\n255\n", image.width(), image.height())?;
    file.write_all(image.pixels())
}

fn colour(path: &Path, image: &Rgb) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    write!(file, "P6\n{} {}\n255\n", image.width(), image.height())?;
    file.write_all(image.pixels())
}
