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

// Writes the first `count` of four numbers, rounded.
__device__ inline void put_rounded(unsigned short *to, Four four, unsigned count) {
    unsigned short bits[4];
    for (unsigned k = 0; k < 4; ++k) bits[k] = to_bf16(four.at[k]);
    if (count == 4 && lies_whole(to, sizeof(ushort4))) {
        ushort4 all = {bits[0], bits[1], bits[2], bits[3]};
        *(ushort4 *)to = all;
        return;
    }
    for (unsigned k = 0; k < 4; ++k)
        if (k < count) to[k] = bits[k];
}

// The first `count` of four numbers in bf16; 0 for the others.
__device__ inline Four four_widened(const unsigned short *from, unsigned count) {
    Four four = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (count == 4 && lies_whole(from, sizeof(ushort4))) {
        ushort4 all = *(const ushort4 *)from;
        four.at[0] = of_bf16(all.x), four.at[1] = of_bf16(all.y);
        four.at[2] = of_bf16(all.z), four.at[3] = of_bf16(all.w);
        return four;
    }
    for (unsigned k = 0; k < 4; ++k)
        if (k < count) four.at[k] = of_bf16(from[k]);
    return four;
}

// to = from, rounded
KERNEL round_to_bf16(
    unsigned n, const float *from, unsigned short *to, unsigned from_stride, unsigned to_stride) {
    FOURS(i, count, n);
    Four numbers = four_of(of_lane(from, from_stride) + i, count);
    put_rounded(of_lane(to, to_stride) + i, numbers, count);
}

// to = from
KERNEL widen_bf16(
    unsigned n, const unsigned short *from, float *to, unsigned from_stride, unsigned to_stride) {
    FOURS(i, count, n);
    Four numbers = four_widened(of_lane(from, from_stride) + i, count);
    put_four(of_lane(to, to_stride) + i, numbers, count);
}

// rows = from, and + row in the lanes that are `present`
KERNEL widen_bf16_rows(
    unsigned n, const unsigned short *from, float *rows, const float *row, unsigned from_stride,
    unsigned stride, unsigned columns, const unsigned *present) {
    FOURS(i, count, n);
    Four numbers = four_widened(of_lane(from, from_stride) + i, count);
    if (present[LANE]) {
        Four bias = four_around(of_lane(row, columns), i % columns, columns);
        for (unsigned k = 0; k < 4; ++k) numbers.at[k] += bias.at[k];
    }
    put_four(of_lane(rows, stride) + i, numbers, count);
}
