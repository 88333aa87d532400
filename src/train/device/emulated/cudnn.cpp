// A cuDNN for tests on a machine without a GPU: the functions that the engine calls, on the host's
// memory, computing convolutions by their definition from their descriptors. It offers algorithms that
// must not be taken before the one that may be, and checks what it is called with.
//
// FAKE_CUDNN names the directions that it has an algorithm for, of "forward data filter"; all where it
// is not set. In each direction it offers one before that it refuses when it is called; in those that
// FAKE_CUDNN_REFUSES names it refuses all. With FAKE_CUDNN_COUNTS it says at the end how often it was asked and called.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <vector>

#include "host.hpp"
#include "streams.hpp"

enum { OK = 0, BAD_PARAM = 2000, MISALIGNED = 2003, INSUFFICIENT = 2006, NOT_SUPPORTED = 3000 };
enum { FLOAT = 0, BFLOAT16 = 9, NHWC = 1, CROSS_CORRELATION = 1, DETERMINISTIC = 1 };
enum Math { DEFAULT_MATH, TENSOR_OP_MATH, CONVERSION, FMA_MATH };

struct Tensor {
    int type, n, c, h, w;
};
struct Filter {
    int type, k, c, h, w;
};
struct Convolution {
    int pad[2], stride[2], dilation[2], groups, math;
};
// cudnnConvolutionFwdAlgoPerf_t and its sisters.
struct Offer {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};
// A handle knows its stream.
struct Handle {
    void *stream;
};
enum Direction { FORWARD, DATA, FILTER };

static const char *names[] = {"forward", "data", "filter"};
static std::atomic<long> asked[3], called[3];

static struct AtTheEnd {
    ~AtTheEnd() {
        if (getenv("FAKE_CUDNN_COUNTS"))
            for (int way = FORWARD; way <= FILTER; ++way)
                printf("cudnn %s: asked %ld, called %ld\n", names[way], asked[way].load(), called[way].load());
        fflush(stdout);
    }
} at_the_end;

// Which number in each direction is the one that may be taken.
static const int good[] = {1, 1, 1};

static size_t workspace(const Tensor &x, const Filter &w) {
    return 64 + (size_t)x.n * x.c + (size_t)w.k * w.c;
}

static bool fit(const Tensor *x, const Filter *w, const Convolution *by, const Tensor *y) {
    if (x->type != w->type || x->type != y->type || x->n != y->n) return false;
    if (x->c != w->c * by->groups || y->c != w->k || w->k % by->groups) return false;
    int in[] = {x->h, x->w}, out[] = {y->h, y->w}, kernel[] = {w->h, w->w};
    for (int axis = 0; axis < 2; ++axis) {
        int span = (kernel[axis] - 1) * by->dilation[axis] + 1;
        if ((in[axis] + 2 * by->pad[axis] - span) / by->stride[axis] + 1 != out[axis]) return false;
    }
    return true;
}

// The engine computes by patches what cuDNN does not take, so descriptors that contradict each other
// must be noticed otherwise.
static bool fits(
    const Handle *handle, const Tensor *x, const Filter *w, const Convolution *by, const Tensor *y) {
    bool fine = handle->stream && fit(x, w, by, y);
    if (!fine) printf("cudnn: descriptors that do not fit together\n");
    return fine;
}

