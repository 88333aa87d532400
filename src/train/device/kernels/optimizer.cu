// The update rules of src/train/optim: every lane has its own, or none in this step.
#include "lane.cuh"

// As src/train/optim/accelerated.rs numbers them.
enum Rule { NONE, SGD, MOMENTUM, ADAM };

// Numbers of a lane in `lanes`.
#define PER_LANE 12

// `one` and `two` are the rules' memory; null where no lane has any. `scales` clip the gradients
// instead of the lanes' own numbers, unless they are null. A lane that does not live stays as it is.
KERNEL update_parameter(
    unsigned n, float *values, const float *gradients, float *one, float *two, const float *lanes,
    const unsigned *lives, const float *scales) {
    FOURS(i, count, n);
    if (!lives_on(lives)) return;
    const float *by = lanes + PER_LANE * LANE;
    unsigned rule = (unsigned)by[0];
    if (rule == NONE) return;
    float *value = of_lane(values, n) + i;
    float clip = scales ? scales[LANE] : by[1], decay = by[2], rate = by[3];
    Four w = four_of(value, count), g = four_of(of_lane(gradients, n) + i, count);
    for (unsigned k = 0; k < 4; ++k) g.at[k] = clip * g.at[k] + decay * w.at[k];
    if (rule == SGD) {
        for (unsigned k = 0; k < 4; ++k) w.at[k] = w.at[k] - rate * g.at[k];
    } else if (rule == MOMENTUM) {
        float *velocity = of_lane(one, n) + i;
        Four v = four_of(velocity, count);
        for (unsigned k = 0; k < 4; ++k) {
            v.at[k] = by[4] * v.at[k] + g.at[k];
            w.at[k] = w.at[k] - rate * (by[5] * g.at[k] + by[6] * v.at[k]);
        }
        put_four(velocity, v, count);
    } else {
        float *first = of_lane(one, n) + i, *second = of_lane(two, n) + i;
        Four m = four_of(first, count), v = four_of(second, count);
        for (unsigned k = 0; k < 4; ++k) {
            m.at[k] = m.at[k] + by[4] * (g.at[k] - m.at[k]);
            v.at[k] = by[5] * v.at[k] + by[6] * g.at[k] * g.at[k];
            w.at[k] = by[8] * w.at[k] - rate * m.at[k] / (sqrtf(v.at[k]) * by[7] + by[9]);
        }
        put_four(first, m, count);
        put_four(second, v, count);
    }
    put_four(value, w, count);
}
