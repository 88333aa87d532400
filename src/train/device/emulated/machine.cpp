// The kernels on the host, for tests: a machine that is driven through its standard input and output,
// has memory of its own, and runs every kernel of kernels.cu thread by thread. Compiled with the
// address sanitizer, it ends with a report at the first access beside an allocation.
//
// Threads run in ascending order in one launch and in descending order in the next: kernels whose
// threads depended on one another would not give the CPU's results in both.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__

struct Place {
    unsigned x, y;
};
static Place blockIdx, blockDim, threadIdx;

static inline float __uint_as_float(unsigned bits) {
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

static inline unsigned __float_as_uint(float number) {
    unsigned bits;
    memcpy(&bits, &number, 4);
    return bits;
}

#include "kernels.cu"

static void fail(const char *what, const char *name) {
    fprintf(stderr, "emulated accelerator: %s: %s\n", what, name);
    exit(3);
}

static void take(void *to, size_t bytes) {
    // The end of the input between two commands is the ordinary end.
    if (bytes && fread(to, 1, bytes, stdin) != bytes) exit(0);
}

template <class T> static T take() {
    T value;
    take(&value, sizeof value);
    return value;
}

static void give(const void *from, size_t bytes) {
    fwrite(from, 1, bytes, stdout);
    fflush(stdout);
}

struct Argument {
    char kind;
    uint64_t bits;
};

template <class T> constexpr char kind_of() {
    if (std::is_pointer<T>::value) return 'p';
    if (std::is_same<T, unsigned>::value) return 'u';
    if (std::is_same<T, float>::value) return 'f';
    if (std::is_same<T, double>::value) return 'd';
    if (std::is_same<T, unsigned long long>::value) return 'l';
    return '?';
}

template <class T> static T value_of(const char *name, const Argument &argument) {
    if (argument.kind != kind_of<T>()) fail("an argument of another kind", name);
    T value;
    memcpy(&value, &argument.bits, sizeof value);
    return value;
}

static bool descending;

template <class... A, size_t... I>
static void run(
    const char *name, void (*kernel)(A...), const std::vector<Argument> &given, Place grid,
    std::index_sequence<I...>) {
    if (given.size() != sizeof...(A)) fail("another number of arguments", name);
    std::tuple<A...> values(value_of<A>(name, given[I])...);
    uint64_t all = (uint64_t)grid.x * blockDim.x * grid.y;
    for (uint64_t at = 0; at < all; ++at) {
        uint64_t thread = descending ? all - 1 - at : at;
        threadIdx.x = (unsigned)(thread % blockDim.x);
        blockIdx.x = (unsigned)(thread / blockDim.x % grid.x);
        blockIdx.y = (unsigned)(thread / blockDim.x / grid.x);
        kernel(std::get<I>(values)...);
    }
    descending = !descending;
}

template <class... A>
static void start(
    const char *name, void (*kernel)(A...), const std::vector<Argument> &given, Place grid) {
    run(name, kernel, given, grid, std::make_index_sequence<sizeof...(A)>());
}

static void launch() {
    char name[64] = {0};
    take(name, take<uint32_t>());
    Place grid = {take<uint32_t>(), 0};
    grid.y = take<uint32_t>();
    blockDim = {take<uint32_t>(), 1};
    std::vector<Argument> given(take<uint32_t>());
    for (Argument &argument : given) {
        argument.kind = take<char>();
        argument.bits = take<uint64_t>();
    }
#define ENTRY(kernel)                                                                     \
    if (!strcmp(name, #kernel)) return start(name, kernel, given, grid);
#include "entries.inc"
    fail("no such kernel", name);
}

struct Operand {
    uint64_t place, pitch, stride, transposed;
};

static float *at(const Operand &o, uint64_t batch, uint64_t row, uint64_t column) {
    if (o.transposed) std::swap(row, column);
    return (float *)o.place + batch * o.stride + row * o.pitch + column;
}

// Products by their definition, summed in double.
static void multiply() {
    uint64_t m = take<uint64_t>(), n = take<uint64_t>(), k = take<uint64_t>();
    Operand a = take<Operand>(), b = take<Operand>(), c = take<Operand>();
    uint64_t adds = take<uint64_t>(), batch = take<uint64_t>();
    for (uint64_t p = 0; p < batch; ++p)
        for (uint64_t row = 0; row < m; ++row)
            for (uint64_t column = 0; column < n; ++column) {
                double sum = 0.0;
                for (uint64_t i = 0; i < k; ++i)
                    sum += (double)*at(a, p, row, i) * *at(b, p, i, column);
                float *out = at(c, p, row, column);
                *out = adds ? (float)(*out + sum) : (float)sum;
            }
}

int main() {
    for (;;) {
        switch (take<char>()) {
        case 'a': {
            uint64_t place = (uint64_t)calloc(take<uint64_t>(), 1);
            give(&place, 8);
            break;
        }
        case 'r': free((void *)take<uint64_t>()); break;
        case 'u': {
            char *to = (char *)take<uint64_t>();
            uint64_t bytes = take<uint64_t>();
            // memcpy is watched by the sanitizer; a read from the pipe might not be.
            std::vector<char> held(bytes);
            take(held.data(), bytes);
            memcpy(to, held.data(), bytes);
            break;
        }
        case 'd': {
            const char *from = (const char *)take<uint64_t>();
            uint64_t bytes = take<uint64_t>();
            std::vector<char> held(from, from + bytes);
            give(held.data(), bytes);
            break;
        }
        case 'l': launch(); break;
        case 'm': multiply(); break;
        case 's': give("s", 1); break;
        default: fail("no such command", "");
        }
    }
}
