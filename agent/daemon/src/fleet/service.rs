//! The fleet as HTTP and the control socket see it.

use std::time::Duration;

use biotrust_model::{Modality, Problem};
use biotrust_sbi::request::{CaptureRequest, StreamRequest};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{EnrolError, Fleet};
use crate::control::{self, ControlError, ControlErrorKind, WaitFor};
use crate::http::{self, FrameStream};

impl http::Service for Fleet {
    fn discovery(&self, modality: Option<Modality>, developer: bool) -> Bytes {
        Self::discovery(self, modality, developer)
    }

    async fn info(&self, developer: bool) -> Bytes {
        Self::info(self, developer).await
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Bytes, Problem> {
        Self::capture(self, request).await
    }

    fn stream(&self, request: &StreamRequest) -> Result<FrameStream, Problem> {
        Self::stream(self, request)
    }
}

impl control::Service for Fleet {
    fn status(&self) -> Value {
        json!({"devices": Self::status(self), "notices": self.notices()})
    }

    async fn wait(&self, condition: WaitFor, timeout: Duration) -> Result<(), ControlError> {
        let waited = Self::wait(self, &condition, timeout).await;
        waited.map_err(|message| ControlError { kind: ControlErrorKind::Timeout, message })
    }

    async fn enrol_begin(&self, serial: &str) -> Result<Vec<u8>, ControlError> {
        Ok(Self::enrol_begin(self, serial).await?)
    }

    async fn enrol_finish(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<String, ControlError> {
        Ok(Self::enrol_finish(self, serial, chain).await?)
    }

    async fn destroy_key(&self, serial: &str) -> Result<(), ControlError> {
        Ok(Self::destroy_key(self, serial).await?)
    }
}

impl From<EnrolError> for ControlError {
    fn from(error: EnrolError) -> Self {
        let kind = match &error {
            EnrolError::NoDevice(_) => ControlErrorKind::NoSuchDevice,
            EnrolError::NotOnHost(_) | EnrolError::Ambiguous(_) | EnrolError::Certificate(_) => {
                ControlErrorKind::Refused
            }
            EnrolError::Ftm(_) | EnrolError::Store(_) | EnrolError::NoAnswer => ControlErrorKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}
