// The functions of src/train/kernel/real.rs for float, operation by operation.
#pragma once

__device__ inline float without_trace(float x) {
    const float trace = 7.888609e-31f;
    return x < trace && x > -trace ? 0.0f : x;
}

// e^x = (rest + 1) power.
__device__ inline void exponential(float x, float *rest, float *power) {
    const float rounder = 12582912.0f;
    x = x > 88.3f ? 88.3f : x;
    x = x < -87.3f ? -87.3f : x;
    float rounded = x * 1.44269504088896340736f + rounder;
    float n = rounded - rounder;
    float r = x - n * 0.6933594f - n * -2.1219444e-4f;
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 5.0e-1f;
    *power = __uint_as_float((__float_as_uint(rounded) + 127u) << 23);
    *rest = p * r * r + r;
}

__device__ inline float exp_of(float x) {
    float rest, power;
    exponential(x, &rest, &power);
    return (rest + 1.0f) * power;
}

__device__ inline float exp_m1_of(float x) {
    float rest, power;
    exponential(x, &rest, &power);
    return rest * power + (power - 1.0f);
}

__device__ inline float erf_of(float x) {
    x = x > 3.832507f ? 3.832507f : x;
    x = x < -3.832507f ? -3.832507f : x;
    float s = x * x;
    float p = 2.2905066e-4f;
    p = p * s + 3.408291e-3f;
    p = p * s + 5.0955695e-2f;
    p = p * s + 1.8520832e-1f;
    p = p * s + 1.12837916709551257390f;
    float q = -1.1791603e-7f;
    q = q * s + 2.3547967e-5f;
    q = q * s + 1.0179625e-3f;
    q = q * s + 1.407047e-2f;
    q = q * s + 1.1098505e-1f;
    q = q * s + 4.9746925e-1f;
    q = q * s + 1.0f;
    return x * p / q;
}

__device__ inline float tanh_of(float x) {
    x = x > 7.905f ? 7.905f : x;
    x = x < -7.905f ? -7.905f : x;
    float s = x * x;
    float p = -2.7607685e-16f;
    p = p * s + 2.000188e-13f;
    p = p * s + -8.604672e-11f;
    p = p * s + 5.122297e-8f;
    p = p * s + 1.4857224e-5f;
    p = p * s + 6.3726193e-4f;
    p = p * s + 4.8935246e-3f;
    float q = 1.1982584e-6f;
    q = q * s + 1.1853471e-4f;
    q = q * s + 2.2684346e-3f;
    q = q * s + 4.893525e-3f;
    return x * p / q;
}
