// Loops that are right under any launch shape: each thread starts at its own index and strides by the whole grid.
//
// x runs over the unit-stride dim and is the innermost loop; y and z run over the loops around it. On the CPU a block is one thread and x
// is the whole loop, `for (i = 0; i < n; ++i)`. INDEPENDENT says that the iterations of the next loop touch different memory, as threads
// of a GPU do, and that the CPU does several of them in a vector: left to itself one compiler or another finds too many pointers, or too
// little gain.
#ifndef REAL
#define REAL double
#endif
#define FOR_X(i, n) for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (long long)gridDim.x * blockDim.x)
#define FOR_Y(i, n) for (long long i = (long long)blockIdx.y * blockDim.y + threadIdx.y; i < (n); i += (long long)gridDim.y * blockDim.y)
#define FOR_Z(i, n) for (long long i = (long long)blockIdx.z * blockDim.z + threadIdx.z; i < (n); i += (long long)gridDim.z * blockDim.z)
#ifdef HPCML_HOST
#define INDEPENDENT _Pragma("omp simd")
#else
#define INDEPENDENT
#endif
