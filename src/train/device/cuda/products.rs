//! What cuBLAS is told about the precision of products.
#![expect(unsafe_code, reason = "cuBLAS' handles have no safe form")]

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use cudarc::cublas::result::{CublasError, gemm_ex, gemm_strided_batched_ex};
use cudarc::cublas::sys::{self, cublasMath_t as Math, cublasOperation_t};

use crate::spec::precision::Precision;

/// How the handle multiplies numbers in f32; changed only where a product asks for another way.
#[derive(Debug)]
pub(super) struct Mode(Mutex<Option<Precision>>);

impl Mode {
    /// Not known yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Makes it what a product in that precision needs.
    ///
    /// # Errors
    /// When cuBLAS refuses.
    pub(super) fn set(
        &self,
        handle: sys::cublasHandle_t,
        precision: Precision,
    ) -> Result<(), CublasError> {
        let mut mode = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *mode == Some(precision) {
            return Ok(());
        }
        let math = match precision {
            // Of factors in f32 nothing is rounded.
            Precision::F32 => Math::CUBLAS_DEFAULT_MATH,
            Precision::Tf32 => Math::CUBLAS_TF32_TENSOR_OP_MATH,
            // Sums of parts stay in f32.
            Precision::Bf16 => Math::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION,
        };
        // SAFETY: the handle is the stream's; the mode is one of cuBLAS'.
        unsafe { sys::cublasSetMathMode(handle, math) }.result()?;
        *mode = Some(precision);
        Ok(())
    }
}

/// A matrix of a product in column order: place, pitch, numbers from product to product.
pub(super) type Matrix = (*const c_void, i32, i64);

/// Products of factors in bf16 with results in f32, as cuBLAS has them: column order, a's extents first.
pub(super) struct Rounded {
    /// Are a and b transposed?
    pub(super) operations: [cublasOperation_t; 2],
    /// m, n, k.
    pub(super) size: [i32; 3],
    /// a, b, c.
    pub(super) matrices: [Matrix; 3],
    /// What c is multiplied with before the product is added.
    pub(super) beta: f32,
    /// How many.
    pub(super) batch: i32,
}

impl Rounded {
    /// Queues them.
    ///
    /// # Safety
    /// The matrices are memory of the handle's GPU, as large as sizes, pitches and strides say.
    ///
    /// # Errors
    /// When cuBLAS refuses.
    pub(super) unsafe fn queue(&self, handle: sys::cublasHandle_t) -> Result<(), CublasError> {
        let one = 1.0_f32;
        let [factor, result] = [sys::cudaDataType::CUDA_R_16BF, sys::cudaDataType::CUDA_R_32F];
        let (alpha, beta) = ((&raw const one).cast(), (&raw const self.beta).cast());
        let &Self { operations: [of_a, of_b], size: [m, n, k], matrices: [a, b, c], .. } = self;
        let sums = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        // SAFETY: as the caller promises; factors are read from the host.
        unsafe {
            if self.batch == 1 {
                gemm_ex(
                    handle,
                    of_a,
                    of_b,
                    m,
                    n,
                    k,
                    alpha,
                    a.0,
                    factor,
                    a.1,
                    b.0,
                    factor,
                    b.1,
                    beta,
                    c.0.cast_mut(),
                    result,
                    c.1,
                    sums,
                    algorithm,
                )
            } else {
                gemm_strided_batched_ex(
                    handle,
                    of_a,
                    of_b,
                    m,
                    n,
                    k,
                    alpha,
                    a.0,
                    factor,
                    a.1,
                    a.2,
                    b.0,
                    factor,
                    b.1,
                    b.2,
                    beta,
                    c.0.cast_mut(),
                    result,
                    c.1,
                    c.2,
                    self.batch,
                    sums,
                    algorithm,
                )
            }
        }
    }
}
