//! What HTTP needs of the fleet, and all that it knows of it.

use std::future::Future;
use std::pin::Pin;

use axum::body::Bytes;
use biotrust_driver_api::Frame;
use biotrust_model::{Modality, Problem};
use biotrust_sbi::request::{CaptureRequest, StreamRequest};

/// Preview frames, the newest one whenever it is polled; ends when the device can deliver no more. Dropping it ends
/// the preview.
pub type FrameStream = Pin<Box<dyn futures_util::Stream<Item = Frame> + Send>>;

/// The devices of this host as clients see them. Bodies are finished JSON.
///
/// `developer` shows devices of both purposes, whatever the configuration serves.
pub trait Service: Send + Sync + 'static {
    /// Body of an answer to MOSIPDISC: an array. Does no cryptography and answers at once.
    fn discovery(&self, modality: Option<Modality>, developer: bool) -> Bytes;

    /// Body of an answer to MOSIPDINFO: an array of signed device infos.
    fn info(&self, developer: bool) -> impl Future<Output = Bytes> + Send;

    /// Body of an answer to CAPTURE or RCAPTURE. Dropping the future cancels the capture.
    ///
    /// # Errors
    /// The problem that the client is told of.
    fn capture(&self, request: CaptureRequest) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// Opens a live preview.
    ///
    /// # Errors
    /// The problem that the client is told of.
    fn stream(&self, request: &StreamRequest) -> Result<FrameStream, Problem>;
}
