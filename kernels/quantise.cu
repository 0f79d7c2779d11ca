// Eight bits per number with one scale per bucket, and back.
//
//   quantise    scale_b = max |x| / 127 over the bucket;  q_i = round(x_i / scale_b), to nearest even, or at random and right on average
//   dequantise  x_i = q_i scale_b
//
// Types    REAL: float, double
// Layout   contiguous; bucket b holds elements b bucket to (b + 1) bucket - 1, the last one may be short. Random bits belong to index
//          offset + i of SplitMix64 started at key, so that they do not depend on how a field is dealt to ranks.
// Launch   one block of a power of two up to 256 threads per bucket, grid-stride over buckets; on the CPU blocks of one thread.
// Aliasing q, scale and x must not overlap.   Determinism: bit-exact for a given key.   Twin: quantise_twin.quantise_twin, dequantise_twin.
#include "grid_stride.h"
#define MAX_THREADS 256

// Magnitude of a number as an integer of its width.
__device__ __forceinline__ unsigned int as_bits(float x)
{
    unsigned int bits;
    memcpy(&bits, &x, 4);
    return bits & 0x7fffffffu;
}

__device__ __forceinline__ unsigned long long as_bits(double x)
{
    unsigned long long bits;
    memcpy(&bits, &x, 8);
    return bits & 0x7fffffffffffffffull;
}

// 24 leading bits of SplitMix64's output number i, as a fraction of one.
__device__ __forceinline__ REAL fraction(unsigned long long key, unsigned long long i)
{
    unsigned long long word = key + (i + 1) * 0x9e3779b97f4a7c15ull;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
    return (REAL)(int)((word ^ (word >> 31)) >> 40) * (REAL)(1.0 / 16777216.0);
}

extern "C" __global__ void quantise(signed char* __restrict__ q, REAL* __restrict__ scale, const REAL* __restrict__ x, long long n,
                                    int bucket, int stochastic, unsigned long long key, unsigned long long offset)
{
    for (long long b = blockIdx.x; b * bucket < n; b += gridDim.x) {
        const REAL* __restrict__ part = x + b * bucket;
        signed char* __restrict__ to = q + b * bucket;
        int size = (int)(n - b * bucket < bucket ? n - b * bucket : bucket);
        // Magnitudes compare as integers, which vectorises and lets a NaN win.
        auto largest = as_bits((REAL)0);
        for (int i = threadIdx.x; i < size; i += blockDim.x) largest = as_bits(part[i]) > largest ? as_bits(part[i]) : largest;
        __shared__ decltype(largest) shared[MAX_THREADS];
        shared[threadIdx.x] = largest;
        for (int half = blockDim.x / 2; half > 0; half /= 2) {
            __syncthreads();
            if ((int)threadIdx.x < half && shared[threadIdx.x + half] > shared[threadIdx.x])
                shared[threadIdx.x] = shared[threadIdx.x + half];
        }
        __syncthreads();
        REAL top;
        memcpy(&top, shared, sizeof(REAL));
        REAL step = top / 127, inverse = step > 0 ? 1 / step : (REAL)0;
        if (threadIdx.x == 0) scale[b] = step;
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
            REAL y = part[i] * inverse;
            y = stochastic ? floor(y + fraction(key, offset + b * bucket + i)) : rint(y);
            y = y > 127 ? (REAL)127 : y < -127 ? (REAL)-127 : y;
            to[i] = y == y ? (signed char)(int)y : (signed char)0;
        }
        __syncthreads();
    }
}

extern "C" __global__ void dequantise(REAL* __restrict__ x, const signed char* __restrict__ q, const REAL* __restrict__ scale,
                                      long long n, int bucket)
{
    FOR_Y(b, (n + bucket - 1) / bucket) {
        long long size = n - b * bucket < bucket ? n - b * bucket : bucket;
        INDEPENDENT FOR_X(i, size) x[b * bucket + i] = (REAL)q[b * bucket + i] * scale[b];
    }
}
