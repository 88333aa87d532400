// Augmentation of images of a data set that is on the device as bytes. A list of operations is a row
// of segments (src/train/augment/program.rs), and a launch makes one segment of every lane: it takes
// each pixel from where windows and a map find it in the image before, changes its colours, and
// writes it. All drawing has been done: what is done to each image is in `records`.
//
// The numbers are those of the CPU, bit for bit: what is there a byte is here that byte over 255, from
// which rounding gets it back.
#include "colours.cuh"
#include "lane.cuh"

// Numbers of a lane's segment in `plans`.
#define PLAN 16
enum Plan {
    KIND,                  // nothing to do, goes on, or the last one
    STORED,                // does it begin with the bytes of the data set?
    FROM_HEIGHT,           // of the image before
    FROM_WIDTH,
    HEIGHT,                // of the image that it makes
    WIDTH,
    CHANGES,               // how many changes of colours
    SUMS,                  // is the first of them one of contrast?
    RESIZES,
    MAP_HEIGHT,            // of what the map makes
    MAP_WIDTH,
    CHANNELS,
    CHANNELS_LAST,         // in the network's input
};
enum { IDLE, GOES_ON, LAST };

// Numbers of an image's segment in `records`, before those of the changes.
#define HEAD 29
enum Record { IMAGE, ROUNDS, BEFORE, AFTER = 9, MAP = 16, MAP_NUMBERS };
enum { STAYS, MOVES_EXACTLY, MOVES, RESIZED };
#define WINDOW 7
#define CHANGE 5
enum { NOTHING, BRIGHTNESS, CONTRAST, SATURATION, HUE, ADDED, SQUARE };

// Sums of a plane, side by side.
#define SUMS_OF_A_PLANE 16

// Weights of a resized pixel are counted in 2^-22.
#define WEIGHT_BITS 22

// The image before, and the window through which it is seen.
struct Before {
    const unsigned char *bytes;
    const float *numbers;
    unsigned plane, width;
    const int *window;
    bool rounds;
};

// From row and column of what a window shows to those of what is behind it; says whether they are
// not black. A window: row and column of the first pixel; the step from column to column; rows and
// columns that are not black, from and to.
__device__ inline bool through(const int *window, int *row, int *column) {
    if (*row < window[3] || *row >= window[4] || *column < window[5] || *column >= window[6])
        return false;
    *row = window[0] + *row;
    *column = window[1] + *column * window[2];
    return true;
}

__device__ inline unsigned char byte_at(const Before &before, int row, int column, unsigned c) {
    if (!through(before.window, &row, &column)) return 0;
    size_t place = (size_t)c * before.plane + (size_t)row * before.width + column;
    return before.bytes ? before.bytes[place] : byte_of(before.numbers[place]);
}

__device__ inline float number_at(const Before &before, int row, int column, unsigned c) {
    if (before.bytes || before.rounds) return unit_of(byte_at(before, row, column, c));
    if (!through(before.window, &row, &column)) return 0.0f;
    return before.numbers[(size_t)c * before.plane + (size_t)row * before.width + column];
}

// 64 bits of two numbers of a record, the lower first.
__device__ inline long long wide_of(const unsigned *words) {
    return (long long)((unsigned long long)words[1] << 32 | words[0]);
}

__device__ inline int floor_of(double value) {
    value = floor(value);
    return value < -1.0 ? -1 : value > 2147483647.0 ? 2147483647 : (int)value;
}

// Where the map finds (row, column).
__device__ inline void mapped(const unsigned *record, int *row, int *column) {
    const unsigned *map = record + MAP_NUMBERS;
    if (record[MAP] == MOVES_EXACTLY) {
        double x = __longlong_as_double(wide_of(map)), xx = __longlong_as_double(wide_of(map + 2));
        double y = __longlong_as_double(wide_of(map + 4)), yy = __longlong_as_double(wide_of(map + 6));
        *column = floor_of(x + xx * (double)*column);
        *row = floor_of(y + yy * (double)*row);
        return;
    }
    long long x = wide_of(map) + wide_of(map + 2) * *column + wide_of(map + 4) * *row;
    long long y = wide_of(map + 6) + wide_of(map + 8) * *column + wide_of(map + 10) * *row;
    // In 1/65536 pixel.
    x >>= 16, y >>= 16;
    *column = x < -1 ? -1 : x > 2147483647 ? 2147483647 : (int)x;
    *row = y < -1 ? -1 : y > 2147483647 ? 2147483647 : (int)y;
}

__device__ inline int weighed(int sum) {
    sum >>= WEIGHT_BITS;
    return sum < 0 ? 0 : sum > 255 ? 255 : sum;
}

