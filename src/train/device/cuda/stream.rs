//! One stream of a GPU: memory, copies, kernels and products, in the order in which they are queued.
#![expect(unsafe_code, reason = "launches and handles of CUDA have no safe form")]

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::cublas::{self, CudaBlas, result as products, sys::cublasOperation_t};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use super::cudnn::{Cudnn, Failure};
use super::host::{Arrivals, Staging};
use super::nccl::{self, Nccl};
use super::products::{self as precise, Mode};
use crate::spec::architecture::PRODUCT_BYTES as PRODUCT_MEMORY;
use crate::spec::precision::Precision;
use crate::train::device::backend::{
    Address, Argument, Backend, Graph, Launch, Operand, Product, Ticket,
};
use crate::train::device::collective::{Collective, Meeting};
use crate::train::device::convolution::{Algorithm, ConvolutionCall, ConvolutionShape, Direction};
use crate::train::device::error::DeviceError;

/// The kernels.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Threads of a block.
const BLOCK: u32 = 256;

/// Scratch memory of cuBLAS. With memory of its own it chooses the same algorithms every time.
const PRODUCT_BYTES: usize = PRODUCT_MEMORY as usize;

/// The compute capability from which on GPUs multiply in TF32 and bf16 (Ampere).
const ROUNDING: (i32, &str) = (8, "8.0");

/// What failed, and what to do about it.
const CUDNN_CHOICE: &str = "choosing an algorithm of cuDNN (GRIDLANE_CUDNN=off trains without it)";
const CUDNN_CALL: &str = "a convolution of cuDNN (GRIDLANE_CUDNN=off trains without it)";

/// A stream with the kernels and what products need.
pub(super) struct Stream {
    name: String,
    // These go before the stream that they work on, and while its context is there.
    cudnn: Option<Cudnn>,
    staging: Mutex<Staging>,
    arrivals: Mutex<Arrivals>,
    stream: Arc<CudaStream>,
    products: CudaBlas,
    mode: Mode,
    product_memory: sys::CUdeviceptr,
    kernels: HashMap<&'static str, Kernel>,
}

/// A kernel of the module, which stays loaded as long as the process lives.
struct Kernel(sys::CUfunction);

// SAFETY: the handle belongs to the context, not to a thread; whoever uses it binds the context first.
unsafe impl Send for Kernel {}
// SAFETY: as above; launching does not change it.
unsafe impl Sync for Kernel {}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What the driver says of an error: its name and a sentence.
pub(super) fn reason(error: &DriverError) -> String {
    let text = |text: Result<&std::ffi::CStr, DriverError>| {
        text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    format!("{} ({})", text(error.error_string()), text(error.error_name()))
}

/// The version of CUDA that the driver is for: 13000 is 13.0.
pub(super) fn driver_version() -> Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the driver writes one int.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(version)
}

