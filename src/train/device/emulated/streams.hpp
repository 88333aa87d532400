// Streams and events of the fake driver.
//
// A stream does nothing before somebody waits for it, or for an event in it: the latest that a GPU
// might, so that memory which is written again, read or given back too early is found. A stream's work
// is counted, so that sums over ranks can tell whether they come after all of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

typedef std::function<void()> Work;
struct Stream;

// What is recorded: one thread at a time records it, others may record theirs meanwhile.
struct Graph {
    std::vector<Work> works;
    // The streams that have come to it by waiting for an event, each with the work of it that the stream
    // in which it began has waited for.
    std::map<Stream *, uint64_t> joined;
};

struct Stream {
    // What is not done yet, and how much is.
    std::deque<Work> queue;
    uint64_t done = 0;
    // What is recorded instead, where it is; and whether that began here, not by waiting for an event in
    // a stream that is recorded.
    Graph *captured = nullptr;
    bool began = false;
    // Has memory been asked for on it? So it is the one that all but convolutions and sums are on.
    bool computes = false;
    // Kernels, products and copies so far, and how many of other streams' this one comes after.
    uint64_t work = 0;
    std::map<Stream *, uint64_t> after;

    // Comes after so much of another stream, and after all that this came after.
    void follow(Stream *other, uint64_t work_of_it, const std::map<Stream *, uint64_t> &before_it) {
        auto later = [this](Stream *stream, uint64_t work) {
            if (stream != this && after[stream] < work) after[stream] = work;
        };
        later(other, work_of_it);
        for (auto &before : before_it) later(before.first, before.second);
    }

    uint64_t queued() const { return done + queue.size(); }

    // Does all up to so many. What one of them waits for may be in this stream, before it.
    void run_to(uint64_t number) {
        while (done < number && !queue.empty()) {
            Work first = std::move(queue.front());
            queue.pop_front();
            ++done;
            first();
        }
    }

    void add(Work what) {
        if (captured)
            captured->works.push_back(std::move(what));
        else
            queue.push_back(std::move(what));
    }
};

struct Event {
    Stream *stream = nullptr;
    // Behind so many things of the stream, itself included, and its work by then.
    uint64_t number = 0, work = 0;
    // What the stream came after by then.
    std::map<Stream *, uint64_t> after;
    // What was recorded when it was set: whoever waits for it is recorded, too.
    Graph *captured = nullptr;
    bool timed = false;
    std::chrono::steady_clock::time_point at;
    bool is_reached() const { return !stream || stream->done >= number; }
    void reach() const {
        if (stream) stream->run_to(number);
    }
};

// The stream on which this thread computed last: a rank is a thread, or a process.
inline Stream *&computing() {
    static thread_local Stream *stream;
    return stream;
}

// Counts what a stream computes.
inline Stream *worked(void *on) {
    Stream *stream = (Stream *)on;
    ++stream->work;
    return computing() = stream;
}
