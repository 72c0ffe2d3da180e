/* AMX on a processor without it: the signal of an unknown instruction is answered by doing what that one does.

   Only what moves and multiplies bfloat16 tiles, as the pseudo-code of Intel's Instruction Set Reference has it. What is
   no such instruction is left to whoever handled the signal before. */

#define _GNU_SOURCE
#include <immintrin.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, BYTES = 64 };
enum { NONE, P66, PF3, PF2 };

static __thread struct {
    int configured;
    uint8_t rows[TILES];
    uint16_t width[TILES];
    uint8_t data[TILES][ROWS][BYTES];
} state;

static struct sigaction before;
static long configured, released, multiplied;

long amx_configured(void) { return __atomic_load_n(&configured, __ATOMIC_SEQ_CST); }
long amx_released(void) { return __atomic_load_n(&released, __ATOMIC_SEQ_CST); }
long amx_multiplied(void) { return __atomic_load_n(&multiplied, __ATOMIC_SEQ_CST); }

static void count(long *what) { __atomic_fetch_add(what, 1, __ATOMIC_SEQ_CST); }

static uint64_t reg(const ucontext_t *context, int number) {
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[order[number]];
}

/* The address of an operand in memory, and what its index counts for; `at` is behind the byte after the opcode. */
static const uint8_t *operand(const ucontext_t *context, const uint8_t *vex, const uint8_t *at, uint64_t *address,
                              uint64_t *stride) {
    int mode = at[-1] >> 6, rm = at[-1] & 7, x = !(vex[1] & 0x40), b = !(vex[1] & 0x20);
    *address = *stride = 0;
    if (rm == 4) {
        int sib = *at++, index = ((sib >> 3) & 7) | x << 3, base = sib & 7;
        if (index != 4) *stride = reg(context, index) << (sib >> 6);
        if (base != 5 || mode) *address = reg(context, base | b << 3);
        else mode = 4;
    } else if (rm == 5 && !mode) {
        int32_t away;
        memcpy(&away, at, 4);
        *address = (uint64_t)(at + 4) + (int64_t)away;
        return at + 4;
    } else {
        *address = reg(context, rm | b << 3);
    }
    if (mode == 1) {
        *address += (int64_t)(int8_t)*at;
        return at + 1;
    }
    if (mode == 2 || mode == 4) {
        int32_t away;
        memcpy(&away, at, 4);
        *address += (int64_t)away;
        return at + 4;
    }
    return at;
}

static int configure(const uint8_t *from) {
    memset(&state, 0, sizeof state);
    if (from[0] != 1 || from[1] != 0) return 0;
    for (int t = 0; t < TILES; t++) {
        memcpy(&state.width[t], from + 16 + 2 * t, 2);
        state.rows[t] = from[48 + t];
        if (state.width[t] > BYTES || state.rows[t] > ROWS) return 0;
    }
    state.configured = 1;
    return 1;
}

static float widened(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float number;
    memcpy(&number, &wide, 4);
    return number;
}

static int multiply(int c, int a, int b) {
    if (state.rows[c] != state.rows[a] || state.width[c] != state.width[b]) return 0;
    if (state.width[a] / 4 != state.rows[b]) return 0;
    int columns = state.width[c] / 4, depth = state.width[a] / 4;
    unsigned kept = _mm_getcsr();
    _mm_setcsr(0x1f80 | 0x8040); /* denormals are zero, to nearest even */
    for (int m = 0; m < state.rows[c]; m++) {
        float lower[ROWS] = {0}, upper[ROWS] = {0};
        uint16_t left[2 * ROWS], right[2 * ROWS];
        memcpy(left, state.data[a][m], BYTES);
        for (int k = 0; k < depth; k++) {
            memcpy(right, state.data[b][k], BYTES);
            for (int n = 0; n < columns; n++) {
                lower[n] = fmaf(widened(left[2 * k]), widened(right[2 * n]), lower[n]);
                upper[n] = fmaf(widened(left[2 * k + 1]), widened(right[2 * n + 1]), upper[n]);
            }
        }
        float *sum = (float *)state.data[c][m];
        for (int n = 0; n < columns; n++) sum[n] += lower[n] + upper[n];
    }
    _mm_setcsr(kept);
    return 1;
}

/* Do the instruction at `at`; its end, or nothing where it is none of these, or one that the processor would refuse. */
static const uint8_t *done(const ucontext_t *context, const uint8_t *at) {
    if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || at[2] & 0x84) return 0;
    int prefix = at[2] & 3, other = (~at[2] >> 3) & 15, in_memory = at[4] >> 6 != 3;
    int tile = (at[4] >> 3) & 7, second = at[4] & 7;
    uint64_t address, stride;
    if (at[3] == 0x49 && prefix == NONE && in_memory) {
        const uint8_t *end = operand(context, at, at + 5, &address, &stride);
        count(&configured);
        return configure((const uint8_t *)(address + stride)) ? end : 0;
    }
    if (at[3] == 0x49 && prefix == NONE && at[4] == 0xc0) {
        memset(&state, 0, sizeof state);
        count(&released);
        return at + 5;
    }
    if (!state.configured) return 0;
    if (at[3] == 0x49 && prefix == PF2 && !in_memory) {
        memset(state.data[tile], 0, sizeof state.data[tile]);
        return at + 5;
    }
    if (at[3] == 0x4b && in_memory && second == 4 && prefix != NONE) {
        const uint8_t *end = operand(context, at, at + 5, &address, &stride);
        if (prefix != PF3) memset(state.data[tile], 0, sizeof state.data[tile]);
        for (int row = 0; row < state.rows[tile]; row++) {
            uint8_t *place = (uint8_t *)(address + row * stride);
            if (prefix == PF3) memcpy(place, state.data[tile][row], state.width[tile]);
            else memcpy(state.data[tile][row], place, state.width[tile]);
        }
        return end;
    }
    if (at[3] == 0x5c && prefix == PF3 && !in_memory && other < TILES) {
        count(&multiplied);
        return multiply(tile, second, other) ? at + 5 : 0;
    }
    return 0;
}

static void handle(int number, siginfo_t *info, void *context) {
    ucontext_t *here = context;
    const uint8_t *begin = (const uint8_t *)here->uc_mcontext.gregs[REG_RIP], *at = begin, *end;
    (void)number, (void)info;
    while ((end = done(here, at))) at = end; /* a signal is slow: what follows at once is done along with it */
    if (at != begin) here->uc_mcontext.gregs[REG_RIP] = (greg_t)at;
    else sigaction(SIGILL, &before, 0);
}

int amx_install(void) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGILL, &action, &before);
}

int amx_remove(void) { return sigaction(SIGILL, &before, 0); }
