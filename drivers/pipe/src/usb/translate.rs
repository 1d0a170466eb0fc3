//! The words of `nusb` for those of the driver seam.

use biotrust_driver_api::{Endpoint, EndpointKind, Interface, Recipient, RequestKind};
use nusb::Device;
use nusb::descriptors::{EndpointDescriptor, TransferType};
use nusb::transfer::ControlType;

pub(super) const fn control_type(kind: RequestKind) -> ControlType {
    match kind {
        RequestKind::Standard => ControlType::Standard,
        RequestKind::Class => ControlType::Class,
        RequestKind::Vendor => ControlType::Vendor,
    }
}

pub(super) const fn recipient(recipient: Recipient) -> nusb::transfer::Recipient {
    match recipient {
        Recipient::Device => nusb::transfer::Recipient::Device,
        Recipient::Interface => nusb::transfer::Recipient::Interface,
        Recipient::Endpoint => nusb::transfer::Recipient::Endpoint,
    }
}

/// The interfaces of the active configuration, each in its first alternate setting.
pub(super) fn describe(device: &Device) -> Result<Vec<Interface>, nusb::Error> {
    let configuration = device.active_configuration()?;
    let mut interfaces: Vec<_> = configuration
        .interface_alt_settings()
        .filter(|setting| setting.alternate_setting() == 0)
        .map(|setting| Interface {
            number: setting.interface_number(),
            class: setting.class(),
            sub_class: setting.subclass(),
            protocol: setting.protocol(),
            endpoints: setting.endpoints().filter_map(|e| endpoint(&e)).collect(),
        })
        .collect();
    interfaces.sort_by_key(|interface| interface.number);
    Ok(interfaces)
}

fn endpoint(descriptor: &EndpointDescriptor<'_>) -> Option<Endpoint> {
    let kind = match descriptor.transfer_type() {
        TransferType::Bulk => EndpointKind::Bulk,
        TransferType::Interrupt => EndpointKind::Interrupt,
        TransferType::Control | TransferType::Isochronous => return None,
    };
    let max_packet = u16::try_from(descriptor.max_packet_size()).ok().filter(|size| *size > 0)?;
    Some(Endpoint { address: descriptor.address(), kind, max_packet })
}