// A pixel of the resized cut: columns first, then rows, rounded to bytes in between. `columns` and
// `rows`: the first old pixel, how many, the weight of each.
__device__ inline int resized_byte(
    const Before &before, const unsigned *cut, const int *rows, const int *columns, unsigned c) {
    int sum = 1 << (WEIGHT_BITS - 1);
    for (int r = 0; r < rows[1]; ++r) {
        int row = 1 << (WEIGHT_BITS - 1);
        for (int k = 0; k < columns[1]; ++k) {
            int y = (int)cut[0] + rows[0] + r, x = (int)cut[1] + columns[0] + k;
            row += byte_at(before, y, x, c) * columns[2 + k];
        }
        sum += weighed(row) * rows[2 + r];
    }
    return weighed(sum);
}

__device__ inline void change(
    float *value, int wide, unsigned channel, int y, int x, const unsigned *change, float mean,
    const float *colours) {
    float factor = __uint_as_float(change[1]);
    switch (change[0]) {
    case BRIGHTNESS: blend(value, wide, factor, (1.0f - factor) * 0.0f); break;
    case CONTRAST: blend(value, wide, factor, (1.0f - factor) * mean); break;
    case SATURATION: saturate(value, factor); break;
    case HUE: turn_hue(value, factor); break;
    case ADDED:
        for (int c = 0; c < 3; ++c)
            if (c < wide) value[c] = clamped(value[c] + __uint_as_float(change[1 + c]));
        break;
    case SQUARE:
        if (y >= (int)change[1] && y < (int)change[2] && x >= (int)change[3] && x < (int)change[4])
            for (int c = 0; c < 3; ++c)
                if (c < wide) value[c] = colours[2 * (channel + c)];
    }
}

// One segment of `samples` images of every lane: from `pixels`, the data set, or `from`, what the
// segment before has written, to `to`, or normalised to `out`, the network's input. `records` are
// `record_len` numbers for every image, this segment's at `record_at`; `taps` are those of
// resize_taps, `means` those of grey_means; `colours`: mean and deviation of every channel.
// n = samples * pixels of the largest image * (1 for images of three channels, else channels)
KERNEL augment_pixels(
    unsigned n, const unsigned char *pixels, const float *from, float *to, float *out,
    unsigned stride, unsigned out_stride, unsigned samples, const unsigned *plans,
    const unsigned *records, unsigned record_len, unsigned record_at, const int *taps,
    unsigned taps_len, unsigned tap_len, const float *means, const float *colours) {
    THREAD(i, n);
    const unsigned *plan = plans + PLAN * LANE;
    if (plan[KIND] == IDLE) return;
    unsigned channels = plan[CHANNELS], area = plan[HEIGHT] * plan[WIDTH];
    int wide = channels == 3 ? 3 : 1;
    unsigned pixel = i % area, rest = i / area;
    unsigned groups = channels / wide, channel = rest % groups, image = rest / groups;
    if (image >= samples) return;
    int y = (int)(pixel / plan[WIDTH]), x = (int)(pixel % plan[WIDTH]);
    const unsigned *record =
        records + ((size_t)LANE * samples + image) * record_len + record_at;
    Before before;
    before.plane = plan[FROM_HEIGHT] * plan[FROM_WIDTH];
    before.width = plan[FROM_WIDTH];
    before.window = (const int *)record + BEFORE;
    before.rounds = record[ROUNDS];
    before.bytes = nullptr, before.numbers = nullptr;
    if (plan[STORED])
        before.bytes = pixels + (size_t)record[IMAGE] * channels * before.plane;
    else
        before.numbers = of_lane(from, stride) + (size_t)image * channels * before.plane;

    float value[3] = {0.0f, 0.0f, 0.0f};
    int row = y, column = x;
    if (through((const int *)record + AFTER, &row, &column)) {
        if (record[MAP] == RESIZED) {
            const int *tap = taps + ((size_t)LANE * samples + image) * taps_len;
            const int *columns = tap + (size_t)column * tap_len;
            const int *rows = tap + (size_t)(plan[MAP_WIDTH] + row) * tap_len;
            for (int c = 0; c < 3; ++c)
                if (c < wide)
                    value[c] = unit_of((unsigned char)resized_byte(
                        before, record + MAP_NUMBERS, rows, columns, channel + c));
        } else {
            if (record[MAP] != STAYS) mapped(record, &row, &column);
            for (int c = 0; c < 3; ++c)
                if (c < wide) value[c] = number_at(before, row, column, channel + c);
        }
    }
    float mean = plan[SUMS] ? means[LANE * samples + image] : 0.0f;
    for (unsigned k = 0; k < plan[CHANGES]; ++k)
        change(value, wide, channel, y, x, record + HEAD + CHANGE * k, mean, colours);

    bool last = plan[KIND] == LAST;
    float *made = last ? of_lane(out, out_stride) : of_lane(to, stride);
    made += (size_t)image * channels * area;
    for (int c = 0; c < 3; ++c) {
        if (c >= wide) break;
        const float *colour = colours + 2 * (channel + c);
        float number = last ? (value[c] - colour[0]) / colour[1] : value[c];
        if (last && plan[CHANNELS_LAST])
            made[(size_t)pixel * channels + channel + c] = number;
        else
            made[(size_t)(channel + c) * area + pixel] = number;
    }
}

