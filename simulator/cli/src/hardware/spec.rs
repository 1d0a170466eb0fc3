//! How devices and the ways to plug them in are written on the command line.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use biosim_scanner::{Kind, Spec};
use biotrust_model::{Level, Purpose};

/// `[NAME=]KIND[@WHERE][:OPTIONS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceSpec {
    /// What `biosim ctl` calls it, where that was said.
    pub(crate) name: Option<String>,
    /// What it is.
    pub(crate) kind: HardwareKind,
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HardwareKind {
    /// A U.are.U 4500 on USB, with a serial number if need be; real ones have none.
    Uru4000 { serial: String },
    /// An R30x module.
    R30x { on: Line, serial: String },
    /// A reference device.
    Link { on: Bus, spec: Spec },
    /// A trust module beside a sensor.
    Ftm { on: Bus },
    /// A camera: frames on a Unix socket.
    Camera { socket: PathBuf },
}

/// What serial line a module is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// A USB port of its own.
    Acm,
    /// A USB adapter.
    Ftdi,
    /// A pseudo-terminal.
    Pty,
}

/// What bus carries the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bus {
    /// Bulk endpoints.
    Usb,
    /// HID reports.
    Hid,
    /// A pseudo-terminal.
    Pty,
}

impl HardwareKind {
    /// Whether it is plugged into USB.
    pub(crate) const fn is_usb(&self) -> bool {
        match self {
            Self::Uru4000 { .. } => true,
            Self::R30x { on, .. } => !matches!(on, Line::Pty),
            Self::Link { on, .. } | Self::Ftm { on } => !matches!(on, Bus::Pty),
            Self::Camera { .. } => false,
        }
    }

    /// Whether it needs a folder for its link to a pseudo-terminal.
    pub(crate) const fn is_pty(&self) -> bool {
        !self.is_usb() && !matches!(self, Self::Camera { .. })
    }

    /// What it is called where nobody has named it.
    pub(crate) const fn default_name(&self) -> &'static str {
        match self {
            Self::Uru4000 { .. } => "uru4000",
            Self::R30x { on: Line::Acm, .. } => "r30x-acm",
            Self::R30x { on: Line::Ftdi, .. } => "r30x-ftdi",
            Self::R30x { on: Line::Pty, .. } => "r30x-pty",
            Self::Link { on: Bus::Usb, .. } => "link-usb",
            Self::Link { on: Bus::Hid, .. } => "link-hid",
            Self::Link { on: Bus::Pty, .. } => "link-pty",
            Self::Ftm { on: Bus::Usb | Bus::Hid } => "ftm-hid",
            Self::Ftm { on: Bus::Pty } => "ftm-pty",
            Self::Camera { .. } => "camera",
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if is_name(name) => (Some(name.to_owned()), rest),
            Some((name, _)) => return Err(format!("{name:?} is no name: letters, digits, - and _")),
            None => (None, text),
        };
        let kind = kind(rest).ok_or_else(|| format!("{rest:?} is no device; {FORMS}"))??;
        Ok(Self { name, kind })
    }
}

/// The forms that [`DeviceSpec`] has.
pub(crate) const FORMS: &str = "there are uru4000[:SERIAL], r30x@acm|ftdi[:SERIAL], r30x@pty, \
    link@usb|hid|pty:L0|L1,KIND[,auth|registration] (KIND: FingerSlap, FingerSingle, FingerTouchless, IrisDouble, \
    IrisSingle, Face), ftm@hid|pty, camera@SOCKET";

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// `None` where there is no such form; an error where a part of it is wrong.
fn kind(text: &str) -> Option<Result<HardwareKind, String>> {
    if let Some(socket) = text.strip_prefix("camera@").filter(|socket| !socket.is_empty()) {
        return Some(Ok(HardwareKind::Camera { socket: socket.into() }));
    }
    let (head, options) = match text.split_once(':') {
        Some((head, options)) => (head, Some(options)),
        None => (text, None),
    };
    let serial = || options.unwrap_or_default().to_owned();
    let bus = |on: &str| match on {
        "usb" => Some(Bus::Usb),
        "hid" => Some(Bus::Hid),
        "pty" => Some(Bus::Pty),
        _ => None,
    };
    let kind = match (head.split_once('@'), options) {
        (None, _) if head == "uru4000" => HardwareKind::Uru4000 { serial: serial() },
        (Some(("r30x", "acm")), _) => HardwareKind::R30x { on: Line::Acm, serial: serial() },
        (Some(("r30x", "ftdi")), _) => HardwareKind::R30x { on: Line::Ftdi, serial: serial() },
        (Some(("r30x", "pty")), None) => HardwareKind::R30x { on: Line::Pty, serial: String::new() },
        (Some(("ftm", on @ ("hid" | "pty"))), None) => HardwareKind::Ftm { on: bus(on)? },
        (Some(("link", on)), Some(options)) => {
            let on = bus(on)?;
            return Some(scanner(options).map(|spec| HardwareKind::Link { on, spec }));
        }
        _ => return None,
    };
    Some(Ok(kind))
}

