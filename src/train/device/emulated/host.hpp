// Kernels on the host: the words of CUDA that they use, and a launch.
//
// Threads run in ascending order in one launch and in descending order in the next: kernels whose
// threads depended on one another would not give the CPU's results in both.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__

struct Place {
    unsigned x, y;
};
static thread_local Place blockIdx, blockDim, threadIdx;

// Several numbers that are read or written at once, which must lie at a multiple of their size.
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};

static inline float __uint_as_float(unsigned bits) {
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

static inline unsigned __float_as_uint(float number) {
    unsigned bits;
    memcpy(&bits, &number, 4);
    return bits;
}

static inline double __longlong_as_double(long long bits) {
    double number;
    memcpy(&number, &bits, 8);
    return number;
}

#include "kernels.cu"

// As the engine numbers them.
enum Precision { F32, TF32, BF16 };

// The nearest number with 10 bits after the point, ties to the even one; what is no number stays none.
static inline float to_tf32(float number) {
    unsigned bits = __float_as_uint(number);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return number;
    return __uint_as_float((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

// Calls `thread` as every thread of a launch.
template <class F> static void each_thread(Place grid, unsigned block, F thread) {
    static thread_local bool descending;
    blockDim = {block, 1};
    uint64_t all = (uint64_t)grid.x * block * grid.y;
    for (uint64_t at = 0; at < all; ++at) {
        uint64_t number = descending ? all - 1 - at : at;
        threadIdx.x = (unsigned)(number % block);
        blockIdx.x = (unsigned)(number / block % grid.x);
        blockIdx.y = (unsigned)(number / block / grid.x);
        thread();
    }
    descending = !descending;
}
