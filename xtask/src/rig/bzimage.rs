//! Takes the ELF kernel out of a bzImage, so that no guest has to decompress it: under emulation that costs seconds.
//!
//! The boot protocol's header says where it lies; nothing is searched for. The file comes from the distribution's signed
//! package, and is still only believed as far as its length goes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::step::Failure;

/// Documentation/arch/x86/boot.rst: `HdrS` at 0x202, sectors of set-up code at 0x1f1, payload (2.08 and later) at 0x248.
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;

/// How a payload is packed, and who unpacks it. Each is followed by four bytes of its length, which are no part of it.
const PACKERS: [(&[u8], &[&str]); 2] = [
    (b"\xfd7zXZ\0", &["xz", "--decompress", "--stdout", "--single-stream"]),
    (b"\x28\xb5\x2f\xfd", &["zstd", "--decompress", "--stdout", "--quiet"]),
];

/// Writes the ELF kernel of `image` to `to`.
pub(super) fn unpack(image: &Path, to: &Path) -> Result<(), Failure> {
    let bytes =
        std::fs::read(image).map_err(|e| Failure::new(format!("cannot read {}: {e}", image.display())))?;
    let payload = payload(&bytes)
        .ok_or_else(|| Failure::new(format!("{} is no bzImage with a payload", image.display())))?;
    let packer = PACKERS.iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, packer)| packer);
    let Some((program, options)) = packer.and_then(|packer| packer.split_first()) else {
        return Err(Failure::new(format!("{} is packed in a way that is not known here", image.display())));
    };
    let out =
        std::fs::File::create(to).map_err(|e| Failure::new(format!("cannot write {}: {e}", to.display())))?;
    let unpacked = Command::new(program).args(options).stdin(Stdio::piped()).stdout(out).spawn().and_then(
        |mut child| {
            if let Some(mut input) = child.stdin.take() {
                // A packer that has seen the end of its stream need not read on.
                let _ = input.write_all(payload);
            }
            child.wait()
        },
    );
    match unpacked {
        Ok(status) if status.success() && is_elf(to) => Ok(()),
        Ok(status) => {
            Err(Failure::new(format!("{program} made no kernel of {} ({status})", image.display())))
        }
        Err(error) => Err(Failure::new(format!("cannot run {program}: {error}"))),
    }
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    image.get(MAGIC.0..)?.starts_with(MAGIC.1).then_some(())?;
    // 0 means 4, for ancient reasons.
    let sectors = image.get(SETUP_SECTORS).map(|n| if *n == 0 { 4 } else { usize::from(*n) })?;
    let start = (sectors + 1) * SECTOR + word(PAYLOAD_OFFSET)?;
    let end = start.checked_add(word(PAYLOAD_LENGTH)?)?.checked_sub(4)?;
    image.get(start..end)
}

fn is_elf(file: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header that announces `length` bytes at 16 behind one sector of set-up code, and `payload` there.
    fn image(payload: &[u8], length: usize) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR + 16];
        image[SETUP_SECTORS] = 1;
        image[MAGIC.0..MAGIC.0 + 4].copy_from_slice(MAGIC.1);
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(length as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn the_payload_lies_where_the_header_says() {
        assert_eq!(payload(&image(b"packed....and more", 10)), Some(&b"packed"[..]));
        assert_eq!(payload(&image(b"short", 10)), None, "beyond the end");
        assert_eq!(payload(&image(b"x", 3)), None, "no room for its length");
        let mut other = image(b"packed....", 10);
        other[MAGIC.0] = b'h';
        assert_eq!(payload(&other), None);
        assert_eq!(payload(&[]), None);
    }

    #[test]
    fn what_is_packed_otherwise_or_no_kernel_is_refused() {
        let dir = std::env::temp_dir().join(format!("bzimage-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let [from, to] = ["bzImage", "vmlinux"].map(|name| dir.join(name));
        std::fs::write(&from, image(b"plain....", 9)).unwrap();
        assert!(unpack(&from, &to).unwrap_err().to_string().contains("not known"));
        std::fs::write(&from, image(b"\xfd7zXZ\0 but broken....", 21)).unwrap();
        assert!(unpack(&from, &to).unwrap_err().to_string().contains("made no kernel"));
        let _ = std::fs::remove_dir_all(&dir);
    }
}
