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
    THREAD(i, n);
    if (!lives_on(lives)) return;
    const float *by = lanes + PER_LANE * LANE;
    unsigned rule = (unsigned)by[0];
    if (rule == NONE) return;
    float *value = of_lane(values, n) + i;
    float w = *value, clip = scales ? scales[LANE] : by[1], decay = by[2];
    float g = clip * of_lane(gradients, n)[i] + decay * w;
    if (rule == SGD) {
        *value = w - by[3] * g;
    } else if (rule == MOMENTUM) {
        float *velocity = of_lane(one, n) + i;
        float v = by[4] * *velocity + g;
        *velocity = v;
        *value = w - by[3] * (by[5] * g + by[6] * v);
    } else {
        float *first = of_lane(one, n) + i, *second = of_lane(two, n) + i;
        float m = *first + by[4] * (g - *first);
        float v = by[5] * *second + by[6] * g * g;
        *first = m;
        *second = v;
        *value = by[8] * w - by[3] * m / (sqrtf(v) * by[7] + by[9]);
    }
}