static int offers(
    const Handle *handle, Direction way, const Tensor *x, const Filter *w, const Convolution *by,
    const Tensor *y, int most, int *count, Offer *to) {
    asked[way] += 1;
    if (!fits(handle, x, w, by, y)) return BAD_PARAM;
    const char *has = getenv("FAKE_CUDNN");
    bool knows = !has || strstr(has, names[way]);
    size_t memory = workspace(*x, *w);
    Offer all[] = {
        {5, OK, 0.1f, 0, !DETERMINISTIC, by->math, {}},
        {4, OK, 0.2f, (size_t)1 << 40, DETERMINISTIC, by->math, {}},
        {3, NOT_SUPPORTED, -1.0f, 0, DETERMINISTIC, by->math, {}},
        // One more that must not be taken of tensors in f32: it may round them to f16.
        {2, OK, 0.3f, memory, x->type == FLOAT ? DETERMINISTIC : !DETERMINISTIC, CONVERSION, {}},
        // Offered like the one that may be taken, and refused at the call.
        {0, OK, 0.35f, memory / 2, knows ? DETERMINISTIC : !DETERMINISTIC, by->math, {}},
        {good[way], OK, 0.4f, memory, knows ? DETERMINISTIC : !DETERMINISTIC, by->math, {}},
        {0, OK, 0.5f, 0, !DETERMINISTIC, by->math, {}},
    };
    int number = sizeof all / sizeof *all;
    *count = number < most ? number : most;
    return memcpy(to, all, sizeof *all * *count), OK;
}

static bool aligned(const void *place) { return (uintptr_t)place % 16 == 0; }

// A number of a tensor as it is multiplied: bf16, or f32, which any mode but that of fused products
// rounds.
struct Numbers {
    void *place;
    int type, math;

    double operator[](size_t i) const {
        if (type == BFLOAT16) return of_bf16(((uint16_t *)place)[i]);
        float number = ((float *)place)[i];
        return math == FMA_MATH ? number : to_tf32(number);
    }
    void set(size_t i, double number) const {
        if (type == BFLOAT16) ((uint16_t *)place)[i] = to_bf16((float)number);
        else ((float *)place)[i] = (float)number;
    }
};

// The three places that are multiplied or summed, by the definition of cross-correlation.
static void correlate(
    Direction way, Tensor x, Numbers X, Filter w, Numbers W, Convolution by, Tensor y, Numbers Y) {
    size_t sizes[] = {
        (size_t)y.n * y.h * y.w * y.c, (size_t)x.n * x.h * x.w * x.c, (size_t)w.k * w.h * w.w * w.c};
    std::vector<double> sums(sizes[way]);
    int outputs = w.k / by.groups;
    for (int n = 0; n < y.n; ++n)
        for (int oy = 0; oy < y.h; ++oy)
            for (int ox = 0; ox < y.w; ++ox)
                for (int k = 0; k < w.k; ++k)
                    for (int ty = 0; ty < w.h; ++ty)
                        for (int tx = 0; tx < w.w; ++tx) {
                            int iy = oy * by.stride[0] + ty * by.dilation[0] - by.pad[0];
                            int ix = ox * by.stride[1] + tx * by.dilation[1] - by.pad[1];
                            if (iy < 0 || ix < 0 || iy >= x.h || ix >= x.w) continue;
                            for (int c = 0; c < w.c; ++c) {
                                size_t in = (((size_t)n * x.h + iy) * x.w + ix) * x.c +
                                            k / outputs * w.c + c;
                                size_t tap = (((size_t)k * w.h + ty) * w.w + tx) * w.c + c;
                                size_t out = (((size_t)n * y.h + oy) * y.w + ox) * y.c + k;
                                if (way == FORWARD) sums[out] += X[in] * W[tap];
                                else if (way == DATA) sums[in] += Y[out] * W[tap];
                                else sums[tap] += X[in] * Y[out];
                            }
                        }
    const Numbers &made = way == FORWARD ? Y : way == DATA ? X : W;
    for (size_t i = 0; i < sums.size(); ++i) made.set(i, sums[i]);
}

// Lanes that are computed abreast, on other streams, must come after all that is queued on the stream
// that computes.
static bool follows(const Stream *stream) {
    if (stream->computes) return true;
    for (auto &other : stream->after)
        if (other.first->computes && other.second == other.first->work) return true;
    return false;
}

// The last use of memory to work in.
struct Use {
    Stream *by;
    uint64_t work;
};
static std::mutex uses_lock;
static std::map<const char *, std::pair<const char *, Use>> uses;

