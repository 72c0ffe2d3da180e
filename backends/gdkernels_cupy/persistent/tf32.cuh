// Operands in tf32, kept as float32 whose last bits are rounded away, unless products take them in parts (float32.cuh). There is no ldmatrix that transposes 32-bit numbers;
// instead, within every 8 terms of a sum, terms t and t + 4 of the instruction are our terms 2t and 2t + 1: so the
// sums of one product are the left operand of the next as they are, and every load is conflict-free once groups
// of 8 columns change places from row to row.
typedef float Element;
constexpr int DEPTH = 8;  // of a matrix instruction
constexpr int CHUNK = 4;  // elements in 16 bytes

template <int COLUMNS> FN constexpr int pitch() { return (COLUMNS + 31) / 32 * 32; }
template <int COLUMNS> FN Element* at(Element* m, int row, int column) {
    const int place = ((row & 3) ^ (row >> 2 & 1)) << 3;  // few different sums for the compiler to keep
    return m + row * pitch<COLUMNS>() + (column & ~31) + ((column & 31) ^ place);
}
FN uint32_t element(float f) { return IN_PARTS ? bits_of(f) : tf32(f); }
FN Element rounded(float f) { return float_of(element(f)); }
FN void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { mma_tf32(d, a, b0, b1); }

// The left operand from 16 rows of a matrix, from DEPTH columns on; and from its transpose: 16 columns, DEPTH rows.
template <int COLUMNS> FN void left_rows(uint32_t (&a)[4], Element* m, int row, int k, int lane) {
    const int g = lane >> 2, t = lane & 3;
    load2(a[0], a[2], at<COLUMNS>(m, row + g, 8 * k + 2 * t));
    load2(a[1], a[3], at<COLUMNS>(m, row + g + 8, 8 * k + 2 * t));
}
template <int COLUMNS> FN void left_columns(uint32_t (&a)[4], Element* m, int block, int k, int lane) {
    const int g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int e = 0; e < 4; e++) a[e] = load1(at<COLUMNS>(m, 8 * k + 2 * t + (e >> 1), 16 * block + g + 8 * (e & 1)));
}
// The right operand for 16 columns of the product, from a matrix or from its transpose.
template <int COLUMNS> FN void right(uint32_t (&b)[4], Element* m, int k, int block, int lane) {
    const int g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int e = 0; e < 4; e++) b[e] = load1(at<COLUMNS>(m, 8 * k + 2 * t + (e & 1), 16 * block + g + 8 * (e >> 1)));
}
template <int COLUMNS> FN void right_transposed(uint32_t (&b)[4], Element* m, int k, int block, int lane) {
    const int g = lane >> 2, t = lane & 3;
    load2(b[0], b[1], at<COLUMNS>(m, 16 * block + g, 8 * k + 2 * t));
    load2(b[2], b[3], at<COLUMNS>(m, 16 * block + g + 8, 8 * k + 2 * t));
}

// Sums in registers become a left operand without leaving them, and go to, or come from, the rows of a matrix.
template <int COLUMNS> FN void round_left(uint32_t (&a)[COLUMNS / 8][4], const float (&v)[COLUMNS / 8][4]) {
#pragma unroll
    for (int k = 0; k < COLUMNS / 8; k++)
#pragma unroll
        for (int e = 0; e < 4; e++) a[k][(e >> 1) + 2 * (e & 1)] = element(v[k][e]);
}
template <int COLUMNS> FN void store_rows(Element* m, const uint32_t (&a)[COLUMNS / 8][4]) {
    const int lane = fresh_lane(), row = 16 * (thread() >> 5) + (lane >> 2), column = 2 * (lane & 3);
#pragma unroll
    for (int k = 0; k < COLUMNS / 8; k++)
#pragma unroll
        for (int h = 0; h < 2; h++) store2(at<COLUMNS>(m, row + 8 * h, 8 * k + column), a[k][h], a[k][2 + h]);
}
template <int COLUMNS> FN void load_rows(float (&v)[COLUMNS / 8][4], Element* m) {
    const int lane = fresh_lane(), row = 16 * (thread() >> 5) + (lane >> 2), column = 2 * (lane & 3);
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t low, high;
            load2(low, high, at<COLUMNS>(m, row + 8 * h, 8 * n + column));
            v[n][2 * h] = float_of(low);
            v[n][2 * h + 1] = float_of(high);
        }
}
