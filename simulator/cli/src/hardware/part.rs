//! What virtual devices are made of, and what can be done to each of them that has nothing to do with its plug.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use biosim_hardware::camera::{self, Camera};
use biosim_hardware::link::LinkOnUsb;
use biosim_hardware::r30x::{self, R30x};
use biosim_hardware::uru4000::{self, Uru4000};
use biosim_scanner::{ModuleDevice, PlugError, Scene, VirtualDevice};
use biosim_usbip::{Faulty, Gadget, Waker};
use biotrust_driver_api::{Pipe, PipeError};
use biotrust_imaging::{Gray, Rgb};
use biotrust_link::Framing;

/// What a device is made of.
pub(super) enum Part {
    /// A reader on USB.
    Reader(Gadget<Faulty<Uru4000>>),
    /// A module, and what wakes the bus that it is on.
    Module(Arc<Mutex<R30x>>, Option<Waker>),
    /// Something that speaks the link, with its cable where it is on USB.
    Link(Arc<dyn LinkEnd>, Option<Gadget<Faulty<LinkOnUsb>>>),
    /// A camera.
    Camera(CameraStand),
}

/// Who is there for the devices to see.
pub(super) struct Person {
    /// The finger that is laid on readers.
    pub(super) print: Gray,
    /// What cameras see; there where there is a camera.
    pub(super) photo: Option<Arc<Rgb>>,
}

/// Whether a name was that of a fault.
pub(super) enum Known {
    Yes,
    /// It was not; which there are.
    No(String),
}

impl Part {
    /// Shows the person to the device, or nobody.
    pub(super) fn show(&self, person: Option<&Person>) -> anyhow::Result<()> {
        // An image is not cloned by accident; here a finger is laid on several devices.
        let print = || person.map(|person| person.print.crop(person.print.bounds())).transpose();
        match self {
            Self::Reader(gadget) => {
                let print = print().context("laying a finger on a reader")?;
                gadget.with(|reader| match print {
                    Some(print) => reader.device().press(print),
                    None => reader.device().lift(),
                });
            }
            Self::Module(module, waker) => {
                match print().context("laying a finger on a module")? {
                    Some(print) => locked(module).press(print),
                    None => locked(module).lift(),
                }
                wake(waker.as_ref());
            }
            Self::Link(end, _) => end.show(person.is_some()),
            Self::Camera(stand) => stand.show(person.and_then(|person| person.photo.clone()))?,
        }
        Ok(())
    }

    /// Sets a fault of the device itself by its name, or none.
    pub(super) fn set_fault(&self, name: Option<&str>) -> Known {
        let unknown = |error: String| Known::No(format!("{error}; "));
        match self {
            Self::Reader(gadget) => match name.map(str::parse::<uru4000::Fault>).transpose() {
                Ok(fault) => gadget.with(|reader| reader.device().set_fault(fault)),
                Err(error) => return unknown(error.to_string()),
            },
            Self::Module(module, waker) => match name.map(str::parse::<r30x::Fault>).transpose() {
                Ok(fault) => {
                    locked(module).set_fault(fault, Instant::now());
                    wake(waker.as_ref());
                }
                Err(error) => return unknown(error.to_string()),
            },
            Self::Camera(stand) => match name.map(str::parse::<camera::Fault>).transpose() {
                Ok(fault) => stand.set_fault(fault),
                Err(error) => return unknown(error.to_string()),
            },
            Self::Link(..) if name.is_none() => {}
            Self::Link(..) => return Known::No(String::new()),
        }
        Known::Yes
    }
}

fn wake(waker: Option<&Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Gives the device's end of a new line.
pub(super) type Connect = Box<dyn Fn() -> Result<Box<dyn Pipe>, PipeError> + Send + Sync>;

/// Something that speaks the link.
pub(super) trait LinkEnd: Send + Sync {
    /// Plugs it into a bus.
    fn attach(&self, framing: Framing, connect: Connect) -> Result<(), PlugError>;
    /// Plugs it in as a serial line, which is linked to in this folder.
    fn plug(&self, folder: &Path) -> Result<(), PlugError>;
    fn unplug(&self);
    fn is_plugged(&self) -> bool;
    /// Its power is gone for a moment.
    fn power_cycle(&self) -> Result<(), PlugError>;
    /// Whether somebody is in front of it.
    fn show(&self, present: bool);
}

impl LinkEnd for VirtualDevice {
    fn attach(&self, framing: Framing, connect: Connect) -> Result<(), PlugError> {
        self.attach_to(framing, connect)
    }

    fn plug(&self, folder: &Path) -> Result<(), PlugError> {
        self.plug(folder)
    }

    fn unplug(&self) {
        self.unplug();
    }

    fn is_plugged(&self) -> bool {
        self.is_plugged()
    }

    fn power_cycle(&self) -> Result<(), PlugError> {
        self.power_cycle()
    }

    fn show(&self, present: bool) {
        self.set_scene(Scene { present, ..Scene::default() });
    }
}

impl LinkEnd for ModuleDevice {
    fn attach(&self, framing: Framing, connect: Connect) -> Result<(), PlugError> {
        self.attach(connect()?, framing)
    }

    fn plug(&self, folder: &Path) -> Result<(), PlugError> {
        self.plug(folder)
    }

    fn unplug(&self) {
        self.unplug();
    }

    fn is_plugged(&self) -> bool {
        self.is_plugged()
    }

    /// It keeps nothing but its keys.
    fn power_cycle(&self) -> Result<(), PlugError> {
        Ok(())
    }

    fn show(&self, _: bool) {}
}

/// Where a camera stands: what it sees stays when it is unplugged.
pub(super) struct CameraStand {
    path: PathBuf,
    state: Mutex<Stand>,
}

#[derive(Default)]
struct Stand {
    camera: Option<Camera>,
    photo: Option<Arc<Rgb>>,
    fault: Option<camera::Fault>,
}

/// Pixels of a frame: a photo of the subject fits in.
const FRAME: (u32, u32) = (1280, 720);

impl CameraStand {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// Its socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn plug(&self) -> anyhow::Result<()> {
        let mut stand = locked(&self.state);
        if stand.camera.is_some() {
            return Ok(());
        }
        let opened = Camera::start(&self.path, FRAME);
        let camera = opened.with_context(|| format!("opening a camera at {}", self.path.display()))?;
        camera.set_fault(stand.fault);
        look_at(&camera, stand.photo.as_deref())?;
        stand.camera = Some(camera);
        Ok(())
    }

    pub(super) fn unplug(&self) {
        locked(&self.state).camera = None;
    }

    pub(super) fn is_plugged(&self) -> bool {
        locked(&self.state).camera.is_some()
    }

    fn show(&self, photo: Option<Arc<Rgb>>) -> anyhow::Result<()> {
        let mut stand = locked(&self.state);
        if let Some(camera) = &stand.camera {
            look_at(camera, photo.as_deref())?;
        }
        stand.photo = photo;
        Ok(())
    }

    fn set_fault(&self, fault: Option<camera::Fault>) {
        let mut stand = locked(&self.state);
        stand.fault = fault;
        if let Some(camera) = &stand.camera {
            camera.set_fault(fault);
        }
    }
}

fn look_at(camera: &Camera, photo: Option<&Rgb>) -> anyhow::Result<()> {
    let shown = photo.map_or_else(|| camera.show_nothing(), |photo| camera.show_face(photo));
    if let Err(error) = shown {
        bail!("the camera cannot show this: {error}");
    }
    Ok(())
}

/// Complete at any moment.
pub(super) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
