// Convolution of few channels with stride 1 in two dims, and the gradient of its weights.
//
//   convolve          out[b, o, i] = bias[o] + sum over c, k of w[o, c, k] x[b, c, i + k - pad]
//                     adjoint: with w[c, o, ky - 1 - k] instead, which gives the gradient of the input
//   weight_gradient   dw[o, c, k] = sum over b, i of dy[b, o, i] x[b, c, i + k - pad],   db[o] = sum over b, i of dy[b, o, i]
//
// Types    REAL: float, double
// Layout   Rows of x, out and dy are contiguous; batch entries, channels and rows lie a stride (in elements) apart. x is zero outside its
//          cells; w and dw are contiguous. bias and db may be null. Up to 7 taps in each dim and 64 input channels.
// Launch   any grid and block: grid-stride. convolve: x over cells, y over blocks of rows, z over batch and blocks of output channels.
//          weight_gradient: x over taps, y over blocks of output channels, z over blocks of input channels.
// Aliasing out, dw and db must not overlap anything.   Determinism: no atomics, each result is one thread's sum of fused multiply-adds.
// Twin: conv_twin.convolve_twin, conv_twin.weight_gradient_twin.
//
// The CPU copies a patch of x, with the zeros around it, into the first cache and reads it there at every tap, from any address. It sums 8
// output channels times two vector registers of cells at once, so that 16 multiply-adds cost 10 loads.
#include "grid_stride.h"
#include "vector.h"
#define OUT 8       // output channels,
#define IN 8        // input channels and
#define ROWS 4      // rows of a block;
#define TAPS 49     // most taps and
#define MOST_IN 64  // most input channels that there is room for

// Where w holds the tap (j, i) from input channel c to output channel o; for the adjoint it lies as that of the convolution itself.
static __device__ __forceinline__ long long tap(int o, int c, int j, int i, int out_channels, int in_channels, int ky, int kx, int adjoint)
{
    return adjoint ? ((c * out_channels + o) * ky + ky - 1 - j) * kx + kx - 1 - i : ((o * in_channels + c) * ky + j) * kx + i;
}

#ifdef HPCML_HOST
#if defined __AVX512F__ || defined __aarch64__
#define WIDE 2  // registers of cells that are summed at once for 8 output channels: there are 32 registers, or only 16
#else
#define WIDE 1
#endif
#define WIDTH (8 * LANES)               // cells of a patch along x,
#define MARGIN (LANES < 8 ? 8 : LANES)  // those beside them that the taps of the last ones reach,
#define PITCH (WIDTH + MARGIN)          // both together,
#define PATCH ((ROWS + 6) * PITCH)      // and all of one channel
#define UNROLL _Pragma("GCC unroll 8")  // loops of constant length, so that sums stay in registers

// Rows of one channel from (y, x) on, `width` cells each, zero outside the array.
static __forceinline__ void copy_patch(REAL* to, const REAL* from, long long row, int y, int x, int ny, int nx, int rows, int width)
{
    const int begin = x < 0 ? -x : 0, end = nx - x < width ? nx - x : width;
    for (int r = 0; r < rows; ++r, to += PITCH) {
        const bool outside = y + r < 0 || y + r >= ny || end <= begin;
        const int first = outside ? width : begin, last = outside ? width : end;
        memset(to, 0, first * sizeof(REAL));
        if (last > first) memcpy(to + first, from + (y + r) * row + x + first, (last - first) * sizeof(REAL));
        memset(to + last, 0, (width - last) * sizeof(REAL));
    }
}

// N output channels at V vectors of cells of one row: add what the channels of a patch contribute.
template <int N, int V>
static __forceinline__ void add_taps(REAL* sums, const REAL* patch, const REAL* w, int channels, int ky, int kx)
{
    line sum[N][V], near[V];
    UNROLL for (int o = 0; o < N; ++o)
        UNROLL for (int v = 0; v < V; ++v) sum[o][v] = load<line>(sums + o * ROWS * WIDTH + v * LANES);
    for (int c = 0; c < channels; ++c)
        for (int j = 0; j < ky; ++j)
            for (int i = 0; i < kx; ++i, w += OUT) {
                UNROLL for (int v = 0; v < V; ++v) near[v] = load<line>(patch + c * PATCH + j * PITCH + i + v * LANES);
                UNROLL for (int o = 0; o < N; ++o)
                    UNROLL for (int v = 0; v < V; ++v) sum[o][v] = multiply_add(near[v], all(w[o]), sum[o][v]);
            }
    UNROLL for (int o = 0; o < N; ++o)
        UNROLL for (int v = 0; v < V; ++v) memcpy(sums + o * ROWS * WIDTH + v * LANES, &sum[o][v], sizeof(line));
}

