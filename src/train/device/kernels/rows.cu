// Matrices by rows: a bias on every row, sums of columns, copies, transposes.
#include "lane.cuh"

// rows += row, in the lanes that are `present`
KERNEL add_to_rows(
    unsigned n, float *rows, const float *row, unsigned stride, unsigned columns,
    const unsigned *present) {
    THREAD(i, n);
    if (!present[LANE]) return;
    of_lane(rows, stride)[i] += of_lane(row, columns)[i % columns];
}

// parts[part][column] = sum of the column over the part's rows; n = parts * columns
KERNEL sum_rows_parts(
    unsigned n, const float *rows, double *parts, unsigned stride, unsigned columns,
    unsigned count, unsigned rows_of_part) {
    THREAD(i, n);
    unsigned column = i % columns, first = i / columns * rows_of_part;
    unsigned end = first + rows_of_part < count ? first + rows_of_part : count;
    const float *lane = of_lane(rows, stride);
    double sum = 0.0;
    for (unsigned row = first; row < end; ++row) sum += lane[(size_t)row * columns + column];
    of_lane(parts, n)[i] = sum;
}

// sums[column] = sum over the parts, in the lanes that are `present`; n = columns
KERNEL sum_rows_join(
    unsigned n, const double *parts, float *sums, unsigned count, const unsigned *present) {
    THREAD(i, n);
    if (!present[LANE]) return;
    const double *lane = of_lane(parts, count * n);
    double sum = 0.0;
    for (unsigned part = 0; part < count; ++part) sum += lane[(size_t)part * n + i];
    of_lane(sums, n)[i] = (float)sum;
}

// numbers = 0
KERNEL clear_lanes(unsigned n, float *numbers, unsigned stride) {
    THREAD(i, n);
    of_lane(numbers, stride)[i] = 0.0f;
}

// to = from
KERNEL copy_lanes(
    unsigned n, const float *from, float *to, unsigned from_stride, unsigned to_stride) {
    THREAD(i, n);
    of_lane(to, to_stride)[i] = of_lane(from, from_stride)[i];
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
