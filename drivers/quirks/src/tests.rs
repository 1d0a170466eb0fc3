//! Files, books and matches as their users see them.

mod committed;
mod files;
mod matching;

use std::path::Path;

use biotrust_driver_api::{Bus, Node, UsbIdentity};

use crate::{Book, Entry, QuirkError};

/// A device on a bus.
fn node(bus: Bus, vendor: u16, product: u16, name: &str) -> Node {
    let usb = UsbIdentity { vendor, product, release: 0x0110, name: name.into(), ..UsbIdentity::default() };
    Node { bus, place: "p".into(), path: "/dev/x".into(), usb: Some(usb), driver: None }
}

fn parse(text: &str) -> Result<Vec<Entry>, QuirkError> {
    crate::file::parse(Path::new("acme.toml"), text)
}

/// The built-in book with these files over it.
fn book(files: &[&str]) -> Book {
    let mut book = Book::embedded();
    files.iter().for_each(|text| book.add(parse(text).unwrap()));
    book
}

/// The name of the entry that is found for the node.
fn found(book: &Book, node: &Node) -> Option<String> {
    book.find(node).map(|found| found.quirks.name)
}
