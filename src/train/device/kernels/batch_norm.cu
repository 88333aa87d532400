// Batch normalisation by column of (rows, channels). Statistics are summed in double.
//
// `lanes` has four numbers for every lane: is it normalised, did it live when the host last looked,
// its momentum, its eps.
#include "lane.cuh"
#include "rows.cu"

#define NORMALISED(lanes) ((lanes)[4 * LANE] != 0.0)
#define LIVES(lanes) ((lanes)[4 * LANE + 1] != 0.0)
#define MOMENTUM(lanes) ((lanes)[4 * LANE + 2])
#define EPS(lanes) ((lanes)[4 * LANE + 3])

// Sums of x and x^2 of WIDE columns over the rows from `first` to `end`, about the columns' first
// numbers.
template <unsigned WIDE>
__device__ inline void sum_moments(
    const float *column, double *sums, size_t squares_at, unsigned channels, unsigned first,
    unsigned end) {
    Four centre = some_of<WIDE>(column);
    double sum[WIDE], squares[WIDE];
    for (unsigned c = 0; c < WIDE; ++c) sum[c] = squares[c] = 0.0;
    unsigned row = first;
    for (; row + AHEAD <= end; row += AHEAD) {
        Four next[AHEAD];
        for (unsigned k = 0; k < AHEAD; ++k)
            next[k] = some_of<WIDE>(column + (size_t)(row + k) * channels);
        for (unsigned k = 0; k < AHEAD; ++k)
            for (unsigned c = 0; c < WIDE; ++c) {
                double distance = (double)next[k].at[c] - (double)centre.at[c];
                sum[c] += distance;
                squares[c] += distance * distance;
            }
    }
    for (; row < end; ++row) {
        Four next = some_of<WIDE>(column + (size_t)row * channels);
        for (unsigned c = 0; c < WIDE; ++c) {
            double distance = (double)next.at[c] - (double)centre.at[c];
            sum[c] += distance;
            squares[c] += distance * distance;
        }
    }
    for (unsigned c = 0; c < WIDE; ++c) {
        sums[c] = sum[c];
        sums[squares_at + c] = squares[c];
    }
}

// Sums of x and x^2 over a part's rows, about the column's first number; n = parts * channels, with
// threads as rows.cu has them. As one of the numbers, that one is off the mean by no more than the root
// of their total spread.
KERNEL moments_parts(
    unsigned n, const float *x, double *parts, unsigned stride, unsigned channels, unsigned count,
    unsigned rows_of_part, const double *lanes) {
    unsigned i = OF_THREAD(channels) * (blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n || !NORMALISED(lanes)) return;
    unsigned first = i / channels * rows_of_part;
    unsigned end = first + rows_of_part < count ? first + rows_of_part : count;
    const float *column = of_lane(x, stride) + i % channels;
    double *part = of_lane(parts, 2 * n) + i;
    if (channels % 4 == 0 && lies_whole(column, sizeof(float4))) {
        sum_moments<4>(column, part, n, channels, first, end);
        return;
    }
    for (unsigned c = 0; c < OF_THREAD(channels); ++c)
        sum_moments<1>(column + c, part + c, n, channels, first, end);
}

// Where the terms of one column go: seven rows of (lanes, channels), of which the first four are centre,
// factor, mean and 1 / deviation; and its running statistics.
struct Column {
    float *terms, *running_mean, *running_variance;
    float gamma;
    unsigned all;
};

__device__ inline Column column(
    unsigned i, unsigned channels, float *terms, const float *gamma, float *running_mean,
    float *running_variance, unsigned all) {
    return {of_lane(terms, channels) + i, of_lane(running_mean, channels) + i,
            of_lane(running_variance, channels) + i, of_lane(gamma, channels)[i], all};
}

// Keeps the terms of a batch whose `rows` rows have that mean and that sum of squared distances from
// it, and the step of the running statistics of a lane that `lives`.
__device__ inline void keep_moments(
    Column column, double mean, double spread, double rows, const double *lanes,
    bool lives) {
    size_t next = column.all;
    float inverse = (float)(1.0 / sqrt(spread / rows + EPS(lanes)));
    column.terms[0] = (float)mean;
    column.terms[next] = column.gamma * inverse;
    column.terms[2 * next] = (float)mean;
    column.terms[3 * next] = inverse;
    if (!lives) return;
    double momentum = MOMENTUM(lanes);
    float *running = column.running_mean;
    *running = (float)((1.0 - momentum) * *running + momentum * mean);
    if (rows > 1.0) {
        running = column.running_variance;
        *running = (float)((1.0 - momentum) * *running + momentum * (spread / (rows - 1.0)));
    }
}

