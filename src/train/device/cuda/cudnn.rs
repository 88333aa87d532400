//! cuDNN: convolutions by NVIDIA's library, where it is there.
//!
//! Its convolution functions (cudnn_cnn of cuDNN 9), tensors in NHWC and filters in KRSC, which are the
//! engine's own layouts. An algorithm is chosen once for a shape and direction, by cuDNN's heuristics and
//! not by timing, whose noise would change bits; only deterministic ones, within a limit of memory.
#![expect(unsafe_code, reason = "handles and descriptors of cuDNN have no safe form")]

use std::env;
use std::ffi::{c_int, c_void};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
use cudarc::driver::sys::CUstream;

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
    handle: sys::cudnnHandle_t,
    /// What was asked for, with its place among the plans if there is one.
    asked: Vec<(ConvolutionShape, Direction, Option<Algorithm>)>,
    plans: Vec<Plan>,
}

// SAFETY: handle and descriptors belong to no thread; whoever uses them holds the lock, with the
// context of the GPU bound.
unsafe impl Send for Inside {}

/// One direction of a shape.
struct Plan {
    direction: Direction,
    algorithm: u32,
    workspace: usize,
    described: Described,
}

/// Descriptors of images, filters, convolution and outputs, or of their gradients.
struct Described {
    images: sys::cudnnTensorDescriptor_t,
    filters: sys::cudnnFilterDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
    outputs: sys::cudnnTensorDescriptor_t,
}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: they were made here and nobody else has them; null is none.
        unsafe {
            if !self.images.is_null() {
                let _ = result::destroy_tensor_descriptor(self.images);
            }
            if !self.filters.is_null() {
                let _ = result::destroy_filter_descriptor(self.filters);
            }
            if !self.convolution.is_null() {
                let _ = result::destroy_convolution_descriptor(self.convolution);
            }
            if !self.outputs.is_null() {
                let _ = result::destroy_tensor_descriptor(self.outputs);
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: the handle was made here and is used no more.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// What cuDNN says of an algorithm: `cudnnConvolutionFwdAlgoPerf_t` and its two sisters, which are laid
/// out alike, with numbers where they have enumerations that a newer library may have more of.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Offer {
    algorithm: u32,
    status: u32,
    time: f32,
    memory: usize,
    determinism: u32,
    math: u32,
    reserved: [c_int; 3],
}

const NO_OFFER: Offer = Offer {
    algorithm: u32::MAX,
    status: 1,
    time: 0.0,
    memory: 0,
    determinism: 0,
    math: 0,
    reserved: [0; 3],
};

const _: () = assert!(
    size_of::<Offer>() == size_of::<sys::cudnnConvolutionFwdAlgoPerf_t>()
        && size_of::<Offer>() == size_of::<sys::cudnnConvolutionBwdDataAlgoPerf_t>()
        && size_of::<Offer>() == size_of::<sys::cudnnConvolutionBwdFilterAlgoPerf_t>()
);

/// May it be used? The best that may comes first.
fn may_be_used(offer: &Offer, precision: Precision) -> bool {
    let deterministic = sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC as u32;
    // In f32 nothing may be rounded; what a newer library calls its modes is not known.
    let math = match precision {
        Precision::F32 => {
            [sys::cudnnMathType_t::CUDNN_DEFAULT_MATH, sys::cudnnMathType_t::CUDNN_FMA_MATH]
                .map(|math| math as u32)
                .contains(&offer.math)
        }
        Precision::Tf32 | Precision::Bf16 => math_of(offer.math).is_some(),
    };
    offer.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS as u32
        && offer.determinism == deterministic
        && offer.memory as u64 <= CONVOLUTION_BYTES
        && math
}

/// A mode of products by its number.
fn math_of(number: u32) -> Option<sys::cudnnMathType_t> {
    use sys::cudnnMathType_t as Math;
    let all = [
        Math::CUDNN_DEFAULT_MATH,
        Math::CUDNN_TENSOR_OP_MATH,
        Math::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
        Math::CUDNN_FMA_MATH,
    ];
    all.into_iter().find(|math| *math as u32 == number)
}

/// cuDNN's version as people write it: 91900 is 9.19.0.
fn version_of(number: usize) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}

