// Pools over (N, H, W, C). Windows are ranges of rows and of columns inside the image, as
// src/train/layer/pool_windows.rs makes them; the windows that a pixel belongs to are ranges, too.
#include "lane.cuh"

struct Pooling {
    unsigned height, width, channels, out_height, out_width;
};

// `shape` is the five numbers of a Pooling.
__device__ inline Pooling pooling(const unsigned *shape) {
    Pooling p = {shape[0], shape[1], shape[2], shape[3], shape[4]};
    return p;
}

// The output that number i of a lane is.
struct Output {
    unsigned channel, column, row, sample;
};

__device__ inline Output output_at(unsigned i, unsigned channels, unsigned width, unsigned height) {
    Output o;
    o.channel = i % channels;
    i /= channels;
    o.column = i % width;
    i /= width;
    o.row = i % height;
    o.sample = i / height;
    return o;
}

// Four places in a window.
typedef FourOf<unsigned> Offsets;

// The largest numbers of the windows of WIDE outputs, which are channels of one pixel.
template <unsigned WIDE>
__device__ inline void largest(
    unsigned i, Pooling p, const float *x, float *y, unsigned *winners, const unsigned *rows,
    const unsigned *columns) {
    Output o = output_at(i, p.channels, p.out_width, p.out_height);
    const float *image = x + (size_t)o.sample * p.height * p.width * p.channels + o.channel;
    unsigned top = rows[2 * o.row], bottom = rows[2 * o.row + 1];
    unsigned left = columns[2 * o.column], right = columns[2 * o.column + 1];
    Four best = four_of(image + (size_t)(top * p.width + left) * p.channels, WIDE);
    Offsets winner = {{0, 0, 0, 0}};
    for (unsigned row = top; row < bottom; ++row)
        for (unsigned column = left; column < right; ++column) {
            unsigned offset = (row - top) * p.width + (column - left);
            if (offset == 0) continue;
            Four numbers = four_of(image + (size_t)(row * p.width + column) * p.channels, WIDE);
            for (unsigned k = 0; k < WIDE; ++k) {
                float number = numbers.at[k];
                if (number > best.at[k] || number != number) {
                    best.at[k] = number;
                    winner.at[k] = offset;
                }
            }
        }
    put_four(y + i, best, WIDE);
    put_four(winners + i, winner, WIDE);
}

// What comes back to WIDE numbers, which are channels of one pixel.
template <unsigned WIDE>
__device__ inline void won(
    unsigned i, Pooling p, const float *dy, const unsigned *winners, float *dx,
    const unsigned *rows, const unsigned *columns, const unsigned *row_windows,
    const unsigned *column_windows, unsigned disjoint) {
    Output o = output_at(i, p.channels, p.width, p.height);
    size_t first = (size_t)o.sample * p.out_height * p.out_width;
    Four sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    for (unsigned row = row_windows[2 * o.row]; row < row_windows[2 * o.row + 1]; ++row)
        for (unsigned column = column_windows[2 * o.column];
             column < column_windows[2 * o.column + 1]; ++column) {
            size_t place = (first + row * p.out_width + column) * p.channels + o.channel;
            unsigned offset =
                (o.row - rows[2 * row]) * p.width + (o.column - columns[2 * column]);
            Offsets winner = four_of(winners + place, WIDE);
            Four gradients = four_of(dy + place, WIDE);
            for (unsigned k = 0; k < WIDE; ++k) {
                float gradient = winner.at[k] == offset ? gradients.at[k] : 0.0f;
                sum.at[k] = disjoint ? gradient : sum.at[k] + gradient;
            }
        }
    put_four(dx + i, sum, WIDE);
}

