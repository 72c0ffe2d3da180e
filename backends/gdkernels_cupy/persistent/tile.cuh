// Work on a tile of rows. A warp owns 16 of them; of every 8 columns, a thread has [n][0], [n][1] in row g = lane / 4 and
// [n][2], [n][3] in row g + 8, both in columns 8 n + 2 t and 8 n + 2 t + 1, t = lane % 4: as matrix instructions leave sums.
constexpr int THREADS = 32 * WARPS, ROWS = 16 * WARPS;

// Rows of an image in global memory, whose rows are padded to COLUMNS, arrive in a tile; `record` numbers them, -1: zeros.
template <int COLUMNS, class Record> FN void gather(Element* tile, const Element* image, int rows, Record record) {
    constexpr int CHUNKS = COLUMNS / CHUNK;
    for (int c = thread(); c < rows * CHUNKS; c += THREADS) {
        const int row = c / CHUNKS, column = c % CHUNKS * CHUNK;
        const int from = record(row);
        copy16_async(at<COLUMNS>(tile, row, column), image + (from < 0 ? 0 : (long long)from * COLUMNS + column), from >= 0);
    }
}

// The left operand of a product, from the rows of this warp.
template <int COLUMNS> FN void load_left(uint32_t (&left)[COLUMNS / DEPTH][4], Element* tile) {
    const int lane = fresh_lane();
#pragma unroll
    for (int k = 0; k < COLUMNS / DEPTH; k++) left_rows<COLUMNS>(left[k], tile, 16 * (thread() >> 5), k, lane);
}

// sum = left * m, or left * m^T, with K terms: the 16 rows of this warp by N columns.
template <int K, int N, bool TRANSPOSED>
FN void product(float (&sum)[N / 8][4], const uint32_t (&left)[K / DEPTH][4], Element* m) {
    const int lane = fresh_lane();
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) sum[n][e] = 0.f;
#pragma unroll
    for (int k = 0; k < K / DEPTH; k++)
#pragma unroll
        for (int block = 0; block < N / 16; block++) {
            uint32_t b[4];
            if (TRANSPOSED)
                right_transposed<K>(b, m, k, block, lane);
            else
                right<N>(b, m, k, block, lane);
            mma(sum[2 * block], left[k], b[0], b[1]);
            mma(sum[2 * block + 1], left[k], b[2], b[3]);
        }
}

// The same, to the bit, from the rows of this warp in a tile: few registers, as only STEPS parts of the left operand are
// there at once.
template <int K, int N, bool TRANSPOSED, int STEPS> FN void product_of_rows(float (&sum)[N / 8][4], Element* rows, Element* m) {
    const int lane = fresh_lane();
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) sum[n][e] = 0.f;
    warp_sync();  // other lanes have written what is read
#pragma unroll STEPS
    for (int k = 0; k < K / DEPTH; k++) {
        uint32_t a[4];
        left_rows<K>(a, rows, 16 * (thread() >> 5), k, lane);
#pragma unroll
        for (int block = 0; block < N / 16; block++) {
            uint32_t b[4];
            if (TRANSPOSED)
                right_transposed<K>(b, m, k, block, lane);
            else
                right<N>(b, m, k, block, lane);
            mma(sum[2 * block], a, b[0], b[1]);
            mma(sum[2 * block + 1], a, b[2], b[3]);
        }
    }
    warp_sync();  // the rows may be written again
}

