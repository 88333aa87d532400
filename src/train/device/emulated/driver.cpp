// A driver and cuBLAS for tests on a machine without a GPU: the functions that the engine calls, on
// the host's memory, with the kernels of kernels.cu run thread by thread. One file, made into
// libcuda.so.1, libcublasLt.so.13 and libcublas.so.13.
//
// FAKE_INIT (what cuInit returns), FAKE_VERSION, FAKE_DEVICES and FAKE_CAPABILITY (75 is 7.5) make it
// fail the ways that real ones do; FAKE_CAPTURE=0 refuses to record. FAKE_MEMORY is what there is, in MiB;
// after FAKE_LOST copies to the device it is lost.
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "host.hpp"
#include "streams.hpp"

static int told(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

struct Kernel {
    const char *name;
    Work (*start)(Place, unsigned, void **);
};

// The driver copies the arguments when a kernel is launched, not when it runs.
template <class... A, size_t... I>
static Work call(
    void (*kernel)(A...), Place grid, unsigned block, void **given, std::index_sequence<I...>) {
    std::tuple<A...> values(*(A *)given[I]...);
    return [=] { each_thread(grid, block, [&] { kernel(std::get<I>(values)...); }); };
}

template <class... A>
static Work call(void (*kernel)(A...), Place grid, unsigned block, void **given) {
    return call(kernel, grid, block, given, std::make_index_sequence<sizeof...(A)>());
}

#define ENTRY(kernel)                                                                     \
    {#kernel,                                                                             \
     [](Place grid, unsigned block, void **given) { return call(kernel, grid, block, given); }},
static const Kernel kernels[] = {
#include "entries.inc"
};

enum {
    OK = 0,
    INVALID = 1,
    NO_DEVICE = 100,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LOST = 719,
    NOT_WHILE_CAPTURING = 900,
    NOT_JOINED = 904,
};

typedef uint64_t Pointer;
// What is done by a stream, now or when it is recorded.
static int add(void *stream, Work work) {
    return ((Stream *)stream)->add(std::move(work)), OK;
}

static bool captures(void *stream) { return ((Stream *)stream)->captured; }

// Memory of the host that was allocated here.
static std::mutex pinned_lock;
static std::map<const char *, size_t> pinned;

static bool is_pinned(const void *place, size_t bytes) {
    std::lock_guard<std::mutex> guard(pinned_lock);
    auto next = pinned.upper_bound((const char *)place);
    if (next == pinned.begin()) return false;
    --next;
    return (const char *)place + bytes <= next->first + next->second;
}

extern "C" {
int cuInit(unsigned) { return told("FAKE_INIT", OK); }
int cuDriverGetVersion(int *version) { return *version = told("FAKE_VERSION", 13000), OK; }
int cuDeviceGetCount(int *count) { return *count = told("FAKE_DEVICES", 1), OK; }
int cuDeviceGet(int *device, int index) { return *device = index, OK; }
int cuDeviceGetName(char *name, int len, int) { return strncpy(name, "fake", len), OK; }
int cuDeviceGetAttribute(int *value, int attribute, int) {
    int capability = told("FAKE_CAPABILITY", 90);
    switch (attribute) {
    case 75: *value = capability / 10; break;
    case 76: *value = capability % 10; break;
    default: *value = 1;
    }
    return OK;
}
// Every thread has its own: the engine must bind it in each.
static thread_local void *current;
int cuDevicePrimaryCtxRetain(void **context, int device) {
    return *context = (void *)(size_t)(device + 1), OK;
}
int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
int cuCtxGetCurrent(void **context) { return *context = current, OK; }
int cuCtxSetCurrent(void *context) { return current = context, OK; }
int cuGetErrorName(int error, const char **text) {
    *text = error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE"
            : error == LOST    ? "CUDA_ERROR_LAUNCH_FAILED"
                               : "CUDA_ERROR_OTHER";
    return OK;
}
int cuGetErrorString(int error, const char **text) {
    *text = error == NO_DEVICE ? "no CUDA-capable device is detected"
            : error == LOST    ? "unspecified launch failure"
                               : "another error";
    return OK;
}
int cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = (void *)2, OK; }
int cuMemPoolSetAttribute(void *, int, void *) { return OK; }
int cuStreamCreate(Stream **stream, unsigned) { return *stream = new Stream(), OK; }
// One that is queued may still be waited for.
int cuStreamDestroy_v2(Stream *) { return OK; }
int cuStreamSynchronize(Stream *stream) {
    if (captures(stream)) return NOT_WHILE_CAPTURING;
    return stream->run_to(stream->queued()), OK;
}
// Mode 1 is CU_STREAM_CAPTURE_MODE_THREAD_LOCAL.
int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    if (captures(stream) || mode != 1 || !told("FAKE_CAPTURE", 1)) return INVALID;
    return stream->began = true, stream->captured = new Graph(), OK;
}
int cuStreamEndCapture(Stream *stream, Graph **graph) {
    if (!captures(stream) || !stream->began) return INVALID;
    bool whole = true;
    for (auto &other : stream->captured->joined) {
        whole = whole && other.second == other.first->work;
        other.first->captured = nullptr;
    }
    stream->captured->joined.clear();
    *graph = stream->captured, stream->captured = nullptr, stream->began = false;
    return whole ? OK : NOT_JOINED;
}
int cuGraphInstantiateWithFlags(Graph **executable, const Graph *graph, unsigned long long flags) {
    if (flags) return INVALID;
    return *executable = new Graph(*graph), OK;
}
int cuGraphLaunch(const Graph *executable, void *stream) {
    if (captures(stream)) return NOT_WHILE_CAPTURING;
    for (const Work &work : executable->works) add(worked(stream), work);
    return OK;
}
int cuGraphDestroy(Graph *graph) { return delete graph, OK; }
int cuGraphExecDestroy(Graph *executable) { return delete executable, OK; }
int cuEventCreate(Event **event, unsigned flags) {
    *event = new Event;
    return (*event)->timed = !(flags & 2), OK;
}
// What is queued may still come to it.
int cuEventDestroy_v2(Event *) { return OK; }
int cuEventRecord(Event *event, Stream *stream) {
    event->stream = stream, event->work = stream->work, event->after = stream->after;
    event->captured = stream->captured;
    if (captures(stream)) return event->timed ? NOT_WHILE_CAPTURING : OK;
    if (event->timed) add(stream, [=] { event->at = std::chrono::steady_clock::now(); });
    return event->number = stream->queued(), OK;
}
int cuStreamWaitEvent(Stream *stream, const Event *event, unsigned) {
    if (!event->stream) return INVALID;
    stream->follow(event->stream, event->work, event->after);
    if (event->captured) {
        // A stream takes part from here on; one that does already comes after the other.
        if (captures(stream) && stream->captured != event->captured) return INVALID;
        auto &others = event->captured->joined;
        if (!captures(stream)) others[stream] = stream->work;
        if (stream->began && others.count(event->stream)) others[event->stream] = event->work;
        return stream->captured = event->captured, OK;
    }
    if (captures(stream)) return INVALID;
    Stream *other = event->stream;
    uint64_t number = event->number;
    return add(stream, [=] { other->run_to(number); });
}
int cuEventQuery(const Event *event) { return event->is_reached() ? OK : NOT_READY; }
int cuEventSynchronize(const Event *event) { return event->reach(), OK; }
int cuEventElapsedTime(float *ms, const Event *first, const Event *second) {
    if (!first->timed || !second->timed) return INVALID;
    if (!first->is_reached() || !second->is_reached()) return NOT_READY;
    return *ms = std::chrono::duration<float, std::milli>(second->at - first->at).count(), OK;
}
int cuMemHostAlloc(void **place, size_t bytes, unsigned) {
    // What is allocated starts as anything but 0.
    *place = memset(malloc(bytes), 0xff, bytes);
    std::lock_guard<std::mutex> guard(pinned_lock);
    return pinned[(char *)*place] = bytes, OK;
}
int cuMemFreeHost(void *place) {
    std::lock_guard<std::mutex> guard(pinned_lock);
    if (!pinned.erase((char *)place)) return INVALID;
    return free(place), OK;
}
int cuModuleLoadData(void **module, const void *image) {
    return *module = (void *)4, strstr((const char *)image, ".entry") ? OK : INVALID;
}
int cuModuleGetFunction(const Kernel **function, void *, const char *name) {
    for (const Kernel &kernel : kernels)
        if (!strcmp(kernel.name, name)) return *function = &kernel, OK;
    return NOT_FOUND;
}
// What is freed does not come back: tests that run short of it end there.
static std::atomic<size_t> allocated;
static size_t limit() { return (size_t)told("FAKE_MEMORY", 0) << 20; }
// What is allocated starts as anything but 0.
int cuMemAllocAsync(Pointer *place, size_t bytes, void *stream) {
    if (captures(stream)) return NOT_WHILE_CAPTURING;
    if (limit() && allocated + bytes > limit()) return 2;
    allocated += bytes;
    void *memory;
    ((Stream *)stream)->computes = true;
    if (posix_memalign(&memory, 256, bytes)) return 2;
    return *place = (Pointer)memset(memory, 0xff, bytes), OK;
}
int cuMemFreeAsync(Pointer place, void *stream) {
    return add(stream, [=] { free((void *)place); });
}
int cuMemGetInfo_v2(size_t *left, size_t *all) {
    if (!limit()) return *left = *all = (size_t)1 << 30, OK;
    return *all = limit(), *left = *all - allocated, OK;
}
int cuMemsetD8Async(Pointer place, unsigned char byte, size_t bytes, void *stream) {
    return add(stream, [=] { memset((void *)place, byte, bytes); });
}
// Pinned memory is read when the stream comes to it; other memory is copied first.
int cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, void *stream) {
    if (captures(stream)) return NOT_WHILE_CAPTURING;
    static std::atomic<int> copies;
    if (++copies > told("FAKE_LOST", 1 << 30)) return LOST;
    worked(stream);
    if (is_pinned(from, bytes)) return add(stream, [=] { memcpy((void *)to, from, bytes); });
    std::vector<char> held((const char *)from, (const char *)from + bytes);
    return add(stream, [=] { memcpy((void *)to, held.data(), bytes); });
}
// Pinned memory is written when the stream comes to it; for other memory the driver waits.
int cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, Stream *stream) {
    if (captures(stream)) return NOT_WHILE_CAPTURING;
    add(worked(stream), [=] { memcpy(to, (void *)from, bytes); });
    return is_pinned(to, bytes) ? OK : cuStreamSynchronize(stream);
}
int cuLaunchKernel(
    const Kernel *kernel, unsigned x, unsigned y, unsigned z, unsigned block, unsigned block_y,
    unsigned block_z, unsigned, void *stream, void **given, void **) {
    if (z != 1 || block_y != 1 || block_z != 1 || !stream || !current) return INVALID;
    return add(worked(stream), kernel->start({x, y}, block, given));
}

