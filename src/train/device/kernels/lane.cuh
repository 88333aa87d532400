// What all kernels have in common.
//
// The rules: a launch has n threads for each lane (blockIdx.y); every thread writes numbers that no
// other thread of the launch touches, and reads none that another one writes; there is no shared
// memory, no barrier and no atomic operation. What a kernel computes is therefore a function of its
// arguments alone, in whatever order its threads run. Sums are made in two launches: parts, each by
// one thread, then the parts in their order.
//
// Memory is what a step waits for, so a thread asks for much at a time: numbers that are next to one
// another are a thread's four by four, 16 bytes where they begin at a multiple of them, and sums ask
// for several numbers ahead. Neither changes what is computed, nor in which order.
//
// float arithmetic is that of the CPU's layers, operation by operation: compiled without contraction
// of products and sums, it gives the same bits. Sums over samples are in double.
#pragma once

#define KERNEL extern "C" __global__ void

// `i` of 0 .. n; a thread beyond the end has nothing to do.
#define THREAD(i, n)                                       \
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;    \
    if (i >= (n)) return

// The same for threads that have four neighbouring numbers each: the first of them is number `i` of
// 0 .. n, and `count` of them are there.
#define FOURS(i, count, n)                                 \
    unsigned i = 4 * (blockIdx.x * blockDim.x + threadIdx.x); \
    if (i >= (n)) return;                                  \
    unsigned count = (n) - i < 4 ? (n) - i : 4

#define LANE (blockIdx.y)

// The numbers of this thread's lane, `stride` numbers apart from lane to lane.
template <class T>
__device__ inline T *of_lane(T *all, unsigned stride) {
    return all + (size_t)LANE * stride;
}

// Does this thread's lane live? `lives` is null where all of them do.
__device__ inline bool lives_on(const unsigned *lives) { return !lives || lives[LANE]; }

// Can four numbers be read or written there at once?
__device__ inline bool lies_whole(const void *place, size_t bytes) {
    return ((size_t)place & (bytes - 1)) == 0;
}

// Four neighbouring numbers of a kind.
template <class T>
struct FourOf {
    T at[4];
};
typedef FourOf<float> Four;

// As what four numbers of a kind are read or written at once.
template <class T> struct AtOnce;
template <> struct AtOnce<float> { typedef float4 Type; };
template <> struct AtOnce<unsigned> { typedef uint4 Type; };

// Four numbers from a place where they lie whole.
template <class T>
__device__ inline FourOf<T> whole_four(const T *from) {
    typename AtOnce<T>::Type all = *(const typename AtOnce<T>::Type *)from;
    FourOf<T> four = {{all.x, all.y, all.z, all.w}};
    return four;
}

// The first `count` of four numbers; 0 for the others.
template <class T>
__device__ inline FourOf<T> four_of(const T *from, unsigned count) {
    if (count == 4 && lies_whole(from, sizeof(typename AtOnce<T>::Type))) return whole_four(from);
    FourOf<T> four = {{0, 0, 0, 0}};
    for (unsigned k = 0; k < 4; ++k)
        if (k < count) four.at[k] = from[k];
    return four;
}

// Four numbers of a row of `columns`, which begins again after its end.
__device__ inline Four four_around(const float *row, unsigned column, unsigned columns) {
    if (column + 4 <= columns) return four_of(row + column, 4);
    Four four;
    for (unsigned k = 0; k < 4; ++k) {
        four.at[k] = row[column];
        if (++column == columns) column = 0;
    }
    return four;
}

// Writes the first `count` of four numbers.
template <class T>
__device__ inline void put_four(T *to, FourOf<T> four, unsigned count) {
    typedef typename AtOnce<T>::Type All;
    if (count == 4 && lies_whole(to, sizeof(All))) {
        All all = {four.at[0], four.at[1], four.at[2], four.at[3]};
        *(All *)to = all;
        return;
    }
    for (unsigned k = 0; k < 4; ++k)
        if (k < count) to[k] = four.at[k];
}

// Numbers that a sum asks for before it adds the first of them.
#define AHEAD 8

// sum + `count` numbers from `from` on, `stride` apart, one after the other
__device__ inline double added(double sum, const double *from, size_t stride, unsigned count) {
    unsigned at = 0;
    for (; at + AHEAD <= count; at += AHEAD) {
        double next[AHEAD];
        for (unsigned k = 0; k < AHEAD; ++k) next[k] = from[(at + k) * stride];
        for (unsigned k = 0; k < AHEAD; ++k) sum += next[k];
    }
    for (; at < count; ++at) sum += from[at * stride];
    return sum;
}