// Weights of every new column, then of every new row, of the cuts that are resized: the first old
// pixel, how many, and what each weighs (src/train/kernel/resize.rs). `taps_len` numbers an image,
// `tap_len` a column or row. n = samples * taps_len / tap_len
KERNEL resize_taps(
    unsigned n, const unsigned *plans, const unsigned *records, unsigned samples,
    unsigned record_len, unsigned record_at, int *taps, unsigned taps_len, unsigned tap_len) {
    THREAD(i, n);
    const unsigned *plan = plans + PLAN * LANE;
    if (plan[KIND] == IDLE || !plan[RESIZES]) return;
    unsigned positions = taps_len / tap_len;
    unsigned image = i / positions, at = i % positions, width = plan[MAP_WIDTH];
    if (at >= width + plan[MAP_HEIGHT]) return;
    const unsigned *record =
        records + ((size_t)LANE * samples + image) * record_len + record_at;
    bool is_column = at < width;
    unsigned old_ = record[MAP_NUMBERS + (is_column ? 3 : 2)];
    unsigned new_ = is_column ? width : plan[MAP_HEIGHT], pixel = is_column ? at : at - width;
    double scale = (double)old_ / (double)new_;
    double support = scale < 1.0 ? 1.0 : scale;
    double centre = ((double)pixel + 0.5) * scale;
    double begin = centre - support + 0.5;
    unsigned first = begin > 0.0 ? (unsigned)begin : 0;
    unsigned end = (unsigned)(centre + support + 0.5);
    end = end < old_ ? end : old_;
    int *tap = taps + ((size_t)LANE * samples + image) * taps_len + (size_t)at * tap_len;
    tap[0] = (int)first;
    tap[1] = (int)(end - first);
    double sum = 0.0;
    for (int turn = 0; turn < 2; ++turn)
        for (unsigned k = first; k < end; ++k) {
            double exact = 1.0 - fabs(((double)k - centre + 0.5) / support);
            exact = exact > 0.0 ? exact : 0.0;
            if (turn == 0)
                sum += exact;
            else
                tap[2 + k - first] = (int)(exact / sum * (double)(1 << WEIGHT_BITS) + 0.5);
        }
}

// Sums of every plane of the images of `from`, before a change of contrast: sixteen side by side, in
// the CPU's order. n = samples * channels * 16
KERNEL grey_sums(
    unsigned n, const float *from, unsigned stride, const unsigned *plans, double *sums) {
    THREAD(i, n);
    const unsigned *plan = plans + PLAN * LANE;
    if (plan[KIND] == IDLE || !plan[SUMS]) return;
    unsigned area = plan[FROM_HEIGHT] * plan[FROM_WIDTH], whole = area / SUMS_OF_A_PLANE;
    const float *plane = of_lane(from, stride) + (size_t)(i / SUMS_OF_A_PLANE) * area;
    plane += i % SUMS_OF_A_PLANE;
    double sum = 0.0;
    unsigned at = 0;
    // Loads of eight numbers do not wait for the sum of those before.
    for (; at + 8 <= whole; at += 8) {
        float next[8];
        for (int k = 0; k < 8; ++k) next[k] = plane[(size_t)SUMS_OF_A_PLANE * (at + k)];
        for (int k = 0; k < 8; ++k) sum += (double)next[k];
    }
    for (; at < whole; ++at) sum += (double)plane[(size_t)SUMS_OF_A_PLANE * at];
    of_lane(sums, n)[i] = sum;
}

// The mean of the grey image of every image of `from`, of its sums and the numbers that they leave
// over. n = samples
KERNEL grey_means(
    unsigned n, const float *from, unsigned stride, const unsigned *plans, const double *sums,
    float *means) {
    THREAD(i, n);
    const unsigned *plan = plans + PLAN * LANE;
    if (plan[KIND] == IDLE || !plan[SUMS]) return;
    unsigned channels = plan[CHANNELS], area = plan[FROM_HEIGHT] * plan[FROM_WIDTH];
    double grey = 0.0;
    for (unsigned c = 0; c < channels; ++c) {
        const float *plane = of_lane(from, stride) + (size_t)(i * channels + c) * area;
        const double *parts = of_lane(sums, n * channels * SUMS_OF_A_PLANE);
        parts += (size_t)(i * channels + c) * SUMS_OF_A_PLANE;
        double sum = 0.0, rest = 0.0;
        for (int k = 0; k < SUMS_OF_A_PLANE; ++k) sum += parts[k];
        for (unsigned at = area - area % SUMS_OF_A_PLANE; at < area; ++at) rest += (double)plane[at];
        double mean = (sum + rest) / (double)area;
        float weight = c == 0 ? 0.2989f : c == 1 ? 0.587f : 0.114f;
        grey += channels == 3 ? mean * (double)weight : mean;
    }
    means[LANE * n + i] = (float)(channels == 3 ? grey : grey / (double)channels);
}
