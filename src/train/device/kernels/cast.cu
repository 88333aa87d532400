// Numbers in bf16: f32 without its last 16 bits, rounded to the nearest, ties to the even one.
#pragma once
#include "lane.cuh"

__device__ inline unsigned short to_bf16(float number) {
    unsigned bits = __float_as_uint(number);
    // What is no number stays none: rounding could make an infinity of it.
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)(bits >> 16 | 0x40u);
    return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

__device__ inline float of_bf16(unsigned short bits) {
    return __uint_as_float((unsigned)bits << 16);
}

// to = from, rounded
KERNEL round_to_bf16(
    unsigned n, const float *from, unsigned short *to, unsigned from_stride, unsigned to_stride) {
    THREAD(i, n);
    of_lane(to, to_stride)[i] = to_bf16(of_lane(from, from_stride)[i]);
}

// to = from
KERNEL widen_bf16(
    unsigned n, const unsigned short *from, float *to, unsigned from_stride, unsigned to_stride) {
    THREAD(i, n);
    of_lane(to, to_stride)[i] = of_bf16(of_lane(from, from_stride)[i]);
}

// rows = from, and + row in the lanes that are `present`
KERNEL widen_bf16_rows(
    unsigned n, const unsigned short *from, float *rows, const float *row, unsigned from_stride,
    unsigned stride, unsigned columns, const unsigned *present) {
    THREAD(i, n);
    float number = of_bf16(of_lane(from, from_stride)[i]);
    of_lane(rows, stride)[i] = present[LANE] ? number + of_lane(row, columns)[i % columns] : number;
}
