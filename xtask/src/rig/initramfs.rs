//! The first root of a guest: busybox, a script, and the modules without which the real one cannot be mounted.
//!
//! An archive of cpio's format "newc", which the kernel unpacks; written here, as it is but a header before each file.

use std::path::Path;

use super::kernel::Kernel;
use crate::step::Failure;

/// Static, so that it needs nothing but itself.
const BUSYBOX: &str = "/bin/busybox";
/// For the root over 9p, and a layer over it that can be written to.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// Writes the archive for `kernel` to `to`; `script` becomes its first process.
pub(super) fn write(kernel: &Kernel, script: &str, to: &Path) -> Result<(), Failure> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))
    };
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "modules", "host", "layer", "newroot"] {
        archive.add(directory, DIRECTORY, &[]);
    }
    archive.add("bin/busybox", PROGRAM, &read(Path::new(BUSYBOX))?);
    archive.add("init", PROGRAM, script.as_bytes());
    // The names say the order.
    for (number, file) in kernel.modules(&MODULES)?.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        archive.add(&format!("modules/{number:02}-{name}"), PROGRAM, &read(file)?);
    }
    std::fs::write(to, archive.finish())
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", to.display())))
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (ino, links) = (self.entries, 1);
        let size = content.len();
        let name_size = name.len() + 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, device numbers (4), namesize, check
        self.bytes.extend_from_slice(
            format!(
                "070701{ino:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
                0
            )
            .as_bytes(),
        );
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_what_cpio_reads() {
        let mut archive = Archive::default();
        archive.add("bin", DIRECTORY, &[]);
        archive.add("bin/odd", PROGRAM, b"12345");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("070701000000010000 41ed".replace(' ', "").as_str()), "{text}");
        assert_eq!((bytes.len() % 4, text.matches("070701").count()), (0, 3));
        // Header (110 bytes) and name end at a multiple of four, the content too.
        let second = text.match_indices("070701").nth(1).unwrap().0;
        assert_eq!(second, (110_usize + 4).next_multiple_of(4));
        assert!(text.contains("12345\x00\x00\x00070701"));
    }
}