/// `LEVEL,KIND[,PURPOSE]`.
fn scanner(options: &str) -> Result<Spec, String> {
    let mut parts = options.split(',');
    let level = match parts.next() {
        Some("L0" | "l0") => Level::L0,
        Some("L1" | "l1") => Level::L1,
        other => return Err(format!("{:?} is no level: L0 or L1", other.unwrap_or_default())),
    };
    let (kind, usual) = match parts.next() {
        Some("FingerSlap") => (Kind::SlapFinger, Purpose::Registration),
        Some("FingerSingle") => (Kind::SingleFinger, Purpose::Auth),
        Some("FingerTouchless") => (Kind::TouchlessFinger, Purpose::Auth),
        Some("IrisDouble") => (Kind::DoubleIris, Purpose::Registration),
        Some("IrisSingle") => (Kind::SingleIris, Purpose::Auth),
        Some("Face") => (Kind::Face, Purpose::Registration),
        other => return Err(format!("{:?} is no kind of scanner; {FORMS}", other.unwrap_or_default())),
    };
    let purpose = match parts.next() {
        None => usual,
        Some("auth") => Purpose::Auth,
        Some("registration") => Purpose::Registration,
        Some(other) => return Err(format!("{other:?} is no purpose: auth or registration")),
    };
    match parts.next() {
        None => Ok(Spec { kind, level, purpose }),
        Some(other) => Err(format!("{other:?} is one part too many")),
    }
}

/// Where devices are plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attach {
    /// USB devices into this machine's kernel.
    Vhci,
    /// USB devices are offered to `usbip attach` at this address.
    Tcp(SocketAddr),
    /// Serial devices: a link to the pseudo-terminal in this folder.
    Pty(PathBuf),
}

impl FromStr for Attach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "vhci" => Ok(Self::Vhci),
            Some(("pty", folder)) if !folder.is_empty() => Ok(Self::Pty(folder.into())),
            Some(("tcp", address)) => {
                let resolved = address.to_socket_addrs().ok().and_then(|mut all| all.next());
                resolved.map(Self::Tcp).ok_or_else(|| format!("{address:?} is no address: HOST:PORT"))
            }
            _ => Err(format!("{text:?} is no way to plug in: vhci, tcp:HOST:PORT or pty:FOLDER")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_documented() {
        let kind = |text: &str| text.parse::<DeviceSpec>().unwrap().kind;
        assert_eq!(kind("uru4000"), HardwareKind::Uru4000 { serial: String::new() });
        assert_eq!(kind("uru4000:U1"), HardwareKind::Uru4000 { serial: "U1".into() });
        assert_eq!(kind("r30x@ftdi:F7"), HardwareKind::R30x { on: Line::Ftdi, serial: "F7".into() });
        let slap = Spec { kind: Kind::SlapFinger, level: Level::L1, purpose: Purpose::Registration };
        assert_eq!(kind("link@usb:L1,FingerSlap"), HardwareKind::Link { on: Bus::Usb, spec: slap });
        let face = Spec { kind: Kind::Face, level: Level::L0, purpose: Purpose::Auth };
        assert_eq!(kind("link@hid:L0,Face,auth"), HardwareKind::Link { on: Bus::Hid, spec: face });
        assert_eq!(kind("ftm@hid"), HardwareKind::Ftm { on: Bus::Hid });
        assert_eq!(kind("camera@/run/c.sock"), HardwareKind::Camera { socket: "/run/c.sock".into() });
        let named: DeviceSpec = "left=r30x@pty".parse().unwrap();
        assert_eq!(named.name.as_deref(), Some("left"));
        assert!(named.kind.is_pty() && !named.kind.is_usb());
    }

    #[test]
    fn what_is_no_device_is_refused_with_what_there_is() {
        for bad in [
            "",
            "uru",
            "r30x",
            "r30x@usb",
            "r30x@pty:1",
            "link@usb",
            "ftm",
            "ftm@usb",
            "camera@",
            "a b=uru4000",
        ] {
            assert!(bad.parse::<DeviceSpec>().is_err(), "{bad}");
        }
        let error = "r30x@usb".parse::<DeviceSpec>().unwrap_err();
        assert!(error.contains("r30x@acm"), "{error}");
        for (bad, why) in [
            ("link@usb:L3,Face", "level"),
            ("link@usb:L1,Nose", "kind"),
            ("link@usb:L1,Face,fun", "purpose"),
            ("link@usb:L1,Face,auth,x", "too many"),
        ] {
            let error = bad.parse::<DeviceSpec>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn ways_to_plug_in() {
        assert_eq!("vhci".parse(), Ok(Attach::Vhci));
        assert_eq!("tcp:127.0.0.1:3240".parse(), Ok(Attach::Tcp(([127, 0, 0, 1], 3240).into())));
        assert_eq!("pty:links".parse(), Ok(Attach::Pty("links".into())));
        for bad in ["", "usb", "tcp:", "tcp:nowhere", "pty:"] {
            assert!(bad.parse::<Attach>().is_err(), "{bad}");
        }
    }
}
