//! Opens CUDA's libraries, for good.
#![expect(unsafe_code, reason = "opening a library of C runs its initialisers")]

use std::path::Path;

use libloading::os::unix::{Library as Opened, RTLD_GLOBAL, RTLD_LAZY};

use super::stream;
use crate::train::device::error::DeviceError;
use crate::train::device::libraries::{self, Library, Places};

/// Opens the driver's library and leaves it open: the bindings find it by its name from then on. Says
/// for which version of CUDA it is.
///
/// # Errors
/// When it is missing, cannot be loaded, or lacks a function.
pub fn open_driver() -> Result<i32, DeviceError> {
    std::mem::forget(open(&libraries::DRIVER, Places::of_this_machine())?);
    let failed = |error| DeviceError::Driver { reason: stream::reason(&error) };
    stream::driver_version().map_err(failed)
}

/// Opens the other libraries that a GPU needs, in the versions that go with a driver of that version of
/// CUDA, and leaves them open, too.
///
/// # Errors
/// As [`open_driver`].
pub fn open_products(version: i32) -> Result<(), DeviceError> {
    let places = Places::of_this_machine();
    [libraries::CUBLAS_LT, libraries::CUBLAS]
        .into_iter()
        .try_for_each(|library| open(&library.for_driver(version), places).map(std::mem::forget))
}

/// Opens cuDNN where it is there, as [`open_products`] opens the others: it is not needed.
///
/// # Errors
/// When it is there and cannot be loaded, or lacks a function.
pub fn open_cudnn() -> Result<bool, DeviceError> {
    match open(&libraries::CUDNN, Places::of_this_machine()) {
        Ok(opened) => {
            std::mem::forget(opened);
            Ok(true)
        }
        Err(DeviceError::Missing { .. }) => Ok(false),
        Err(DeviceError::Unloadable { file, reason }) => {
            let reason = format!("{reason}; GRIDLANE_CUDNN=off trains without it");
            Err(DeviceError::Unloadable { file, reason })
        }
        Err(error) => Err(error),
    }
}

/// Every library that a run may want, with the file that it is opened as, or why it cannot be.
pub fn survey() -> Vec<(&'static str, Result<String, DeviceError>)> {
    let places = Places::of_this_machine();
    let look = |library: Library| {
        let file = opened(&library, places).map(|(opened, file)| {
            std::mem::forget(opened);
            file
        });
        (library.what, file)
    };
    let driver = look(libraries::DRIVER);
    // As a run takes them: those that go with the driver, where there is one.
    let version = driver.1.as_ref().ok().and_then(|_| stream::driver_version().ok());
    let others = [libraries::CUBLAS_LT, libraries::CUBLAS, libraries::CUDNN, libraries::NCCL];
    let others = others.map(|library| match version {
        Some(version) => look(library.for_driver(version)),
        None => look(library),
    });
    std::iter::once(driver).chain(others).collect()
}

/// Opens a library; it is closed again when what is returned goes.
///
/// # Errors
/// As [`open_driver`].
pub fn open(library: &Library, places: &Places) -> Result<Opened, DeviceError> {
    opened(library, places).map(|(opened, _)| opened)
}

/// The same with the file, or the name under which the system's loader found it.
fn opened(library: &Library, places: &Places) -> Result<(Opened, String), DeviceError> {
    let (opened, file) = libraries::find(library, places, |path: &Path| {
        // SAFETY: these are NVIDIA's libraries, or what the user has named instead; their
        // initialisers ask nothing of whoever opens them.
        let opened = unsafe { Opened::open(Some(path), RTLD_LAZY | RTLD_GLOBAL) };
        Ok((opened.map_err(|error| error.to_string())?, path.display().to_string()))
    })?;
    for name in library.functions {
        // SAFETY: the function is looked up, not called.
        let found = unsafe { opened.get::<unsafe extern "C" fn()>(name.as_bytes()) };
        if found.is_err() {
            let reason = format!("it has no function {name}; it is too old, or another library");
            return Err(DeviceError::Unloadable { file, reason });
        }
    }
    Ok((opened, file))
}