template <int N, int V>
static __forceinline__ void add_patch(REAL* sums, const REAL* patch, const REAL* w, int channels, int ky, int kx, int rows, int cells)
{
    for (int r = 0; r < rows; ++r, sums += WIDTH, patch += PITCH) {
        int x = 0;
        for (; x + (V - 1) * LANES < cells; x += V * LANES) add_taps<N, V>(sums + x, patch + x, w, channels, ky, kx);
        for (; x < cells; x += LANES) add_taps<N, 1>(sums + x, patch + x, w, channels, ky, kx);
    }
}

// Add the products of N output channels with K neighboring taps of one channel of x, over a patch.
template <int N, int K>
static __forceinline__ void multiply_patch(line* sums, const REAL* dy, const REAL* patch, int rows, int cells)
{
    line sum[K][N], near[K];
    UNROLL for (int i = 0; i < K; ++i)
        UNROLL for (int o = 0; o < N; ++o) sum[i][o] = line();
    for (int r = 0; r < rows; ++r)
        for (int x = 0; x < cells; x += LANES) {
            UNROLL for (int i = 0; i < K; ++i) near[i] = load<line>(patch + r * PITCH + x + i);
            UNROLL for (int o = 0; o < N; ++o) {
                const line y = load<line>(dy + o * PATCH + r * PITCH + x);
                UNROLL for (int i = 0; i < K; ++i) sum[i][o] = multiply_add(y, near[i], sum[i][o]);
            }
        }
    UNROLL for (int i = 0; i < K; ++i)
        UNROLL for (int o = 0; o < N; ++o) sums[i * OUT + o] += sum[i][o];
}

template <int N>
static __forceinline__ void multiply_patches(line* sums, const REAL* dy, const REAL* patch, int channels, int ky, int kx, int rows,
                                             int cells)
{
    for (int c = 0; c < channels; ++c)
        for (int j = 0; j < ky; ++j) {
            const REAL* at = patch + c * PATCH + j * PITCH;
            int i = 0;
            for (; i + 3 <= kx; i += 3, sums += 3 * OUT) multiply_patch<N, 3>(sums, dy, at + i, rows, cells);
            for (; i < kx; ++i, sums += OUT) multiply_patch<N, 1>(sums, dy, at + i, rows, cells);
        }
}
#endif

extern "C" __global__ void convolve(REAL* __restrict__ out, const REAL* __restrict__ x, const REAL* __restrict__ w,
                                    const REAL* __restrict__ bias, int batch, int out_channels, int in_channels, int ny, int nx, int in_ny,
                                    int in_nx, int pad_y, int pad_x, int ky, int kx, int adjoint, long long out_batch,
                                    long long out_channel, long long out_row, long long x_batch, long long x_channel, long long x_row)
{
    const int blocks = (out_channels + OUT - 1) / OUT;
    FOR_Z(z, batch * blocks) {
        const int b = z / blocks, first = z % blocks * OUT, many = out_channels - first < OUT ? out_channels - first : OUT;
#ifdef HPCML_HOST
        REAL weights[MOST_IN * TAPS * OUT], sums[OUT * ROWS * WIDTH], patch[IN * PATCH];
        REAL* next = weights;
        for (int c = 0; c < in_channels; ++c)
            for (int j = 0; j < ky; ++j)
                for (int i = 0; i < kx; ++i)
                    for (int o = 0; o < OUT; ++o)
                        *next++ = o < many ? w[tap(first + o, c, j, i, out_channels, in_channels, ky, kx, adjoint)] : 0;
        FOR_Y(block, (ny + ROWS - 1) / ROWS) {
            const int y = block * ROWS, rows = ny - y < ROWS ? ny - y : ROWS;
            for (int x0 = 0; x0 < nx; x0 += WIDTH) {
                const int cells = nx - x0 < WIDTH ? nx - x0 : WIDTH;
                for (int o = 0; o < OUT; ++o)
                    for (int i = 0; i < rows * WIDTH; ++i) sums[o * ROWS * WIDTH + i] = bias && o < many ? bias[first + o] : 0;
                for (int c0 = 0; c0 < in_channels; c0 += IN) {
                    const int channels = in_channels - c0 < IN ? in_channels - c0 : IN;
                    for (int c = 0; c < channels; ++c)
                        copy_patch(patch + c * PATCH, x + b * x_batch + (c0 + c) * x_channel, x_row, y - pad_y, x0 - pad_x, in_ny, in_nx,
                                   rows + ky - 1, cells + MARGIN);
                    const REAL* at = weights + c0 * ky * kx * OUT;
                    if (many > 4) add_patch<8, WIDE>(sums, patch, at, channels, ky, kx, rows, cells);
                    else if (many > 2) add_patch<4, 2 * WIDE>(sums, patch, at, channels, ky, kx, rows, cells);
                    else if (many > 1) add_patch<2, 4>(sums, patch, at, channels, ky, kx, rows, cells);
                    else add_patch<1, 4>(sums, patch, at, channels, ky, kx, rows, cells);
                }
                for (int o = 0; o < many; ++o)
                    for (int r = 0; r < rows; ++r)
                        memcpy(out + b * out_batch + (first + o) * out_channel + (y + r) * out_row + x0, sums + (o * ROWS + r) * WIDTH,
                               cells * sizeof(REAL));
            }
        }
#else
        FOR_Y(y, ny)
            FOR_X(i, nx)
                for (int o = first; o < first + many; ++o) {
                    REAL sum = bias ? bias[o] : 0;
                    for (int c = 0; c < in_channels; ++c)
                        for (int j = 0; j < ky; ++j)
                            for (int k = 0; k < kx; ++k) {
                                const long long row = y + j - pad_y, cell = i + k - pad_x;
                                if (row >= 0 && row < in_ny && cell >= 0 && cell < in_nx)
                                    sum = fma(x[b * x_batch + c * x_channel + row * x_row + cell],
                                              w[tap(o, c, j, k, out_channels, in_channels, ky, kx, adjoint)], sum);
                            }
                    out[b * out_batch + o * out_channel + y * out_row + i] = sum;
                }
#endif
    }
}