// What a thread keeps of left^T * right, I by J and summed over the rows of all tiles. Warps share the blocks of 16 by 16, UP
// by ACROSS of them, and the rest of the warps share the rows.
template <int I, int J, int UP, int ACROSS> struct Gradient {
    static constexpr int SHARES = WARPS / (UP * ACROSS), GROUP = 32 * UP * ACROSS;
    static constexpr int M = (I / 16 + UP - 1) / UP, N = (J / 16 + ACROSS - 1) / ACROSS, SLOTS = M * N * 8;
    float sum[M][N][2][4];

    FN void clear() {
#pragma unroll
        for (int s = 0; s < SLOTS; s++) sum[s / (8 * N)][s / 8 % N][s / 4 % 2][s % 4] = 0.f;
    }
    FN void add(Element* left, Element* right_tile) {
        const int warp = thread() >> 5, share = warp / (UP * ACROSS), up = warp / ACROSS % UP, across = warp % ACROSS;
        const int lane = fresh_lane();
#pragma unroll AT_ONCE
        for (int step = 0; step < ROWS / DEPTH / SHARES; step++) {
            const int k = step * SHARES + share;
            uint32_t b[N][4];
#pragma unroll
            for (int n = 0; n < N; n++)
                if (J / 16 % ACROSS == 0 || across * N + n < J / 16)
                    right<J>(b[n], right_tile, k, across * N + n, lane);
#pragma unroll
            for (int m = 0; m < M; m++)
                if (I / 16 % UP == 0 || up * M + m < I / 16) {
                    uint32_t a[4];
                    left_columns<I>(a, left, up * M + m, k, lane);
#pragma unroll
                    for (int n = 0; n < N; n++)
                        if (J / 16 % ACROSS == 0 || across * N + n < J / 16) {
                            mma(sum[m][n][0], a, b[n][0], b[n][1]);
                            mma(sum[m][n][1], a, b[n][2], b[n][3]);
                        }
                }
        }
    }
    FN void write(float* partial) const {  // consecutive threads to consecutive addresses
#pragma unroll
        for (int s = 0; s < SLOTS; s++)
            partial[s * THREADS + thread()] = sum[s / (8 * N)][s / 8 % N][s / 4 % 2][s % 4];
    }
    FN void read(const float* partial) {
#pragma unroll
        for (int s = 0; s < SLOTS; s++)
            sum[s / (8 * N)][s / 8 % N][s / 4 % 2][s % 4] = partial[s * THREADS + thread()];
    }
    // Position c of SLOTS * GROUP, as `write` puts them, is element (i, j).
    static FN int row(int c) {
        const int slot = c / GROUP, up = c % GROUP / (32 * ACROSS), g = (c & 31) >> 2;
        return 16 * (up * M + slot / (8 * N)) + g + 8 * (slot >> 1 & 1);
    }
    static FN int column(int c) {
        const int slot = c / GROUP, across = c % GROUP / 32 % ACROSS, t = c & 3;
        return 16 * (across * N + slot / 8 % N) + 8 * (slot >> 2 & 1) + 2 * t + (slot & 1);
    }
    static FN const float* first(const float* partial, int c) { return partial + c / GROUP * THREADS + c % GROUP; }
};

// Over the columns of a row, which four threads share; all of them get the result.
FN float added(float a, float b) { return a + b; }
FN float larger(float a, float b) { return a >= b || a != a ? a : b; }  // NaN if either is
FN float smaller(float a, float b) { return a <= b || a != a ? a : b; }
template <float (*of)(float, float)> FN void over_units(float (&v)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        v[h] = of(v[h], shuffle_xor(v[h], 1));
        v[h] = of(v[h], shuffle_xor(v[h], 2));
    }
}

// Values that a thread computed on the way forward and needs again on the way back, in memory of its own.
template <int COLUMNS> FN void keep(float* own, const float (&v)[COLUMNS / 8][4]) {
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) own[(4 * n + e) * THREADS + thread()] = v[n][e];
}
template <int COLUMNS> FN void recall(float (&v)[COLUMNS / 8][4], const float* own) {
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) v[n][e] = own[(4 * n + e) * THREADS + thread()];
}

// A matrix of records in global memory, of true width: this thread's part of two rows (-1: zeros), or back.
template <int COLUMNS, int WIDTH> FN void load_records(float (&v)[COLUMNS / 8][4], const float* m, const int (&record)[2]) {
    const int t = thread() & 3;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int column = 8 * n + 2 * t + (e & 1);
            v[n][e] = record[e >> 1] >= 0 && column < WIDTH ? m[(long long)record[e >> 1] * WIDTH + column] : 0.f;
        }
}
template <int COLUMNS, int WIDTH> FN void store_records(float* m, const float (&v)[COLUMNS / 8][4], const int (&record)[2]) {
    const int t = thread() & 3;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int column = 8 * n + 2 * t + (e & 1);
            if (record[e >> 1] >= 0 && column < WIDTH) m[(long long)record[e >> 1] * WIDTH + column] = v[n][e];
        }
}

