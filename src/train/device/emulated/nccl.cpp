// NCCL for tests on a machine without a GPU: the functions that the engine calls, over the fake driver.
// Ranks are threads or processes; they meet in a file that is gone when all have. Sums are in the order
// of the ranks.
//
// It is stricter than NCCL, which hangs or sums wrongly: sums outside of groups, before the work that
// makes what is summed, on the stream that computes, or of other lengths than the other ranks' are
// errors. FAKE_NCCL_INIT is what ncclCommInitRank returns.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "streams.hpp"

enum { SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6 };

// Numbers that a rank shows the others at a time.
enum { WINDOW = 1 << 14, MOST = 16 };

struct Id {
    char path[128];
};

struct Rank {
    // Times that the rank has come to where all meet.
    std::atomic<uint64_t> met;
    std::atomic<uint64_t> length;
    float window[WINDOW];
};

struct Comm {
    Rank *ranks;
    int rank, world;
    uint64_t met = 0;
    std::atomic<int> failed{0};
};

static thread_local const char *said = "";

static int fail(int error, const char *why) { return said = why, error; }

// Waits for all ranks, as a kernel on a GPU does: for ever, or so long that a test fails.
static void meet(Comm *comm) {
    comm->ranks[comm->rank].met = ++comm->met;
    time_t end = time(nullptr) + 120;
    for (int rank = 0; rank < comm->world; ++rank)
        while (comm->ranks[rank].met < comm->met && !comm->failed) {
            usleep(20);
            if (time(nullptr) > end) comm->failed = REMOTE_ERROR;
        }
}

static void sum(Comm *comm, float *numbers, size_t len) {
    comm->ranks[comm->rank].length = len;
    meet(comm);
    for (int rank = 0; rank < comm->world; ++rank)
        if (comm->ranks[rank].length != len) comm->failed = INVALID_USAGE;
    meet(comm);
    if (comm->failed) return;
    for (size_t first = 0; first < len; first += WINDOW) {
        size_t part = len - first < WINDOW ? len - first : WINDOW;
        memcpy(comm->ranks[comm->rank].window, numbers + first, part * sizeof(float));
        meet(comm);
        for (size_t i = 0; i < part; ++i) {
            float all = comm->ranks[0].window[i];
            for (int rank = 1; rank < comm->world; ++rank) all += comm->ranks[rank].window[i];
            numbers[first + i] = all;
        }
        meet(comm);
    }
}

struct Sum {
    Comm *comm;
    Stream *stream;
    float *numbers;
    size_t len;
};

static thread_local int depth;
static thread_local std::vector<Sum> group;

extern "C" {
const char *ncclGetErrorString(int error) {
    switch (error) {
    case SUCCESS: return "no error";
    case SYSTEM_ERROR: return "unhandled system error";
    case REMOTE_ERROR: return "remote process exited or there was a network error";
    default: return "invalid usage";
    }
}
const char *ncclGetLastError(void *) { return said; }

int ncclGetUniqueId(Id *id) {
    static std::atomic<unsigned> next;
    memset(id, 0, sizeof *id);
    const char *folder = getenv("TMPDIR");
    snprintf(id->path, sizeof id->path, "%s/fake-nccl-%d-%u", folder ? folder : "/tmp", getpid(), next++);
    int file = open(id->path, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, MOST * sizeof(Rank))) return fail(SYSTEM_ERROR, "no file to meet in");
    return close(file), SUCCESS;
}

int ncclCommInitRank(Comm **made, int world, Id id, int rank) {
    if (const char *told = getenv("FAKE_NCCL_INIT")) return fail(atoi(told), "told to fail");
    void *current = nullptr;
    auto get = (int (*)(void **))dlsym(RTLD_DEFAULT, "cuCtxGetCurrent");
    if (!get || get(&current) || !current) return fail(INVALID_USAGE, "no context is bound");
    if (rank < 0 || rank >= world || world > MOST) return fail(INVALID_ARGUMENT, "no such rank");
    int file = open(id.path, O_RDWR);
    if (file < 0) return fail(SYSTEM_ERROR, "nobody has made that id");
    void *memory =
        mmap(nullptr, MOST * sizeof(Rank), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return fail(SYSTEM_ERROR, "no memory to meet in");
    Comm *comm = new Comm{(Rank *)memory, rank, world};
    meet(comm);
    if (rank == 0) unlink(id.path);
    return *made = comm, SUCCESS;
}

int ncclCommGetAsyncError(Comm *comm, int *error) {
    if (comm->failed) said = comm->failed == REMOTE_ERROR ? "a rank does not come" : "ranks sum other numbers";
    return *error = comm->failed, SUCCESS;
}

int ncclGroupStart() { return ++depth, SUCCESS; }

int ncclAllReduce(
    const void *from, void *to, size_t len, int type, int operation, Comm *comm, Stream *stream) {
    if (!depth) return fail(INVALID_USAGE, "a sum outside of a group");
    if (from != to || type != 7 || operation != 0) return fail(INVALID_ARGUMENT, "another operation");
    Stream *compute = computing();
    if (stream == compute) return fail(INVALID_USAGE, "a sum in the way of what is computed");
    if (compute && stream->after[compute] != compute->work)
        return fail(INVALID_USAGE, "a sum before what makes it");
    return group.push_back({comm, stream, (float *)to, len}), SUCCESS;
}

int ncclGroupEnd() {
    if (!depth) return fail(INVALID_USAGE, "no group to end");
    if (--depth) return SUCCESS;
    std::vector<Sum> all = std::move(group);
    group.clear();
    if (all.empty()) return SUCCESS;
    all[0].stream->add([all] {
        for (const Sum &one : all) sum(one.comm, one.numbers, one.len);
    });
    return SUCCESS;
}
}
