// Operands in bfloat16. A matrix has a multiple of 16 columns; its chunks of 16 bytes change places from row to row so
// that ldmatrix, in either direction, meets every bank once.
typedef uint16_t Element;
constexpr int DEPTH = 16;  // of a matrix instruction
constexpr int CHUNK = 8;   // elements in 16 bytes

template <int COLUMNS> FN constexpr int pitch() { return COLUMNS; }
template <int COLUMNS> FN Element* at(Element* m, int row, int column) {
    constexpr int CHUNKS = COLUMNS / CHUNK, PLACES = CHUNKS & -CHUNKS, SHIFT = PLACES == 8 ? 0 : PLACES == 4 ? 1 : 2;
    return m + row * COLUMNS + (((column >> 3) ^ ((row >> SHIFT) & (PLACES - 1))) << 3) + (column & 7);
}
FN Element rounded(float f) { return (Element)(bf16_pair(f, 0.f) & 0xffffu); }
FN void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { mma_bf16(d, a, b0, b1); }

// The left operand from 16 rows of a matrix, from DEPTH columns on; and from its transpose: 16 columns, DEPTH rows.
template <int COLUMNS> FN void left_rows(uint32_t (&a)[4], Element* m, int row, int k, int lane) {
    ldmatrix<false>(a, at<COLUMNS>(m, row + (lane & 15), 16 * k + 8 * (lane >> 4)));
}
template <int COLUMNS> FN void left_columns(uint32_t (&a)[4], Element* m, int block, int k, int lane) {
    ldmatrix<true>(a, at<COLUMNS>(m, 16 * k + 8 * (lane >> 4) + (lane & 7), 16 * block + 8 * (lane >> 3 & 1)));
}
// The right operand for 16 columns of the product, from a matrix or from its transpose.
template <int COLUMNS> FN void right(uint32_t (&b)[4], Element* m, int k, int block, int lane) {
    ldmatrix<true>(b, at<COLUMNS>(m, 16 * k + (lane & 15), 16 * block + 8 * (lane >> 4)));
}
template <int COLUMNS> FN void right_transposed(uint32_t (&b)[4], Element* m, int k, int block, int lane) {
    ldmatrix<false>(b, at<COLUMNS>(m, 16 * block + 8 * (lane >> 4) + (lane & 7), 16 * k + 8 * (lane >> 3 & 1)));
}

// Sums in registers become a left operand without leaving them, and go to, or come from, the rows of a matrix.
template <int COLUMNS> FN void round_left(uint32_t (&a)[COLUMNS / 16][4], const float (&v)[COLUMNS / 8][4]) {
#pragma unroll
    for (int k = 0; k < COLUMNS / 16; k++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            a[k][2 * h] = bf16_pair(v[2 * k + h][0], v[2 * k + h][1]);
            a[k][2 * h + 1] = bf16_pair(v[2 * k + h][2], v[2 * k + h][3]);
        }
}
template <int COLUMNS> FN void store_rows(Element* m, const uint32_t (&a)[COLUMNS / 16][4]) {
    const int lane = fresh_lane(), row = 16 * (thread() >> 5) + (lane >> 2), column = 2 * (lane & 3);
#pragma unroll
    for (int k = 0; k < COLUMNS / 16; k++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            store1(at<COLUMNS>(m, row, 16 * k + 8 * h + column), a[k][2 * h]);
            store1(at<COLUMNS>(m, row + 8, 16 * k + 8 * h + column), a[k][2 * h + 1]);
        }
}
template <int COLUMNS> FN void load_rows(float (&v)[COLUMNS / 8][4], Element* m) {
    const int lane = fresh_lane(), row = 16 * (thread() >> 5) + (lane >> 2), column = 2 * (lane & 3);
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t pair = load1(at<COLUMNS>(m, row + 8 * h, 8 * n + column));
            v[n][2 * h] = float_of(pair << 16);
            v[n][2 * h + 1] = float_of(pair & 0xffff0000u);
        }
}
