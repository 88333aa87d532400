//! Which algorithm of cuDNN computes a convolution: descriptors, what its heuristics offer, and the first
//! that may be used.
#![expect(unsafe_code, reason = "descriptors of cuDNN have no safe form")]

use std::ffi::c_int;

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;

use crate::spec::architecture::CONVOLUTION_BYTES;
use crate::spec::precision::Precision;
use crate::train::device::convolution::{ConvolutionShape, Direction};

/// One direction of a shape.
pub(super) struct Plan {
    pub(super) direction: Direction,
    /// A number below those of its direction's kind.
    pub(super) algorithm: u32,
    pub(super) workspace: usize,
    pub(super) described: Described,
}

/// Descriptors of images, filters, convolution and outputs, or of their gradients.
pub(super) struct Described {
    pub(super) images: sys::cudnnTensorDescriptor_t,
    pub(super) filters: sys::cudnnFilterDescriptor_t,
    pub(super) convolution: sys::cudnnConvolutionDescriptor_t,
    pub(super) outputs: sys::cudnnTensorDescriptor_t,
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
        // Allowed to convert, cuDNN may round f32 to f16, which holds neither TF32's range nor f32's.
        Precision::Tf32 => math_of(offer.math)
            .is_some_and(|it| it != sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION),
        Precision::Bf16 => math_of(offer.math).is_some(),
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

/// Is the error no more than that cuDNN does not do this?
pub(super) fn is_unsupported(error: CudnnError) -> bool {
    // CUDNN_STATUS_NOT_SUPPORTED and its kin are 3000 and above, CUDNN_STATUS_BAD_PARAM and its kin
    // 2000 and above: what it says of a geometry that no engine of it takes.
    (2000..4000).contains(&(error.0 as u32))
}

/// What was chosen, and which algorithms were refused although they were offered, with the reasons.
pub(super) type Choice = (Option<Plan>, Vec<(u32, CudnnError)>);

/// Is the error one of a call, and not of cuDNN as a whole? Beyond those of a geometry
/// ([`is_unsupported`]), an engine may not compile (4000 and above) or not start (5000 and above).
fn is_refusal(error: CudnnError) -> bool {
    (2000..6000).contains(&(error.0 as u32))
}

/// The best algorithm that may be used. What cuDNN offers it may still refuse when it is called, so
/// each is called once by `trial`, until one is not refused.
///
/// # Errors
/// When cuDNN refuses, also because it does not do this, or `trial` fails otherwise than by a refusal.
pub(super) fn chosen(
    handle: sys::cudnnHandle_t,
    shape: &ConvolutionShape,
    direction: Direction,
    trial: &mut dyn FnMut(&Plan) -> Result<(), CudnnError>,
) -> Result<Choice, CudnnError> {
    let mut described = Described::new(shape)?;
    let mut refused = Vec::new();
    let offers = described.offers(handle, direction)?;
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
    let is_known = |offer: &&Offer| offer.algorithm < kinds;
    for offer in offers.iter().filter(|offer| may_be_used(offer, shape.precision)).filter(is_known)
    {
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
        if workspace as u64 > CONVOLUTION_BYTES {
            continue;
        }
        let plan = Plan { direction, algorithm: offer.algorithm, workspace, described };
        match trial(&plan) {
            Ok(()) => return Ok((Some(plan), refused)),
            Err(error) if is_refusal(error) => refused.push((plan.algorithm, error)),
            Err(error) => return Err(error),
        }
        described = plan.described;
    }
    Ok((None, refused))
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
        let converting = Offer { math: 2, ..good };
        assert!(!used(converting, Precision::F32) && !used(converting, Precision::Tf32));
        assert!(used(converting, Precision::Bf16), "there is no f32 to convert");
    }
}
