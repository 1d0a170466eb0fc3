//! What the chip signs for the host: evidence and management messages, about this device and nothing else.
//!
//! The chip takes the payload apart before it signs. Its header, and with it the type of the document, it writes itself,
//! so that nothing that it signs here can be taken for a digital ID.

use biotrust_attest::evidence;
use biotrust_driver_api::ChipDocument;
use biotrust_model::DeviceIdentity;
use biotrust_spdm::command::MAX_DOCUMENT;
use serde::Deserialize;

use super::{Ftm, FtmError};

#[derive(Deserialize)]
struct Evidence {
    eat_profile: String,
    mosip_identity: DeviceIdentity,
    mosip_ftm_serial: String,
}

#[derive(Deserialize)]
struct Message {
    mgmt: u32,
    serial: String,
}

impl Ftm {
    /// A compact JWS by the chip key over a document about this device.
    pub(crate) fn sign_document(&self, document: ChipDocument, payload: &str) -> Result<String, FtmError> {
        if payload.len() > MAX_DOCUMENT {
            return Err(FtmError::Document("it is too long"));
        }
        match document {
            ChipDocument::Evidence => self.is_evidence(payload)?,
            ChipDocument::Management => self.is_message(payload)?,
        }
        self.sign_as_chip(document.typ(), payload)
    }

    fn is_evidence(&self, payload: &str) -> Result<(), FtmError> {
        let read: Evidence =
            serde_json::from_str(payload).map_err(|_| FtmError::Document("it is no evidence"))?;
        if read.eat_profile != evidence::PROFILE {
            return Err(FtmError::Document("it is evidence of another profile"));
        }
        if read.mosip_identity != self.description.identity {
            return Err(FtmError::Document("it is evidence about another device"));
        }
        if read.mosip_ftm_serial != self.ftm_serial()? {
            return Err(FtmError::Document("it is evidence about another chip"));
        }
        Ok(())
    }

    fn is_message(&self, payload: &str) -> Result<(), FtmError> {
        let read: Message =
            serde_json::from_str(payload).map_err(|_| FtmError::Document("it is no management message"))?;
        if read.mgmt != 1 {
            return Err(FtmError::Document("it is a management message of another version"));
        }
        if read.serial != self.description.identity.serial_no {
            return Err(FtmError::Document("it is a management message of another device"));
        }
        Ok(())
    }
}
