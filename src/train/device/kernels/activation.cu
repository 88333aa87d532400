// Activations: every lane has its own function and one number for it (a slope, an alpha).
#include "lane.cuh"
#include "numbers.cuh"

// As src/train/layer/activation/accelerated.rs numbers them.
enum Function { RELU, LEAKY_RELU, ELU, GELU, GELU_TANH, SILU, SIGMOID, TANH, IDENTITY };

#define SQRT_HALF 0.70710678118654752440
#define NORMAL_DENSITY (0.5 * 1.12837916709551257390 * SQRT_HALF)
#define TANH_SCALE (2.0 * NORMAL_DENSITY)
#define TANH_CUBE 0.044715

__device__ inline float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(0.0f - x)); }

__device__ inline float normal_distribution(float x) {
    return 0.5f * (1.0f + erf_of(x * (float)SQRT_HALF));
}

__device__ inline float gelu_bend(float x) {
    return tanh_of((float)TANH_SCALE * (x + (float)TANH_CUBE * x * x * x));
}

__device__ inline float value_of(unsigned function, float number, float x) {
    switch (function) {
    case RELU: return x <= 0.0f ? 0.0f : x;
    case LEAKY_RELU: return x <= 0.0f ? number * x : x;
    case ELU: return x <= 0.0f ? number * exp_m1_of(x) : x;
    case GELU: return x * normal_distribution(x);
    case GELU_TANH: return 0.5f * x * (1.0f + gelu_bend(x));
    case SILU: return x * sigmoid_of(x);
    case SIGMOID: return sigmoid_of(x);
    case TANH: return tanh_of(x);
    default: return x;
    }
}

__device__ inline float slope_of(unsigned function, float number, float x, float y) {
    switch (function) {
    case RELU: return x > 0.0f ? 1.0f : 0.0f;
    case LEAKY_RELU: return x > 0.0f ? 1.0f : number;
    case ELU: return x > 0.0f ? 1.0f : y + number;
    case GELU: {
        float density = (float)NORMAL_DENSITY * exp_of(-0.5f * x * x);
        return normal_distribution(x) + x * density;
    }
    case GELU_TANH: {
        float bend = gelu_bend(x);
        float inner = (float)TANH_SCALE * (1.0f + (float)(3.0 * TANH_CUBE) * x * x);
        return 0.5f * (1.0f + bend + x * (1.0f - bend * bend) * inner);
    }
    case SILU: {
        float sigmoid = sigmoid_of(x);
        return sigmoid + y * (1.0f - sigmoid);
    }
    case SIGMOID: return y * (1.0f - y);
    case TANH: return 1.0f - y * y;
    default: return 1.0f;
    }
}

// y = f(x)
KERNEL activation_forward(
    unsigned n, const float *x, float *y, unsigned x_stride, unsigned y_stride,
    const unsigned *functions, const float *constants) {
    FOURS(i, count, n);
    unsigned function = functions[LANE];
    float constant = constants[LANE];
    Four value = four_of(of_lane(x, x_stride) + i, count);
    for (unsigned k = 0; k < 4; ++k)
        value.at[k] = without_trace(value_of(function, constant, value.at[k]));
    put_four(of_lane(y, y_stride) + i, value, count);
}

// What a slope is made of: most functions need one of the two, and the other is not read.
__device__ inline bool needs_input(unsigned function) {
    return function != SIGMOID && function != TANH && function != IDENTITY;
}

__device__ inline bool needs_output(unsigned function) {
    return function == ELU || function == SILU || function == SIGMOID || function == TANH;
}

// dx = dy f'(x)
KERNEL activation_backward(
    unsigned n, const float *x, const float *y, const float *dy, float *dx, unsigned x_stride,
    unsigned y_stride, unsigned dy_stride, unsigned dx_stride, const unsigned *functions,
    const float *constants) {
    FOURS(i, count, n);
    unsigned function = functions[LANE];
    float constant = constants[LANE];
    Four before = {{0.0f, 0.0f, 0.0f, 0.0f}}, after = before;
    if (needs_input(function)) before = four_of(of_lane(x, x_stride) + i, count);
    if (needs_output(function)) after = four_of(of_lane(y, y_stride) + i, count);
    Four gradient = four_of(of_lane(dy, dy_stride) + i, count);
    for (unsigned k = 0; k < 4; ++k) {
        float slope = slope_of(function, constant, before.at[k], after.at[k]);
        gradient.at[k] = without_trace(gradient.at[k] * slope);
    }
    put_four(of_lane(dx, dx_stride) + i, gradient, count);
}
