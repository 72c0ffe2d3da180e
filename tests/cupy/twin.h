// CUDA on a CPU: the text of a kernel is included unchanged. Where it has collectives, every thread of a block is a fiber,
// and a collective waits for those who take part in it; the fibers run in the order that `direction` says, so that a
// barrier that is missing shows.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "fibers.h"

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __device__
#define __shared__ static

// Vector accesses at addresses that a device would refuse.
static long misaligned;
extern "C" long host_misaligned() { return misaligned; }
#define CHECK_ADDRESS(address, bytes) (misaligned += reinterpret_cast<unsigned long long>(address) % (bytes) != 0)

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline int __float_as_int(float value) {
    int bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

namespace twin {
enum State { READY, AT_BLOCK, AT_WARP, DONE };
struct Fiber {
    ::fibers::Place place;
    std::vector<char> stack = std::vector<char>(1 << 16);
    State state;
    double slot;  // what it shows to its warp
};
static std::vector<Fiber> fibers;
static ::fibers::Place scheduler;
static unsigned current;
static int direction = 1;
static void (*body)();

inline void finish() {
    body();
    fibers[current].state = DONE;
    ::fibers::change(fibers[current].place, scheduler);
}

inline void wait(State state) {
    const unsigned self = current;
    fibers[self].state = state;
    ::fibers::change(fibers[self].place, scheduler);
}

// Let go who waits for others that have all come.
inline bool release() {
    const unsigned count = fibers.size();
    bool any = false, all = true;
    for (const Fiber& f : fibers) all = all && (f.state == AT_BLOCK || f.state == DONE);
    for (unsigned first = 0; first < count; first += 32) {
        bool warp = true;
        for (unsigned k = first; k < first + 32 && k < count; k++) warp = warp && fibers[k].state == AT_WARP;
        for (unsigned k = first; k < first + 32 && k < count; k++)
            if (warp || (all && fibers[k].state == AT_BLOCK)) fibers[k].state = READY, any = true;
    }
    return any;
}

inline void block(void (*run)()) {
    body = run;
    const unsigned count = blockDim.x * blockDim.y;
    fibers.resize(count);
    for (Fiber& f : fibers) {
        ::fibers::prepare(f.place, f.stack.data(), f.stack.size(), finish);
        f.state = READY;
    }
    do {
        for (unsigned k = 0; k < count; k++) {
            current = direction > 0 ? k : count - 1 - k;
            if (fibers[current].state != READY) continue;
            threadIdx = {current % blockDim.x, current / blockDim.x};
            ::fibers::change(scheduler, fibers[current].place);
        }
    } while (release());
    for (const Fiber& f : fibers)
        if (f.state != DONE) std::fprintf(stderr, "a collective waits for ever\n"), std::abort();
}

template <class T> T exchanged(T value, unsigned apart) {
    const unsigned self = current;
    fibers[self].slot = value;
    wait(AT_WARP);
    const T other = static_cast<T>(fibers[self ^ apart].slot);
    wait(AT_WARP);
    return other;
}

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}

template <class K> struct Held {
    static K kernel;
    static void** arguments;
};
template <class K> K Held<K>::kernel;
template <class K> void** Held<K>::arguments;

template <class... A> void run_held() {
    using H = Held<void (*)(A...)>;
    call(H::kernel, H::arguments, std::index_sequence_for<A...>());
}

template <class... A>
void launch(void (*kernel)(A...), const unsigned* shape, void** arguments, bool collective, int order) {
    gridDim = {shape[0], shape[1], shape[4]};
    blockDim = {shape[2], shape[3]};
    direction = order;
    using H = Held<void (*)(A...)>;
    H::kernel = kernel;
    H::arguments = arguments;
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    for (unsigned k = 0; k < blocks; k++) {
        const unsigned at = order > 0 ? k : blocks - 1 - k, within = at % (gridDim.x * gridDim.y);
        blockIdx = {within % gridDim.x, within / gridDim.x, at / (gridDim.x * gridDim.y)};
        if (collective) {
            block(run_held<A...>);
            continue;
        }
        for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) run_held<A...>();
    }
}
}  // namespace twin

inline void __syncthreads() { twin::wait(twin::AT_BLOCK); }
template <class T> T __shfl_xor_sync(unsigned, T value, unsigned apart) { return twin::exchanged(value, apart); }
