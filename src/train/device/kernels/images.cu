// Images of a data set that is on the device as bytes: windows of them, normalised, and mixtures.
#include "lane.cuh"

// Numbers of an image in `shown`: its place in the part; the pixel that (0, 0) shows and the step from
// column to column; rows and columns that are not black, from and to.
#define PER_IMAGE 8

// out = the windows of `samples` images of every lane. `shape`: channels, pixels and width of a stored
// image; height and width of the output; are the channels of a pixel neighbours? `tables`: what every
// byte of every channel becomes. n = samples * height * width
KERNEL show_images(
    unsigned n, const unsigned char *pixels, float *out, unsigned out_stride, unsigned samples,
    const int *shown, const unsigned *shape, const float *tables) {
    THREAD(i, n);
    unsigned channels = shape[0], plane = shape[1], height = shape[3], width = shape[4];
    unsigned area = height * width, sample = i / area, pixel = i % area;
    int y = (int)(pixel / width), x = (int)(pixel % width);
    const int *image = shown + PER_IMAGE * ((size_t)LANE * samples + sample);
    bool inside = y >= image[3] && y < image[4] && x >= image[5] && x < image[6];
    const unsigned char *from = pixels;
    if (inside) {
        int place = image[1] + y * (int)shape[2] + x * image[2];
        from += (size_t)image[0] * channels * plane + place;
    }
    // From channel to channel of a pixel.
    bool last = shape[5];
    float *to = of_lane(out, out_stride) + (size_t)sample * channels * area;
    to += last ? (size_t)pixel * channels : pixel;
    for (unsigned c = 0; c < channels; ++c) {
        unsigned char byte = inside ? from[(size_t)c * plane] : 0;
        to[last ? c : (size_t)c * area] = tables[256 * c + byte];
    }
}

// Neighbouring images a and b: a = s a + (1 - s) b, b = t b + (1 - t) a, with the shares of every
// image, in the lanes that mix. n = pairs * units
KERNEL mix_pairs(
    unsigned n, float *images, unsigned stride, unsigned units, unsigned samples,
    const float *shares, const unsigned *mixes) {
    THREAD(i, n);
    if (!mixes[LANE]) return;
    unsigned pair = i / units;
    float *first = of_lane(images, stride) + (size_t)2 * pair * units + i % units;
    const float *share = of_lane(shares, samples) + 2 * pair;
    float a = first[0], b = first[units], s = share[0], t = share[1];
    first[0] = s * a + (1.0f - s) * b;
    first[units] = t * b + (1.0f - t) * a;
}