// y = the largest number, the first of equal ones, NaN above all; winner = its pixel, counted from
// the first of the window. `rows`, `columns`: from and to of every window.
KERNEL max_pool_forward(
    unsigned n, const float *x, float *y, unsigned *winners, unsigned x_stride, unsigned y_stride,
    unsigned winners_stride, const unsigned *shape, const unsigned *rows, const unsigned *columns) {
    FOURS(i, count, n);
    Pooling p = pooling(shape);
    if (p.channels % 4 == 0) {
        largest<4>(i, p, of_lane(x, x_stride), of_lane(y, y_stride), of_lane(winners, winners_stride),
                   rows, columns);
        return;
    }
    for (unsigned k = 0; k < count; ++k)
        largest<1>(i + k, p, of_lane(x, x_stride), of_lane(y, y_stride),
                   of_lane(winners, winners_stride), rows, columns);
}

// dx = the gradients of the windows that the pixel won. `row_windows`, `column_windows`: from and to
// of the windows that every row, every column of the image belongs to. Where windows are `disjoint`,
// nothing is added, so that a gradient of -0 stays one.
KERNEL max_pool_backward(
    unsigned n, const float *dy, const unsigned *winners, float *dx, unsigned dy_stride,
    unsigned winners_stride, unsigned dx_stride, const unsigned *shape, const unsigned *rows,
    const unsigned *columns, const unsigned *row_windows, const unsigned *column_windows,
    unsigned disjoint) {
    FOURS(i, count, n);
    Pooling p = pooling(shape);
    const float *gradients = of_lane(dy, dy_stride);
    const unsigned *wins = of_lane(winners, winners_stride);
    if (p.channels % 4 == 0) {
        won<4>(i, p, gradients, wins, of_lane(dx, dx_stride), rows, columns, row_windows,
               column_windows, disjoint);
        return;
    }
    for (unsigned k = 0; k < count; ++k)
        won<1>(i + k, p, gradients, wins, of_lane(dx, dx_stride), rows, columns, row_windows,
               column_windows, disjoint);
}

// y = share * sum over the window; a share for every window
KERNEL avg_pool_forward(
    unsigned n, const float *x, float *y, unsigned x_stride, unsigned y_stride,
    const unsigned *shape, const unsigned *rows, const unsigned *columns, const float *shares) {
    THREAD(i, n);
    Pooling p = pooling(shape);
    Output o = output_at(i, p.channels, p.out_width, p.out_height);
    const float *image =
        of_lane(x, x_stride) + (size_t)o.sample * p.height * p.width * p.channels + o.channel;
    unsigned top = rows[2 * o.row], bottom = rows[2 * o.row + 1];
    unsigned left = columns[2 * o.column], right = columns[2 * o.column + 1];
    float sum = image[(size_t)(top * p.width + left) * p.channels];
    for (unsigned row = top; row < bottom; ++row)
        for (unsigned column = left; column < right; ++column) {
            if (row == top && column == left) continue;
            sum += image[(size_t)(row * p.width + column) * p.channels];
        }
    of_lane(y, y_stride)[i] = sum * shares[o.row * p.out_width + o.column];
}

// dx = sum of share * dy over the windows that the pixel belongs to
KERNEL avg_pool_backward(
    unsigned n, const float *dy, float *dx, unsigned dy_stride, unsigned dx_stride,
    const unsigned *shape, const unsigned *row_windows, const unsigned *column_windows,
    const float *shares, unsigned disjoint) {
    THREAD(i, n);
    Pooling p = pooling(shape);
    Output o = output_at(i, p.channels, p.width, p.height);
    size_t first = (size_t)o.sample * p.out_height * p.out_width;
    float sum = 0.0f;
    for (unsigned row = row_windows[2 * o.row]; row < row_windows[2 * o.row + 1]; ++row)
        for (unsigned column = column_windows[2 * o.column];
             column < column_windows[2 * o.column + 1]; ++column) {
            unsigned window = row * p.out_width + column;
            size_t place = (first + window) * p.channels + o.channel;
            float gradient = of_lane(dy, dy_stride)[place] * shares[window];
            sum = disjoint ? gradient : sum + gradient;
        }
    of_lane(dx, dx_stride)[i] = sum;
}
