//! NCCL: sums over the GPUs of several ranks, on a stream beside the one that computes.
//!
//! Its library is opened when ranks meet, so that a run on one GPU needs none. Functions are those of
//! nccl.h; what they are given is documented in NVIDIA's "NCCL API". The communicator is a blocking
//! one and lives as long as the process: taking it down needs the other ranks, who may be gone. A call
//! that waits for a rank that stands still does not return; the thread of the pulse ends the process.
#![expect(unsafe_code, reason = "a library of C has no safe form")]

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaStream, DriverError, sys};

use super::event::Event;
use super::library;
use super::stream::reason;
use crate::train::device::collective::{Collective, MEETING, Meeting, Stretch, SumTimes};
use crate::train::device::error::DeviceError;
use crate::train::device::libraries::{NCCL, Places};

/// `ncclSuccess` and `ncclInProgress`.
const SUCCESS: c_int = 0;
const IN_PROGRESS: c_int = 7;

/// `ncclFloat32` and `ncclSum`.
const FLOAT: c_int = 7;
const SUM: c_int = 0;

/// `ncclComm_t`.
type Comm = *mut c_void;

/// `ncclUniqueId`, which is passed by value.
#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; MEETING]);

/// Declares the functions that are called, and looks all of them up.
macro_rules! functions {
    ($($name:ident: $symbol:literal = fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions of the library, which stays open.
        struct Functions { $($name: unsafe extern "C" fn($($argument),*) -> $result,)* }

        impl Functions {
            fn open() -> Result<Self, DeviceError> {
                let library = library::open(&NCCL, Places::of_this_machine())?;
                // All of them are there.
                let missing = |error: libloading::Error| DeviceError::Unloadable {
                    file: NCCL.what.to_owned(),
                    reason: error.to_string(),
                };
                // SAFETY: the types are those of nccl.h.
                let functions = unsafe {
                    Self { $($name: *library.get($symbol.as_bytes()).map_err(missing)?,)* }
                };
                std::mem::forget(library);
                Ok(functions)
            }
        }
    };
}

functions! {
    get_unique_id: "ncclGetUniqueId" = fn(*mut UniqueId) -> c_int;
    init_rank: "ncclCommInitRank" = fn(*mut Comm, c_int, UniqueId, c_int) -> c_int;
    async_error: "ncclCommGetAsyncError" = fn(Comm, *mut c_int) -> c_int;
    all_reduce: "ncclAllReduce" =
        fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, sys::CUstream) -> c_int;
    group_start: "ncclGroupStart" = fn() -> c_int;
    group_end: "ncclGroupEnd" = fn() -> c_int;
    error_string: "ncclGetErrorString" = fn(c_int) -> *const c_char;
    last_error: "ncclGetLastError" = fn(Comm) -> *const c_char;
}

fn functions() -> Result<&'static Functions, DeviceError> {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    if let Some(functions) = FUNCTIONS.get() {
        return Ok(functions);
    }
    let opened = Functions::open()?;
    Ok(FUNCTIONS.get_or_init(|| opened))
}

impl Functions {
    /// What a function has returned, as an error if it is one.
    fn check(
        &self,
        (device, operation): (&str, &'static str),
        comm: Comm,
        returned: c_int,
    ) -> Result<(), DeviceError> {
        if returned == SUCCESS {
            return Ok(());
        }
        let text = |text: *const c_char| match text.is_null() {
            true => String::new(),
            // SAFETY: NCCL's texts end with a 0 and stay as they are until the next error.
            false => unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned(),
        };
        // SAFETY: both take anything, a communicator that is none included.
        let [kind, last] = unsafe { [(self.error_string)(returned), (self.last_error)(comm)] };
        let (kind, last) = (text(kind), text(last));
        let more = if last.is_empty() { "NCCL_DEBUG=WARN may tell more" } else { &last };
        let reason = format!("NCCL: {kind} ({more})");
        Err(DeviceError::Failed { operation, device: device.to_owned(), reason })
    }
}

/// By what ranks find one another. The context of `device` is bound.
pub(super) fn meeting(device: &str) -> Result<Meeting, DeviceError> {
    let functions = functions()?;
    let mut id = UniqueId([0; MEETING]);
    // SAFETY: the function writes one id.
    let returned = unsafe { (functions.get_unique_id)(&raw mut id) };
    functions.check((device, "making an id for the ranks"), std::ptr::null_mut(), returned)?;
    Ok(id.0)
}

/// Sums of a step, queued.
#[derive(Debug, Default)]
struct Step {
    /// Around the sum of every bucket, on the stream of sums.
    buckets: Vec<[Event; 2]>,
    /// Around the wait for them, on the stream that computes.
    wait: Option<[Event; 2]>,
}

/// This rank among the others.
pub(super) struct Nccl {
    device: String,
    functions: &'static Functions,
    comm: Comm,
    compute: Arc<CudaStream>,
    sums: Arc<CudaStream>,
    /// Behind what makes the gradients of the bucket that was queued last.
    made: Event,
    step: Step,
    /// Steps that nobody has been told of.
    steps: VecDeque<Step>,
    /// Timed events that are free.
    spare: Vec<[Event; 2]>,
}

// SAFETY: a communicator belongs to no thread; it is used by one at a time.
unsafe impl Send for Nccl {}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sums of {}", self.device)
    }
}

