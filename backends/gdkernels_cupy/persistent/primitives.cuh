// What the hardware does for one thread, one warp, one CTA or the grid. The tests compile the kernels for the host, with
// twins of these functions (host_primitives.h); nothing above this file knows which of the two it runs on. Numbers of PTX: https://docs.nvidia.com/cuda/parallel-thread-execution/
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
#define RARELY static __device__ __noinline__
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
FN bool any_of_warp(bool is) { return __any_sync(0xffffffffu, is); }
FN void warp_sync() { __syncwarp(); }  // what its lanes have written to shared memory, all of them see
// What other CTAs have written before a grid_sync.
FN float load_global(const float* p) {
    float v;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");
    return v;
}
FN void cta_sync() { __syncthreads(); }
FN unsigned long long nanoseconds() {
    unsigned long long now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}
// Adds 1 to what all CTAs see, after what this thread and, by the barrier before, its CTA has written.
FN void arrive(uint32_t* counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" :: "l"(counter) : "memory");
}
// What other CTAs wrote before they arrived is read after this.
FN uint32_t arrived(const uint32_t* counter) {
    uint32_t seen;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
    return seen;
}
// Whatever is waited for, the counter is above it from now on: everybody goes on, and the host sees why.
FN void give_up(uint32_t* counter) {
    asm volatile("red.release.gpu.global.or.b32 [%0], 0x40000000;" :: "l"(counter) : "memory");
}
FN void pause() {}
#else
#include "host_primitives.h"
#endif

// All CTAs have to be resident, and the counter zero when the grid starts. `phase` counts the calls of a launch. Where a CTA
// waits for too long, all go on, through later calls too, and the host discards what comes out.
FN void grid_sync(uint32_t* counter, uint32_t& phase) {
    cta_sync();
    phase += 1;
    if (thread() == 0) {
        const uint32_t wanted = phase * ctas();
        arrive(counter);
        unsigned long long began = 0;
        for (uint32_t turn = 1; arrived(counter) < wanted; turn++) {
            pause();
            if (BARRIER_NANOSECONDS == 0 || turn % 1024) continue;  // the timer is slow to read
            if (began == 0) began = nanoseconds();
            if (nanoseconds() - began > BARRIER_NANOSECONDS) give_up(counter);
        }
    }
    cta_sync();
}
