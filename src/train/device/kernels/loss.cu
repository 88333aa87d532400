// Cross-entropy of the softmax: src/train/loss.rs, one thread a sample.
#include "lane.cuh"
#include "numbers.cuh"

#define PARTIAL 16

__device__ inline float largest_of(const float *row, unsigned classes) {
    float best = row[0];
    for (unsigned k = 1; k < classes; ++k) best = row[k] > best ? row[k] : best;
    return best;
}

// Sum of exp(x - largest), or of x - largest, in the order of the CPU: sixteen partial sums, those,
// then what is left.
template <bool EXPONENTIALS>
__device__ inline float sum_of(const float *row, unsigned classes, float largest) {
    float partial[PARTIAL];
    for (unsigned k = 0; k < PARTIAL; ++k) partial[k] = 0.0f;
    unsigned whole = classes / PARTIAL * PARTIAL;
    for (unsigned first = 0; first < whole; first += PARTIAL)
        for (unsigned k = 0; k < PARTIAL; ++k) {
            float below = row[first + k] - largest;
            partial[k] += EXPONENTIALS ? exp_of(below) : below;
        }
    float sum = 0.0f;
    for (unsigned k = 0; k < PARTIAL; ++k) sum += partial[k];
    for (unsigned k = whole; k < classes; ++k) {
        float below = row[k] - largest;
        sum += EXPONENTIALS ? exp_of(below) : below;
    }
    return sum;
}

// What a sample is held against: its class, or two with the first one's share, and smoothing.
struct Aim {
    unsigned first, second;
    double share, smoothing;
};

// `seconds` and `shares` are null where nothing is mixed, `smoothings` where nothing is smoothed.
__device__ inline Aim aim_of(
    unsigned i, unsigned n, const unsigned *labels, const unsigned *seconds, const float *shares,
    const double *smoothings) {
    Aim aim = {of_lane(labels, n)[i], of_lane(labels, n)[i], 1.0, smoothings ? smoothings[LANE] : 0.0};
    if (seconds) {
        aim.second = of_lane(seconds, n)[i];
        aim.share = (double)of_lane(shares, n)[i];
    }
    return aim;
}

// The loss by the largest logit, the sum of the exponentials above it, and that of the logits above it,
// which only smoothing reads.
__device__ inline double loss_of(
    const float *row, Aim aim, unsigned classes, float largest, float sum, float all) {
    double aimed = (double)(row[aim.first] - largest);
    if (aim.share != 1.0)
        aimed = aim.share * aimed + (1.0 - aim.share) * (double)(row[aim.second] - largest);
    if (aim.smoothing > 0.0)
        aimed = (1.0 - aim.smoothing) * aimed + aim.smoothing / (double)classes * (double)all;
    return log((double)sum) - aimed;
}

// What is taken off the gradient of a class.
__device__ inline float toward(Aim aim, double per_sample, unsigned k, float gradient) {
    double whole = per_sample * (1.0 - aim.smoothing);
    if (k == aim.first) gradient -= (float)(whole * aim.share);
    if (aim.share != 1.0 && k == aim.second) gradient -= (float)(whole * (1.0 - aim.share));
    return gradient;
}

// losses and right of every sample (lanes, samples) and, unless `gradient` is null, the gradient of
// the mean over `mean_over` samples. n = samples
KERNEL cross_entropy(
    unsigned n, const float *logits, float *gradient, double *losses, unsigned *right,
    unsigned logits_stride, unsigned gradient_stride, unsigned classes, unsigned mean_over,
    const unsigned *labels, const unsigned *seconds, const float *shares, const double *smoothings) {
    THREAD(i, n);
    const float *row = of_lane(logits, logits_stride) + (size_t)i * classes;
    Aim aim = aim_of(i, n, labels, seconds, shares, smoothings);
    float largest = largest_of(row, classes);
    float sum = sum_of<true>(row, classes, largest);
    float all = aim.smoothing > 0.0 ? sum_of<false>(row, classes, largest) : 0.0f;
    of_lane(losses, n)[i] = loss_of(row, aim, classes, largest, sum, all);

    unsigned target = aim.share >= 0.5 ? aim.first : aim.second;
    bool hit = row[target] == largest;
    for (unsigned k = 0; k < target; ++k) hit = hit && row[k] < largest;
    of_lane(right, n)[i] = hit ? 1u : 0u;

    if (!gradient) return;
    float *out = of_lane(gradient, gradient_stride) + (size_t)i * classes;
    double per_sample = 1.0 / (double)mean_over;
    float factor = (float)per_sample / sum;
    float spread = (float)(per_sample * aim.smoothing / (double)classes);
    for (unsigned k = 0; k < classes; ++k)
        out[k] = toward(
            aim, per_sample, k, without_trace(exp_of(row[k] - largest) * factor - spread));
}

// The same of many classes, by sixteen threads a sample: each looks at every sixteenth class, which is
// the order of the sums above. What they find is kept in `found` (lanes, samples): sixteen numbers of
// each row, and what is made of them.
enum Found {
    PART_LARGEST,
    PART_SUM = 16,
    PART_PLAIN = 32,
    PART_REACHED = 48,
    ROW_LARGEST = 64,
    ROW_SUM,
    FOUND
};