// A column's mean and sum of squared distances from it, of its parts; n = channels
struct Moments {
    double mean, spread;
};

__device__ inline Moments join_moments(
    unsigned n, unsigned i, const float *x, const double *parts, unsigned stride,
    unsigned count_parts, double rows) {
    const double *part = of_lane(parts, 2 * count_parts * n) + i;
    double sum = added(0.0, part, n, count_parts);
    double squares = added(0.0, part + (size_t)count_parts * n, n, count_parts);
    double mean = of_lane(x, stride)[i] + sum / rows;
    double spread = squares - sum * (sum / rows);
    return {mean, spread < 0.0 ? 0.0 : spread};
}

// Mean, 1 / deviation and the factor of x of the batch, and the step of the running statistics;
// n = channels
KERNEL moments_join(
    unsigned n, const float *x, const double *parts, float *terms, const float *gamma,
    float *running_mean, float *running_variance, unsigned stride, unsigned count_parts,
    unsigned count, unsigned all, const double *lanes, const unsigned *lives) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    Moments moments = join_moments(n, i, x, parts, stride, count_parts, count);
    Column kept = column(i, n, terms, gamma, running_mean, running_variance, all);
    bool keeps = LIVES(lanes) && lives_on(lives);
    keep_moments(kept, moments.mean, moments.spread, count, lanes, keeps);
}

// Centre and factor of an evaluation; n = channels
KERNEL running_terms(
    unsigned n, float *terms, const float *gamma, const float *running_mean,
    const float *running_variance, unsigned all, const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    double variance = of_lane(running_variance, n)[i] + EPS(lanes);
    of_lane(terms, n)[i] = of_lane(running_mean, n)[i];
    of_lane(terms + all, n)[i] = of_lane(gamma, n)[i] * (float)(1.0 / sqrt(variance));
}

// y = (x - centre) factor + beta; y = x in a lane without normalisation
KERNEL normalise(
    unsigned n, const float *x, float *y, const float *terms, const float *beta, unsigned x_stride,
    unsigned y_stride, unsigned channels, unsigned all, const double *lanes) {
    FOURS(i, count, n);
    Four numbers = four_of(of_lane(x, x_stride) + i, count);
    if (NORMALISED(lanes)) {
        unsigned channel = i % channels;
        Four centre = four_around(of_lane(terms, channels), channel, channels);
        Four factor = four_around(of_lane(terms + all, channels), channel, channels);
        Four offset = four_around(of_lane(beta, channels), channel, channels);
        for (unsigned k = 0; k < 4; ++k)
            numbers.at[k] = (numbers.at[k] - centre.at[k]) * factor.at[k] + offset.at[k];
    }
    put_four(of_lane(y, y_stride) + i, numbers, count);
}

// Rows that sums of two matrices ask for ahead: half as many, of both.
#define AHEAD_OF_TWO (AHEAD / 2)

// Sums of dy and (x - mean) dy of WIDE columns over the rows from `first` to `end`.
template <unsigned WIDE>
__device__ inline void sum_gradients(
    const float *x, const float *dy, const float *means, double *sums, size_t weighted_at,
    unsigned channels, unsigned first, unsigned end) {
    Four mean = {{means[0], 0.0f, 0.0f, 0.0f}};
    for (unsigned c = 0; c < WIDE; ++c) mean.at[c] = means[c];
    double plain[WIDE], weighted[WIDE];
    for (unsigned c = 0; c < WIDE; ++c) plain[c] = weighted[c] = 0.0;
    unsigned row = first;
    for (; row + AHEAD_OF_TWO <= end; row += AHEAD_OF_TWO) {
        Four xs[AHEAD_OF_TWO], dys[AHEAD_OF_TWO];
        for (unsigned k = 0; k < AHEAD_OF_TWO; ++k) {
            xs[k] = some_of<WIDE>(x + (size_t)(row + k) * channels);
            dys[k] = some_of<WIDE>(dy + (size_t)(row + k) * channels);
        }
        for (unsigned k = 0; k < AHEAD_OF_TWO; ++k)
            for (unsigned c = 0; c < WIDE; ++c) {
                plain[c] += dys[k].at[c];
                weighted[c] += (double)(xs[k].at[c] - mean.at[c]) * dys[k].at[c];
            }
    }
    for (; row < end; ++row) {
        Four xs = some_of<WIDE>(x + (size_t)row * channels);
        Four dys = some_of<WIDE>(dy + (size_t)row * channels);
        for (unsigned c = 0; c < WIDE; ++c) {
            plain[c] += dys.at[c];
            weighted[c] += (double)(xs.at[c] - mean.at[c]) * dys.at[c];
        }
    }
    for (unsigned c = 0; c < WIDE; ++c) {
        sums[c] = plain[c];
        sums[weighted_at + c] = weighted[c];
    }
}

