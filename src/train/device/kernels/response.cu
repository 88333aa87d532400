// Local response normalisation over the channels, which are last.
#include "lane.cuh"

// factor * s^-beta, by two roots where beta is 3/4
__device__ inline float scaled(float factor, float scale, double beta) {
    if (beta == 0.75) {
        float root = sqrtf(scale);
        return factor / (root * sqrtf(root));
    }
    return factor * (float)pow((double)scale, -beta);
}

// scale = k + share * (sum of x^2 over the window), y = x scale^-beta
KERNEL response_forward(
    unsigned n, const float *x, float *y, float *scales, unsigned x_stride, unsigned y_stride,
    unsigned scales_stride, unsigned channels, unsigned before, unsigned after, float k,
    float share, double beta) {
    THREAD(i, n);
    unsigned channel = i % channels;
    const float *pixel = of_lane(x, x_stride) + (i - channel);
    float sum = 0.0f;
    for (unsigned offset = 1; offset <= before; ++offset)
        if (channel >= offset) sum += pixel[channel - offset] * pixel[channel - offset];
    for (unsigned offset = 0; offset <= after; ++offset)
        if (channel + offset < channels) sum += pixel[channel + offset] * pixel[channel + offset];
    float scale = k + share * sum;
    of_lane(scales, scales_stride)[i] = scale;
    of_lane(y, y_stride)[i] = scaled(pixel[channel], scale, beta);
}

// dx = dy scale^-beta, and scale becomes dy y / scale
KERNEL response_ratios(
    unsigned n, const float *y, const float *dy, float *dx, float *scales, unsigned y_stride,
    unsigned dy_stride, unsigned dx_stride, unsigned scales_stride, double beta) {
    THREAD(i, n);
    float *scale = of_lane(scales, scales_stride) + i;
    float gradient = of_lane(dy, dy_stride)[i];
    of_lane(dx, dx_stride)[i] = scaled(gradient, *scale, beta);
    *scale = gradient * of_lane(y, y_stride)[i] / *scale;
}

// dx -= factor x (sum of the ratios of the windows that the channel is in)
KERNEL response_backward(
    unsigned n, const float *x, const float *ratios, float *dx, unsigned x_stride,
    unsigned ratios_stride, unsigned dx_stride, unsigned channels, unsigned before, unsigned after,
    float factor) {
    THREAD(i, n);
    unsigned channel = i % channels;
    const float *pixel = of_lane(ratios, ratios_stride) + (i - channel);
    float own = of_lane(x, x_stride)[i];
    float gradient = of_lane(dx, dx_stride)[i];
    for (unsigned offset = 1; offset <= after; ++offset)
        if (channel >= offset) gradient -= factor * own * pixel[channel - offset];
    for (unsigned offset = 0; offset <= before; ++offset)
        if (channel + offset < channels) gradient -= factor * own * pixel[channel + offset];
    of_lane(dx, dx_stride)[i] = gradient;
}
