// Pack boxes of strided fields into one contiguous buffer, and back: all faces for one peer in one launch.
//
//   pack     buffer[offset + p . i] = field[start + s . i]        for every box of the table and every index i of the box
//   unpack   field[start + s . i] = buffer[offset + p . i]
//
// Types    WORD: unsigned char, unsigned short, unsigned int, unsigned long long, word16
// Layout   counts and strides of a box are in words; the innermost loop is the longest or the contiguous one (hpcml/kernels/box_table.py).
// Launch   any grid and block: grid-stride, x over the innermost loop, y and z over the next two.
// Aliasing buffer and fields must not overlap, nor two boxes of an unpack.
// Determinism: bit-exact.   Twin: box_twin.pack_twin, box_twin.unpack_twin.
#include "grid_stride.h"
#include "box_table.h"
#ifndef WORD
#define WORD unsigned long long
#endif
struct __align__(16) word16 {
    unsigned long long low, high;
};
#ifdef HPCML_HOST
typedef WORD word __attribute__((aligned(1), may_alias));  // a CPU reads any address, so runs are widened wherever they start
#else
typedef WORD word;
#endif

#ifdef HPCML_HOST
__device__ __forceinline__ void copy_run(word* __restrict__ to, long long to_stride, const word* __restrict__ from,
                                         long long from_stride, long long n)
{
    if (to_stride == 1 && from_stride == 1)
        FOR_X(i, n) to[i] = from[i];
    else if (to_stride == 1)
        FOR_X(i, n) to[i] = from[i * from_stride];
    else if (from_stride == 1)
        FOR_X(i, n) to[i * to_stride] = from[i];
    else
        FOR_X(i, n) to[i * to_stride] = from[i * from_stride];
}
#else
// A thread asks for four words before it waits for the first: memory is far away, and one word for each thread does not fill the way.
__device__ __forceinline__ void copy_run(word* __restrict__ to, long long to_stride, const word* __restrict__ from,
                                         long long from_stride, long long n)
{
    const long long step = (long long)gridDim.x * blockDim.x, from_step = step * from_stride, to_step = step * to_stride;
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    from += i * from_stride;
    to += i * to_stride;
    for (; i + 3 * step < n; i += 4 * step, from += 4 * from_step, to += 4 * to_step) {
        const word a = from[0], b = from[from_step], c = from[2 * from_step], d = from[3 * from_step];
        to[0] = a;
        to[to_step] = b;
        to[2 * to_step] = c;
        to[3 * to_step] = d;
    }
    for (; i < n; i += step, from += from_step, to += to_step) *to = *from;
}
#endif

extern "C" __global__ void pack(WORD* __restrict__ buffer, const WORD* const* __restrict__ fields, const long long* __restrict__ table,
                                int boxes)
{
    for (int b = 0; b < boxes; ++b) {
        const Box& box = *(const Box*)(table + b * BOX_ROW);
        for (long long i = 0; i < box.count[0]; ++i)
            FOR_Z(j, box.count[1])
                FOR_Y(k, box.count[2])
                    copy_run(RUN(word, buffer, box.offset, box.packed, i, j, k), box.packed[3],
                             RUN(const word, fields[box.field], box.start, box.stride, i, j, k), box.stride[3], box.count[3]);
    }
}

extern "C" __global__ void unpack(const WORD* __restrict__ buffer, WORD* const* __restrict__ fields, const long long* __restrict__ table,
                                  int boxes)
{
    for (int b = 0; b < boxes; ++b) {
        const Box& box = *(const Box*)(table + b * BOX_ROW);
        for (long long i = 0; i < box.count[0]; ++i)
            FOR_Z(j, box.count[1])
                FOR_Y(k, box.count[2])
                    copy_run(RUN(word, fields[box.field], box.start, box.stride, i, j, k), box.stride[3],
                             RUN(const word, buffer, box.offset, box.packed, i, j, k), box.packed[3], box.count[3]);
    }
}
