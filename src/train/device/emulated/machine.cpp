// A machine that is driven through its standard input and output, has memory of its own, and runs
// every kernel of kernels.cu thread by thread. Compiled with the address sanitizer, it ends with a
// report at the first access beside an allocation.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "host.hpp"

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

// What was recorded, or is being recorded.
typedef std::vector<std::function<void()>> Graph;
static std::map<uint64_t, Graph> graphs;
static Graph recorded;
static bool records;

static void perform(std::function<void()> work) {
    if (records)
        recorded.push_back(work);
    else
        work();
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

template <class... A, size_t... I>
static void run(
    const char *name, void (*kernel)(A...), const std::vector<Argument> &given, Place grid,
    unsigned block, std::index_sequence<I...>) {
    if (given.size() != sizeof...(A)) fail("another number of arguments", name);
    std::tuple<A...> values(value_of<A>(name, given[I])...);
    perform([=] { each_thread(grid, block, [&] { kernel(std::get<I>(values)...); }); });
}

template <class... A>
static void start(
    const char *name, void (*kernel)(A...), const std::vector<Argument> &given, Place grid,
    unsigned block) {
    run(name, kernel, given, grid, block, std::make_index_sequence<sizeof...(A)>());
}

static void launch() {
    char name[64] = {0};
    take(name, take<uint32_t>());
    Place grid = {take<uint32_t>(), 0};
    grid.y = take<uint32_t>();
    unsigned block = take<uint32_t>();
    std::vector<Argument> given(take<uint32_t>());
    for (Argument &argument : given) {
        argument.kind = take<char>();
        argument.bits = take<uint64_t>();
    }
#define ENTRY(kernel)                                                                     \
    if (!strcmp(name, #kernel)) return start(name, kernel, given, grid, block);
#include "entries.inc"
    fail("no such kernel", name);
}

struct Operand {
    uint64_t place, pitch, stride, transposed;
};

static uint64_t at(const Operand &o, uint64_t batch, uint64_t row, uint64_t column) {
    if (o.transposed) std::swap(row, column);
    return batch * o.stride + row * o.pitch + column;
}

// A factor as it is multiplied: f32, f32 rounded to TF32, or what lies there in bf16.
static double factor(const Operand &o, uint64_t place, uint64_t precision) {
    if (precision == BF16) return of_bf16(((const uint16_t *)o.place)[place]);
    float number = ((const float *)o.place)[place];
    return precision == TF32 ? to_tf32(number) : number;
}

// Products by their definition, summed in double.
static void multiply() {
    uint64_t m = take<uint64_t>(), n = take<uint64_t>(), k = take<uint64_t>();
    Operand a = take<Operand>(), b = take<Operand>(), c = take<Operand>();
    uint64_t adds = take<uint64_t>(), batch = take<uint64_t>(), precision = take<uint64_t>();
    perform([=] {
        for (uint64_t p = 0; p < batch; ++p)
            for (uint64_t row = 0; row < m; ++row)
                for (uint64_t column = 0; column < n; ++column) {
                    double sum = 0.0;
                    for (uint64_t i = 0; i < k; ++i)
                        sum += factor(a, at(a, p, row, i), precision) *
                               factor(b, at(b, p, i, column), precision);
                    float *out = (float *)c.place + at(c, p, row, column);
                    *out = adds ? (float)(*out + sum) : (float)sum;
                }
    });
}

// Copies on their way to the host, by their tickets.
static std::map<uint64_t, std::vector<char>> arrivals;

int main() {
    for (;;) {
        char command = take<char>(), name[2] = {command, 0};
        if (records && !strchr("lmEr", command)) fail("not while it records", name);
        switch (command) {
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
        case 'f': {
            uint64_t ticket = take<uint64_t>();
            const char *from = (const char *)take<uint64_t>();
            uint64_t bytes = take<uint64_t>();
            arrivals[ticket].assign(from, from + bytes);
            break;
        }
        case 'c': {
            uint64_t ticket = take<uint64_t>(), bytes = take<uint64_t>();
            if (bytes) {
                if (arrivals[ticket].size() != bytes) fail("another copy", "");
                give(arrivals[ticket].data(), bytes);
            }
            arrivals.erase(ticket);
            break;
        }
        case 'B': recorded.clear(), records = true; break;
        case 'E': graphs[take<uint64_t>()] = recorded, records = false; break;
        case 'G': {
            auto graph = graphs.find(take<uint64_t>());
            if (graph == graphs.end()) fail("no such graph", "");
            for (auto &work : graph->second) work();
            break;
        }
        case 'X': graphs.erase(take<uint64_t>()); break;
        case 'l': launch(); break;
        case 'm': multiply(); break;
        case 's': give("s", 1); break;
        default: fail("no such command", "");
        }
    }
}