/// Names of the kernels in PTX.
fn kernel_names(ptx: &'static str) -> impl Iterator<Item = &'static str> {
    ptx.split(".visible .entry ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(n, _)| n)
}

impl Stream {
    /// A stream of the context's GPU.
    pub(super) fn new(context: &Arc<CudaContext>, name: String) -> Result<Self, DeviceError> {
        let failed = |operation| {
            let device = name.clone();
            move |reason: String| DeviceError::Failed { operation, device, reason }
        };
        let driver = |operation| {
            let failed = failed(operation);
            move |error: DriverError| failed(reason(&error))
        };
        // SAFETY: there is one stream, so operations follow one another without events.
        unsafe { context.disable_event_tracking() };
        keep_memory(context).map_err(driver("keeping freed memory"))?;
        let stream = context.new_stream().map_err(driver("making a stream"))?;
        let kernels = load(&stream).map_err(driver("loading the kernels"))?;
        let handle =
            |error: cublas::result::CublasError| failed("starting cuBLAS")(error.to_string());
        let products = CudaBlas::new(Arc::clone(&stream)).map_err(handle)?;
        // SAFETY: the memory is this stream's and lives as long as the handle.
        let product_memory = unsafe { result::malloc_async(stream.cu_stream(), PRODUCT_BYTES) }
            .map_err(driver("giving cuBLAS memory"))?;
        // SAFETY: as above; the mode is one of cuBLAS'.
        unsafe {
            let handle_ = *products.handle();
            let memory = product_memory as *mut c_void;
            cublas::sys::cublasSetWorkspace_v2(handle_, memory, PRODUCT_BYTES)
                .result()
                .map_err(handle)?;
        }
        let (staging, arrivals) = (Mutex::default(), Mutex::default());
        let (cudnn, mode) = (None, Mode::new());
        Ok(Self { name, cudnn, staging, arrivals, stream, products, mode, product_memory, kernels })
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets cuDNN, whose library is open, compute convolutions from now on, and says so in the name that
    /// `named` makes of its version.
    pub(super) fn use_cudnn(&mut self, named: impl FnOnce(&str) -> String) {
        let cudnn = Cudnn::new(&self.stream);
        self.name = named(cudnn.version());
        self.cudnn = Some(cudnn);
    }

    /// Makes the GPU's context the calling thread's.
    fn bind(&self) -> Result<(), DriverError> {
        self.stream.context().bind_to_thread()
    }

    /// Runs `work` with the context bound.
    fn run(
        &self,
        operation: &'static str,
        work: impl FnOnce(sys::CUstream) -> Result<(), DriverError>,
    ) -> Result<(), DeviceError> {
        let done = self.bind().and_then(|()| work(self.stream.cu_stream()));
        done.map_err(|error| self.failed(operation, reason(&error)))
    }

    fn failed(&self, operation: &'static str, reason: String) -> DeviceError {
        DeviceError::Failed { operation, device: self.name.clone(), reason }
    }
}

/// Lets the GPU's pool keep what is freed instead of giving it back whenever somebody waits.
fn keep_memory(context: &CudaContext) -> Result<(), DriverError> {
    context.bind_to_thread()?;
    let mut all = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the device is the context's; the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut all).cast())
    }
}

/// Loads all kernels.
fn load(stream: &CudaStream) -> Result<HashMap<&'static str, Kernel>, DriverError> {
    stream.context().bind_to_thread()?;
    let text = CString::new(PTX).expect("invariant: PTX is text");
    // SAFETY: the text ends with a 0 and is only read.
    let module = unsafe { result::module::load_data(text.as_ptr().cast()) }?;
    kernel_names(PTX)
        .map(|name| {
            let symbol = CString::new(name).expect("invariant: a name has no 0");
            // SAFETY: the module is loaded and stays so.
            let kernel = unsafe { result::module::get_function(module, symbol) }?;
            Ok((name, Kernel(kernel)))
        })
        .collect()
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The process may be ending: there is nobody to tell.
        let _ = self.run("freeing memory", |stream| {
            // SAFETY: it was allocated on this stream, and the handle is used no more. The host's
            // memory goes with this, once no copy uses it any more.
            unsafe {
                result::free_async(self.product_memory, stream)?;
                result::stream::synchronize(stream)
            }
        });
    }
}

/// How cuBLAS, whose matrices are in column order, takes a matrix in row order: as its transpose.
fn operation(operand: &Operand) -> cublasOperation_t {
    if operand.transposed { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N }
}

