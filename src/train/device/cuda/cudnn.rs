//! cuDNN: convolutions by NVIDIA's library, where it is there.
//!
//! Its convolution functions (cudnn_cnn of cuDNN 9), tensors in NHWC and filters in KRSC, which are the
//! engine's own layouts. An algorithm is chosen once for a shape and direction, by cuDNN's heuristics and
//! not by timing, whose noise would change bits; only deterministic ones, within a limit of memory.
#![expect(unsafe_code, reason = "handles and descriptors of cuDNN have no safe form")]

use std::env;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use cudarc::driver::result as driver;
use cudarc::driver::sys::CUstream;

use super::cudnn_choice::{Plan, chosen, is_unsupported};
use crate::spec::architecture::CONVOLUTION_BYTES;
use crate::spec::precision::Precision;
use crate::train::device::backend::Address;
use crate::train::device::convolution::{Algorithm, ConvolutionCall, ConvolutionShape, Direction};

/// The limit of what an algorithm works in, as people write it.
const LIMIT_MIB: u64 = CONVOLUTION_BYTES >> 20;

/// The variable that switches it off.
const SWITCH: &str = "GRIDLANE_CUDNN";

/// Is cuDNN to be used where it is there? `GRIDLANE_CUDNN=off` says no.
pub(super) fn is_wanted() -> bool {
    env::var(SWITCH).map_or(true, |value| !matches!(value.as_str(), "off" | "0" | "no"))
}

/// The library with what was chosen.
pub(super) struct Cudnn {
    version: String,
    inside: Mutex<Inside>,
}

struct Inside {
    stream: CUstream,
    /// Made for the first convolution: it costs time and memory that other networks need not spend.
    handle: Option<sys::cudnnHandle_t>,
    /// What was asked for, with its place among the plans if there is one.
    asked: Vec<(ConvolutionShape, Direction, Option<Algorithm>)>,
    plans: Vec<Plan>,
}

// SAFETY: handle and descriptors belong to no thread; whoever uses them holds the lock, with the
// context of the GPU bound.
unsafe impl Send for Inside {}

impl Drop for Inside {
    fn drop(&mut self) {
        self.plans.clear();
        if let Some(handle) = self.handle {
            // SAFETY: the handle was made here and is used no more.
            let _ = unsafe { result::destroy_handle(handle) };
        }
    }
}

impl Inside {
    fn handle(&mut self) -> Result<sys::cudnnHandle_t, CudnnError> {
        if let Some(handle) = self.handle {
            return Ok(handle);
        }
        let handle = *self.handle.insert(result::create_handle()?);
        // SAFETY: handle and stream live; the driver's and the runtime's streams are the same thing.
        unsafe { result::set_stream(handle, self.stream.cast()) }?;
        Ok(handle)
    }
}

/// cuDNN's version as people write it: 91900 is 9.19.0.
fn version_of(number: usize) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}

impl Cudnn {
    /// cuDNN, whose library is open, on a stream.
    pub(super) fn new(stream: CUstream) -> Self {
        let inside = Inside { stream, handle: None, asked: Vec::new(), plans: Vec::new() };
        Self { version: version_of(result::get_version()), inside: Mutex::new(inside) }
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// What was chosen for a shape and direction, or is now; the context is bound. What is left to
    /// patches is said once, with the reason.
    ///
    /// # Errors
    /// When cuDNN does not start, or fails otherwise than by not knowing the shape.
    pub(super) fn algorithm(
        &self,
        shape: &ConvolutionShape,
        direction: Direction,
    ) -> Result<Option<Algorithm>, CudnnError> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inside.asked.iter().find(|(s, way, _)| (s, *way) == (shape, direction));
        if let Some((_, _, algorithm)) = known {
            return Ok(*algorithm);
        }
        let ((plan, refused), reason) = match shape.is_aligned {
            true => {
                let (handle, stream) = (inside.handle()?, inside.stream);
                let bytes = largest_operand(shape);
                let mut trial = |plan: &Plan| tried(handle, stream, plan, bytes);
                match chosen(handle, shape, direction, &mut trial) {
                    Err(error) if is_unsupported(error) => (Default::default(), error.to_string()),
                    choice => {
                        (choice?, format!("no deterministic algorithm within {LIMIT_MIB} MiB"))
                    }
                }
            }
            false => {
                (Default::default(), "lanes that do not begin where it needs them to".to_owned())
            }
        };
        // Not being heard is no reason to stop.
        let said = |line: String| _ = writeln!(std::io::stderr().lock(), "{line}");
        for algorithm in refused {
            said(format!(
                "cuDNN {} offers algorithm {algorithm} and refuses it when it is called, the next is \
                 taken: {direction:?} of {shape:?}",
                self.version
            ));
        }
        let algorithm = plan
            .as_ref()
            .map(|plan| Algorithm { number: inside.plans.len(), workspace: plan.workspace });
        if algorithm.is_none() {
            said(format!(
                "not by cuDNN {} but by patches ({reason}): {direction:?} of {shape:?}",
                self.version
            ));
        }
        inside.plans.extend(plan);
        inside.asked.push((*shape, direction, algorithm));
        Ok(algorithm)
    }

    /// Queues a convolution; the context is bound.
    ///
    /// # Errors
    /// When cuDNN refuses.
    pub(super) fn convolve(&self, call: &ConvolutionCall) -> Result<(), CudnnError> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = inside.handle()?;
        let plan = &inside.plans[call.algorithm];
        // SAFETY: all operands are this GPU's memory and as large as the descriptors say, which tests
        // of every geometry check on the host.
        unsafe { plan.queue(handle, call.operands, call.workspace) }
    }
}

/// Calls an algorithm once, on memory that means nothing. Where there is no memory for that, the
/// algorithm is taken as it is offered.
fn tried(
    handle: sys::cudnnHandle_t,
    stream: CUstream,
    plan: &Plan,
    bytes: usize,
) -> Result<(), CudnnError> {
    let place = bytes.next_multiple_of(256);
    // SAFETY: the stream is the handle's; the memory is given back behind the only call that uses it.
    let Ok(memory) = (unsafe { driver::malloc_async(stream, place + plan.workspace.max(1)) })
    else {
        return Ok(());
    };
    let work = Address(memory).after::<u8>(place);
    // SAFETY: every operand has room there. They may lie in one another: nobody looks at what is made.
    let called = unsafe { plan.queue(handle, [Address(memory); 3], work) };
    // SAFETY: as above. An error is one of the stream, which the next operation tells.
    let _ = unsafe { driver::free_async(memory, stream) };
    called
}

/// Bytes of the largest operand.
fn largest_operand(shape: &ConvolutionShape) -> usize {
    let bytes =
        if shape.precision == Precision::Bf16 { size_of::<u16>() } else { size_of::<f32>() };
    let of = |size: [usize; 3]| size.iter().product::<usize>();
    let taps = shape.kernel[0] * shape.kernel[1] * (shape.input[2] / shape.groups);
    let images = shape.samples * of(shape.input).max(of(shape.output));
    images.max(shape.output[2] * taps) * bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_people_write_them() {
        assert_eq!(version_of(91_900), "9.19.0");
        assert_eq!(version_of(92_801), "9.28.1");
    }
}
