// Real fast Fourier transform in place: n numbers in, n numbers out, no other array.
//
//   a_k = Re y_k for 0 <= k <= n / 2,   a_(n - k) = Im y_k for 0 < k < n / 2,   with y the transform of the row, unnormalised
//
// Stage m joins spectra of length m of the even and odd samples, E and O, into one of length 2 m, with w = exp(-i pi / m):
// y_k = E_k + w^k O_k and y_(m - k) = conj(E_k - w^k O_k). Those two need and give the same four numbers, so every butterfly is in place.
// The inverse undoes the butterflies in reverse order.
//
// Types    REAL: float, double
// Layout   rows of n contiguous numbers, n a power of two, row_stride apart.
// Launch   one block of a power of two of threads per row, grid-stride over rows; on the CPU blocks of one thread.
// Aliasing a is read and written, nothing else is.
// Determinism: bit-exact on one device; sine and cosine may differ in the last bit between devices.
// Twin: rdfft_twin.rdfft_twin, rdfft_twin.irdfft_twin.
#include "grid_stride.h"

// Rows that one block transforms together: the CPU works out a sine once for several, but not for more than its first cache can hold when
// all of them lie a power of two apart.
#ifdef HPCML_HOST
#define TOGETHER(n) ((n) <= 512 ? 8 : (n) <= 2048 ? 2 : 1)
#else
#define TOGETHER(n) 1
#endif

struct Rows {
    REAL* first;
    long long stride;
    int count, n;
};

__device__ __forceinline__ void bit_reverse(Rows rows, int bits)
{
    for (int i = threadIdx.x; i < rows.n; i += blockDim.x) {
        unsigned int j = i;
        j = ((j >> 1) & 0x55555555u) | ((j & 0x55555555u) << 1);
        j = ((j >> 2) & 0x33333333u) | ((j & 0x33333333u) << 2);
        j = ((j >> 4) & 0x0f0f0f0fu) | ((j & 0x0f0f0f0fu) << 4);
        j = ((j >> 8) & 0x00ff00ffu) | ((j & 0x00ff00ffu) << 8);
        j = ((j >> 16) | (j << 16)) >> (32 - bits);
        if (i < (int)j)
            for (int r = 0; r < rows.count; ++r) {
                REAL* a = rows.first + r * rows.stride;
                REAL swapped = a[i];
                a[i] = a[j];
                a[j] = swapped;
            }
    }
}

// Where a thread of a block works in one stage: w depends on k alone, so threads share out k and, where those are few, the pairs of
// spectra.
struct Share {
    int pairs, lanes, lane, team, teams;
};

__device__ __forceinline__ Share share(int n, int m)
{
    int pairs = n / (2 * m), lanes = pairs < (int)blockDim.x ? pairs : (int)blockDim.x;
    return {pairs, lanes, (int)threadIdx.x % lanes, (int)threadIdx.x / lanes, (int)blockDim.x / lanes};
}

#define FOR_PAIRS(e, o, rows, m, mine)                                                     \
    for (int r = 0; r < (rows).count; ++r)                                                 \
        INDEPENDENT                                                                        \
        for (int s = (mine).lane; s < (mine).pairs; s += (mine).lanes)                     \
            if (REAL *e = (rows).first + r * (rows).stride + 2ll * s * (m), *o = e + (m); true)

__device__ __forceinline__ void join(Rows rows, int m)
{
    Share mine = share(rows.n, m);
    for (int k = mine.team; k <= m / 2; k += mine.teams) {
        if (k == 0) {
            FOR_PAIRS(e, o, rows, m, mine) {
                REAL even = e[0], odd = o[0];
                e[0] = even + odd;
                o[0] = even - odd;
            }
        } else if (2 * k == m) {
            FOR_PAIRS(e, o, rows, m, mine) o[k] = -o[k];
        } else {
            double sine, cosine;
            sincospi(-(double)k / m, &sine, &cosine);
            const REAL wr = (REAL)cosine, wi = (REAL)sine;
            FOR_PAIRS(e, o, rows, m, mine) {
                REAL er = e[k], ei = e[m - k], tr = wr * o[k] - wi * o[m - k], ti = wr * o[m - k] + wi * o[k];
                e[k] = er + tr;
                o[m - k] = ei + ti;
                e[m - k] = er - tr;
                o[k] = ti - ei;
            }
        }
    }
}

__device__ __forceinline__ void split(Rows rows, int m)
{
    const REAL half = (REAL)0.5;
    Share mine = share(rows.n, m);
    for (int k = mine.team; k <= m / 2; k += mine.teams) {
        if (k == 0) {
            FOR_PAIRS(e, o, rows, m, mine) {
                REAL sum = e[0], difference = o[0];
                e[0] = half * (sum + difference);
                o[0] = half * (sum - difference);
            }
        } else if (2 * k == m) {
            FOR_PAIRS(e, o, rows, m, mine) o[k] = -o[k];
        } else {
            double sine, cosine;
            sincospi((double)k / m, &sine, &cosine);
            const REAL wr = (REAL)cosine, wi = (REAL)sine;
            FOR_PAIRS(e, o, rows, m, mine) {
                REAL er = half * (e[k] + e[m - k]), tr = half * (e[k] - e[m - k]);
                REAL ei = half * (o[m - k] - o[k]), ti = half * (o[m - k] + o[k]);
                e[k] = er;
                e[m - k] = ei;
                o[k] = wr * tr - wi * ti;
                o[m - k] = wr * ti + wi * tr;
            }
        }
    }
}

#define FOR_ROWS(part, a, rows, row_stride, n)                                                                                      \
    for (long long b = (long long)blockIdx.y * TOGETHER(n); b < (rows); b += (long long)gridDim.y * TOGETHER(n))                   \
        if (Rows part = {a + b * (row_stride), row_stride, (int)((rows) - b < TOGETHER(n) ? (rows) - b : TOGETHER(n)), n}; true)

extern "C" __global__ void rdfft(REAL* a, long long rows, long long row_stride, int n, int bits)
{
    FOR_ROWS(part, a, rows, row_stride, n) {
        bit_reverse(part, bits);
        for (int m = 1; m < n; m *= 2) {
            __syncthreads();
            join(part, m);
        }
    }
}

extern "C" __global__ void irdfft(REAL* a, long long rows, long long row_stride, int n, int bits)
{
    FOR_ROWS(part, a, rows, row_stride, n) {
        for (int m = n / 2; m > 0; m /= 2) {
            split(part, m);
            __syncthreads();
        }
        bit_reverse(part, bits);
    }
}
