// What the hardware does for one thread, one warp, one CTA or the grid, each with a twin for the host. Nothing above this
// file knows which of the two it runs on. Numbers of PTX: https://docs.nvidia.com/cuda/parallel-thread-execution/
#ifdef __CUDACC__
// ---- the device
#ifdef __CUDACC_RTC__
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#else
#include <cmath>
#include <cstdint>
#endif
#define FN __device__ __forceinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
extern __shared__ __align__(128) unsigned char shared_bytes[];

FN int thread() { return threadIdx.x; }
// The compiler takes it for a new number each time, so that it keeps no addresses made of it in registers for long.
FN int fresh_lane() {
    int lane = threadIdx.x & 31;
    asm volatile("" : "+r"(lane));
    return lane;
}
FN int cta() { return blockIdx.x; }
FN int ctas() { return gridDim.x; }
FN unsigned char* shared() { return shared_bytes; }
FN uint32_t bits_of(float f) { return __float_as_uint(f); }
FN float float_of(uint32_t u) { return __uint_as_float(u); }
FN uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }

FN uint32_t bf16_pair(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
FN uint32_t tf32(float f) {
    uint32_t rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(f));
    return rounded;
}
FN void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
FN void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <bool TRANSPOSED> FN void ldmatrix(uint32_t (&r)[4], const void* p) {
    if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
// Between registers and shared memory, 4 and 8 bytes at a time; in this order, or compilers load more than registers hold.
FN uint32_t load1(const void* p) {
    uint32_t v;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(v) : "r"(shared_address(p)) : "memory");
    return v;
}
FN void load2(uint32_t& low, uint32_t& high, const void* p) {
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(low), "=r"(high) : "r"(shared_address(p)) : "memory");
}
FN void store1(void* p, uint32_t v) {
    asm volatile("st.shared.b32 [%0], %1;" :: "r"(shared_address(p)), "r"(v) : "memory");
}
FN void store2(void* p, uint32_t low, uint32_t high) {
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};" :: "r"(shared_address(p)), "r"(low), "r"(high) : "memory");
}
// 16 bytes from global to shared memory through the second-level cache, zeros where not valid; there after the wait.
FN void copy16_async(void* to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
FN void copies_wait() { asm volatile("cp.async.commit_group;\n\tcp.async.wait_group 0;" ::: "memory"); }
FN float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
// What other CTAs have written before a grid_sync.
FN float load_global(const float* p) {
    float v;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");
    return v;
}
FN void cta_sync() { __syncthreads(); }
// All CTAs have to be resident, and the counter zero when the grid starts. `phase` counts the calls of a launch.
FN void grid_sync(uint32_t* counter, uint32_t& phase) {
    __syncthreads();
    phase += 1;
    if (threadIdx.x == 0) {
        const uint32_t wanted = phase * gridDim.x;
        uint32_t seen;
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" :: "l"(counter) : "memory");
        do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
        while (seen < wanted);
    }
    __syncthreads();
}
#else
// ---- the host
#include <cmath>

#include "twin.h"
#define FN inline
#define KERNEL static void

FN int thread() { return twin::self->thread; }
FN int fresh_lane() { return thread() & 31; }
FN int cta() { return twin::self->cta->index; }
FN int ctas() { return twin::ctas; }
FN unsigned char* shared() { return twin::self->cta->memory; }
FN uint32_t bits_of(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
FN float float_of(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }

FN uint32_t bf16(float f) {  // to nearest, ties to even; what is not finite stays so
    const uint32_t u = bits_of(f);
    return std::isnan(f) ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
FN uint32_t bf16_pair(float low, float high) { return bf16(low) | bf16(high) << 16; }
FN uint32_t tf32(float f) {  // to nearest, ties away from zero
    return std::isfinite(f) ? (bits_of(f) + 0x1000) & ~0x1fffu : bits_of(f);
}
struct Operands { uint32_t a[4], b[2]; };
// Row i and column j of a product in the registers of thread 4 i + j / 2 of a warp; see the PTX tables of fragments.
template <int DEPTH, class Left, class Right>
FN void mma_twin(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Left left, Right right) {
    const Operands* all = twin::exchange<Operands>("mma", {{a[0], a[1], a[2], a[3]}, {b0, b1}});
    const int lane = thread() & 31, g = lane >> 2, t = lane & 3;
    if (lane == 0) twin::count.mma += 1;
    for (int e = 0; e < 4; e++)
        for (int k = 0; k < DEPTH; k++) d[e] += left(all, g + 8 * (e >> 1), k) * right(all, k, 2 * t + (e & 1));
}
FN void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    auto half = [](uint32_t pair, int k) { return float_of((k & 1 ? pair : pair << 16) & 0xffff0000u); };
    mma_twin<16>(
        d, a, b0, b1,
        [&](const Operands* all, int i, int k) {
            return half(all[4 * (i & 7) + k % 8 / 2].a[(i >> 3) + 2 * (k >> 3)], k);
        },
        [&](const Operands* all, int k, int j) { return half(all[4 * j + k % 8 / 2].b[k >> 3], k); });
}
FN void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    mma_twin<8>(
        d, a, b0, b1,
        [](const Operands* all, int i, int k) {
            return float_of(all[4 * (i & 7) + k % 4].a[(i >> 3) + 2 * (k >> 2)] & ~0x1fffu);
        },
        [](const Operands* all, int k, int j) { return float_of(all[4 * j + k % 4].b[k >> 2] & ~0x1fffu); });
}
template <bool TRANSPOSED> FN void ldmatrix(uint32_t (&r)[4], const void* p) {
    const void* const* all = twin::exchange(TRANSPOSED ? "ldmatrix.trans" : "ldmatrix", p);
    const int lane = thread() & 31, i = lane >> 2, j = 2 * (lane & 3);
    if (lane == 0) twin::check_banks(all, 16);
    for (int m = 0; m < 4; m++) {
        auto half = [&](int row, int column) { return (uint32_t)((const uint16_t*)all[8 * m + row])[column]; };
        r[m] = TRANSPOSED ? half(j, i) | half(j + 1, i) << 16 : half(i, j) | half(i, j + 1) << 16;
    }
}
FN uint32_t load1(const void* p) { twin::access("load1", p, 4); uint32_t v; memcpy(&v, p, 4); return v; }
FN void store1(void* p, uint32_t v) { twin::access("store1", p, 4); memcpy(p, &v, 4); }
FN void load2(uint32_t& low, uint32_t& high, const void* p) {
    twin::access("load2", p, 8);
    memcpy(&low, p, 4), memcpy(&high, (const char*)p + 4, 4);
}
FN void store2(void* p, uint32_t low, uint32_t high) {
    twin::access("store2", p, 8);
    memcpy(p, &low, 4), memcpy((char*)p + 4, &high, 4);
}
FN void copy16_async(void* to, const void* from, bool valid) {
    twin::self->copies.push_back({to, valid ? from : nullptr});
}
FN void copies_wait() { twin::deliver(); }
FN float shuffle_xor(float v, int mask) { return twin::exchange("shuffle", v)[(thread() & 31) ^ mask]; }
FN float load_global(const float* p) { return *p; }
FN void cta_sync() { twin::wait(twin::self->cta->barrier, "cta_sync"); }
FN void grid_sync(uint32_t*, uint32_t& phase) { phase += 1; twin::wait(twin::grid, "grid_sync"); }
#endif