// A handle knows its stream, how factors in f32 are taken, and whether it has memory of its user's:
// without, the algorithms of products may change from time to time.
struct Cublas {
    void *stream;
    int math_mode;
    bool has_memory;
};
int cublasCreate_v2(Cublas **handle) { return *handle = new Cublas(), OK; }
int cublasDestroy_v2(Cublas *handle) { return delete handle, OK; }
// CUBLAS_TF32_TENSOR_OP_MATH rounds factors in f32; CUBLAS_DEFAULT_MATH and what forbids less precise
// sums do not.
int cublasSetMathMode(Cublas *handle, int mode) {
    if (mode != 0 && mode != 3 && mode != 16) return 7;
    return handle->math_mode = mode, OK;
}
// With another stream a handle takes memory of its own again.
int cublasSetStream_v2(Cublas *handle, void *stream) {
    return handle->stream = stream, handle->has_memory = false, OK;
}
int cublasSetWorkspace_v2(Cublas *handle, void *memory, size_t bytes) {
    if (!memory || !bytes || (uintptr_t)memory % 256) return 7;
    return handle->has_memory = true, OK;
}
}

// Column order: number (row, column) of a matrix is at row + column * pitch. The factors of products
// and sums are read at once, as cuBLAS reads those that lie in the host's memory.
template <class A, class C, class F>
static int products(
    const Cublas *handle, int of_a, int of_b, int m, int n, int k, float alpha, const A *a, int lda,
    long long a_stride, const A *b, int ldb, long long b_stride, float beta, C *c, int ldc,
    long long c_stride, int batch, F factor) {
    if (!handle->has_memory) return 14;
    if (lda < (of_a ? k : m) || ldb < (of_b ? n : k) || ldc < m) return 7;
    return add(worked(handle->stream), [=] {
        for (long long p = 0; p < batch; ++p)
            for (long long row = 0; row < m; ++row)
                for (long long column = 0; column < n; ++column) {
                    double sum = 0.0;
                    for (long long i = 0; i < k; ++i) {
                        double left =
                            factor(a[p * a_stride + (of_a ? i + row * lda : row + i * lda)]);
                        double right =
                            factor(b[p * b_stride + (of_b ? column + i * ldb : i + column * ldb)]);
                        sum += left * right;
                    }
                    C *out = c + p * c_stride + row + column * ldc;
                    // With a factor of 0 what is there is not read: it may be anything.
                    *out = beta == 0.0f ? (C)(alpha * sum) : (C)(alpha * sum + (double)beta * *out);
                }
    });
}