// Are both streams, or what they come after, of one network?
static bool share(const Stream *one, const Stream *other) {
    auto computes = [](const Stream *stream) -> const Stream * {
        if (stream->computes) return stream;
        for (auto &before : stream->after)
            if (before.first->computes) return before.first;
        return nullptr;
    };
    return computes(one) == computes(other);
}

// Memory to work in belongs to one convolution at a time: who uses it next must come after the last. Takes
// note of the use that begins.
static bool may_work_in(void *place, size_t bytes, Stream *stream) {
    const char *from = (const char *)place, *to = from + bytes;
    std::lock_guard<std::mutex> guard(uses_lock);
    // What is kept does not overlap: only the one before may reach into it.
    auto use = uses.lower_bound(from);
    if (use != uses.begin() && std::prev(use)->second.first > from) --use;
    while (use != uses.end() && use->first < to) {
        const Use &last = use->second.second;
        auto after = stream->after.find(last.by);
        bool follows = last.by == stream || (after != stream->after.end() && after->second >= last.work);
        if (!follows && share(last.by, stream)) return false;
        use = uses.erase(use);
    }
    // Its work is counted when it is queued.
    uses[from] = {to, {stream, stream->work + 1}};
    return true;
}

// Checks a call, which its stream does when it comes to it; descriptors are read at once.
static int convolve(
    const Handle *handle, Direction way, const Tensor *x, void *x_at, const Filter *w, void *w_at,
    const Convolution *by, const Tensor *y, void *y_at, int algorithm, void *work, size_t work_bytes,
    float alpha, float beta) {
    if (!fits(handle, x, w, by, y)) return BAD_PARAM;
    const char *refuses = getenv("FAKE_CUDNN_REFUSES");
    if (algorithm != good[way] || (refuses && strstr(refuses, names[way]))) return NOT_SUPPORTED;
    called[way] += 1;
    if (!follows((Stream *)handle->stream)) return BAD_PARAM;
    if (alpha != 1.0f || beta != 0.0f) return BAD_PARAM;
    if (!work || work_bytes < workspace(*x, *w)) return INSUFFICIENT;
    if (!aligned(x_at) || !aligned(w_at) || !aligned(y_at) || !aligned(work)) return MISALIGNED;
    if (!may_work_in(work, work_bytes, (Stream *)handle->stream)) return BAD_PARAM;
    Numbers X = {x_at, x->type, by->math}, W = {w_at, w->type, by->math}, Y = {y_at, y->type, by->math};
    Tensor from = *x, to = *y;
    Filter taps = *w;
    Convolution geometry = *by;
    worked(handle->stream)->add([=] {
        // It is the algorithm's own: what lies there is lost.
        memset(work, 0xff, work_bytes);
        correlate(way, from, X, taps, W, geometry, to, Y);
    });
    return OK;
}

template <class T> static int make(T **it) { return *it = new T(), OK; }
template <class T> static int gone(T *it) { return delete it, OK; }

