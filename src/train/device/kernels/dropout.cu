// Dropout: the draws of src/train/layer/dropout.rs.
#include "lane.cuh"
#include "philox.cuh"

// factor = 0 for bits below the threshold, else kept; y = x factor. `draws`: for every lane both
// words of the key and the threshold; `step` is a single number.
KERNEL dropout_forward(
    unsigned n, const float *x, float *y, float *factors, unsigned x_stride, unsigned y_stride,
    unsigned factors_stride, const unsigned *draws, const float *kept,
    const unsigned *step, unsigned number, unsigned long long first) {
    FOURS(i, count, n);
    const unsigned *draw = draws + 3 * LANE;
    unsigned key0 = draw[0], key1 = draw[1], major_ = *step, threshold = draw[2];
    float scale = kept[LANE];
    // Of a rank that is not the first, four neighbours may lie in two blocks.
    unsigned long long element = first + i;
    unsigned shift = (unsigned)(element % 4);
    PhiloxBlock block = philox_block(key0, key1, major_, number, element / 4), next = block;
    if (shift) next = philox_block(key0, key1, major_, number, element / 4 + 1);
    Four factor, numbers = four_of(of_lane(x, x_stride) + i, count);
    for (unsigned k = 0; k < 4; ++k) {
        unsigned word = shift + k;
        unsigned bits = 0;
        // By numbers that are known when this is compiled, the words stay in registers.
        for (unsigned w = 0; w < 4; ++w) {
            if (word == w) bits = block.word[w];
            if (word == w + 4) bits = next.word[w];
        }
        factor.at[k] = bits < threshold ? 0.0f : scale;
        numbers.at[k] *= factor.at[k];
    }
    put_four(of_lane(factors, factors_stride) + i, factor, count);
    put_four(of_lane(y, y_stride) + i, numbers, count);
}

// dx = dy factor
KERNEL multiply_lanes(
    unsigned n, const float *dy, const float *factors, float *dx, unsigned dy_stride,
    unsigned factors_stride, unsigned dx_stride) {
    FOURS(i, count, n);
    Four gradient = four_of(of_lane(dy, dy_stride) + i, count);
    Four factor = four_of(of_lane(factors, factors_stride) + i, count);
    for (unsigned k = 0; k < 4; ++k) gradient.at[k] *= factor.at[k];
    put_four(of_lane(dx, dx_stride) + i, gradient, count);
}