// cudaDataType_t and cublasComputeType_t.
enum { REAL_F32 = 0, REAL_BF16 = 14, SUMS_F32 = 68 };

extern "C" {
int cublasSgemmStridedBatched(
    const Cublas *handle, int of_a, int of_b, int m, int n, int k, const float *alpha, const float *a,
    int lda, long long a_stride, const float *b, int ldb, long long b_stride, const float *beta,
    float *c, int ldc, long long c_stride, int batch) {
    bool rounds = handle->math_mode == 3;
    auto factor = [=](float number) { return rounds ? to_tf32(number) : number; };
    return products(
        handle, of_a, of_b, m, n, k, *alpha, a, lda, a_stride, b, ldb, b_stride, *beta, c, ldc, c_stride,
        batch, factor);
}
int cublasGemmStridedBatchedEx(
    const Cublas *handle, int of_a, int of_b, int m, int n, int k, const void *alpha, const void *a,
    int a_type, int lda, long long a_stride, const void *b, int b_type, int ldb, long long b_stride,
    const void *beta, void *c, int c_type, int ldc, long long c_stride, int batch, int sums, int) {
    if (a_type != REAL_BF16 || b_type != REAL_BF16 || c_type != REAL_F32 || sums != SUMS_F32) return 15;
    return products(
        handle, of_a, of_b, m, n, k, *(const float *)alpha, (const uint16_t *)a, lda, a_stride,
        (const uint16_t *)b, ldb, b_stride, *(const float *)beta, (float *)c, ldc, c_stride, batch,
        of_bf16);
}
int cublasGemmEx(
    const Cublas *handle, int of_a, int of_b, int m, int n, int k, const void *alpha, const void *a,
    int a_type, int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type,
    int ldc, int sums, int algorithm) {
    return cublasGemmStridedBatchedEx(
        handle, of_a, of_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0,
        1, sums, algorithm);
}
int cublasSgemm_v2(
    const Cublas *handle, int of_a, int of_b, int m, int n, int k, const float *alpha, const float *a,
    int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
    return cublasSgemmStridedBatched(
        handle, of_a, of_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}
}