extern "C" {
size_t cudnnGetVersion() { return 91900; }
int cudnnCreate(Handle **handle) { return make(handle); }
int cudnnDestroy(Handle *handle) { return gone(handle); }
int cudnnSetStream(Handle *handle, void *to) {
    return handle->stream = to, to ? OK : BAD_PARAM;
}
int cudnnCreateTensorDescriptor(Tensor **it) { return make(it); }
int cudnnCreateFilterDescriptor(Filter **it) { return make(it); }
int cudnnCreateConvolutionDescriptor(Convolution **it) { return make(it); }
int cudnnDestroyTensorDescriptor(Tensor *it) { return gone(it); }
int cudnnDestroyFilterDescriptor(Filter *it) { return gone(it); }
int cudnnDestroyConvolutionDescriptor(Convolution *it) { return gone(it); }
int cudnnSetTensor4dDescriptor(Tensor *it, int format, int type, int n, int c, int h, int w) {
    if (format != NHWC || (type != FLOAT && type != BFLOAT16)) return NOT_SUPPORTED;
    return *it = {type, n, c, h, w}, OK;
}
int cudnnSetFilter4dDescriptor(Filter *it, int type, int format, int k, int c, int h, int w) {
    if (format != NHWC || (type != FLOAT && type != BFLOAT16)) return NOT_SUPPORTED;
    return *it = {type, k, c, h, w}, OK;
}
int cudnnSetConvolution2dDescriptor(
    Convolution *it, int pad_y, int pad_x, int stride_y, int stride_x, int dilation_y, int dilation_x,
    int mode, int sums) {
    if (mode != CROSS_CORRELATION || sums != FLOAT) return NOT_SUPPORTED;
    *it = {{pad_y, pad_x}, {stride_y, stride_x}, {dilation_y, dilation_x}, 1, DEFAULT_MATH};
    return OK;
}
int cudnnSetConvolutionGroupCount(Convolution *it, int groups) { return it->groups = groups, OK; }
int cudnnSetConvolutionMathType(Convolution *it, int math) { return it->math = math, OK; }

int cudnnGetConvolutionForwardAlgorithmMaxCount(void *, int *count) { return *count = 8, OK; }
int cudnnGetConvolutionBackwardDataAlgorithmMaxCount(void *, int *count) { return *count = 6, OK; }
int cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(void *, int *count) { return *count = 7, OK; }
int cudnnGetConvolutionForwardAlgorithm_v7(
    const Handle *handle, const Tensor *x, const Filter *w, const Convolution *by, const Tensor *y, int most, int *count,
    Offer *to) {
    return offers(handle, FORWARD, x, w, by, y, most, count, to);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(
    const Handle *handle, const Filter *w, const Tensor *y, const Convolution *by, const Tensor *x, int most, int *count,
    Offer *to) {
    return offers(handle, DATA, x, w, by, y, most, count, to);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    const Handle *handle, const Tensor *x, const Tensor *y, const Convolution *by, const Filter *w, int most, int *count,
    Offer *to) {
    return offers(handle, FILTER, x, w, by, y, most, count, to);
}
int cudnnGetConvolutionForwardWorkspaceSize(
    void *, const Tensor *x, const Filter *w, const Convolution *, const Tensor *, int algorithm,
    size_t *bytes) {
    return *bytes = workspace(*x, *w) / (algorithm ? 1 : 2), OK;
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(
    void *, const Filter *w, const Tensor *, const Convolution *, const Tensor *x, int, size_t *bytes) {
    return *bytes = workspace(*x, *w), OK;
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(
    void *, const Tensor *x, const Tensor *, const Convolution *, const Filter *w, int, size_t *bytes) {
    return *bytes = workspace(*x, *w), OK;
}

int cudnnConvolutionForward(
    const Handle *handle, const float *alpha, const Tensor *x, void *x_at, const Filter *w, void *w_at,
    const Convolution *by, int algorithm, void *work, size_t work_bytes, const float *beta,
    const Tensor *y, void *y_at) {
    return convolve(
        handle, FORWARD, x, x_at, w, w_at, by, y, y_at, algorithm, work, work_bytes, *alpha, *beta);
}
int cudnnConvolutionBackwardData(
    const Handle *handle, const float *alpha, const Filter *w, void *w_at, const Tensor *y, void *y_at,
    const Convolution *by, int algorithm, void *work, size_t work_bytes, const float *beta,
    const Tensor *x, void *x_at) {
    return convolve(
        handle, DATA, x, x_at, w, w_at, by, y, y_at, algorithm, work, work_bytes, *alpha, *beta);
}
int cudnnConvolutionBackwardFilter(
    const Handle *handle, const float *alpha, const Tensor *x, void *x_at, const Tensor *y, void *y_at,
    const Convolution *by, int algorithm, void *work, size_t work_bytes, const float *beta,
    const Filter *w, void *w_at) {
    return convolve(
        handle, FILTER, x, x_at, w, w_at, by, y, y_at, algorithm, work, work_bytes, *alpha, *beta);
}
}
