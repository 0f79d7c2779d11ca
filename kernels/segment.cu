// Sums over segments of gathered rows, and gathering alone: message passing over a sorted edge list, and its adjoint.
//
//   gather_sum   out[s, :] = sum over first[s] <= e < first[s + 1] of x[source[e], :]      in order of e
//   gather       out[e, :] = x[source[e], :]
//
// Types    REAL: float, double
// Layout   x and out have contiguous rows of `width`; first has segments + 1 entries.
// Launch   any grid and block: grid-stride, x over columns, y over segments or rows. The CPU keeps a tile of columns in registers.
// Aliasing out must not overlap x.   Determinism: bit-exact, no atomics: each output is one thread's sum in order of e.
// Twin: segment_twin.gather_sum_twin, segment_twin.gather_twin.
#include "grid_stride.h"
#ifdef HPCML_HOST
typedef REAL line __attribute__((vector_size(64)));
typedef REAL part __attribute__((vector_size(16)));
// Rows are fetched this many edges ahead; past the end of the list the last edge is asked for again.
#define FETCH(x, source, e, last, width) __builtin_prefetch(x + source[(e) + 8 < (last) ? (e) + 8 : (last)] * (width))
#else
#define FETCH(x, source, e, last, width)
#endif

template <class V>
__device__ __forceinline__ V load(const REAL* from)
{
    V value;
    memcpy(&value, from, sizeof(V));
    return value;
}

struct Segment {
    long long begin, end, last;
};

// Columns of one segment, as many as V holds: a number on a GPU, a number or a vector register on the CPU.
template <class V>
__device__ __forceinline__ void sum_columns(REAL* __restrict__ out, const REAL* __restrict__ x, const long long* __restrict__ source,
                                            Segment edges, int width)
{
    V sum = V();
    for (long long e = edges.begin; e < edges.end; ++e) {
        FETCH(x, source, e, edges.last, width);
        sum += load<V>(x + source[e] * width);
    }
    memcpy(out, &sum, sizeof(V));
}

// Twice as many, to halve the passes over the edges.
template <class V>
__device__ __forceinline__ void sum_twice(REAL* __restrict__ out, const REAL* __restrict__ x, const long long* __restrict__ source,
                                          Segment edges, int width)
{
    const int many = sizeof(V) / sizeof(REAL);
    V low = V(), high = V();
    for (long long e = edges.begin; e < edges.end; ++e) {
        const REAL* row = x + source[e] * width;
        FETCH(x, source, e, edges.last, width);
        FETCH(x + many, source, e, edges.last, width);
        low += load<V>(row);
        high += load<V>(row + many);
    }
    memcpy(out, &low, sizeof(V));
    memcpy(out + many, &high, sizeof(V));
}

extern "C" __global__ void gather_sum(REAL* __restrict__ out, const REAL* __restrict__ x, const long long* __restrict__ first,
                                      const long long* __restrict__ source, int segments, int width)
{
    FOR_Y(s, segments) {
        REAL* o = out + s * width;
        Segment edges = {first[s], first[s + 1], first[segments] - 1};
#ifdef HPCML_HOST
        const int many = sizeof(line) / sizeof(REAL), few = sizeof(part) / sizeof(REAL);
        int c = 0;
        for (; c + 2 * many <= width; c += 2 * many) sum_twice<line>(o + c, x + c, source, edges, width);
        for (; c + many <= width; c += many) sum_columns<line>(o + c, x + c, source, edges, width);
        for (; c + few <= width; c += few) sum_columns<part>(o + c, x + c, source, edges, width);
        for (; c < width; ++c) sum_columns<REAL>(o + c, x + c, source, edges, width);
#else
        FOR_X(c, width) sum_columns<REAL>(o + c, x + c, source, edges, width);
#endif
    }
}

extern "C" __global__ void gather(REAL* __restrict__ out, const REAL* __restrict__ x, const long long* __restrict__ source,
                                  long long rows, int width)
{
    FOR_Y(e, rows) {
        const REAL* __restrict__ row = x + source[e] * width;
        FOR_X(c, width) out[e * width + c] = row[c];
    }
}
