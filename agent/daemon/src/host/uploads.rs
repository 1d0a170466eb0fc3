//! Firmware images on their way in through the control socket: one at a time, in memory, no longer than announced.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The image that is being received.
#[derive(Default)]
pub(super) struct Uploads(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    open: Option<Upload>,
}

/// An update of a device, whole or not yet.
pub(super) struct Upload {
    id: u64,
    pub(super) serial: String,
    pub(super) manifest: String,
    size: u64,
    image: Vec<u8>,
}

impl Upload {
    /// The image.
    pub(super) fn into_image(self) -> Bytes {
        self.image.into()
    }
}

/// Why a piece is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UploadError {
    #[error("there is no such update: it ended, or another was begun; begin again")]
    Unknown,
    #[error("the image is longer than the {0} bytes of its manifest")]
    TooLong(u64),
    #[error("the image has {got} bytes, its manifest says {size}")]
    Incomplete { got: u64, size: u64 },
}

impl Uploads {
    /// Makes room for an image; what was open before is dropped.
    pub(super) fn begin(&self, serial: &str, manifest: String, size: u64) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        let id = state.last;
        state.open = Some(Upload { id, serial: serial.to_owned(), manifest, size, image: Vec::new() });
        id
    }

    /// Adds a piece; the bytes that are here now.
    pub(super) fn add(&self, id: u64, data: &[u8]) -> Result<u64, UploadError> {
        let mut state = self.lock();
        let open = state.open.as_mut().filter(|open| open.id == id).ok_or(UploadError::Unknown)?;
        let received = (open.image.len() + data.len()) as u64;
        if received > open.size {
            return Err(UploadError::TooLong(open.size));
        }
        open.image.extend_from_slice(data);
        Ok(received)
    }

    /// Takes the whole image.
    pub(super) fn finish(&self, id: u64) -> Result<Upload, UploadError> {
        let mut state = self.lock();
        let open = state.open.take_if(|open| open.id == id).ok_or(UploadError::Unknown)?;
        match open.image.len() as u64 {
            got if got == open.size => Ok(open),
            got => Err(UploadError::Incomplete { got, size: open.size }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // every change is a single assignment
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_taken_whole_and_once() {
        let uploads = Uploads::default();
        let id = uploads.begin("S", "m".into(), 4);
        assert_eq!(uploads.add(id, b"ab"), Ok(2));
        assert_eq!(uploads.add(id, b"cde"), Err(UploadError::TooLong(4)));
        assert_eq!(uploads.add(id, b"cd"), Ok(4));
        let upload = uploads.finish(id).ok().unwrap();
        assert_eq!(
            (upload.serial.clone(), upload.into_image()),
            ("S".to_owned(), Bytes::from_static(b"abcd"))
        );
        assert_eq!(uploads.finish(id).err(), Some(UploadError::Unknown));
    }

    #[test]
    fn a_new_update_takes_the_place_of_the_old_one() {
        let uploads = Uploads::default();
        let old = uploads.begin("S", "m".into(), 4);
        let new = uploads.begin("S", "m".into(), 1);
        assert_eq!(uploads.add(old, b"a"), Err(UploadError::Unknown));
        assert_eq!(uploads.finish(new).err(), Some(UploadError::Incomplete { got: 0, size: 1 }));
    }
}
