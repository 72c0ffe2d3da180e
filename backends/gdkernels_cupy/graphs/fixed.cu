// The kernels that are the same for every program: what brings rows together, sums, and counts the steps.

// Where a run stands; the host writes it before the first step.
struct Control {
    long long step, first;    // of the run; the first record of its batch in the order
    const long long* order;   // the rows to use; null for all in turn
    const double* table;      // the numbers that the host knows, for each step
    long long records;        // rows of the sources
    const void* sources[4];   // the caller's arrays
};

// The numbers of a step become current, as float64 and as float32.
__device__ inline void begin_job(const Place& at, const Control* control, int count, double* numbers,
                                 float* float32_numbers) {
    for (int k = at.x; k < count; k += at.threads_x) {
        const double value = control->table[control->step * count + k];
        numbers[k] = value;
        float32_numbers[k] = static_cast<float>(value);
    }
}

// The next batch begins where the last one ended: for what is gathered ahead of its step.
extern "C" __global__ void next_batch(Control* control, long long batch) {
    control->first = control->step * batch;
    control->step += 1;
}

// The numbers of the records at some places of a keyed order, from `first` on.
extern "C" __global__ void fill_order(const unsigned* words, long long first, long long count, long long* order) {
    for (long long k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x)
        order[k] = order_at(words, static_cast<unsigned>(first + k));
}

// The rows of a source that are next in the order, from the `first` of the batch on, next to each other.
template <class T, class S>
__device__ inline void gather_job(const Place& at, const Control* control, int source, long long first, int rows,
                                  int columns, S* to, long long pitch, int ones) {
    const T* from = static_cast<const T*>(control->sources[source]);
    const long long begin = control->first + first, last = control->records - 1;
    const int thread = at.block_y * at.threads_x + at.x, threads = at.blocks_y * at.threads_x;
    // The caller's rows are next to each other: they begin where vector loads may only if their length and start allow.
    const bool in_fours = columns % ELEMENTS == 0 && reinterpret_cast<unsigned long long>(from) % alignof(Four<T>) == 0;
    for (int r = at.block_x * at.threads_y + at.y; r < rows; r += at.blocks_x * at.threads_y) {
        const long long next = begin + r;
        const long long row = control->order ? control->order[next] : next < last ? next : last;
        const T* values = from + row * columns;
        S* target = to + r * pitch;
        if (in_fours) {
            for (int c = ELEMENTS * thread; c < columns; c += ELEMENTS * threads) {
                const Four<T> four = load(values + c);
                Four<S> result;
                for (int k = 0; k < ELEMENTS; k++) result.at[k] = stored<S>(four.at[k]);
                store(target + c, result);
            }
        } else {
            for (int c = thread; c < columns; c += threads) target[c] = stored<S>(values[c]);
        }
        if (ones)  // and zeros, where products add the bias
            for (int c = columns + thread; c < pitch; c += threads) target[c] = stored<S>(T(c < columns + ones));
    }
}

// Some columns of one matrix, or 0, become columns of another; `pitch` elements from row to row.
template <class T, class S>
__device__ inline void copy_columns_job(const Place& at, int rows, int count, const T* from, long long from_pitch, S* to,
                                        long long pitch) {
    const int thread = at.block_y * at.threads_x + at.x, threads = at.blocks_y * at.threads_x;
    for (int r = at.block_x * at.threads_y + at.y; r < rows; r += at.blocks_x * at.threads_y)
        for (int c = thread; c < count; c += threads)
            to[r * pitch + c] = stored<S>(from ? from[r * from_pitch + c] : T(0));
}

// What is no number from 0 to `last` becomes the nearest: it was refused before, and reads no other memory here.
template <class T> __device__ inline int code_of(T number, int last) {
    return number > T(0) ? number < T(last) ? static_cast<int>(number) : last : 0;
}

