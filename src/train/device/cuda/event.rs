//! Marks in a stream: what comes after one in another stream waits for it, and two tell the time
//! between them.
#![expect(unsafe_code, reason = "events of CUDA have no safe form")]

use std::sync::OnceLock;
use std::time::Duration;

use cudarc::driver::{DriverError, result, sys};

/// `cuEventElapsedTime`, which drivers of every version have. The bindings' is `cuEventElapsedTime_v2`,
/// which drivers before CUDA 12.8 lack.
type ElapsedTime = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

fn elapsed_time() -> ElapsedTime {
    static FUNCTION: OnceLock<ElapsedTime> = OnceLock::new();
    *FUNCTION.get_or_init(|| {
        // SAFETY: the type is that of cuda.h.
        let found = unsafe { sys::culib().get::<ElapsedTime>(b"cuEventElapsedTime") };
        *found.expect("invariant: every function was looked up when the driver was opened")
    })
}

/// A mark, which can be set again.
#[derive(Debug)]
pub(super) struct Event(sys::CUevent);

// SAFETY: the handle belongs to the context, not to a thread.
unsafe impl Send for Event {}

impl Event {
    /// One that tells the time; the context is bound.
    pub(super) fn timed() -> Result<Self, DriverError> {
        result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map(Self)
    }

    /// One that is only waited for, which costs less; the context is bound.
    pub(super) fn plain() -> Result<Self, DriverError> {
        result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map(Self)
    }

    /// Sets it behind all that is queued on a stream of its context.
    pub(super) fn record(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: the event is whole until it is dropped, and so is the stream (its owner's).
        unsafe { result::event::record(self.0, stream) }
    }

    /// Has all that is queued on a stream from here on wait for it. What is recorded later does not
    /// change that.
    pub(super) fn hold(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: as in `record`.
        unsafe { result::stream::wait_event(stream, self.0, flags) }
    }

    /// Has the stream come to it?
    pub(super) fn is_reached(&self) -> Result<bool, DriverError> {
        // SAFETY: as in `record`.
        match unsafe { result::event::query(self.0) } {
            Ok(()) => Ok(true),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until the stream has come to it.
    pub(super) fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: as in `record`.
        unsafe { result::event::synchronize(self.0) }
    }

    /// The time from it to a later one; both are timed, and reached.
    pub(super) fn until(&self, later: &Self) -> Result<Duration, DriverError> {
        let mut ms = 0.0;
        // SAFETY: as in `record`; the driver writes one float.
        unsafe { elapsed_time()(&raw mut ms, self.0, later.0) }.result()?;
        // To half a microsecond, the driver says; the first of two may come out later than that.
        Ok(Duration::from_secs_f32(ms.max(0.0) / 1e3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more; the driver lets what is queued come to its end.
        // An error is one of something queued, which the next operation tells.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}
