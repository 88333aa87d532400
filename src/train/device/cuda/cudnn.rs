//! cuDNN: convolutions by NVIDIA's library, where it is there.
//!
//! Its convolution functions (cudnn_cnn of cuDNN 9), tensors in NHWC and filters in KRSC, which are the
//! engine's own layouts. An algorithm is chosen once for a shape and direction, by cuDNN's heuristics and
//! not by timing, whose noise would change bits; only deterministic ones, within a limit of memory.
#![expect(unsafe_code, reason = "handles and descriptors of cuDNN have no safe form")]

use std::env;
use std::ffi::c_void;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use cudarc::driver::sys::CUstream;

use super::cudnn_choice::{Described, Plan, chosen, is_unsupported};
use crate::spec::architecture::CONVOLUTION_BYTES;
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
        let (plan, reason) = match shape.is_aligned {
            true => match chosen(inside.handle()?, shape, direction) {
                Err(error) if is_unsupported(error) => (None, error.to_string()),
                plan => (plan?, format!("no deterministic algorithm within {LIMIT_MIB} MiB")),
            },
            false => (None, "lanes that do not begin where it needs them to".to_owned()),
        };
        let algorithm = plan
            .as_ref()
            .map(|plan| Algorithm { number: inside.plans.len(), workspace: plan.workspace });
        if algorithm.is_none() {
            // Not being heard is no reason to stop.
            let _ = writeln!(
                std::io::stderr().lock(),
                "not by cuDNN {} but by patches ({reason}): {direction:?} of {shape:?}",
                self.version
            );
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
        let Described { images, filters, convolution, outputs } = plan.described;
        let [first, second, made] = call.operands.map(|Address(place)| place as *mut c_void);
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one, zero) = ((&raw const one).cast(), (&raw const zero).cast());
        let work = (call.workspace.0 as *mut c_void, plan.workspace);
        // SAFETY: all operands are this GPU's memory and as large as the descriptors say, which tests
        // of every geometry check on the host; algorithms are below the numbers of their kind, which
        // `chosen` has looked at.
        unsafe {
            match plan.direction {
                Direction::Forward => result::convolution_forward(
                    handle,
                    one,
                    images,
                    first,
                    filters,
                    second,
                    convolution,
                    std::mem::transmute::<u32, sys::cudnnConvolutionFwdAlgo_t>(plan.algorithm),
                    work.0,
                    work.1,
                    zero,
                    outputs,
                    made,
                ),
                Direction::BackwardData => result::convolution_backward_data(
                    handle,
                    one,
                    filters,
                    first,
                    outputs,
                    second,
                    convolution,
                    std::mem::transmute::<u32, sys::cudnnConvolutionBwdDataAlgo_t>(plan.algorithm),
                    work.0,
                    work.1,
                    zero,
                    images,
                    made,
                ),
                Direction::BackwardFilter => result::convolution_backward_filter(
                    handle,
                    one,
                    images,
                    first,
                    outputs,
                    second,
                    convolution,
                    std::mem::transmute::<u32, sys::cudnnConvolutionBwdFilterAlgo_t>(
                        plan.algorithm,
                    ),
                    work.0,
                    work.1,
                    zero,
                    filters,
                    made,
                ),
            }
        }
    }
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
