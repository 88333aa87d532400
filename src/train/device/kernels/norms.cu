// Sums of squares of gradients, in double.
#include "lane.cuh"

// parts[i] = sum of the squares of numbers i, i + n, i + 2 n ...; n = parts
KERNEL square_parts(
    unsigned n, const float *numbers, double *parts, unsigned len, unsigned parts_stride) {
    THREAD(i, n);
    const float *lane = of_lane(numbers, len);
    double sum = 0.0;
    for (size_t at = i; at < len; at += n) sum += (double)lane[at] * lane[at];
    of_lane(parts, parts_stride)[i] = sum;
}

// to[i] = sum of the next `fold` of `count` parts; n = count / fold, rounded up
KERNEL fold_parts(
    unsigned n, const double *from, double *to, unsigned from_stride, unsigned to_stride,
    unsigned count, unsigned fold) {
    THREAD(i, n);
    const double *lane = of_lane(from, from_stride);
    unsigned end = (i + 1) * fold < count ? (i + 1) * fold : count;
    double sum = 0.0;
    for (unsigned at = i * fold; at < end; ++at) sum += lane[at];
    of_lane(to, to_stride)[i] = sum;
}
