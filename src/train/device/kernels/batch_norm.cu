// Batch normalisation by column of (rows, channels). Statistics are summed in double.
//
// `lanes` has four numbers for every lane: is it normalised, did it live when the host last looked,
// its momentum, its eps.
#include "lane.cuh"

#define NORMALISED(lanes) ((lanes)[4 * LANE] != 0.0)
#define LIVES(lanes) ((lanes)[4 * LANE + 1] != 0.0)
#define MOMENTUM(lanes) ((lanes)[4 * LANE + 2])
#define EPS(lanes) ((lanes)[4 * LANE + 3])

// Sums of x and x^2 over a part's rows, about the column's first number; n = parts * channels. As one
// of the numbers, that one is off the mean by no more than the root of their total spread.
KERNEL moments_parts(
    unsigned n, const float *x, double *parts, unsigned stride, unsigned channels, unsigned count,
    unsigned rows_of_part, const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    unsigned channel = i % channels, first = i / channels * rows_of_part;
    unsigned end = first + rows_of_part < count ? first + rows_of_part : count;
    const float *lane = of_lane(x, stride);
    double centre = lane[channel], sum = 0.0, squares = 0.0;
    for (unsigned row = first; row < end; ++row) {
        double distance = lane[(size_t)row * channels + channel] - centre;
        sum += distance;
        squares += distance * distance;
    }
    double *part = of_lane(parts, 2 * n);
    part[i] = sum;
    part[n + i] = squares;
}

// Mean, 1 / deviation and the factor of x of the batch, and the step of the running statistics;
// n = channels. Four rows of (lanes, channels) in `terms`: centre, factor, mean, 1 / deviation.
KERNEL moments_join(
    unsigned n, const float *x, const double *parts, float *terms, const float *gamma,
    float *running_mean, float *running_variance, unsigned stride, unsigned count_parts,
    unsigned count, unsigned all, const double *lanes, const unsigned *lives) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    const double *part = of_lane(parts, 2 * count_parts * n);
    double sum = 0.0, squares = 0.0;
    for (unsigned p = 0; p < count_parts; ++p) {
        sum += part[(size_t)p * n + i];
        squares += part[(size_t)(count_parts + p) * n + i];
    }
    double rows = count;
    double mean = of_lane(x, stride)[i] + sum / rows;
    double spread = squares - sum * (sum / rows);
    if (spread < 0.0) spread = 0.0;
    float inverse = (float)(1.0 / sqrt(spread / rows + EPS(lanes)));
    of_lane(terms, n)[i] = (float)mean;
    of_lane(terms + all, n)[i] = of_lane(gamma, n)[i] * inverse;
    of_lane(terms + 2 * (size_t)all, n)[i] = (float)mean;
    of_lane(terms + 3 * (size_t)all, n)[i] = inverse;
    if (!LIVES(lanes) || !lives_on(lives)) return;
    double momentum = MOMENTUM(lanes);
    float *running = of_lane(running_mean, n) + i;
    *running = (float)((1.0 - momentum) * *running + momentum * mean);
    if (count > 1) {
        running = of_lane(running_variance, n) + i;
        *running = (float)((1.0 - momentum) * *running + momentum * (spread / (rows - 1.0)));
    }
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
    THREAD(i, n);
    float number = of_lane(x, x_stride)[i];
    if (NORMALISED(lanes)) {
        unsigned channel = i % channels;
        number = (number - of_lane(terms, channels)[channel])
                * of_lane(terms + all, channels)[channel]
            + of_lane(beta, channels)[channel];
    }
    of_lane(y, y_stride)[i] = number;
}

// Sums of dy and (x - mean) dy over a part's rows; n = parts * channels
KERNEL gradient_parts(
    unsigned n, const float *x, const float *dy, const float *terms, double *parts,
    unsigned x_stride, unsigned dy_stride, unsigned channels, unsigned count,
    unsigned rows_of_part, unsigned all, const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    unsigned channel = i % channels, first = i / channels * rows_of_part;
    unsigned end = first + rows_of_part < count ? first + rows_of_part : count;
    float mean = of_lane(terms + 2 * (size_t)all, channels)[channel];
    const float *x_lane = of_lane(x, x_stride), *dy_lane = of_lane(dy, dy_stride);
    double plain = 0.0, weighted = 0.0;
    for (unsigned row = first; row < end; ++row) {
        size_t place = (size_t)row * channels + channel;
        plain += dy_lane[place];
        weighted += (double)(x_lane[place] - mean) * dy_lane[place];
    }
    double *part = of_lane(parts, 2 * n);
    part[i] = plain;
    part[n + i] = weighted;
}

// Gradients of gamma and beta, and what dx is made of: three rows of (lanes, channels) from the fourth
// of `terms` on: factor, offset, slope. n = channels
KERNEL gradient_join(
    unsigned n, const double *parts, float *terms, const float *gamma, float *gamma_gradient,
    float *beta_gradient, unsigned count_parts, unsigned count, unsigned all,
    const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    const double *part = of_lane(parts, 2 * count_parts * n);
    double plain = 0.0, weighted = 0.0;
    for (unsigned p = 0; p < count_parts; ++p) {
        plain += part[(size_t)p * n + i];
        weighted += part[(size_t)(count_parts + p) * n + i];
    }
    double rows = count;
    double inverse = of_lane(terms + 3 * (size_t)all, n)[i];
    double scale = of_lane(gamma, n)[i] * inverse;
    of_lane(beta_gradient, n)[i] = (float)plain;
    of_lane(gamma_gradient, n)[i] = (float)(weighted * inverse);
    of_lane(terms + 4 * (size_t)all, n)[i] = (float)scale;
    of_lane(terms + 5 * (size_t)all, n)[i] = (float)(scale * plain / rows);
    of_lane(terms + 6 * (size_t)all, n)[i] = (float)(scale * inverse * inverse * weighted / rows);
}

// dx = factor dy - offset - slope (x - mean); dx = dy in a lane without normalisation
KERNEL propagate(
    unsigned n, const float *x, const float *dy, float *dx, const float *terms, unsigned x_stride,
    unsigned dy_stride, unsigned dx_stride, unsigned channels, unsigned all, const double *lanes) {
    THREAD(i, n);
    float number = of_lane(dy, dy_stride)[i];
    if (NORMALISED(lanes)) {
        const float *row = of_lane(terms, channels) + i % channels;
        size_t next = all;
        float mean = row[2 * next], factor = row[4 * next];
        float offset = row[5 * next], slope = row[6 * next];
        number = factor * number - offset - slope * (of_lane(x, x_stride)[i] - mean);
    }
    of_lane(dx, dx_stride)[i] = number;
}
