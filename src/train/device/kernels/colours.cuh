// Changes of the colours of one pixel, operation by operation as src/train/augment/{jitter,hue,
// colour_noise,cutout}.rs make them, for numbers in [0, 1]. A pixel is `wide` numbers: red, green and
// blue, or the one number of a channel of images that are not of three.
#pragma once

__device__ inline float clamped(float value) {
    return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
}

__device__ inline float unit_of(unsigned char byte) { return (float)byte / 255.0f; }

// Rounds a number in [0, 1] to a byte.
__device__ inline unsigned char byte_of(float value) {
    return (unsigned char)(value * 255.0f + 0.5f);
}

// value = factor value + other
__device__ inline void blend(float *value, int wide, float factor, float other) {
    for (int c = 0; c < 3; ++c)
        if (c < wide) value[c] = clamped(factor * value[c] + other);
}

__device__ inline void saturate(float *value, float factor) {
    float grey = 0.2989f * value[0] + 0.587f * value[1] + 0.114f * value[2];
    blend(value, 3, factor, (1.0f - factor) * grey);
}

// One colour, `place` sixths of the circle away from having it least of all.
__device__ inline float hue_channel(float place, float most, float range) {
    place = place - 6.0f * floorf(place * (1.0f / 6.0f));
    return clamped(most - range * clamped(fminf(place, 4.0f - place)));
}

// Turns the hue by a part of the circle.
__device__ inline void turn_hue(float *value, float turn) {
    float r = value[0], g = value[1], b = value[2];
    float most = fmaxf(fmaxf(r, g), b);
    float range = most - fminf(fminf(r, g), b);
    float divisor = range == 0.0f ? 1.0f : range;
    float sixths = r == most   ? (g - b) / divisor
                   : g == most ? 2.0f + (b - r) / divisor
                               : 4.0f + (r - g) / divisor;
    sixths = sixths + 6.0f * turn;
    value[0] = hue_channel(sixths + 5.0f, most, range);
    value[1] = hue_channel(sixths + 3.0f, most, range);
    value[2] = hue_channel(sixths + 1.0f, most, range);
}