impl Backend for Stream {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, precision: Precision) -> Result<(), DeviceError> {
        if !precision.needs_gpu() {
            return Ok(());
        }
        let attribute = |attribute| {
            let value = self.stream.context().attribute(attribute);
            value.map_err(|error| self.failed("asking for the capability", reason(&error)))
        };
        use sys::CUdevice_attribute as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if major >= ROUNDING.0 {
            return Ok(());
        }
        let (device, precision) = (self.name.clone(), precision.kind());
        let found = format!("{major}.{minor}");
        Err(DeviceError::TooOldFor { device, found, needed: ROUNDING.1, precision })
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let mut place = 0;
        let done = self.bind().and_then(|()| {
            let stream = self.stream.cu_stream();
            // SAFETY: the stream is ours; the memory is filled before anybody reads it.
            unsafe {
                place = result::malloc_async(stream, bytes)?;
                result::memset_d8_async(place, 0, bytes, stream)
            }
        });
        match done {
            Ok(()) => Ok(Address(place)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let (free, total) = result::mem_get_info().unwrap_or_default();
                Err(DeviceError::Memory { device: self.name.clone(), bytes, free, total })
            }
            Err(error) => Err(self.failed("allocating", reason(&error))),
        }
    }

    fn release(&self, address: Address) {
        // An error here is one of something queued before, which the next operation tells.
        let _ = self.run("freeing memory", |stream| {
            // SAFETY: the memory was allocated on this stream and its only owner is gone.
            unsafe { result::free_async(address.0, stream) }
        });
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        // The place has room (its owner has checked).
        self.run("copying to the device", |stream| staging.copy(to.0, bytes, stream))
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.run("copying from the device", |stream| {
            // SAFETY: there are as many bytes (its owner has checked), and nobody looks at them
            // before the stream has come to an end.
            unsafe {
                result::memcpy_dtoh_async(bytes, from.0, stream)?;
                result::stream::synchronize(stream)
            }
        })
    }

    fn fetch(&self, from: Address, bytes: usize) -> Result<Ticket, DeviceError> {
        let mut ticket = 0;
        let mut arrivals = self.arrivals();
        self.run("copying from the device", |stream| {
            ticket = arrivals.fetch(from.0, bytes, stream)?;
            Ok(())
        })?;
        Ok(Ticket(ticket as u64))
    }

    fn collect(&self, Ticket(ticket): Ticket, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let mut arrivals = self.arrivals();
        self.run("waiting", |_| arrivals.collect(ticket as usize, bytes))
    }

    fn forget(&self, Ticket(ticket): Ticket) {
        self.arrivals().forget(ticket as usize);
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        let (kernel, [threads, lanes], arguments) =
            (launch.kernel, launch.grid, launch.arguments());
        let function = self.kernels.get(kernel).expect("invariant: a kernel of the module").0;
        let grid = (threads.div_ceil(BLOCK), lanes, 1);
        let mut pointers = [std::ptr::null_mut::<c_void>(); 32];
        for (pointer, argument) in pointers.iter_mut().zip(arguments) {
            *pointer = match argument {
                Argument::Place(Address(place)) => std::ptr::from_ref(place).cast_mut().cast(),
                Argument::Count(count) => std::ptr::from_ref(count).cast_mut().cast(),
                Argument::Number(number) => std::ptr::from_ref(number).cast_mut().cast(),
                Argument::Wide(number) => std::ptr::from_ref(number).cast_mut().cast(),
                Argument::Long(number) => std::ptr::from_ref(number).cast_mut().cast(),
            };
        }
        let given = &mut pointers[..arguments.len()];
        self.run(kernel, |stream| {
            // SAFETY: number and kinds of the arguments are the kernel's, which tests of every launch
            // check on the host; the driver copies them before it returns.
            unsafe { result::launch_kernel(function, grid, (BLOCK, 1, 1), 0, stream, given) }
        })
    }

    /// In column order the matrices are their transposes: c' = b' a'.
    fn multiply(&self, product: &Product) -> Result<(), DeviceError> {
        let Product { size, left, right, out, adds, batch, precision } = product;
        let narrow = |size: usize| {
            let too_large = DeviceError::TooLarge {
                what: "a matrix product",
                found: size,
                limit: i32::MAX as usize,
            };
            i32::try_from(size).map_err(|_| too_large)
        };
        let [m, n, k] = [narrow(size[0])?, narrow(size[1])?, narrow(size[2])?];
        let pitches = [narrow(left.pitch)?, narrow(right.pitch)?, narrow(out.pitch)?];
        let [a, b, c] = [left, right, out].map(|operand| operand.place.0 as *mut f32);
        let strides = [left, right, out].map(|operand| operand.stride as i64);
        let (one, beta) = (1.0_f32, if *adds { 1.0_f32 } else { 0.0 });
        let (handle, batch) = (*self.products.handle(), narrow(*batch)?);
        self.run("binding the context", |_| Ok(()))?;
        let [of_b, of_a] = [right, left].map(operation);
        let refused =
            |error: cublas::result::CublasError| self.failed("a matrix product", error.to_string());
        self.mode.set(handle, *precision).map_err(refused)?;
        if *precision == Precision::Bf16 {
            let matrix = |which: usize, place: *mut f32| {
                (place.cast_const().cast(), pitches[which], strides[which])
            };
            let rounded = precise::Rounded {
                operations: [of_b, of_a],
                size: [n, m, k],
                matrices: [matrix(1, b), matrix(0, a), matrix(2, c)],
                beta,
                batch,
            };
            // SAFETY: as below.
            return unsafe { rounded.queue(handle) }.map_err(refused);
        }
        // SAFETY: all matrices are this GPU's memory and as large as sizes, pitches and strides say,
        // which tests of every product check on the host.
        let done = unsafe {
            if batch == 1 {
                products::sgemm(
                    handle,
                    of_b,
                    of_a,
                    n,
                    m,
                    k,
                    &raw const one,
                    b,
                    pitches[1],
                    a,
                    pitches[0],
                    &raw const beta,
                    c,
                    pitches[2],
                )
            } else {
                products::sgemm_strided_batched(
                    handle,
                    of_b,
                    of_a,
                    n,
                    m,
                    k,
                    &raw const one,
                    b,
                    pitches[1],
                    strides[1],
                    a,
                    pitches[0],
                    strides[0],
                    &raw const beta,
                    c,
                    pitches[2],
                    strides[2],
                    batch,
                )
            }
        };
        done.map_err(refused)
    }

    fn algorithm(
        &self,
        shape: &ConvolutionShape,
        direction: Direction,
    ) -> Result<Option<Algorithm>, DeviceError> {
        let Some(cudnn) = &self.cudnn else { return Ok(None) };
        self.run("binding the context", |_| Ok(()))?;
        let chosen = cudnn.algorithm(shape, direction);
        chosen.map_err(|error| self.failed(CUDNN_CHOICE, error.to_string()))
    }

    fn convolve(&self, call: &ConvolutionCall) -> Result<(), DeviceError> {
        let cudnn = self.cudnn.as_ref().expect("invariant: it offered the algorithm");
        self.run("binding the context", |_| Ok(()))?;
        cudnn.convolve(call).map_err(|error| match error {
            Failure::Library(error) => self.failed(CUDNN_CALL, error.to_string()),
            Failure::Driver(error) => self.failed(CUDNN_CALL, reason(&error)),
        })
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.run("waiting", |stream| {
            // SAFETY: the stream is ours.
            unsafe { result::stream::synchronize(stream) }
        })
    }

    fn meeting(&self) -> Result<Meeting, DeviceError> {
        self.run("binding the context", |_| Ok(()))?;
        nccl::meeting(&self.name)
    }

    fn meet(
        &self,
        meeting: &Meeting,
        place: [usize; 2],
    ) -> Result<Box<dyn Collective>, DeviceError> {
        Ok(Box::new(Nccl::meet(&self.name, &self.stream, meeting, place)?))
    }

    fn begin_capture(&self) -> Result<(), DeviceError> {
        self.run("recording", |stream| {
            // Only what this thread does is recorded, or refused.
            let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            // SAFETY: the stream is ours.
            unsafe { result::stream::begin_capture(stream, mode) }
        })
    }

    fn end_capture(&self) -> Result<Graph, DeviceError> {
        let mut executable = std::ptr::null_mut();
        self.run("recording", |stream| {
            // SAFETY: the stream is ours and was being captured; what was recorded is used no more
            // when it is made into an executable.
            unsafe {
                let graph = result::stream::end_capture(stream)?;
                let made = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
                result::graph::destroy(graph)?;
                executable = made?;
            }
            Ok(())
        })?;
        Ok(Graph(executable as u64))
    }

    fn replay(&self, Graph(graph): Graph) -> Result<(), DeviceError> {
        self.run("a graph", |stream| {
            // SAFETY: it comes from `end_capture` and has not been discarded; all memory that its
            // commands use is there, since whoever launches it has just asked for the same commands.
            unsafe { result::graph::launch(graph as sys::CUgraphExec, stream) }
        })
    }

    fn discard(&self, Graph(graph): Graph) {
        // The process may be ending: there is nobody to tell.
        let _ = self.run("forgetting a graph", |_| {
            // SAFETY: as above, and it is used no more; one that is under way is freed afterwards.
            unsafe { result::graph::exec_destroy(graph as sys::CUgraphExec) }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver refuses PTX that is newer than itself.
    #[test]
    fn the_module_is_for_drivers_of_cuda_12() {
        assert!(PTX.contains("\n.version 8.0\n.target sm_75\n"));
    }

    #[test]
    fn the_module_has_every_kernel_that_the_sources_have() {
        let mut expected = crate::train::device::emulated::compile::all_kernels();
        let mut found: Vec<String> = kernel_names(PTX).map(str::to_owned).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }
}