// For each row, the row of a table whose number stands there.
template <class T, class S>
__device__ inline void look_up_job(const Place& at, int rows, int columns, const T* codes, long long codes_pitch, int last,
                                   const T* table, long long table_pitch, S* to, long long pitch) {
    const int thread = at.block_y * at.threads_x + at.x, threads = at.blocks_y * at.threads_x;
    for (int r = at.block_x * at.threads_y + at.y; r < rows; r += at.blocks_x * at.threads_y) {
        const T* from = table + code_of(codes[r * codes_pitch], last) * table_pitch;
        for (int c = thread; c < columns; c += threads) to[r * pitch + c] = stored<S>(from[c]);
    }
}

// For each row, the products of its numbers in two matrices, side by side.
template <class T>
__device__ inline void row_outer_job(const Place& at, int rows, int left_columns, int columns, const T* left,
                                     long long left_pitch, const T* right, long long right_pitch, T* to,
                                     long long pitch) {
    const int thread = at.block_y * at.threads_x + at.x, threads = at.blocks_y * at.threads_x;
    const int count = left_columns * columns;
    for (int r = at.block_x * at.threads_y + at.y; r < rows; r += at.blocks_x * at.threads_y)
        for (int c = thread; c < count; c += threads)
            to[r * pitch + c] = left[r * left_pitch + c / columns] * right[r * right_pitch + c % columns];
}

// Each row is added to that of the target whose number stands there: by the threads of the first row with that number,
// in the order of the rows, so that the bits are always the same.
template <class T>
__device__ inline void sum_by_code_job(const Place& at, int rows, int columns, const T* codes, long long codes_pitch,
                                       int last, const T* values, long long values_pitch, T* to, long long pitch) {
    const int thread = at.block_y * at.threads_x + at.x, threads = at.blocks_y * at.threads_x;
    for (int r = at.block_x * at.threads_y + at.y; r < rows; r += at.blocks_x * at.threads_y) {
        const int code = code_of(codes[r * codes_pitch], last);
        int before = 0;
        while (before < r && code_of(codes[before * codes_pitch], last) != code) before++;
        if (before < r) continue;
        for (int c = thread; c < columns; c += threads) {
            T sum = to[code * pitch + c];
            for (int k = r; k < rows; k++)
                if (code_of(codes[k * codes_pitch], last) == code) sum += values[k * values_pitch + c];
            to[code * pitch + c] = sum;
        }
    }
}

// The rows of a matrix become the columns of another: a block moves a square, and turns it in its shared memory.
template <class T>
__device__ inline void transpose_job(const Place& at, int rows, int columns, const T* from, long long from_pitch, T* to,
                                     long long pitch) {
    constexpr int SIDE = 32;
    __shared__ T square[SIDE][SIDE + 1];  // the numbers of a column are in different banks
    const int row = at.block_x * SIDE, column = at.block_y * SIDE;
    for (int k = at.y; k < SIDE; k += at.threads_y)
        if (row + k < rows && column + at.x < columns)
            square[k][at.x] = from[(row + k) * from_pitch + column + at.x];
    __syncthreads();
    for (int k = at.y; k < SIDE; k += at.threads_y)
        if (column + k < columns && row + at.x < rows) to[(column + k) * pitch + row + at.x] = square[at.x][k];
}

// A copy in another storage.
__device__ inline void cast_job(const Place& at, int rows, int columns, const float* from, long long pitch, bfloat16* to,
                                long long to_pitch) {
    for (int r = at.block_x * at.threads_y + at.y; r < rows; r += at.blocks_x * at.threads_y)
        for (int c = ELEMENTS * (at.block_y * at.threads_x + at.x); c < columns;
             c += ELEMENTS * at.blocks_y * at.threads_x) {
            const Four<float> values = load(from + r * pitch + c);
            Four<bfloat16> result;
            for (int k = 0; k < ELEMENTS; k++) result.at[k] = stored<bfloat16>(values.at[k]);
            store(to + r * to_pitch + c, result);
        }
}

