//! Writes fingerprints of falling quality, with our score for each, for comparison with an independent measure
//! (`tests/quality/nfiq_rank.py`): `ladder DIRECTORY [SEED] [FINGERS] [STEPS]`.

use std::io::Write;
use std::path::PathBuf;

use biosim_image::Subject;
use biotrust_imaging::{Dpi, Gray, quality};
use biotrust_model::BioSubType;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf =
        arguments.next().ok_or("usage: ladder DIRECTORY [SEED] [FINGERS] [STEPS]")?.into();
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (seed, fingers, steps) = (number(1)?, number(10)?, number(6)?.max(2));

    std::fs::create_dir_all(&directory)?;
    let mut table = std::fs::File::create(directory.join("scores.csv"))?;
    writeln!(table, "file,finger,knob,score,area,certainty,clarity,regularity,contrast,usable")?;
    for number in 0..fingers {
        // Ten fingers a person.
        let subject = Subject::new(seed * 1000 + number / 10, None);
        let parts = BioSubType::ALL.iter().filter(|part| part.finger_position().is_some_and(|p| p > 0));
        let Some(finger) = parts.clone().nth((number % 10) as usize) else { continue };
        for step in 0..steps {
            let knob = step as f32 / (steps - 1) as f32;
            let image = subject.finger(*finger, step, knob)?;
            let aspects = quality::finger_aspects(&image, Dpi::FINGER);
            let name = format!("{number:02}-{step:02}.pgm");
            write_pgm(&directory.join(&name), &image)?;
            writeln!(
                table,
                "{name},{finger},{knob},{},{},{},{},{},{},{}",
                aspects.score(),
                aspects.area,
                aspects.certainty,
                aspects.clarity,
                aspects.regularity,
                aspects.contrast,
                aspects.usable
            )?;
        }
    }
    Ok(())
}

fn write_pgm(path: &std::path::Path, image: &Gray) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    write!(file, "P5\n{} {}\n255\n", image.width(), image.height())?;
    file.write_all(image.pixels())
}
