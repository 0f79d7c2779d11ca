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
#include "vector.h"
#ifdef HPCML_HOST
#define ROUND 128  // bytes of a row that are summed at once: each further round passes over the edges again
// Rows are fetched this many edges ahead; past the end of the list the last edge is asked for again.
#define FETCH(x, source, e, last, width) __builtin_prefetch(x + source[(e) + 8 < (last) ? (e) + 8 : (last)] * (width))

struct Segment {
    long long begin, end, last;
};

// Columns of one segment, as many as N of V hold: numbers or vector registers.
template <class V, int N>
static __forceinline__ void sum_columns(REAL* __restrict__ out, const REAL* __restrict__ x, const long long* __restrict__ source,
                                        Segment edges, int width)
{
    const int many = sizeof(V) / sizeof(REAL);
    V sum[N] = {};
    for (long long e = edges.begin; e < edges.end; ++e) {
        const REAL* row = x + source[e] * width;
        for (int at = 0; at < N * many; at += 64 / sizeof(REAL)) FETCH(x + at, source, e, edges.last, width);
        _Pragma("GCC unroll 8") for (int k = 0; k < N; ++k) sum[k] += load<V>(row + k * many);
    }
    memcpy(out, sum, sizeof(sum));
}
#endif

extern "C" __global__ void gather_sum(REAL* __restrict__ out, const REAL* __restrict__ x, const long long* __restrict__ first,
                                      const long long* __restrict__ source, int segments, int width)
{
    FOR_Y(s, segments) {
        REAL* o = out + s * width;
#ifdef HPCML_HOST
        const Segment edges = {first[s], first[s + 1], first[segments] - 1};
        const int most = ROUND / sizeof(REAL), few = sizeof(part) / sizeof(REAL);
        int c = 0;
        for (; c + most <= width; c += most) sum_columns<line, ROUND / LINE>(o + c, x + c, source, edges, width);
        for (; c + LANES <= width; c += LANES) sum_columns<line, 1>(o + c, x + c, source, edges, width);
        for (; c + few <= width; c += few) sum_columns<part, 1>(o + c, x + c, source, edges, width);
        for (; c < width; ++c) sum_columns<REAL, 1>(o + c, x + c, source, edges, width);
#else
        FOR_X(c, width) {
            REAL sum = 0;
            for (long long e = first[s]; e < first[s + 1]; ++e) sum += x[source[e] * width + c];
            o[c] = sum;
        }
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
