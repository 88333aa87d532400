// A driver and cuBLAS for tests on a machine without a GPU: the functions that the engine calls, on
// the host's memory, with the kernels of kernels.cu run thread by thread. One file, made into
// libcuda.so.1, libcublasLt.so.13 and libcublas.so.13.
//
// FAKE_INIT (what cuInit returns), FAKE_VERSION, FAKE_DEVICES and FAKE_CAPABILITY (75 is 7.5) make it
// fail the ways that real ones do.
#include <cstdlib>
#include <utility>

#include "host.hpp"

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

enum { OK = 0, INVALID = 1, NO_DEVICE = 100, NOT_FOUND = 500 };

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
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = (void *)1, OK; }
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
int cuStreamCreate(void **stream, unsigned) { return *stream = (void *)3, OK; }
int cuStreamDestroy_v2(void *) { return OK; }
int cuStreamSynchronize(void *) { return OK; }
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
int cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, void *) {
    return memcpy((void *)to, from, bytes), OK;
}
int cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, void *) {
    return memcpy(to, (void *)from, bytes), OK;
}
int cuLaunchKernel(
    const Kernel *kernel, unsigned x, unsigned y, unsigned z, unsigned block, unsigned block_y,
    unsigned block_z, unsigned, void *stream, void **given, void **) {
    if (z != 1 || block_y != 1 || block_z != 1 || stream != (void *)3 || !current) return INVALID;
    return kernel->start({x, y}, block, given), OK;
}

struct Cublas {
    int math_mode;
};
int cublasCreate_v2(Cublas **handle) { return *handle = new Cublas(), OK; }
int cublasDestroy_v2(Cublas *handle) { return delete handle, OK; }
// CUBLAS_TF32_TENSOR_OP_MATH rounds factors in f32; CUBLAS_DEFAULT_MATH and what forbids less precise
// sums do not.
int cublasSetMathMode(Cublas *handle, int mode) {
    if (mode != 0 && mode != 3 && mode != 16) return 7;
    return handle->math_mode = mode, OK;
}
int cublasSetStream_v2(void *, void *) { return OK; }
int cublasSetWorkspace_v2(void *, void *, size_t) { return OK; }
}

// Column order: number (row, column) of a matrix is at row + column * pitch.
template <class A, class C, class F>
static int products(
    int of_a, int of_b, int m, int n, int k, float alpha, const A *a, int lda, long long a_stride,
    const A *b, int ldb, long long b_stride, float beta, C *c, int ldc, long long c_stride, int batch,
    F factor) {
    if (lda < (of_a ? k : m) || ldb < (of_b ? n : k) || ldc < m) return 7;
    for (long long p = 0; p < batch; ++p)
        for (long long row = 0; row < m; ++row)
            for (long long column = 0; column < n; ++column) {
                double sum = 0.0;
                for (long long i = 0; i < k; ++i) {
                    double left = factor(a[p * a_stride + (of_a ? i + row * lda : row + i * lda)]);
                    double right =
                        factor(b[p * b_stride + (of_b ? column + i * ldb : i + column * ldb)]);
                    sum += left * right;
                }
                C *out = c + p * c_stride + row + column * ldc;
                // With a factor of 0 what is there is not read: it may be anything.
                *out = beta == 0.0f ? (C)(alpha * sum) : (C)(alpha * sum + (double)beta * *out);
            }
    return OK;
}

// cudaDataType_t and cublasComputeType_t.
enum { REAL_F32 = 0, REAL_BF16 = 14, SUMS_F32 = 68 };

extern "C" {
int cublasSgemmStridedBatched(
    Cublas *handle, int of_a, int of_b, int m, int n, int k, const float *alpha, const float *a, int lda,
    long long a_stride, const float *b, int ldb, long long b_stride, const float *beta, float *c,
    int ldc, long long c_stride, int batch) {
    bool rounds = handle->math_mode == 3;
    auto factor = [=](float number) { return rounds ? to_tf32(number) : number; };
    return products(
        of_a, of_b, m, n, k, *alpha, a, lda, a_stride, b, ldb, b_stride, *beta, c, ldc, c_stride, batch,
        factor);
}
int cublasGemmStridedBatchedEx(
    void *, int of_a, int of_b, int m, int n, int k, const void *alpha, const void *a, int a_type,
    int lda, long long a_stride, const void *b, int b_type, int ldb, long long b_stride,
    const void *beta, void *c, int c_type, int ldc, long long c_stride, int batch, int sums, int) {
    if (a_type != REAL_BF16 || b_type != REAL_BF16 || c_type != REAL_F32 || sums != SUMS_F32) return 15;
    return products(
        of_a, of_b, m, n, k, *(const float *)alpha, (const uint16_t *)a, lda, a_stride,
        (const uint16_t *)b, ldb, b_stride, *(const float *)beta, (float *)c, ldc, c_stride, batch,
        of_bf16);
}
int cublasGemmEx(
    void *handle, int of_a, int of_b, int m, int n, int k, const void *alpha, const void *a,
    int a_type, int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type,
    int ldc, int sums, int algorithm) {
    return cublasGemmStridedBatchedEx(
        handle, of_a, of_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0,
        1, sums, algorithm);
}
int cublasSgemm_v2(
    Cublas *handle, int of_a, int of_b, int m, int n, int k, const float *alpha, const float *a,
    int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
    return cublasSgemmStridedBatched(
        handle, of_a, of_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}
}