impl Nccl {
    /// Meets the other ranks as one of so many, by what the first of them has made; sums what is
    /// computed on `compute`.
    pub(super) fn meet(
        device: &str,
        compute: &Arc<CudaStream>,
        meeting: &Meeting,
        [rank, world]: [usize; 2],
    ) -> Result<Self, DeviceError> {
        let functions = functions()?;
        let driver = |error: DriverError| DeviceError::Failed {
            operation: "making a stream for sums",
            device: device.to_owned(),
            reason: reason(&error),
        };
        compute.context().bind_to_thread().map_err(driver)?;
        let sums = compute.context().new_stream().map_err(driver)?;
        let made = Event::plain().map_err(driver)?;
        let narrow = |number: usize| c_int::try_from(number).unwrap_or(c_int::MAX);
        let mut comm = std::ptr::null_mut();
        // SAFETY: the function writes one communicator; the id is one that NCCL has made.
        let returned = unsafe {
            let (rank, world) = (narrow(rank), narrow(world));
            (functions.init_rank)(&raw mut comm, world, UniqueId(*meeting), rank)
        };
        functions.check((device, "meeting the other ranks"), comm, returned)?;
        Ok(Self {
            device: device.to_owned(),
            functions,
            comm,
            compute: Arc::clone(compute),
            sums,
            made,
            step: Step::default(),
            steps: VecDeque::new(),
            spare: Vec::new(),
        })
    }

    /// What the driver failed with.
    fn failed(&self, error: &DriverError) -> DeviceError {
        let (operation, device) = ("a sum over ranks", self.device.clone());
        DeviceError::Failed { operation, device, reason: reason(error) }
    }

    fn check(&self, returned: c_int) -> Result<(), DeviceError> {
        self.functions.check((&self.device, "a sum over ranks"), self.comm, returned)
    }

    fn pair(&mut self) -> Result<[Event; 2], DriverError> {
        match self.spare.pop() {
            Some(pair) => Ok(pair),
            None => Ok([Event::timed()?, Event::timed()?]),
        }
    }

    /// Makes `first` and then, once `between` is done, the second event of a pair on a stream.
    fn around(
        &mut self,
        stream: sys::CUstream,
        between: impl FnOnce(&mut Self) -> Result<(), DeviceError>,
    ) -> Result<[Event; 2], DeviceError> {
        let pair = self.pair().map_err(|error| self.failed(&error))?;
        pair[0].record(stream).map_err(|error| self.failed(&error))?;
        between(self)?;
        pair[1].record(stream).map_err(|error| self.failed(&error))?;
        Ok(pair)
    }

    fn bind(&self) -> Result<(), DeviceError> {
        self.compute.context().bind_to_thread().map_err(|error| self.failed(&error))
    }

    /// Queues the sums of one bucket as one operation.
    fn all_reduce(&mut self, stretches: &[Stretch]) -> Result<(), DeviceError> {
        let (functions, comm) = (self.functions, self.comm);
        let stream = self.sums.cu_stream();
        // SAFETY: a group is one thread's, and is ended below whatever is in it.
        self.check(unsafe { (functions.group_start)() })?;
        let queued = stretches.iter().try_for_each(|(place, len)| {
            let numbers = place.0 as *mut c_void;
            // SAFETY: so many f32 are there (their owner has counted them), nothing else touches them
            // until the sums are joined, and they are given back on a stream that waits for the sums.
            self.check(unsafe {
                (functions.all_reduce)(numbers, numbers, *len, FLOAT, SUM, comm, stream)
            })
        });
        // SAFETY: as above.
        let ended = unsafe { (functions.group_end)() };
        queued?;
        self.check(ended)
    }
}

impl Collective for Nccl {
    fn sum(&mut self, stretches: &[Stretch]) -> Result<(), DeviceError> {
        self.bind()?;
        let (compute, sums) = (self.compute.cu_stream(), self.sums.cu_stream());
        let ordered = self.made.record(compute).and_then(|()| self.made.hold(sums));
        ordered.map_err(|error| self.failed(&error))?;
        let pair = self.around(sums, |nccl| nccl.all_reduce(stretches))?;
        self.step.buckets.push(pair);
        Ok(())
    }

    fn join(&mut self) -> Result<(), DeviceError> {
        self.bind()?;
        let mut found = SUCCESS;
        // SAFETY: the communicator is whole; the function writes one number.
        self.check(unsafe { (self.functions.async_error)(self.comm, &raw mut found) })?;
        self.check(if found == IN_PROGRESS { SUCCESS } else { found })?;
        let compute = self.compute.cu_stream();
        let wait = self.around(compute, |nccl| match nccl.step.buckets.last() {
            Some([_, last]) => last.hold(compute).map_err(|error| nccl.failed(&error)),
            None => Ok(()),
        })?;
        let step = Step { wait: Some(wait), ..std::mem::take(&mut self.step) };
        self.steps.push_back(step);
        Ok(())
    }

    fn times(&mut self, wait: bool) -> Result<Option<SumTimes>, DeviceError> {
        let Some(Step { buckets, wait: Some(waited) }) = self.steps.front() else {
            return Ok(None);
        };
        self.bind()?;
        let looked = (|| {
            // The wait is over when all sums are made, in their order.
            if wait {
                waited[1].wait()?;
            } else if !waited[1].is_reached()? {
                return Ok(None);
            }
            let mut times =
                SumTimes { stood_still: waited[0].until(&waited[1])?, ..SumTimes::default() };
            for [begin, end] in buckets {
                times.under_way += begin.until(end)?;
            }
            Ok(Some(times))
        })();
        let times = looked.map_err(|error: DriverError| self.failed(&error))?;
        if times.is_some()
            && let Some(Step { buckets, wait }) = self.steps.pop_front()
        {
            self.spare.extend(buckets.into_iter().chain(wait));
        }
        Ok(times)
    }

    fn is_for_good(&self) -> bool {
        true
    }
}
