//! Entries for udev's hardware database.
//!
//! Other packages list fingerprint readers there as devices that may sleep; the file with the later name wins. The rules
//! say the same ([`crate::rules`]); the database says it before the device is up.

use std::fmt::Write;

use crate::book::Book;

/// Name of the file: after systemd's `60-autosuspend-*`.
pub const FILE: &str = "60-biotrust.hwdb";

const HEAD: &str = "\
# Biometric devices stay awake. Made by `biotrust udev generate hwdb` from the quirk files; changes here are lost.
# Goes to /usr/lib/udev/hwdb.d/60-biotrust.hwdb; then run: systemd-hwdb update
";

/// Writes the entries for all ids of the book that are enabled.
#[must_use]
pub fn generate(book: &Book) -> String {
    let mut text = HEAD.to_owned();
    let mut entries: Vec<_> = book.entries().iter().filter(|e| e.enabled && !e.ids.is_empty()).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        // Writing to a text does not fail.
        let _ = writeln!(text, "\n# {} ({})", entry.about, entry.name);
        for id in &entry.ids {
            let product = id.product.map_or_else(String::new, |product| format!("{product:04X}"));
            let _ = writeln!(text, "usb:v{:04X}p{product}*", id.vendor);
        }
        text.push_str(" ID_AUTOSUSPEND=0\n ID_PERSIST=0\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enabled_id_is_there_once_and_no_other() {
        let mut book = Book::embedded();
        let text = generate(&book);
        assert_eq!(text.matches("usb:v05BAp000A*\n").count(), 1);
        assert!(!text.contains("v0403"));
        book.enable(&["r30x-ftdi"]).unwrap();
        assert!(generate(&book).contains("usb:v0403p6001*\nusb:v0403p6015*\n ID_AUTOSUSPEND=0\n"));
    }
}
