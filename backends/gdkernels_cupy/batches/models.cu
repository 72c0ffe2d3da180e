// What is for models alone: where each has its memory, and what it brings into a run and takes out of it. The model is the
// third coordinate of a block.

// The same place in the memory of this block's model. What is nowhere stays so.
template <class T> __device__ inline T* of_model(T* place, long long apart) {
    const unsigned long long address = reinterpret_cast<unsigned long long>(place);
    return reinterpret_cast<T*>(address ? address + blockIdx.z * static_cast<unsigned long long>(apart) : 0ull);
}

// A matrix of each model, in words of four bytes: where it begins in the model's memory, and the words from row to row.
struct Moved {
    long long offset, rows, words, pitch;
};

// Matrices of the callers' come into the memory of their models, or go out of it; the second coordinate is the matrix.
extern "C" __global__ void models_move(const Moved* moved, const unsigned long long* addresses, unsigned char* memory,
                                       long long apart, int out) {
    const Moved m = moved[blockIdx.y];
    unsigned* own = reinterpret_cast<unsigned*>(of_model(memory, apart) + m.offset);
    unsigned* given = reinterpret_cast<unsigned*>(addresses[blockIdx.z * gridDim.y + blockIdx.y]);
    for (long long k = blockIdx.x * blockDim.x + threadIdx.x; k < m.rows * m.words; k += gridDim.x * blockDim.x) {
        unsigned* here = own + k / m.words * m.pitch + k % m.words;
        if (out)
            given[k] = *here;
        else
            *here = given[k];
    }
}

// A run begins: each model's control is what the host says, and its sums are zero.
extern "C" __global__ void models_begin_run(const long long* told, int words, long long* control, double* sums, int count,
                                            long long apart) {
    long long* own = of_model(control, apart);
    for (int k = threadIdx.x; k < words; k += blockDim.x) own[k] = told[blockIdx.z * words + k];
    for (int k = threadIdx.x; k < count; k += blockDim.x) of_model(sums, apart)[k] = 0.0;
}

// An epoch ends: each model's sums are its results, and those of the next one begin at zero.
extern "C" __global__ void models_end_epoch(double* sums, int count, double* results, long long apart) {
    double* own = of_model(sums, apart);
    for (int k = threadIdx.x; k < count; k += blockDim.x) {
        results[blockIdx.z * count + k] = own[k];
        own[k] = 0.0;
    }
}
