// Runs a grid on one thread of the host. Every thread of the device is a fiber; where a warp, a CTA or the grid acts
// together, it waits for the others. Warps are resumed in a chosen order, shared memory starts as NaN, and asynchronous
// copies arrive at their wait and no earlier, so that what is missing shows.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "fibers.h"

namespace twin {

struct Barrier {
    int need = 0, arrived = 0;
    unsigned generation = 0;
    const char* what = "";
};
struct Copy {
    void* to;
    const void* from;  // null: zeros
};
struct Cta {
    int index;
    unsigned char* memory;
    Barrier barrier;
};
struct Warp {
    Barrier barrier;
    alignas(16) unsigned char slot[2][32 * 32];
};
struct Fiber {
    int thread;
    Cta* cta;
    Warp* warp;
    fibers::Place place;
    const Barrier* on = nullptr;
    unsigned since = 0;
    bool done = false;
    const char* resting = nullptr;  // until the others have had their turn
    std::vector<Copy> copies;
};
struct Count {
    long mma = 0, conflicts = 0;
};

inline Fiber* self;
inline int ctas;
inline unsigned long long now;  // in nanoseconds, for whoever asks
inline Count count;
inline std::string problem;  // what made the grid stop
inline std::function<void()> body;

inline fibers::Place scheduler;
inline void to_scheduler() { fibers::change(self->place, scheduler); }
inline void to_fiber() { fibers::change(scheduler, self->place); }

// ---- what fibers wait for
inline void stop(const std::string& what) {  // the scheduler does not come back to a fiber that has a problem
    if (problem.empty())
        problem = what + " (cta " + std::to_string(self->cta->index) + ", thread " + std::to_string(self->thread) + ")";
    to_scheduler();
}
inline void wait(Barrier& barrier, const char* what) {
    if (barrier.arrived == 0)
        barrier.what = what;
    else if (strcmp(barrier.what, what))
        stop(std::string("threads meet in ") + barrier.what + " and " + what);
    const unsigned generation = barrier.generation;
    if (++barrier.arrived == barrier.need) {
        barrier.arrived = 0;
        barrier.generation += 1;
        return;
    }
    self->on = &barrier;
    self->since = generation;
    to_scheduler();
}
inline void rest(const char* what) {
    self->resting = what;
    to_scheduler();
}
// What each lane of the warp brings. Two slots by turns: one barrier is enough.
template <class T> const T* exchange(const char* what, const T& mine) {
    static_assert(sizeof(T) <= 32, "a slot holds 32 bytes a lane");
    T* all = (T*)self->warp->slot[self->warp->barrier.generation & 1];
    memcpy(&all[self->thread & 31], &mine, sizeof(T));
    wait(self->warp->barrier, what);
    return all;
}
inline void deliver() {
    for (const Copy& copy : self->copies)
        if (copy.from)
            memcpy(copy.to, copy.from, 16);
        else
            memset(copy.to, 0, 16);
    self->copies.clear();
}

// ---- shared memory has 32 banks of 4 bytes, read by as many lanes at once as 128 bytes serve
inline void check_banks(const void* const* addresses, int bytes) {
    const int lanes = 128 / bytes;
    for (int first = 0; first < 32; first += lanes) {
        uintptr_t word_in[32] = {};
        for (int lane = first; lane < first + lanes; lane++)
            for (int k = 0; k < bytes / 4; k++) {
                const uintptr_t word = (uintptr_t)addresses[lane] / 4 + k;
                if ((uintptr_t)addresses[lane] % bytes) return stop("an address in shared memory is not aligned");
                count.conflicts += word_in[word % 32] && word_in[word % 32] != word;
                word_in[word % 32] = word;
            }
    }
}
#ifdef TWIN_BANKS  // slow: every access of a lane waits for the others
inline void access(const char* what, const void* p, int bytes) {
    const void* const* all = exchange(what, p);
    if ((self->thread & 31) == 0) check_banks(all, bytes);
}
#else
inline void access(const char*, const void*, int) {}
#endif

// ---- the grid
inline void entry() {
    body();
    self->done = true;
    to_scheduler();
    abort();
}
// schedule: 0 in order, 1 reversed, else a seed by which the warps change places again at every sweep.
inline void launch(int blocks, int threads, size_t bytes, unsigned schedule, std::function<void()> kernel) {
    const size_t STACK = 96 << 10;
    body = kernel;
    ctas = blocks;
    now = 0;
    count = Count{};
    problem.clear();
    std::vector<Cta> cta(blocks);
    std::vector<Warp> warps(blocks * threads / 32);
    std::vector<Fiber> fibers(blocks * threads);
    std::vector<int> order(warps.size());
    unsigned char* stacks = (unsigned char*)malloc(STACK * fibers.size());
    for (size_t w = 0; w < warps.size(); w++) warps[w].barrier.need = 32, order[w] = w;
    for (int b = 0; b < blocks; b++) {
        cta[b].index = b;
        cta[b].barrier.need = threads;
        cta[b].memory = (unsigned char*)aligned_alloc(1024, (bytes + 1023) / 1024 * 1024);
        memset(cta[b].memory, 0xff, bytes);  // NaN in every format
    }
    for (size_t i = 0; i < fibers.size(); i++) {
        Fiber& fiber = fibers[i];
        fiber.thread = i % threads;
        fiber.cta = &cta[i / threads];
        fiber.warp = &warps[i / 32];
        fibers::prepare(fiber.place, stacks + STACK * i, STACK, entry);
    }
    std::mt19937 random(schedule);
    if (schedule == 1) std::reverse(order.begin(), order.end());
    const int PATIENCE = 4096;  // sweeps in which all that happens is waiting: nothing else can happen then
    int idle = 0;
    for (size_t left = fibers.size(); left && problem.empty();) {
        bool moved = false, rested = false;
        for (Fiber& fiber : fibers) fiber.resting = nullptr;
        if (schedule > 1) std::shuffle(order.begin(), order.end(), random);
        for (int w : order)
            for (bool again = true; again && problem.empty();) {  // a warp runs until all its lanes wait for others
                again = false;
                for (int k = 0; k < 32 && problem.empty(); k++) {
                    Fiber& fiber = fibers[w * 32 + (schedule == 1 ? 31 - k : k)];
                    if (fiber.done || fiber.resting || (fiber.on && fiber.on->generation == fiber.since)) continue;
                    fiber.on = nullptr;
                    self = &fiber;
                    to_fiber();
                    left -= fiber.done;
                    if (fiber.resting)
                        rested = true;
                    else
                        again = moved = true;
                }
            }
        idle = moved ? 0 : idle + 1;
        if (!moved && (!rested || idle > PATIENCE) && problem.empty()) {
            for (Fiber& fiber : fibers)
                if (!fiber.done && problem.empty()) {
                    self = &fiber;
                    const char* what = fiber.on ? fiber.on->what : fiber.resting ? fiber.resting : "grid_sync";
                    problem = std::string("not all threads arrive at ") + what;
                }
        }
    }
    for (Cta& b : cta) free(b.memory);
    free(stacks);
}

}  // namespace twin
