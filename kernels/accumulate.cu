// Add a contiguous buffer onto boxes of strided fields: the adjoint of reading those boxes.
//
//   field[start + s . i] += buffer[offset + p . i]        for every box of the table, in order, and every index i of the box
//
// Types    REAL: float, double, bfloat16
// Layout   as in pack.cu, in elements of REAL; a complex field is one of pairs. bfloat16 is added in float and rounded to nearest even.
// Launch   any grid and block: grid-stride, x over the innermost loop, y and z over the next two.
// Aliasing buffer and fields must not overlap. Boxes of one launch on a GPU must be disjoint; the wrapper launches overlapping ones in
//          turn.
// Determinism: bit-exact.   Twin: box_twin.accumulate_twin.
#include "grid_stride.h"
#include "box_table.h"
#include "bfloat16.h"

__device__ __forceinline__ float sum(float a, float b) { return a + b; }
__device__ __forceinline__ double sum(double a, double b) { return a + b; }
__device__ __forceinline__ bfloat16 sum(bfloat16 a, bfloat16 b) { return narrow(widen(a) + widen(b)); }

__device__ __forceinline__ void add_run(REAL* __restrict__ to, long long to_stride, const REAL* __restrict__ from, long long from_stride,
                                        long long n)
{
    if (to_stride == 1 && from_stride == 1)
        INDEPENDENT FOR_X(i, n) to[i] = sum(to[i], from[i]);
    else if (from_stride == 1)
        INDEPENDENT FOR_X(i, n) to[i * to_stride] = sum(to[i * to_stride], from[i]);
    else
        INDEPENDENT FOR_X(i, n) to[i * to_stride] = sum(to[i * to_stride], from[i * from_stride]);
}

extern "C" __global__ void accumulate(const REAL* __restrict__ buffer, REAL* const* __restrict__ fields,
                                      const long long* __restrict__ table, int boxes)
{
    for (int b = 0; b < boxes; ++b) {
        const Box& box = *(const Box*)(table + b * BOX_ROW);
        for (long long i = 0; i < box.count[0]; ++i)
            FOR_Z(j, box.count[1])
                FOR_Y(k, box.count[2])
                    add_run(RUN(REAL, fields[box.field], box.start, box.stride, i, j, k), box.stride[3],
                            RUN(const REAL, buffer, box.offset, box.packed, i, j, k), box.packed[3], box.count[3]);
    }
}
