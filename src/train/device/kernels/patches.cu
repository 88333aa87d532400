// Convolution by matrix products: patches of images (N, H, W, C) as rows of a matrix, and the way
// back. A row is (kernel row, kernel column, channel), as the weights of an output channel lie in
// memory; groups are matrices of their own, one after the other.
#include "cast.cu"
#include "lane.cuh"

struct Geometry {
    unsigned height, width, channels, out_height, out_width;
    unsigned kernel_height, kernel_width, stride_y, stride_x;
    unsigned padding_y, padding_x, dilation_y, dilation_x, groups;
};

__device__ inline Geometry geometry(const unsigned *g) {
    Geometry all = {g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11], g[12], g[13]};
    return all;
}

// The first `count` of four numbers from i on of the patches (groups, rows, depth) of `samples` images;
// 0 where a tap is beside the image.
__device__ inline Four gathered(
    unsigned i, unsigned count, const float *x, unsigned samples, const unsigned *shape) {
    Geometry g = geometry(shape);
    unsigned of_group = g.channels / g.groups;
    unsigned rest = i, channel = rest % of_group;
    rest /= of_group;
    unsigned tap_x = rest % g.kernel_width;
    rest /= g.kernel_width;
    unsigned tap_y = rest % g.kernel_height;
    rest /= g.kernel_height;
    unsigned out_x = rest % g.out_width;
    rest /= g.out_width;
    unsigned out_y = rest % g.out_height;
    rest /= g.out_height;
    unsigned sample = rest % samples, group = rest / samples;
    Four numbers = {{0.0f, 0.0f, 0.0f, 0.0f}};
    for (unsigned k = 0; k < 4; ++k) {
        // Beside the image on the left and above, the differences wrap around to large numbers.
        unsigned y = out_y * g.stride_y + tap_y * g.dilation_y - g.padding_y;
        unsigned column = out_x * g.stride_x + tap_x * g.dilation_x - g.padding_x;
        if (k < count && y < g.height && column < g.width) {
            size_t pixel = ((size_t)sample * g.height + y) * g.width + column;
            numbers.at[k] = x[pixel * g.channels + group * of_group + channel];
        }
        // On to the next number, from the innermost extent out.
        if (++channel < of_group) continue;
        channel = 0;
        if (++tap_x < g.kernel_width) continue;
        tap_x = 0;
        if (++tap_y < g.kernel_height) continue;
        tap_y = 0;
        if (++out_x < g.out_width) continue;
        out_x = 0;
        if (++out_y < g.out_height) continue;
        out_y = 0;
        if (++sample < samples) continue;
        sample = 0;
        ++group;
    }
    return numbers;
}

// All patches; n = groups * rows * depth
KERNEL gather_patches(
    unsigned n, const float *x, float *patches, unsigned x_stride, unsigned samples,
    const unsigned *shape) {
    FOURS(i, count, n);
    Four numbers = gathered(i, count, of_lane(x, x_stride), samples, shape);
    put_four(of_lane(patches, n) + i, numbers, count);
}

// The same, rounded
KERNEL gather_patches_bf16(
    unsigned n, const float *x, unsigned short *patches, unsigned x_stride, unsigned samples,
    const unsigned *shape) {
    FOURS(i, count, n);
    Four numbers = gathered(i, count, of_lane(x, x_stride), samples, shape);
    put_rounded(of_lane(patches, n) + i, numbers, count);
}

// dx = the sum over all places of the patches that a pixel stands at; n = samples * H * W * C
KERNEL scatter_patches(
    unsigned n, const float *patches, float *dx, unsigned dx_stride, unsigned patches_stride,
    unsigned samples, const unsigned *shape) {
    THREAD(i, n);
    Geometry g = geometry(shape);
    unsigned of_group = g.channels / g.groups;
    unsigned rest = i, channel = rest % g.channels;
    rest /= g.channels;
    unsigned x = rest % g.width;
    rest /= g.width;
    unsigned y = rest % g.height, sample = rest / g.height;
    unsigned group = channel / of_group;
    const float *lane = of_lane(patches, patches_stride);
    float sum = 0.0f;
    for (unsigned tap_y = 0; tap_y < g.kernel_height; ++tap_y) {
        unsigned from_y = y + g.padding_y - tap_y * g.dilation_y;
        // Also false where the difference wraps around: it is then larger than any image.
        if (from_y % g.stride_y != 0 || from_y / g.stride_y >= g.out_height) continue;
        for (unsigned tap_x = 0; tap_x < g.kernel_width; ++tap_x) {
            unsigned from_x = x + g.padding_x - tap_x * g.dilation_x;
            if (from_x % g.stride_x != 0 || from_x / g.stride_x >= g.out_width) continue;
            size_t row = (size_t)group * samples + sample;
            row = (row * g.out_height + from_y / g.stride_y) * g.out_width + from_x / g.stride_x;
            size_t tap = (row * g.kernel_height + tap_y) * g.kernel_width + tap_x;
            sum += lane[tap * of_group + channel % of_group];
        }
    }
    of_lane(dx, dx_stride)[i] = sum;
}
