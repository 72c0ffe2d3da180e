// The functions of primitives.cuh for the host: every thread of the device is a fiber, and what would be wrong aborts.
#pragma once
#include <cmath>

#include "twin.h"
#define FN inline
#define RARELY static
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
// The least exact of all units: it adds four products at a time, of each of which it drops what lies below the 24 bits of
// the largest term, cuts the sum off as well, and takes what is below the least normal number for zero, on both sides.
FN float cut_sum(float c, const double (&products)[4]) {
    double terms[5] = {c, products[0], products[1], products[2], products[3]}, largest = 0.0, sum = 0.0;
    for (double term : terms) {
        if (!std::isfinite(term)) return (float)(terms[0] + terms[1] + terms[2] + terms[3] + terms[4]);
        largest = std::max(largest, std::fabs(term));
    }
    if (largest == 0.0) return 0.f;
    const double unit = std::ldexp(1.0, std::ilogb(largest) - 23);
    for (double term : terms) sum += std::trunc(term / unit);
    if (sum == 0.0) return 0.f;
    const double last = std::ldexp(1.0, std::max(0, std::ilogb(sum) - 23));
    sum = std::trunc(sum / last) * last * unit;
    return std::fabs(sum) < 0x1p-126 ? 0.f : (float)sum;
}
FN float of_tf32(uint32_t u) { return float_of(u & 0x7f800000u ? u & ~0x1fffu : 0u); }
FN void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    const Operands* all = twin::exchange<Operands>("mma", {{a[0], a[1], a[2], a[3]}, {b0, b1}});
    const int lane = thread() & 31, g = lane >> 2, t = lane & 3;
    if (lane == 0) twin::count.mma += 1;
    for (int e = 0; e < 4; e++)
        for (int half = 0; half < 2; half++) {
            double products[4];
            for (int k = 0; k < 4; k++)
                products[k] = (double)of_tf32(all[4 * g + k].a[(e >> 1) + 2 * half]) *
                              of_tf32(all[4 * (2 * t + (e & 1)) + k].b[half]);
            d[e] = cut_sum(d[e], products);
        }
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
FN bool any_of_warp(bool is) {
    const int* all = twin::exchange("any", (int)is);
    return std::any_of(all, all + 32, [](int i) { return i != 0; });
}
FN void warp_sync() { twin::exchange("warp_sync", 0); }
FN float load_global(const float* p) { return *p; }
FN void cta_sync() { twin::wait(twin::self->cta->barrier, "cta_sync"); }
FN void arrive(uint32_t* counter) { *counter += 1; }
FN uint32_t arrived(const uint32_t* counter) { return *counter; }
FN void give_up(uint32_t* counter) { *counter |= 0x40000000u; }
FN void pause() { twin::rest("grid_sync"); }
FN unsigned long long nanoseconds() { return twin::now += 3'000'000'000; }  // those who ask have waited long
