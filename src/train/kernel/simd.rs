//! Vectorised loops without unsafe code: the same plain loop is compiled for several instruction
//! sets, and the best one that the processor has is chosen when the program runs.

/// Runs `kernel` compiled for the widest instruction set of this processor.
///
/// Pass a closure marked `#[inline(always)]` that calls only such functions: what is not inlined is
/// not compiled for the wider set. Results do not depend on the set as long as the loops are
/// elementwise, since no multiplication and addition are contracted.
#[inline(always)]
pub fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}
