// Sums of squares of gradients, in double.
#include "lane.cuh"

// parts[i] = sum of the squares of numbers i, i + n, i + 2 n ...; n = parts
KERNEL square_parts(
    unsigned n, const float *numbers, double *parts, unsigned len, unsigned parts_stride) {
    THREAD(i, n);
    const float *lane = of_lane(numbers, len);
    double sum = 0.0;
    size_t at = i;
    for (; at + (size_t)(AHEAD - 1) * n < len; at += (size_t)AHEAD * n) {
        float next[AHEAD];
        for (unsigned k = 0; k < AHEAD; ++k) next[k] = lane[at + (size_t)k * n];
        for (unsigned k = 0; k < AHEAD; ++k) sum += (double)next[k] * next[k];
    }
    for (; at < len; at += n) sum += (double)lane[at] * lane[at];
    of_lane(parts, parts_stride)[i] = sum;
}

// to[i] = sum of the next `fold` of `count` parts; n = count / fold, rounded up
KERNEL fold_parts(
    unsigned n, const double *from, double *to, unsigned from_stride, unsigned to_stride,
    unsigned count, unsigned fold) {
    THREAD(i, n);
    const double *lane = of_lane(from, from_stride);
    unsigned first = i * fold, left = count - first;
    of_lane(to, to_stride)[i] = added(0.0, lane + first, 1, left < fold ? left : fold);
}

// The norm of a lane's gradients, from the sums of squares of `count` parameters in every lane, of which
// `present` says whether the lane has them; and what clips them to the lane's limit, as clip.rs has it.
// Lanes with a negative limit are not measured. A lane whose norm is not finite lives no more. n = 1
KERNEL norm_join(
    unsigned n, const double *sums, double *norms, float *scales, const unsigned *present,
    const double *limits, unsigned *lives, unsigned count, unsigned lanes, double eps) {
    THREAD(i, n);
    double limit = limits[LANE], sum = 0.0;
    norms[LANE] = 0.0;
    scales[LANE] = 1.0f;
    if (limit < 0.0) return;
    for (unsigned at = 0; at < count; ++at)
        if (present[at * lanes + LANE]) sum += sums[at * lanes + LANE];
    double norm = sqrt(sum);
    norms[LANE] = norm;
    double scale = limit / (norm + eps);
    if (limit > 0.0 && scale < 1.0) scales[LANE] = (float)scale;
    if (lives && !(norm - norm == 0.0)) lives[LANE] = 0;
}
