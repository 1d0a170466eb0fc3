//! Who signed a request, and whether that one may speak for the device.
//!
//! A serial number belongs to the first chip that registers with it, and a chip to its first serial number: a second chip
//! under the same number, and the same chip under a second number, are clones until a person has looked at them.

use biotrust_certs::Certificate;
use biotrust_mgmt::Sha256;
use biotrust_mgmt::envelope::{Received, Sender};
use biotrust_mgmt::message::RequestKind;
use biotrust_model::time::UtcMillis;

use super::refusal::{deregistered, refuse};
use super::{Outcome, Service};
use crate::store::{Device, DeviceState, Key, StoreError};

/// How the sender stands to the device.
pub(super) struct Standing {
    /// What is known of the device.
    pub(super) device: Option<Device>,
    /// The chip that signed, where one did.
    pub(super) chip: Option<Certificate>,
}

impl Service {
    /// Whether the key was certified here, or is the chip of a device.
    pub(super) async fn knows(&self, sender: &Sender) -> Result<bool, StoreError> {
        let Sender::Certified(certificate) = sender else { return Ok(false) };
        let spki = Sha256::of(certificate.spki_der());
        Ok(self.store.key(&spki).await?.is_some() || self.store.device_of_chip(&spki).await?.is_some())
    }

    pub(super) async fn standing(&self, received: &Received, now: UtcMillis) -> Result<Standing, Outcome> {
        let serial = &received.request.serial;
        let device = self.store.device(serial).await?;
        match &received.sender {
            Sender::Bare(_) => {
                let unused = self.first_key_is_unused(device.as_ref()).await?;
                self.bare(received, device, unused)
            }
            Sender::Certified(certificate) => {
                // A device key is looked up: what is believed is our own record of it, not its chain.
                if let Some(key) = self.store.key(&Sha256::of(certificate.spki_der())).await? {
                    return self.device_key(received, certificate, &key, device, now).await;
                }
                self.chip(serial, certificate, device, now).await
            }
        }
    }

    /// A key without a certificate may ask for the first one, and for what that takes.
    fn bare(&self, received: &Received, device: Option<Device>, unused: bool) -> Result<Standing, Outcome> {
        let kind = received.request.body.kind();
        if !matches!(kind, RequestKind::Challenge | RequestKind::Register | RequestKind::Time) {
            let text = format!("{kind} must be signed with a certificate");
            return Err(refuse("sender", text, "register the device first").into());
        }
        let taken = device.as_ref().filter(|device| device.state != DeviceState::Approved && !unused);
        if let Some(device) = taken.filter(|_| kind != RequestKind::Time) {
            if device.chip_key.is_none() && device.state != DeviceState::Registered {
                return Err(deregistered().into());
            }
            let (text, next) = if device.chip_key.is_some() {
                (
                    "this serial number belongs to a chip, which must sign",
                    "find out who uses the serial number",
                )
            } else {
                (
                    "this serial number is registered with another key",
                    "if its host lost the key, have the provider's operator approve it again",
                )
            };
            return Err(refuse("clone", text, next).into());
        }
        Ok(Standing { device, chip: None })
    }

    /// An L0 device that was registered and has not said so: its certificate was lost on the way, and it asks for another.
    /// Its approval holds until a key is in use.
    async fn first_key_is_unused(&self, device: Option<&Device>) -> Result<bool, StoreError> {
        let device =
            device.filter(|device| device.state == DeviceState::Registered && device.chip_key.is_none());
        let spki = device.and_then(|device| device.current_key.as_ref()).and_then(|spki| Sha256::parse(spki));
        let Some(spki) = spki else { return Ok(false) };
        Ok(self.store.key(&spki).await?.is_some_and(|key| key.confirmed_at.is_none()))
    }

    async fn device_key(
        &self,
        received: &Received,
        certificate: &Certificate,
        key: &Key,
        device: Option<Device>,
        now: UtcMillis,
    ) -> Result<Standing, Outcome> {
        let kind = received.request.body.kind();
        let device = device.filter(|device| key.serial == device.serial);
        let Some(device) = device.filter(|_| key.certificate == certificate.sha256()) else {
            let text = "the certificate was not issued to this device";
            return Err(refuse("sender", text, "sign with the certificate of the device").into());
        };
        if device.chip_key.is_some() {
            let text = "the chip of this device must sign its messages, not its device key";
            return Err(refuse("sender", text, "update the device service").into());
        }
        let farewell = kind == RequestKind::Deregistered;
        let current = match device.current_key.as_ref().and_then(|spki| Sha256::parse(spki)) {
            Some(spki) => self.store.key(&spki).await?,
            None => None,
        };
        // The key in use, or one that was certified after it and is not reported yet.
        let good =
            current.is_some_and(|current| key.issued_at >= current.issued_at) && key.destroyed_at.is_none();
        if !good && !farewell {
            let text = "the key that signed is not the device's any more";
            return Err(
                refuse("sender", text, "have the provider's operator approve the device again").into()
            );
        }
        let renewal =
            matches!(kind, RequestKind::Challenge | RequestKind::Rotate | RequestKind::Time) || farewell;
        if certificate.not_after() < now && !renewal {
            let text = format!("the certificate that signed ended at {}", certificate.not_after().to_wire());
            return Err(refuse("certificate-expired", text, "rotate the device key").into());
        }
        Ok(Standing { device: Some(device), chip: None })
    }

    async fn chip(
        &self,
        serial: &str,
        certificate: &Certificate,
        device: Option<Device>,
        now: UtcMillis,
    ) -> Result<Standing, Outcome> {
        self.ftm.verify(certificate.der(), now).map_err(|error| {
            refuse(
                "chip-path",
                format!(
                    "the signer is neither a chip that is trusted nor a key that was certified here: {error}"
                ),
                "check the device; its chip must be of a trusted FTM provider",
            )
        })?;
        let chip_key = Sha256::of(certificate.spki_der());
        if let Some(device) = &device
            && device.chip_key.as_deref() != Some(chip_key.to_string().as_str())
        {
            let text = "this serial number belongs to another chip";
            return Err(
                refuse("clone", text, "one of the two devices is a copy; take both out of service").into()
            );
        }
        if let Some(other) =
            self.store.device_of_chip(&chip_key).await?.filter(|other| other.serial != serial)
        {
            let text = format!("this chip belongs to serial number {}", other.serial);
            return Err(refuse(
                "clone",
                text,
                "the device calls itself by another's name; take it out of service",
            )
            .into());
        }
        Ok(Standing { device, chip: Some(certificate.clone()) })
    }
}