// The border of weights: below them the parts of a bias, in bfloat16 and together exact; right of the first of them ones
// for the next product, if it wants some; and zeros.
__device__ inline void bias_rows_job(const Place& at, int all_rows, int all_columns, int rows, int columns, int terms,
                                     int ones, const float* bias, bfloat16* to, long long pitch) {
    const int thread = at.block_y * at.threads_x + at.x, threads = at.blocks_y * at.threads_x;
    for (int r = at.block_x * at.threads_y + at.y; r < all_rows; r += at.blocks_x * at.threads_y)
        for (int c = (r < rows ? columns : 0) + thread; c < all_columns; c += threads) {
            float value = 0.f;
            if (c < columns && r < rows + terms) {
                value = bias[c];
                for (int k = rows; k < r; k++) {
                    const float part = widened<float>(stored<bfloat16>(value));
                    value = part - part == 0.f ? value - part : 0.f;
                }
            }
            if (r == rows && c >= columns && c < columns + ones) value = 1.f;
            to[r * pitch + c] = stored<bfloat16>(value);
        }
}

// out[part] = the sums of the columns of the part's rows: each thread adds up every eighth row, then the eight are added.
template <class T, class S>
__device__ inline void column_sums_job(const Place& at, int rows, int columns, const S* values, long long pitch,
                                       int chunk, T* out, long long out_pitch, int accumulate) {
    constexpr int ACROSS = 32, DOWN = THREADS / ACROSS;
    __shared__ T sums[DOWN][ACROSS];
    const int c = at.block_x * ACROSS + at.x;
    const int begin = at.block_y * chunk, end = begin + chunk < rows ? begin + chunk : rows;
    T sum = 0;
    if (c < columns)
        for (int r = begin + at.y; r < end; r += DOWN) sum += widened<T>(values[r * pitch + c]);
    sums[at.y][at.x] = sum;
    __syncthreads();
    if (at.y == 0 && c < columns) {
        T* to = out + at.block_y * out_pitch + c;
        for (int k = 1; k < DOWN; k++) sum += sums[k][at.x];
        *to = accumulate ? *to + sum : sum;
    }
}

// A number = the sum of what the blocks of a loop left, or of a number for each record, times a factor; one block.
template <class T>
__device__ inline void total_job(const Place& at, int count, const T* parts, double factor, double* number,
                                 int accumulate) {
    double sum = 0.0;
    for (int k = at.x; k < count; k += at.threads_x) sum += parts[k];
    sum *= factor;
    if (accumulate && at.x == 0) sum += *number;
    block_total(at, sum, number);
}

// Numbers of this step are added to the sums over the run, and the next step begins where this one ended; one thread.
__device__ inline void record_job(const Place& at, int count, const double* first, const double* second, double* sums,
                                  Control* control, long long batch) {
    if (at.x || at.y) return;
    sums[0] += *first;
    if (count > 1) sums[1] += *second;
    control->step += 1;
    control->first = control->step * batch;
}

// Both: the thread that records is the one that has written the total.
template <class T>
__device__ inline void total_record_job(const Place& at, int parts_count, const T* parts, double factor,
                                        double* number, int accumulate, int count, const double* first, const double* second,
                                        double* sums, Control* control, long long batch) {
    total_job(at, parts_count, parts, factor, number, accumulate);
    record_job(at, count, first, second, sums, control, batch);
}

// The numbers of a span are added to those of another: one sum of the tree over shards.
template <class T> __device__ inline void add_span(long long count, const T* from, T* to) {
    for (long long k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x) to[k] += from[k];
}

extern "C" __global__ void add_float64(long long count, const double* from, double* to) {
    add_span(count, from, to);
}
extern "C" __global__ void add_float32(long long count, const float* from, float* to) {
    add_span(count, from, to);
}

// A number of the step, before the next shard has it.
extern "C" __global__ void keep_number(const double* number, double* to) {
    *to = *number;
}
