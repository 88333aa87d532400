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

// losses and right of every sample (lanes, samples) and, unless `gradient` is null, the gradient of
// the mean over `mean_over` samples. `seconds` and `shares` are null where nothing is mixed. n = samples
KERNEL cross_entropy(
    unsigned n, const float *logits, float *gradient, double *losses, unsigned *right,
    unsigned logits_stride, unsigned gradient_stride, unsigned classes, unsigned mean_over,
    const unsigned *labels, const unsigned *seconds, const float *shares, const double *smoothings) {
    THREAD(i, n);
    const float *row = of_lane(logits, logits_stride) + (size_t)i * classes;
    unsigned first = of_lane(labels, n)[i], second = first;
    double share = 1.0;
    if (seconds) {
        second = of_lane(seconds, n)[i];
        share = (double)of_lane(shares, n)[i];
    }
    double smoothing = smoothings ? smoothings[LANE] : 0.0;
    float largest = largest_of(row, classes);
    float sum = sum_of<true>(row, classes, largest);

    double aimed = (double)(row[first] - largest);
    if (share != 1.0) aimed = share * aimed + (1.0 - share) * (double)(row[second] - largest);
    if (smoothing > 0.0) {
        double all = (double)sum_of<false>(row, classes, largest);
        aimed = (1.0 - smoothing) * aimed + smoothing / (double)classes * all;
    }
    of_lane(losses, n)[i] = log((double)sum) - aimed;

    unsigned target = share >= 0.5 ? first : second;
    bool hit = row[target] == largest;
    for (unsigned k = 0; k < target; ++k) hit = hit && row[k] < largest;
    of_lane(right, n)[i] = hit ? 1u : 0u;

    if (!gradient) return;
    float *out = of_lane(gradient, gradient_stride) + (size_t)i * classes;
    double per_sample = 1.0 / (double)mean_over;
    float factor = (float)per_sample / sum;
    float spread = (float)(per_sample * smoothing / (double)classes);
    for (unsigned k = 0; k < classes; ++k)
        out[k] = without_trace(exp_of(row[k] - largest) * factor - spread);
    double toward = per_sample * (1.0 - smoothing);
    out[first] -= (float)(toward * share);
    if (share != 1.0) out[second] -= (float)(toward * (1.0 - share));
}

// Sums over a part's samples of loss and number right, which a double holds exactly; n = parts
KERNEL loss_parts(
    unsigned n, const double *losses, const unsigned *right, double *parts, unsigned samples,
    unsigned of_part) {
    THREAD(i, n);
    unsigned first = i * of_part;
    unsigned end = first + of_part < samples ? first + of_part : samples;
    double sum = 0.0;
    unsigned hits = 0;
    for (unsigned at = first; at < end; ++at) {
        sum += of_lane(losses, samples)[at];
        hits += of_lane(right, samples)[at];
    }
    double *part = of_lane(parts, 2 * n);
    part[i] = sum;
    part[n + i] = (double)hits;
}

// Loss and number right of a lane, in the order of the parts. A lane whose loss is not finite lives no
// more, unless `lives` is null: what comes after it in the queue leaves it as it is. n = 1
KERNEL loss_join(unsigned n, const double *parts, double *sums, unsigned *lives, unsigned count) {
    THREAD(i, n);
    const double *lane = of_lane(parts, 2 * count);
    double sum = 0.0, right = 0.0;
    for (unsigned part = 0; part < count; ++part) {
        sum += lane[part];
        right += lane[count + part];
    }
    sums[2 * LANE] = sum;
    sums[2 * LANE + 1] = right;
    if (lives && !(sum - sum == 0.0)) lives[LANE] = 0;
}