impl Cudnn {
    /// cuDNN on a stream. Its libraries are open, the context of the GPU is bound.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn new(stream: CUstream) -> Result<Self, CudnnError> {
        let handle = result::create_handle()?;
        let inside = Inside { handle, asked: Vec::new(), plans: Vec::new() };
        // SAFETY: handle and stream live; the driver's and the runtime's streams are the same thing.
        unsafe { result::set_stream(handle, stream.cast()) }?;
        Ok(Self { version: version_of(result::get_version()), inside: Mutex::new(inside) })
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// What was chosen for a shape and direction, or is now; the context is bound. What is left to
    /// patches is said once, with the reason.
    ///
    /// # Errors
    /// When cuDNN fails otherwise than by not knowing the shape.
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
            true => match chosen(inside.handle, shape, direction) {
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
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
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
                    inside.handle,
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
                    inside.handle,
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
                    inside.handle,
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

/// Is the error no more than that cuDNN does not do this?
fn is_unsupported(error: CudnnError) -> bool {
    // CUDNN_STATUS_NOT_SUPPORTED and its kin are 3000 and above, CUDNN_STATUS_BAD_PARAM and its kin
    // 2000 and above: what it says of a geometry that no engine of it takes.
    (2000..4000).contains(&(error.0 as u32))
}

/// The best algorithm that may be used.
fn chosen(
    handle: sys::cudnnHandle_t,
    shape: &ConvolutionShape,
    direction: Direction,
) -> Result<Option<Plan>, CudnnError> {
    let described = Described::new(shape)?;
    let offers = described.offers(handle, direction)?;
    for offer in offers.iter().filter(|offer| may_be_used(offer, shape.precision)) {
        let kinds = match direction {
            Direction::Forward => {
                sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_COUNT as u32
            }
            Direction::BackwardData => {
                sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT as u32
            }
            Direction::BackwardFilter => {
                sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT as u32
            }
        };
        if offer.algorithm >= kinds {
            continue;
        }
        // An algorithm is offered together with the mode that it is meant for. In f32 the mode stays
        // that of f32.
        if let (Precision::Tf32 | Precision::Bf16, Some(math)) =
            (shape.precision, math_of(offer.math))
        {
            // SAFETY: the descriptor lives.
            unsafe { result::set_convolution_math_type(described.convolution, math) }?;
        }
        let workspace = match described.workspace(handle, direction, offer.algorithm) {
            Err(error) if is_unsupported(error) => continue,
            workspace => workspace?,
        };
        if workspace as u64 <= CONVOLUTION_BYTES {
            let algorithm = offer.algorithm;
            return Ok(Some(Plan { direction, algorithm, workspace, described }));
        }
    }
    Ok(None)
}

impl Described {
    fn new(shape: &ConvolutionShape) -> Result<Self, CudnnError> {
        use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as FORMAT;
        let kind = match shape.precision {
            Precision::F32 | Precision::Tf32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            Precision::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        };
        // Rounding must be forbidden where it is not wanted: cuDNN's default mode uses TF32.
        let math = match shape.precision {
            Precision::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            Precision::Tf32 | Precision::Bf16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        let narrow = |size: usize| c_int::try_from(size).map_err(|_| TOO_LARGE);
        let mut it = Self {
            images: std::ptr::null_mut(),
            filters: std::ptr::null_mut(),
            convolution: std::ptr::null_mut(),
            outputs: std::ptr::null_mut(),
        };
        it.images = result::create_tensor_descriptor()?;
        it.filters = result::create_filter_descriptor()?;
        it.convolution = result::create_convolution_descriptor()?;
        it.outputs = result::create_tensor_descriptor()?;
        let tensor = |[height, width, channels]: [usize; 3]| -> Result<[c_int; 4], CudnnError> {
            Ok([narrow(shape.samples)?, narrow(channels)?, narrow(height)?, narrow(width)?])
        };
        let of_group = narrow(shape.input[2] / shape.groups)?;
        let [kernel, stride, padding, dilation] =
            [shape.kernel, shape.stride, shape.padding, shape.dilation]
                .map(|pair| [narrow(pair[0]), narrow(pair[1])]);
        let filter = [narrow(shape.output[2])?, of_group, kernel[0]?, kernel[1]?];
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let sums = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        // SAFETY: the descriptors were made above.
        unsafe {
            result::set_tensor4d_descriptor(it.images, FORMAT, kind, tensor(shape.input)?)?;
            result::set_filter4d_descriptor(it.filters, kind, FORMAT, filter)?;
            result::set_convolution2d_descriptor(
                it.convolution,
                padding[0]?,
                padding[1]?,
                stride[0]?,
                stride[1]?,
                dilation[0]?,
                dilation[1]?,
                mode,
                sums,
            )?;
            result::set_convolution_group_count(it.convolution, narrow(shape.groups)?)?;
            result::set_convolution_math_type(it.convolution, math)?;
            result::set_tensor4d_descriptor(it.outputs, FORMAT, kind, tensor(shape.output)?)?;
        }
        Ok(it)
    }

    /// What cuDNN's heuristics think of its algorithms, the fastest first.
    fn offers(
        &self,
        handle: sys::cudnnHandle_t,
        direction: Direction,
    ) -> Result<Vec<Offer>, CudnnError> {
        let &Self { images, filters, convolution, outputs } = self;
        let mut most = 0;
        // SAFETY: the handle lives; one int is written.
        unsafe {
            match direction {
                Direction::Forward => {
                    sys::cudnnGetConvolutionForwardAlgorithmMaxCount(handle, &raw mut most)
                }
                Direction::BackwardData => {
                    sys::cudnnGetConvolutionBackwardDataAlgorithmMaxCount(handle, &raw mut most)
                }
                Direction::BackwardFilter => {
                    sys::cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(handle, &raw mut most)
                }
            }
        }
        .result()?;
        let mut offers = vec![NO_OFFER; usize::try_from(most).unwrap_or_default()];
        let mut found = 0;
        let (place, count) = (offers.as_mut_ptr(), &raw mut found);
        // SAFETY: handle and descriptors live; at most `most` offers are written, which are laid out as
        // cuDNN's.
        unsafe {
            match direction {
                Direction::Forward => result::get_convolution_forward_algorithm(
                    handle,
                    images,
                    filters,
                    convolution,
                    outputs,
                    most,
                    count,
                    place.cast(),
                ),
                Direction::BackwardData => result::get_convolution_backward_data_algorithm(
                    handle,
                    filters,
                    outputs,
                    convolution,
                    images,
                    most,
                    count,
                    place.cast(),
                ),
                Direction::BackwardFilter => result::get_convolution_backward_filter_algorithm(
                    handle,
                    images,
                    outputs,
                    convolution,
                    filters,
                    most,
                    count,
                    place.cast(),
                ),
            }
        }?;
        offers.truncate(usize::try_from(found).unwrap_or_default());
        Ok(offers)
    }

    /// Bytes that an algorithm, whose number is one of its kind, works in.
    fn workspace(
        &self,
        handle: sys::cudnnHandle_t,
        direction: Direction,
        algorithm: u32,
    ) -> Result<usize, CudnnError> {
        let &Self { images, filters, convolution, outputs } = self;
        // SAFETY: handle and descriptors live; the number is one of the enumeration's.
        unsafe {
            match direction {
                Direction::Forward => result::get_convolution_forward_workspace_size(
                    handle,
                    images,
                    filters,
                    convolution,
                    outputs,
                    std::mem::transmute::<u32, sys::cudnnConvolutionFwdAlgo_t>(algorithm),
                ),
                Direction::BackwardData => result::get_convolution_backward_data_workspace_size(
                    handle,
                    filters,
                    outputs,
                    convolution,
                    images,
                    std::mem::transmute::<u32, sys::cudnnConvolutionBwdDataAlgo_t>(algorithm),
                ),
                Direction::BackwardFilter => {
                    result::get_convolution_backward_filter_workspace_size(
                        handle,
                        images,
                        outputs,
                        convolution,
                        filters,
                        std::mem::transmute::<u32, sys::cudnnConvolutionBwdFilterAlgo_t>(algorithm),
                    )
                }
            }
        }
    }
}

/// What cuDNN would say of a size beyond its numbers.
const TOO_LARGE: CudnnError = CudnnError(sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_people_write_them() {
        assert_eq!(version_of(91_900), "9.19.0");
        assert_eq!(version_of(92_801), "9.28.1");
    }

    #[test]
    fn an_algorithm_is_used_if_it_works_repeats_itself_fits_and_rounds_no_more_than_is_wanted() {
        let good = Offer { algorithm: 1, status: 0, determinism: 1, math: 3, ..NO_OFFER };
        let used = |offer: Offer, precision| may_be_used(&offer, precision);
        assert!(used(good, Precision::F32) && used(good, Precision::Bf16));
        for (bad, why) in [
            (Offer { status: 3000, ..good }, "not supported"),
            (Offer { determinism: 0, ..good }, "not deterministic"),
            (Offer { memory: CONVOLUTION_BYTES as usize + 1, ..good }, "too large"),
            (Offer { math: 9, ..good }, "an unknown mode"),
        ] {
            for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
                assert!(!used(bad, precision), "{why} {precision:?}");
            }
        }
        let rounding = Offer { math: 1, ..good };
        assert!(!used(rounding, Precision::F32) && used(rounding, Precision::Tf32));
    }
}
