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
