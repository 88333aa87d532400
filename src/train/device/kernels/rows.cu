// Matrices by rows: a bias on every row, sums of columns, copies, transposes.
#pragma once
#include "cast.cu"
#include "lane.cuh"

// rows += row, in the lanes that are `present`
KERNEL add_to_rows(
    unsigned n, float *rows, const float *row, unsigned stride, unsigned columns,
    const unsigned *present) {
    FOURS(i, count, n);
    if (!present[LANE]) return;
    float *place = of_lane(rows, stride) + i;
    Four sum = four_of(place, count);
    Four bias = four_around(of_lane(row, columns), i % columns, columns);
    for (unsigned k = 0; k < 4; ++k) sum.at[k] += bias.at[k];
    put_four(place, sum, count);
}

// A sum over rows is made in parts. A thread has so many neighbouring columns of one of them: four
// where rows consist of whole fours and lie so, else one. The numbers of such a launch are those of
// all parts, and it has as many threads as OF_THREAD says (src/train/layer/accelerated/rows.rs).
#define OF_THREAD(columns) ((columns) % 4 == 0 ? 4u : 1u)

template <unsigned WIDE>
__device__ inline Four some_of(const float *from) {
    if (WIDE == 4) return whole_four(from);
    Four one = {{*from, 0.0f, 0.0f, 0.0f}};
    return one;
}

// Sums of WIDE columns over the rows from `first` to `end`; rounded copies go to `rounded`, unless that
// is null
template <unsigned WIDE>
__device__ inline void sum_columns(
    const float *column, double *sums, unsigned short *rounded, unsigned columns, unsigned first,
    unsigned end) {
    double sum[WIDE];
    for (unsigned c = 0; c < WIDE; ++c) sum[c] = 0.0;
    unsigned row = first;
    for (; row + AHEAD <= end; row += AHEAD) {
        Four next[AHEAD];
        for (unsigned k = 0; k < AHEAD; ++k)
            next[k] = some_of<WIDE>(column + (size_t)(row + k) * columns);
        for (unsigned k = 0; k < AHEAD; ++k)
            for (unsigned c = 0; c < WIDE; ++c) sum[c] += next[k].at[c];
        if (!rounded) continue;
        for (unsigned k = 0; k < AHEAD; ++k)
            put_rounded(rounded + (size_t)(row + k) * columns, next[k], WIDE);
    }
    for (; row < end; ++row) {
        Four next = some_of<WIDE>(column + (size_t)row * columns);
        for (unsigned c = 0; c < WIDE; ++c) sum[c] += next.at[c];
        if (rounded) put_rounded(rounded + (size_t)row * columns, next, WIDE);
    }
    for (unsigned c = 0; c < WIDE; ++c) sums[c] = sum[c];
}

// parts[part][column] = sum of the column over the part's rows, and `rounded`, unless it is null, the
// rows in bf16; n = parts * columns
KERNEL sum_rows_parts(
    unsigned n, const float *rows, double *parts, unsigned short *rounded, unsigned stride,
    unsigned rounded_stride, unsigned columns, unsigned count, unsigned rows_of_part) {
    unsigned i = OF_THREAD(columns) * (blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n) return;
    unsigned first = i / columns * rows_of_part;
    unsigned end = first + rows_of_part < count ? first + rows_of_part : count;
    const float *column = of_lane(rows, stride) + i % columns;
    double *sums = of_lane(parts, n) + i;
    unsigned short *copy = rounded ? of_lane(rounded, rounded_stride) + i % columns : nullptr;
    if (columns % 4 == 0 && lies_whole(column, sizeof(float4))) {
        sum_columns<4>(column, sums, copy, columns, first, end);
        return;
    }
    for (unsigned c = 0; c < OF_THREAD(columns); ++c)
        sum_columns<1>(column + c, sums + c, copy ? copy + c : nullptr, columns, first, end);
}

// Groups of up to `fold` of the `count` parts of one or several sums, each group summed: from (sums,
// count, columns) to (sums, groups, columns); n = sums * groups * columns
KERNEL fold_rows(
    unsigned n, const double *from, double *to, unsigned columns, unsigned count, unsigned fold,
    unsigned groups, unsigned from_stride) {
    THREAD(i, n);
    unsigned column = i % columns, group = i / columns % groups, sum = i / columns / groups;
    unsigned first = group * fold, left = count - first;
    const double *parts = of_lane(from, from_stride) + (size_t)sum * count * columns;
    parts += (size_t)first * columns + column;
    of_lane(to, n)[i] = added(0.0, parts, columns, left < fold ? left : fold);
}

// sums[column] = sum over the parts, in the lanes that are `present`; n = columns
KERNEL sum_rows_join(
    unsigned n, const double *parts, float *sums, unsigned count, const unsigned *present) {
    THREAD(i, n);
    if (!present[LANE]) return;
    of_lane(sums, n)[i] = (float)added(0.0, of_lane(parts, count * n) + i, n, count);
}

// numbers = 0
KERNEL clear_lanes(unsigned n, float *numbers, unsigned stride) {
    FOURS(i, count, n);
    Four none = {{0.0f, 0.0f, 0.0f, 0.0f}};
    put_four(of_lane(numbers, stride) + i, none, count);
}

// to = from
KERNEL copy_lanes(
    unsigned n, const float *from, float *to, unsigned from_stride, unsigned to_stride) {
    FOURS(i, count, n);
    Four numbers = four_of(of_lane(from, from_stride) + i, count);
    put_four(of_lane(to, to_stride) + i, numbers, count);
}

// Every (rows, columns) of `from` transposed, in `to`
KERNEL transpose_each(
    unsigned n, const float *from, float *to, unsigned from_stride, unsigned to_stride,
    unsigned rows, unsigned columns) {
    THREAD(i, n);
    unsigned size = rows * columns, matrix = i / size, place = i % size;
    unsigned column = place / rows, row = place % rows;
    of_lane(to, to_stride)[i] =
        of_lane(from, from_stride)[(size_t)matrix * size + row * columns + column];
}