// What is outside of the matrix, rows or columns, is no part of a sum over the batch, whatever f(0) is.
template <int COLUMNS, int WIDTH> FN void clear_outside(float (&v)[COLUMNS / 8][4], const int (&record)[2]) {
    const int t = thread() & 3;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (record[e >> 1] < 0 || 8 * n + 2 * t + (e & 1) >= WIDTH) v[n][e] = 0.f;
}

// The columns' sums over the 16 rows of a warp are added to its row of `sums` [WARPS][COLUMNS]; nothing is rounded.
template <int COLUMNS> FN void add_columns(float* sums, const float (&v)[COLUMNS / 8][4]) {
    const int lane = fresh_lane();
    float* to = sums + (thread() >> 5) * COLUMNS + 2 * (lane & 3);
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float sum = v[n][e] + v[n][e + 2];
#pragma unroll
            for (int mask = 4; mask < 32; mask <<= 1) sum += shuffle_xor(sum, mask);
            if (lane < 4) to[8 * n + e] += sum;
        }
}

// ---- sums over CTAs, in their order
FN float ordered_sum(const float* first, int count, long long stride) {
    float sum = 0.f;
#pragma unroll 16
    for (int k = 0; k < count; k++) sum += load_global(first + k * stride);
    return sum;
}
FN float over_warp(float v) {
#pragma unroll
    for (int mask = 1; mask < 32; mask <<= 1) v += shuffle_xor(v, mask);
    return v;
}
// Each thread's COUNT numbers become one row of `partial`; `sums` is shared memory, [COUNT][WARPS].
template <int COUNT> FN void total_of_cta(float* partial, const float (&v)[COUNT], float* sums) {
    const int warp = thread() >> 5, lane = thread() & 31;
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
        const float sum = over_warp(v[k]);
        if (lane == 0) sums[k * WARPS + warp] = sum;
    }
    cta_sync();
    if (thread() < COUNT) {
        float sum = 0.f;
        for (int w = 0; w < WARPS; w++) sum += sums[thread() * WARPS + w];
        partial[thread()] = sum;
    }
}
// The rows of `count` CTAs become one, in shared memory.
template <int COUNT> FN void total_of_grid(float* totals, const float* partial, int count) {
    const int warp = thread() >> 5, lane = thread() & 31;
    for (int k = warp; k < COUNT; k += WARPS) {
        float sum = 0.f;
        for (int c = lane; c < count; c += 32) sum += load_global(partial + c * COUNT + k);
        sum = over_warp(sum);
        if (lane == 0) totals[k] = sum;
    }
    cta_sync();
}

// ---- images: what products read, rounded and padded
template <int COLUMNS> FN void round_rows(Element* image, const float* m, long long rows, long long padded, int width) {
    for (long long c = (long long)cta() * THREADS + thread(); c < padded * COLUMNS; c += (long long)ctas() * THREADS) {
        const long long row = c / COLUMNS;
        const int column = c % COLUMNS;
        image[c] = rounded(row < rows && column < width ? m[row * width + column] : 0.f);
    }
}

// The sine of a large number is a loop over digits of pi, which every call of sinf brings along. Here it is in one place;
// compilers drop it from the other calls, as these are below the bound by which sinf itself decides.
constexpr float LARGE = 105615.f;
RARELY float sine_of_large(float v) { return sinf(v); }
RARELY float cosine_of_large(float v) { return cosf(v); }
FN float sine(float v) { return fabsf(v) >= LARGE ? sine_of_large(v) : sinf(v); }
FN float cosine(float v) { return fabsf(v) >= LARGE ? cosine_of_large(v) : cosf(v); }

FN float sign_of(float v) { return v > 0.f ? 1.f : v < 0.f ? -1.f : v; }
