//! The fleet as HTTP and the control socket see it.

use std::time::Duration;

use biotrust_driver_api::FtmError;
use biotrust_model::{Modality, Problem};
use biotrust_sbi::request::{CaptureRequest, StreamRequest};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Fleet, ManageError};
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
        json!({
            "devices": Self::status(self),
            "left_alone": self.left_alone(),
            "vendor_drivers": self.vendor_drivers(),
            "notices": self.notices(),
        })
    }

    async fn wait(&self, condition: WaitFor, timeout: Duration) -> Result<(), ControlError> {
        let waited = Self::wait(self, &condition, timeout).await;
        waited.map_err(|message| ControlError { kind: ControlErrorKind::Timeout, message })
    }

    async fn enrol_begin(&self, serial: &str) -> Result<Vec<u8>, ControlError> {
        Ok(Self::begin_rotation(self, serial).await?)
    }

    async fn enrol_finish(&self, serial: &str, chain: Vec<Vec<u8>>) -> Result<String, ControlError> {
        Ok(Self::finish_rotation(self, serial, chain).await?.certificate_sha256)
    }

    async fn destroy_key(&self, serial: &str) -> Result<(), ControlError> {
        Self::destroy_key(self, serial).await?;
        Ok(())
    }
}

impl From<ManageError> for ControlError {
    fn from(error: ManageError) -> Self {
        let kind = match &error {
            ManageError::NoDevice(_) => ControlErrorKind::NoSuchDevice,
            ManageError::Ambiguous(_)
            | ManageError::Certificate(_)
            | ManageError::NotRegistered(_)
            | ManageError::Unsupported(_)
            | ManageError::Firmware(_)
            | ManageError::Device(_)
            | ManageError::Ftm(
                FtmError::State { .. } | FtmError::Unsupported(_) | FtmError::Unusable { .. },
            ) => ControlErrorKind::Refused,
            ManageError::Ftm(_)
            | ManageError::Store(_)
            | ManageError::NoAnswer
            | ManageError::Internal(_) => ControlErrorKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}