// The largest logit of a part, of which none is larger where all are no numbers; n = samples * 16
KERNEL logit_maxima(
    unsigned n, const float *logits, float *found, unsigned logits_stride, unsigned classes) {
    THREAD(i, n);
    unsigned sample = i / PARTIAL, part = i % PARTIAL;
    const float *row = of_lane(logits, logits_stride) + (size_t)sample * classes;
    float best = -INFINITY;
    for (unsigned k = part; k < classes; k += PARTIAL) best = row[k] > best ? row[k] : best;
    of_lane(found, n / PARTIAL * FOUND)[(size_t)sample * FOUND + PART_LARGEST + part] = best;
}

// Sums over a part of the whole sixteens, and the first class that reaches the largest logit;
// n = samples * 16
KERNEL logit_sums(
    unsigned n, const float *logits, float *found, unsigned logits_stride, unsigned classes) {
    THREAD(i, n);
    unsigned sample = i / PARTIAL, part = i % PARTIAL;
    const float *row = of_lane(logits, logits_stride) + (size_t)sample * classes;
    float *own = of_lane(found, n / PARTIAL * FOUND) + (size_t)sample * FOUND;
    float largest = row[0];
    for (unsigned k = 0; k < PARTIAL; ++k)
        largest = own[PART_LARGEST + k] > largest ? own[PART_LARGEST + k] : largest;
    unsigned whole = classes / PARTIAL * PARTIAL, reached = classes;
    float sum = 0.0f, plain = 0.0f;
    for (unsigned k = part; k < classes; k += PARTIAL) {
        float below = row[k] - largest;
        if (k < whole) {
            sum += exp_of(below);
            plain += below;
        }
        if (reached == classes && !(row[k] < largest)) reached = k;
    }
    own[PART_SUM + part] = sum;
    own[PART_PLAIN + part] = plain;
    own[PART_REACHED + part] = __uint_as_float(reached);
    if (part == 0) own[ROW_LARGEST] = largest;
}

// losses and right of every sample; n = samples
KERNEL cross_entropy_join(
    unsigned n, const float *logits, float *found, double *losses, unsigned *right,
    unsigned logits_stride, unsigned classes, const unsigned *labels, const unsigned *seconds,
    const float *shares, const double *smoothings) {
    THREAD(i, n);
    const float *row = of_lane(logits, logits_stride) + (size_t)i * classes;
    float *own = of_lane(found, n * FOUND) + (size_t)i * FOUND;
    Aim aim = aim_of(i, n, labels, seconds, shares, smoothings);
    float largest = own[ROW_LARGEST], sum = 0.0f, all = 0.0f;
    unsigned reached = classes;
    for (unsigned k = 0; k < PARTIAL; ++k) {
        sum += own[PART_SUM + k];
        all += own[PART_PLAIN + k];
        unsigned first = __float_as_uint(own[PART_REACHED + k]);
        reached = first < reached ? first : reached;
    }
    for (unsigned k = classes / PARTIAL * PARTIAL; k < classes; ++k) {
        sum += exp_of(row[k] - largest);
        all += row[k] - largest;
    }
    own[ROW_SUM] = sum;
    of_lane(losses, n)[i] = loss_of(row, aim, classes, largest, sum, all);
    unsigned target = aim.share >= 0.5 ? aim.first : aim.second;
    of_lane(right, n)[i] = row[target] == largest && reached >= target ? 1u : 0u;
}

// The gradient of the mean over `mean_over` samples; n = samples * classes
KERNEL cross_entropy_gradient(
    unsigned n, const float *logits, const float *found, float *gradient, unsigned logits_stride,
    unsigned gradient_stride, unsigned classes, unsigned mean_over, const unsigned *labels,
    const unsigned *seconds, const float *shares, const double *smoothings) {
    THREAD(i, n);
    unsigned sample = i / classes, samples = n / classes;
    const float *own = of_lane(found, samples * FOUND) + (size_t)sample * FOUND;
    Aim aim = aim_of(sample, samples, labels, seconds, shares, smoothings);
    double per_sample = 1.0 / (double)mean_over;
    float factor = (float)per_sample / own[ROW_SUM];
    float spread = (float)(per_sample * aim.smoothing / (double)classes);
    float number = exp_of(of_lane(logits, logits_stride)[i] - own[ROW_LARGEST]) * factor - spread;
    of_lane(gradient, gradient_stride)[i] =
        toward(aim, per_sample, i % classes, without_trace(number));
}

// Sums over a part's samples of loss and number right, which a double holds exactly; n = parts
KERNEL loss_parts(
    unsigned n, const double *losses, const unsigned *right, double *parts, unsigned samples,
    unsigned of_part) {
    THREAD(i, n);
    unsigned first = i * of_part, left = samples - first;
    unsigned count = left < of_part ? left : of_part, hits = 0;
    const unsigned *rights = of_lane(right, samples) + first;
    for (unsigned k = 0; k < count; ++k) hits += rights[k];
    double *part = of_lane(parts, 2 * n);
    part[i] = added(0.0, of_lane(losses, samples) + first, 1, count);
    part[n + i] = (double)hits;
}

// Loss and number right of a lane, in the order of the parts. A lane whose loss is not finite lives no
// more, unless `lives` is null: what comes after it in the queue leaves it as it is. n = 1
KERNEL loss_join(unsigned n, const double *parts, double *sums, unsigned *lives, unsigned count) {
    THREAD(i, n);
    const double *lane = of_lane(parts, 2 * count);
    double sum = added(0.0, lane, 1, count);
    sums[2 * LANE] = sum;
    sums[2 * LANE + 1] = added(0.0, lane + count, 1, count);
    if (lives && !(sum - sum == 0.0)) lives[LANE] = 0;
}
