//! Opens a GPU; whatever is in the way is an error that says so.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUdevice_attribute as Attribute;

use super::library;
use super::stream::{self, Stream};
use crate::train::device::accelerator::Accelerator;
use crate::train::device::error::DeviceError;

/// The version of CUDA that the kernels' PTX is for, as the driver counts: 13.0.
const CUDA: i32 = 13_000;

/// The compute capability that they are compiled for.
const CAPABILITY: (i32, i32) = (7, 5);

/// Opens GPU number `index` of those that this process sees, and loads the kernels.
///
/// # Errors
/// When a library is missing, the driver does not start or is too old, there is no such GPU, or it is
/// too old or out of memory.
pub fn open(index: usize) -> Result<Accelerator, DeviceError> {
    library::open_all()?;
    // All functions are there; what the bindings should panic at in spite of that is an error, too.
    catch_unwind(AssertUnwindSafe(|| opened(index))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(DeviceError::Driver { reason: said.unwrap_or("the bindings gave up").to_owned() })
    })
}

fn opened(index: usize) -> Result<Accelerator, DeviceError> {
    let driver =
        |error: cudarc::driver::DriverError| DeviceError::Driver { reason: stream::reason(&error) };
    cudarc::driver::result::init().map_err(driver)?;
    let version = stream::driver_version().map_err(driver)?;
    if version < CUDA {
        let [found, needed] = [version, CUDA].map(|v| format!("{}.{}", v / 1000, v % 1000 / 10));
        return Err(DeviceError::Old { found, needed });
    }
    let found = usize::try_from(CudaContext::device_count().map_err(driver)?).unwrap_or_default();
    if index >= found {
        return Err(DeviceError::Index { index, found });
    }
    let context = CudaContext::new(index).map_err(driver)?;
    let name = context.name().map_err(driver)?;
    let attribute = |attribute| context.attribute(attribute).map_err(driver);
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if capability < CAPABILITY {
        let [found, needed] = [capability, CAPABILITY].map(|(a, b)| format!("{a}.{b}"));
        return Err(DeviceError::Capability { index, name, found, needed });
    }
    let name = format!("cuda:{index} ({name})");
    Ok(Accelerator::new(Box::new(Stream::new(&context, name)?)))
}
