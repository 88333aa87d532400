// Streams and events of the fake driver.
//
// What a stream computes is done at once, but for sums over ranks: they, and what is queued behind
// them, are done as late as anybody waits for them. Who forgets to wait sees numbers that are not
// summed. A stream's work is counted, so that sums can tell whether they come after all of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>

struct Stream {
    // What is not done yet, and the number of the first of it.
    std::deque<std::function<void()>> queued;
    uint64_t done = 0;
    // Kernels, products and copies so far, and how many of another stream's this one comes after.
    uint64_t work = 0;
    std::map<Stream *, uint64_t> after;

    uint64_t next() const { return done + queued.size(); }

    void run_to(uint64_t number) {
        while (done < number) {
            std::function<void()> first = std::move(queued.front());
            queued.pop_front();
            ++done;
            first();
        }
    }

    // At once, if nothing is in front of it and it is not to be late.
    void add(bool late, std::function<void()> what) {
        if (queued.empty() && !late) return ++done, what();
        queued.push_back(std::move(what));
    }
};

struct Event {
    Stream *stream = nullptr;
    // Behind so many things of the stream, and its work by then.
    uint64_t number = 0, work = 0;
    bool timed, reached = false;
    std::chrono::steady_clock::time_point at;
    void reach() {
        if (stream) stream->run_to(number);
    }
};

// The stream on which this thread computed last: a rank is a thread, or a process.
inline Stream *&computing() {
    static thread_local Stream *stream;
    return stream;
}

inline void *worked(void *on) {
    Stream *stream = (Stream *)on;
    stream->run_to(stream->next());
    ++stream->work;
    return computing() = stream;
}
