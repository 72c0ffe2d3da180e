// Products in float32 by matrix instructions in tf32: a number is the sum of a high and a low part, and of the four products
// of parts three are summed; the fourth is below float32's last bit. Matrix units cut their sums off where float32 rounds,
// always towards zero, so that errors of long sums would add up. So each sum there is of DEPTH terms, the small parts first;
// ordinary additions do the rest.
struct Parts {
    uint32_t high[4], low[4];
};
FN void part(Parts& parts, const uint32_t (&v)[4], float& largest) {
#pragma unroll
    for (int e = 0; e < 4; e++) {
        const float f = float_of(v[e]);
        parts.high[e] = tf32(f) & 0xffffe000u;
        parts.low[e] = tf32(f - float_of(parts.high[e]));
        largest = fmaxf(largest, fabsf(f));
    }
}
FN void multiply(float (&sum)[4], const Parts& a, const Parts& b, int pair) {
    float fresh[4] = {0.f, 0.f, 0.f, 0.f};
    mma(fresh, a.low, b.high[pair], b.high[pair + 1]);
    mma(fresh, a.high, b.low[pair], b.low[pair + 1]);
    mma(fresh, a.high, b.high[pair], b.high[pair + 1]);
#pragma unroll
    for (int e = 0; e < 4; e++) sum[e] += fresh[e];
}

// Below this the low parts of numbers are no numbers any more: all of a matrix has to be so small for that to matter.
constexpr float LEAST = 7.8886091e-31f;  // 2^-100
FN float largest_of_warp(float v) {
#pragma unroll
    for (int mask = 1; mask < 32; mask <<= 1) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}
// Whether parts cannot stand for their numbers: `nothing` is a sum of zero times each result, and no number where one of the
// results is infinite or NaN. That is a matter of the operands alone, and the whole warp agrees about it.
FN bool is_beyond(float nothing, float left, float right) {
    left = largest_of_warp(left), right = largest_of_warp(right);
    const bool small = left < LEAST || right < LEAST || left * right < LEAST;
    return any_of_warp(nothing != 0.f) || (small && left > 0.f && right > 0.f);
}

// As `product`, from the rows of this warp in a tile.
template <int K, int N, bool TRANSPOSED> FN void product_by_multiplying(float (&sum)[N / 8][4], Element* rows, Element* m) {
    const int lane = fresh_lane(), row = 16 * (thread() >> 5) + (lane >> 2), column = 2 * (lane & 3);
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) sum[n][e] = 0.f;
#pragma unroll 1
    for (int k = 0; k < K; k++) {
        const float a[2] = {float_of(load1(at<K>(rows, row, k))), float_of(load1(at<K>(rows, row + 8, k)))};
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int j = 8 * n + column + e;
                const float b = float_of(load1(TRANSPOSED ? at<K>(m, j, k) : at<N>(m, k, j)));
                sum[n][e] = fmaf(a[0], b, sum[n][e]);
                sum[n][e + 2] = fmaf(a[1], b, sum[n][e + 2]);
            }
    }
}
template <int K, int N, bool TRANSPOSED> FN void product_of_parts(float (&sum)[N / 8][4], Element* rows, Element* m) {
    const int lane = fresh_lane();
    float left = 0.f, right_side = 0.f, nothing = 0.f;
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) sum[n][e] = 0.f;
    warp_sync();  // other lanes have written what is read
#pragma unroll 1  // or compilers run out of registers
    for (int k = 0; k < K / DEPTH; k++) {
        uint32_t v[4];
        left_rows<K>(v, rows, 16 * (thread() >> 5), k, lane);
        Parts a;
        part(a, v, left);
#pragma unroll
        for (int block = 0; block < N / 16; block++) {
            if (TRANSPOSED)
                right_transposed<K>(v, m, k, block, lane);
            else
                right<N>(v, m, k, block, lane);
            Parts b;
            part(b, v, right_side);
            multiply(sum[2 * block], a, b, 0);
            multiply(sum[2 * block + 1], a, b, 2);
        }
    }
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) nothing = fmaf(sum[n][e], 0.f, nothing);
    if (is_beyond(nothing, left, right_side)) product_by_multiplying<K, N, TRANSPOSED>(sum, rows, m);
    warp_sync();  // the rows may be written again
}

// As `Gradient::add`: the terms of 64 rows at most are summed, and then added. Of so many it is decided whether parts can
// stand for them.
template <int I, int J, int UP, int ACROSS>
FN void add_parts(Gradient<I, J, UP, ACROSS>& gradient, Element* left, Element* right_tile) {
    using G = Gradient<I, J, UP, ACROSS>;
    constexpr int STEPS = ROWS / DEPTH / G::SHARES, MOST = 64 / DEPTH, TOGETHER = STEPS < MOST ? STEPS : MOST;
    const int warp = thread() >> 5, share = warp / (UP * ACROSS), up = warp / ACROSS % UP, across = warp % ACROSS;
    const int lane = fresh_lane();
#pragma unroll 1
    for (int first = 0; first < STEPS; first += TOGETHER)
#pragma unroll
        for (int m = 0; m < G::M; m++) {
            if (I / 16 % UP != 0 && up * G::M + m >= I / 16) continue;
            float sum[G::N][2][4], left_side = 0.f, right_side = 0.f, nothing = 0.f;
#pragma unroll
            for (int s = 0; s < 8 * G::N; s++) sum[s / 8][s / 4 % 2][s % 4] = 0.f;
#pragma unroll AT_ONCE
            for (int step = 0; step < TOGETHER; step++) {
                const int k = (first + step) * G::SHARES + share;
                uint32_t v[4];
                Parts a, b;
                left_columns<I>(v, left, up * G::M + m, k, lane);
                part(a, v, left_side);
#pragma unroll
                for (int n = 0; n < G::N; n++)
                    if (J / 16 % ACROSS == 0 || across * G::N + n < J / 16) {
                        right<J>(v, right_tile, k, across * G::N + n, lane);
                        part(b, v, right_side);
                        multiply(sum[n][0], a, b, 0);
                        multiply(sum[n][1], a, b, 2);
                    }
            }
#pragma unroll
            for (int s = 0; s < 8 * G::N; s++) nothing = fmaf(sum[s / 8][s / 4 % 2][s % 4], 0.f, nothing);
            if (is_beyond(nothing, left_side, right_side)) {
                const int i = 16 * (up * G::M + m) + (lane >> 2), j = 16 * across * G::N + 2 * (lane & 3);
#pragma unroll
                for (int s = 0; s < 8 * G::N; s++) sum[s / 8][s / 4 % 2][s % 4] = 0.f;
#pragma unroll 1
                for (int term = 0; term < TOGETHER * DEPTH; term++) {
                    const int row = ((first + term / DEPTH) * G::SHARES + share) * DEPTH + term % DEPTH;
#pragma unroll
                    for (int s = 0; s < 8 * G::N; s++)
                        if (J / 16 % ACROSS == 0 || across * G::N + s / 8 < J / 16) {
                            const float a = float_of(load1(at<I>(left, row, i + 8 * (s >> 1 & 1))));
                            const float b = float_of(load1(at<J>(right_tile, row, j + 8 * (s >> 2) + (s & 1))));
                            sum[s / 8][s / 4 % 2][s % 4] = fmaf(a, b, sum[s / 8][s / 4 % 2][s % 4]);
                        }
                }
            }
#pragma unroll
            for (int s = 0; s < 8 * G::N; s++)
                gradient.sum[m][s / 8][s / 4 % 2][s % 4] += sum[s / 8][s / 4 % 2][s % 4];
        }
}
