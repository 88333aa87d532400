// Dropout: the draws of src/train/layer/dropout.rs.
#include "lane.cuh"
#include "philox.cuh"

// factor = 0 for bits below the threshold, else kept; y = x factor. `draws`: for every lane both
// words of the key and the threshold; `step` is a single number.
KERNEL dropout_forward(
    unsigned n, const float *x, float *y, float *factors, unsigned x_stride, unsigned y_stride,
    unsigned factors_stride, const unsigned *draws, const float *kept,
    const unsigned *step, unsigned number, unsigned long long first) {
    THREAD(i, n);
    const unsigned *draw = draws + 3 * LANE;
    unsigned bits = philox_element(draw[0], draw[1], *step, number, first + i);
    float factor = bits < draw[2] ? 0.0f : kept[LANE];
    of_lane(factors, factors_stride)[i] = factor;
    of_lane(y, y_stride)[i] = of_lane(x, x_stride)[i] * factor;
}

// dx = dy factor
KERNEL multiply_lanes(
    unsigned n, const float *dy, const float *factors, float *dx, unsigned dy_stride,
    unsigned factors_stride, unsigned dx_stride) {
    THREAD(i, n);
    of_lane(dx, dx_stride)[i] = of_lane(dy, dy_stride)[i] * of_lane(factors, factors_stride)[i];
}
