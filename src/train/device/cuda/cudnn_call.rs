//! A convolution as cuDNN is called for it.
#![expect(unsafe_code, reason = "a library of C has no safe form")]

use std::ffi::c_void;

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;

use super::cudnn_choice::{Described, Plan};
use crate::train::device::backend::Address;
use crate::train::device::convolution::Direction;

impl Plan {
    /// Queues the convolution of operands in the order in which [`Direction`] names them, of which the
    /// last is written.
    ///
    /// # Safety
    /// The context of the handle's GPU is bound; operands are memory of it and as large as the
    /// descriptors say, and so is what the algorithm works in.
    ///
    /// # Errors
    /// When cuDNN refuses.
    pub(super) unsafe fn queue(
        &self,
        handle: sys::cudnnHandle_t,
        operands: [Address; 3],
        workspace: Address,
    ) -> Result<(), CudnnError> {
        let Described { images, filters, convolution, outputs } = self.described;
        let [first, second, made] = operands.map(|Address(place)| place as *mut c_void);
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one, zero) = ((&raw const one).cast(), (&raw const zero).cast());
        let work = (workspace.0 as *mut c_void, self.workspace);
        // SAFETY: as the caller promises; algorithms are below the numbers of their kind, which `chosen`
        // has looked at.
        unsafe {
            match self.direction {
                Direction::Forward => result::convolution_forward(
                    handle,
                    one,
                    images,
                    first,
                    filters,
                    second,
                    convolution,
                    std::mem::transmute::<u32, sys::cudnnConvolutionFwdAlgo_t>(self.algorithm),
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
                    std::mem::transmute::<u32, sys::cudnnConvolutionBwdDataAlgo_t>(self.algorithm),
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
                        self.algorithm,
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