extern "C" __global__ void weight_gradient(REAL* __restrict__ dw, REAL* __restrict__ db, const REAL* __restrict__ dy,
                                           const REAL* __restrict__ x, int batch, int out_channels, int in_channels, int ny, int nx,
                                           int in_ny, int in_nx, int pad_y, int pad_x, int ky, int kx, long long dy_batch,
                                           long long dy_channel, long long dy_row, long long x_batch, long long x_channel, long long x_row)
{
    const int taps = ky * kx;
#ifdef HPCML_HOST
    FOR_Z(c_block, (in_channels + IN - 1) / IN)
        FOR_Y(o_block, (out_channels + OUT - 1) / OUT) {
            const int c0 = c_block * IN, channels = in_channels - c0 < IN ? in_channels - c0 : IN;
            const int o0 = o_block * OUT, many = out_channels - o0 < OUT ? out_channels - o0 : OUT;
            line sums[IN * TAPS * OUT], ones[OUT];
            REAL near[IN * PATCH], far[OUT * PATCH];
            for (int i = 0; i < channels * taps * OUT; ++i) sums[i] = line();
            for (int o = 0; o < OUT; ++o) ones[o] = line();
            for (int b = 0; b < batch; ++b)
                for (int y = 0; y < ny; y += ROWS)
                    for (int x0 = 0; x0 < nx; x0 += WIDTH) {
                        const int rows = ny - y < ROWS ? ny - y : ROWS, cells = nx - x0 < WIDTH ? nx - x0 : WIDTH;
                        const int width = (cells + LANES - 1) / LANES * LANES;
                        for (int c = 0; c < channels; ++c)
                            copy_patch(near + c * PATCH, x + b * x_batch + (c0 + c) * x_channel, x_row, y - pad_y, x0 - pad_x, in_ny, in_nx,
                                       rows + ky - 1, width + MARGIN);
                        for (int o = 0; o < OUT; ++o) {
                            line sum = line();
                            copy_patch(far + o * PATCH, dy + b * dy_batch + (o0 + o) * dy_channel, dy_row, y, x0, o < many ? ny : 0, nx,
                                       rows, width);
                            for (int r = 0; r < rows; ++r)
                                for (int i = 0; i < width; i += LANES) sum += load<line>(far + o * PATCH + r * PITCH + i);
                            ones[o] += sum;
                        }
                        if (many > 4) multiply_patches<8>(sums, far, near, channels, ky, kx, rows, cells);
                        else if (many > 2) multiply_patches<4>(sums, far, near, channels, ky, kx, rows, cells);
                        else if (many > 1) multiply_patches<2>(sums, far, near, channels, ky, kx, rows, cells);
                        else multiply_patches<1>(sums, far, near, channels, ky, kx, rows, cells);
                    }
            for (int o = 0; o < many; ++o) {
                for (int i = 0; i < channels * taps; ++i) dw[((o0 + o) * in_channels + c0) * taps + i] = total(sums[i * OUT + o]);
                if (db && c0 == 0) db[o0 + o] = total(ones[o]);
            }
        }
#else
    FOR_Z(c, in_channels)
        FOR_Y(o, out_channels)
            FOR_X(k, taps) {
                REAL sum = 0, ones = 0;
                for (int b = 0; b < batch; ++b)
                    for (int j = 0; j < ny; ++j)
                        for (int i = 0; i < nx; ++i) {
                            const long long row = j + k / kx - pad_y, cell = i + k % kx - pad_x;
                            const REAL y = dy[b * dy_batch + o * dy_channel + j * dy_row + i];
                            ones += y;
                            if (row >= 0 && row < in_ny && cell >= 0 && cell < in_nx)
                                sum = fma(y, x[b * x_batch + c * x_channel + row * x_row + cell], sum);
                        }
                dw[(o * in_channels + c) * taps + k] = sum;
                if (db && c == 0 && k == 0) db[o] = ones;
            }
#endif
}