// Sums of dy and (x - mean) dy over a part's rows; n = parts * channels, with threads as rows.cu has
// them
KERNEL gradient_parts(
    unsigned n, const float *x, const float *dy, const float *terms, double *parts,
    unsigned x_stride, unsigned dy_stride, unsigned channels, unsigned count,
    unsigned rows_of_part, unsigned all, const double *lanes) {
    unsigned i = OF_THREAD(channels) * (blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n || !NORMALISED(lanes)) return;
    unsigned channel = i % channels, first = i / channels * rows_of_part;
    unsigned end = first + rows_of_part < count ? first + rows_of_part : count;
    const float *mean = of_lane(terms + 2 * (size_t)all, channels) + channel;
    const float *xs = of_lane(x, x_stride) + channel, *dys = of_lane(dy, dy_stride) + channel;
    double *part = of_lane(parts, 2 * n) + i;
    bool whole = lies_whole(xs, sizeof(float4)) && lies_whole(dys, sizeof(float4));
    if (channels % 4 == 0 && whole) {
        sum_gradients<4>(xs, dys, mean, part, n, channels, first, end);
        return;
    }
    for (unsigned c = 0; c < OF_THREAD(channels); ++c)
        sum_gradients<1>(xs + c, dys + c, mean + c, part + c, n, channels, first, end);
}

// Keeps what dx is made of: three rows of the terms from the fifth on are factor, offset and slope.
__device__ inline void keep_gradient(
    float *terms, unsigned all, float gamma, double plain, double weighted, double rows) {
    size_t next = all;
    double inverse = terms[3 * next];
    double scale = gamma * inverse;
    terms[4 * next] = (float)scale;
    terms[5 * next] = (float)(scale * plain / rows);
    terms[6 * next] = (float)(scale * inverse * inverse * weighted / rows);
}

// A column's sums of dy and of (x - mean) dy, of its parts; n = channels
struct Gradients {
    double plain, weighted;
};

__device__ inline Gradients join_gradients(
    unsigned n, unsigned i, const double *parts, unsigned count_parts) {
    const double *part = of_lane(parts, 2 * count_parts * n) + i;
    Gradients sums;
    sums.plain = added(0.0, part, n, count_parts);
    sums.weighted = added(0.0, part + (size_t)count_parts * n, n, count_parts);
    return sums;
}

// Gradients of gamma and beta, and what dx is made of; n = channels
KERNEL gradient_join(
    unsigned n, const double *parts, float *terms, const float *gamma, float *gamma_gradient,
    float *beta_gradient, unsigned count_parts, unsigned count, unsigned all,
    const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    Gradients sums = join_gradients(n, i, parts, count_parts);
    double rows = count > 0 ? count : 1;
    double inverse = of_lane(terms + 3 * (size_t)all, n)[i];
    of_lane(beta_gradient, n)[i] = (float)sums.plain;
    of_lane(gamma_gradient, n)[i] = (float)(sums.weighted * inverse);
    float *term = of_lane(terms, n) + i;
    keep_gradient(term, all, of_lane(gamma, n)[i], sums.plain, sums.weighted, rows);
}

// dx = factor dy - offset - slope (x - mean); dx = dy in a lane without normalisation
KERNEL propagate(
    unsigned n, const float *x, const float *dy, float *dx, const float *terms, unsigned x_stride,
    unsigned dy_stride, unsigned dx_stride, unsigned channels, unsigned all, const double *lanes) {
    FOURS(i, count, n);
    Four numbers = four_of(of_lane(dy, dy_stride) + i, count);
    if (NORMALISED(lanes)) {
        const float *row = of_lane(terms, channels);
        size_t next = all;
        unsigned channel = i % channels;
        Four mean = four_around(row + 2 * next, channel, channels);
        Four factor = four_around(row + 4 * next, channel, channels);
        Four offset = four_around(row + 5 * next, channel, channels);
        Four slope = four_around(row + 6 * next, channel, channels);
        Four input = four_of(of_lane(x, x_stride) + i, count);
        for (unsigned k = 0; k < 4; ++k)
            numbers.at[k] = factor.at[k] * numbers.at[k] - offset.at[k]
                - slope.at[k] * (input.at[k] - mean.at[k]);
    }
    put_four(of_lane(dx, dx_stride) + i, numbers, count);
}
