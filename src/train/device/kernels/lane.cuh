// What all kernels have in common.
//
// The rules: a launch has n threads for each lane (blockIdx.y); every thread writes numbers that no
// other thread of the launch touches, and reads none that another one writes; there is no shared
// memory, no barrier and no atomic operation. What a kernel computes is therefore a function of its
// arguments alone, in whatever order its threads run. Sums are made in two launches: parts, each by
// one thread, then the parts in their order.
//
// float arithmetic is that of the CPU's layers, operation by operation: compiled without contraction
// of products and sums, it gives the same bits. Sums over samples are in double.
#pragma once

#define KERNEL extern "C" __global__ void

// `i` of 0 .. n; a thread beyond the end has nothing to do.
#define THREAD(i, n)                                       \
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;    \
    if (i >= (n)) return

#define LANE (blockIdx.y)

// The numbers of this thread's lane, `stride` numbers apart from lane to lane.
template <class T>
__device__ inline T *of_lane(T *all, unsigned stride) {
    return all + (size_t)LANE * stride;
}

// Does this thread's lane live? `lives` is null where all of them do.
__device__ inline bool lives_on(const unsigned *lives) { return !lives || lives[LANE]; }
