// What generated and fixed kernels share. Everything here is ordinary CUDA C++ without headers, so that NVRTC needs
// none; a host compiler takes the same text after a header that stands for CUDA.
#pragma once

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

constexpr int ELEMENTS = 4;  // neighbours in a row, which a thread takes at once
constexpr int THREADS = 256;

// Where a thread stands in the work of one operation, which may be a part of a launch: its block and the number of blocks
// along the rows (x) and the columns (y), and the thread in its block and the number of those.
struct Place {
    int block_x, block_y, blocks_x, blocks_y, x, y, threads_x, threads_y;
};
__device__ inline Place here() {
    return {static_cast<int>(blockIdx.x),  static_cast<int>(blockIdx.y),  static_cast<int>(gridDim.x),
            static_cast<int>(gridDim.y),   static_cast<int>(threadIdx.x), static_cast<int>(threadIdx.y),
            static_cast<int>(blockDim.x),  static_cast<int>(blockDim.y)};
}
// The same for block `block` of an operation that has a launch together with others; `threads` have been renumbered.
__device__ inline Place place_in(int block, int blocks_x, int blocks_y, int threads_x, int threads_y) {
    const int thread = threadIdx.x;
    return {block % blocks_x, block / blocks_x, blocks_x, blocks_y, thread % threads_x, thread / threads_x, threads_x,
            threads_y};
}

// A host takes a vector from any address, a device does not: the host's header looks at each.
#ifndef CHECK_ADDRESS
#define CHECK_ADDRESS(address, bytes)
#endif

// Four neighbours, loaded and stored at once.
template <class S> struct alignas(ELEMENTS * sizeof(S)) Four {
    S at[ELEMENTS];
};

template <class S> __device__ inline Four<S> load(const S* from) {
    CHECK_ADDRESS(from, alignof(Four<S>));
    return *reinterpret_cast<const Four<S>*>(from);
}

// bfloat16 is the upper half of a float32, rounded to the nearest, ties to even.
struct bfloat16 {
    unsigned short bits;
};

// By the instruction itself: the compiler splits the store of a structure, and that of a vector behind a branch.
#ifdef __CUDA_ARCH__
__device__ inline void store(float* to, const Four<float>& v) {
    asm volatile("st.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.at[0]), "f"(v.at[1]), "f"(v.at[2]), "f"(v.at[3])
                 : "memory");
}

__device__ inline void store(double* to, const Four<double>& v) {
    asm volatile("st.v2.f64 [%0], {%1, %2};" ::"l"(to), "d"(v.at[0]), "d"(v.at[1]) : "memory");
    asm volatile("st.v2.f64 [%0], {%1, %2};" ::"l"(to + 2), "d"(v.at[2]), "d"(v.at[3]) : "memory");
}

__device__ inline void store(bfloat16* to, const Four<bfloat16>& v) {
    asm volatile("st.v4.u16 [%0], {%1, %2, %3, %4};" ::"l"(to), "h"(v.at[0].bits), "h"(v.at[1].bits),
                 "h"(v.at[2].bits), "h"(v.at[3].bits)
                 : "memory");
}
#else
template <class S> inline void store(S* to, const Four<S>& values) {
    CHECK_ADDRESS(to, alignof(Four<S>));
    *reinterpret_cast<Four<S>*>(to) = values;
}
#endif

template <class T, class S> __device__ inline T widened(S value) {
    return static_cast<T>(value);
}

template <> __device__ inline float widened<float, bfloat16>(bfloat16 value) {
    return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

template <class S, class T> __device__ inline S stored(T value) {
    return static_cast<S>(value);
}

template <> __device__ inline bfloat16 stored<bfloat16, float>(float value) {
    const unsigned bits = __float_as_uint(value);
    const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return {static_cast<unsigned short>(value == value ? rounded : 0x7fffu)};
}

// The larger and the smaller of two; NaN if either is.
template <class T> __device__ inline T larger(T a, T b) {
    return a >= b || a != a ? a : b;
}

template <class T> __device__ inline T smaller(T a, T b) {
    return a <= b || a != a ? a : b;
}

template <class T> __device__ inline T sign_of(T a) {
    return a != a ? a : static_cast<T>((a > 0) - (a < 0));
}

// Integers come among numbers: in float as their bits, in double as their values.
__device__ inline int integer_loaded(float a) {
    return __float_as_int(a);
}

__device__ inline int integer_loaded(double a) {
    return static_cast<int>(a);
}

template <class T> __device__ inline T added(T a, T b) {
    return a + b;
}

// Reductions over the `lanes` (a power of two) neighbours of a warp that share a row; all lanes get the result.
template <class T> __device__ inline T over_lanes(T value, int lanes, T (*both)(T, T)) {
    for (int apart = lanes / 2; apart; apart /= 2) value = both(value, __shfl_xor_sync(0xffffffffu, value, apart));
    return value;
}

// What the threads of a block that have the same columns add up to, in a fixed order: every thread has ELEMENTS columns of
// its own, and the threads with the same at.x share them.
template <class T> __device__ inline void block_columns(const Place& at, const T (&sums)[ELEMENTS], int columns, T* to) {
    __shared__ T shared[THREADS][ELEMENTS];
    const int thread = at.y * at.threads_x + at.x;
    for (int k = 0; k < ELEMENTS; k++) shared[thread][k] = sums[k];
    __syncthreads();
    for (int apart = at.threads_y / 2; apart; apart /= 2) {
        if (at.y < apart)
            for (int k = 0; k < ELEMENTS; k++) shared[thread][k] += shared[thread + apart * at.threads_x][k];
        __syncthreads();
    }
    const int c = ELEMENTS * (at.block_y * at.threads_x + at.x);
    for (int k = 0; k < ELEMENTS; k++)
        if (at.y == 0 && c + k < columns) to[c + k] = shared[thread][k];
}

// The sum over the threads of a block, in a fixed order; only the first thread writes it.
__device__ inline void block_total(const Place& at, double value, double* to) {
    __shared__ double sums[THREADS];
    const int thread = at.y * at.threads_x + at.x;
    sums[thread] = value;
    __syncthreads();
    for (int apart = THREADS / 2; apart; apart /= 2) {
        if (thread < apart) sums[thread] += sums[thread + apart];
        __syncthreads();
    }
    if (thread == 0) *to = sums[0];
}
