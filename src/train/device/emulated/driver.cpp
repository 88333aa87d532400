// A driver and cuBLAS for tests on a machine without a GPU: the functions that the engine calls, on
// the host's memory, with the kernels of kernels.cu run thread by thread. One file, made into
// libcuda.so.1, libcublasLt.so.13 and libcublas.so.13.
//
// FAKE_INIT (what cuInit returns), FAKE_VERSION, FAKE_DEVICES and FAKE_CAPABILITY (75 is 7.5) make it
// fail the ways that real ones do.
#include <cstdlib>
#include <utility>

#include "host.hpp"
#include "streams.hpp"

static int told(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

struct Kernel {
    const char *name;
    void (*start)(Place, unsigned, void **);
};

template <class... A, size_t... I>
static void call(
    void (*kernel)(A...), Place grid, unsigned block, void **given, std::index_sequence<I...>) {
    each_thread(grid, block, [&] { kernel(*(A *)given[I]...); });
}

template <class... A>
static void call(void (*kernel)(A...), Place grid, unsigned block, void **given) {
    call(kernel, grid, block, given, std::make_index_sequence<sizeof...(A)>());
}

#define ENTRY(kernel)                                                                     \
    {#kernel, [](Place grid, unsigned block, void **given) { call(kernel, grid, block, given); }},
static const Kernel kernels[] = {
#include "entries.inc"
};

enum { OK = 0, INVALID = 1, NO_DEVICE = 100, NOT_FOUND = 500, NOT_READY = 600 };

typedef uint64_t Pointer;

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
    return *text = error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_OTHER", OK;
}
int cuGetErrorString(int error, const char **text) {
    return *text = error == NO_DEVICE ? "no CUDA-capable device is detected" : "another error", OK;
}
int cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = (void *)2, OK; }
int cuMemPoolSetAttribute(void *, int, void *) { return OK; }
int cuStreamCreate(Stream **stream, unsigned) { return *stream = new Stream, OK; }
// One that is queued may still be waited for.
int cuStreamDestroy_v2(Stream *) { return OK; }
int cuStreamSynchronize(Stream *stream) { return stream->run_to(stream->next()), OK; }
int cuEventCreate(Event **event, unsigned flags) {
    *event = new Event;
    return (*event)->timed = !(flags & 2), OK;
}
// What is queued may still come to it.
int cuEventDestroy_v2(Event *) { return OK; }
int cuEventRecord(Event *event, Stream *stream) {
    event->reach();
    event->stream = stream, event->reached = false;
    event->number = stream->next() + 1, event->work = stream->work;
    stream->add(false, [event] {
        event->reached = true, event->at = std::chrono::steady_clock::now();
    });
    return OK;
}
int cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    if (!event->stream) return INVALID;
    stream->after[event->stream] = event->work;
    Stream *other = event->stream;
    uint64_t number = event->number;
    return stream->add(false, [other, number] { other->run_to(number); }), OK;
}
int cuEventQuery(Event *event) { return event->reached ? OK : NOT_READY; }
int cuEventSynchronize(Event *event) { return event->reach(), OK; }
int cuEventElapsedTime_v2(float *ms, const Event *first, const Event *second) {
    if (!first->timed || !second->timed) return INVALID;
    if (!first->reached || !second->reached) return NOT_READY;
    return *ms = std::chrono::duration<float, std::milli>(second->at - first->at).count(), OK;
}
int cuModuleLoadData(void **module, const void *image) {
    return *module = (void *)4, strstr((const char *)image, ".entry") ? OK : INVALID;
}
int cuModuleGetFunction(const Kernel **function, void *, const char *name) {
    for (const Kernel &kernel : kernels)
        if (!strcmp(kernel.name, name)) return *function = &kernel, OK;
    return NOT_FOUND;
}
// What is allocated starts as anything but 0.
int cuMemAllocAsync(Pointer *place, size_t bytes, void *) {
    void *memory = malloc(bytes);
    if (!memory) return 2;
    return *place = (Pointer)memset(memory, 0xff, bytes), OK;
}
int cuMemFreeAsync(Pointer place, void *) { return free((void *)place), OK; }
int cuMemGetInfo_v2(size_t *left, size_t *all) { return *left = *all = (size_t)1 << 30, OK; }
int cuMemsetD8Async(Pointer place, unsigned char byte, size_t bytes, void *) {
    return memset((void *)place, byte, bytes), OK;
}
int cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, void *stream) {
    return worked(stream), memcpy((void *)to, from, bytes), OK;
}
int cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, void *stream) {
    return worked(stream), memcpy(to, (void *)from, bytes), OK;
}
int cuLaunchKernel(
    const Kernel *kernel, unsigned x, unsigned y, unsigned z, unsigned block, unsigned block_y,
    unsigned block_z, unsigned, void *stream, void **given, void **) {
    if (z != 1 || block_y != 1 || block_z != 1 || !stream || !current) return INVALID;
    return worked(stream), kernel->start({x, y}, block, given), OK;
}

int cublasCreate_v2(void **handle) { return *handle = (void *)5, OK; }
int cublasDestroy_v2(void *) { return OK; }
int cublasSetMathMode(void *, int) { return OK; }
int cublasSetStream_v2(void *, void *) { return OK; }
int cublasSetWorkspace_v2(void *, void *, size_t) { return OK; }
// Column order: number (row, column) of a matrix is at row + column * pitch.
int cublasSgemmStridedBatched(
    void *, int of_a, int of_b, int m, int n, int k, const float *alpha, const float *a, int lda,
    long long a_stride, const float *b, int ldb, long long b_stride, const float *beta, float *c,
    int ldc, long long c_stride, int batch) {
    if (lda < (of_a ? k : m) || ldb < (of_b ? n : k) || ldc < m) return 7;
    for (long long p = 0; p < batch; ++p)
        for (long long row = 0; row < m; ++row)
            for (long long column = 0; column < n; ++column) {
                double sum = 0.0;
                for (long long i = 0; i < k; ++i) {
                    double left = a[p * a_stride + (of_a ? i + row * lda : row + i * lda)];
                    double right = b[p * b_stride + (of_b ? column + i * ldb : i + column * ldb)];
                    sum += left * right;
                }
                float *out = c + p * c_stride + row + column * ldc;
                // With a factor of 0 what is there is not read: it may be anything.
                *out = *beta == 0.0f ? (float)(*alpha * sum)
                                     : (float)(*alpha * sum + (double)*beta * *out);
            }
    return OK;
}
int cublasSgemm_v2(
    void *handle, int of_a, int of_b, int m, int n, int k, const float *alpha, const float *a,
    int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
    return cublasSgemmStridedBatched(
        handle, of_a, of_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}
}
