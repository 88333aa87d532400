//! cuDNN: convolutions by NVIDIA's library, where it is there.
//!
//! Its convolution functions (cudnn_cnn of cuDNN 9), tensors in NHWC and filters in KRSC, which are the
//! engine's own layouts. An algorithm is chosen once for a shape and direction, by cuDNN's heuristics and
//! not by timing, whose noise would change bits; only deterministic ones, within a limit of memory.
#![expect(unsafe_code, reason = "handles and descriptors of cuDNN have no safe form")]

use std::env;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use cudarc::driver::sys::CUstream;
use cudarc::driver::{CudaStream, DriverError, result as driver};

use super::cudnn_choice::{Plan, chosen, is_unsupported};
use super::event::Event;
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
    stream: Arc<CudaStream>,
    /// Made for the first convolution: it costs time and memory that other networks need not spend.
    handle: Option<Handle>,
    /// Beside the stream that computes, for lanes that are computed abreast.
    beside: Vec<Beside>,
    /// Behind what lanes abreast read and overwrite.
    before: Option<Event>,
    /// What was asked for, with its place among the plans if there is one.
    asked: Vec<(ConvolutionShape, Direction, Option<Algorithm>)>,
    plans: Vec<Plan>,
}

/// cuDNN on one stream.
struct Handle(sys::cudnnHandle_t);

impl Handle {
    fn new(stream: CUstream) -> Result<Self, CudnnError> {
        let handle = Self(result::create_handle()?);
        // SAFETY: handle and stream live; the driver's and the runtime's streams are the same thing.
        unsafe { result::set_stream(handle.0, stream.cast()) }?;
        Ok(handle)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle was made here and is used no more.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

/// Another stream, with a handle of its own: what a handle keeps from call to call is one stream's.
struct Beside {
    // Goes before the stream that it works on.
    handle: Handle,
    stream: Arc<CudaStream>,
    /// Behind all that is queued there.
    after: Event,
}

// SAFETY: handles and descriptors belong to no thread; whoever uses them holds the lock, with the
// context of the GPU bound.
unsafe impl Send for Inside {}

/// What convolutions fail with.
pub(super) enum Failure {
    /// cuDNN.
    Library(CudnnError),
    /// The driver, beside it.
    Driver(DriverError),
}

impl From<CudnnError> for Failure {
    fn from(error: CudnnError) -> Self {
        Self::Library(error)
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl Inside {
    fn handle(&mut self) -> Result<sys::cudnnHandle_t, CudnnError> {
        let handle = match self.handle.take() {
            Some(handle) => handle,
            None => Handle::new(self.stream.cu_stream())?,
        };
        Ok(self.handle.insert(handle).0)
    }

    /// Makes streams until there are `count` beside the one that computes.
    fn make_beside(&mut self, count: usize) -> Result<(), Failure> {
        while self.beside.len() < count {
            let stream = self.stream.context().new_stream()?;
            let handle = Handle::new(stream.cu_stream())?;
            self.beside.push(Beside { handle, stream, after: Event::plain()? });
        }
        if self.before.is_none() {
            self.before = Some(Event::plain()?);
        }
        Ok(())
    }

    /// Queues the convolutions of lanes: `abreast` of them at a time, each on a stream of its own, between
    /// what is queued before and what is queued after.
    fn convolve(&mut self, call: &ConvolutionCall) -> Result<(), Failure> {
        let (own, abreast) = (self.handle()?, call.algorithm.abreast(call.lanes));
        let plan = self.plans.get(call.algorithm.number).expect("invariant: it was offered");
        let queue = |handle: sys::cudnnHandle_t, at: usize| {
            (at..call.lanes).step_by(abreast).try_for_each(|lane| {
                // SAFETY: all operands are this GPU's memory and as large as the descriptors say, which
                // tests of every geometry check on the host.
                unsafe { plan.queue(handle, call.operands_of(lane), call.workspace_of(at)) }
            })
        };
        if abreast == 1 {
            return Ok(queue(own, 0)?);
        }
        let (compute, beside) = (self.stream.cu_stream(), &self.beside[..abreast - 1]);
        let before = self.before.as_ref().expect("invariant: made with the streams");
        before.record(compute)?;
        for (at, beside) in (1..).zip(beside) {
            before.hold(beside.stream.cu_stream())?;
            queue(beside.handle.0, at)?;
            beside.after.record(beside.stream.cu_stream())?;
        }
        queue(own, 0)?;
        beside.iter().try_for_each(|beside| beside.after.hold(compute))?;
        Ok(())
    }
}

/// cuDNN's version as people write it: 91900 is 9.19.0.
fn version_of(number: usize) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}

impl Cudnn {
    /// cuDNN, whose library is open, on a stream.
    pub(super) fn new(stream: &Arc<CudaStream>) -> Self {
        let inside = Inside {
            stream: Arc::clone(stream),
            handle: None,
            beside: Vec::new(),
            before: None,
            asked: Vec::new(),
            plans: Vec::new(),
        };
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
                let (handle, stream) = (inside.handle()?, inside.stream.cu_stream());
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
        for (algorithm, error) in refused {
            said(format!(
                "cuDNN {} offers algorithm {algorithm} and refuses it when it is called ({error}), the \
                 next is taken: {direction:?} of {shape:?}",
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

    /// Queues the convolutions of all lanes; the context is bound.
    ///
    /// # Errors
    /// When cuDNN refuses, or the driver fails.
    pub(super) fn convolve(&self, call: &ConvolutionCall) -> Result<(), Failure> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.make_beside(call.algorithm.abreast(call.lanes) - 1)?;
        inside.convolve(call)
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
