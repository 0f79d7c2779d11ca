// Nearest-neighbor stencils: 5 points in two dims, 7 points in three, and diffusion with a coefficient that varies from cell to cell.
//
//   five_point    out = centre u + near_y (u_j-1 + u_j+1) + near_x (u_i-1 + u_i+1)
//   seven_point   out = centre u + near_z (u_k-1 + u_k+1) + near_y (u_j-1 + u_j+1) + near_x (u_i-1 + u_i+1)
//   diffusion_2d, diffusion_3d
//                 out = sum over dims d of scale_d [a_+ (u_+ - u) - a_- (u - u_-)],   a_+ = (a + a of the next cell) / 2 at the face
//
// Types    REAL: float, double
// Layout   u and a hold the cells of out and one ghost cell on every side; rows are contiguous, rows, planes and batch entries lie a stride
//          (in elements) apart.
// Launch   any grid and block: grid-stride, x along a row, y over rows, z over planes (over the batch in 2-D). On a GPU a thread takes planes
//          that follow one another, and keeps what the next one needs of the column above its cell.
// Aliasing out must not overlap u or a.   Determinism: bit-exact.   Twin: stencil_twin.five_point_twin and so on.
#include "grid_stride.h"
#include "large_arrays.h"
// Columns of a GPU's threads: cell (i, j) of the planes from first to last. Planes are dealt in runs, not in turns.
#define COLUMNS(b, j, i, first, last)                                                                                                        \
    const long long threads_ = (long long)gridDim.z * blockDim.z, thread_ = (long long)blockIdx.z * blockDim.z + threadIdx.z;                \
    const long long first = nz * thread_ / threads_, last = nz * (thread_ + 1) / threads_;                                                   \
    for (int b = 0; b < batch; ++b)                                                                                                          \
        FOR_Y(j, ny)                                                                                                                         \
            FOR_X(i, nx)

extern "C" __global__ void five_point(REAL* __restrict__ out, const REAL* __restrict__ u, int batch, int ny, int nx,
                                      long long out_batch, long long out_row, long long u_batch, long long u_row,
                                      REAL centre, REAL near_y, REAL near_x)
{
    const bool large = LARGE(batch * ny * u_row);
    FOR_Z(b, batch)
        FOR_Y(j, ny) {
            REAL* __restrict__ o = out + b * out_batch + j * out_row;
            const REAL* __restrict__ c = u + b * u_batch + (j + 1) * u_row + 1;
            WRITE_ROW(o, out_row, i, nx, large,
                      centre * AT(c, i) + near_y * (AT(c, i - u_row) + AT(c, i + u_row)) + near_x * (AT(c, i - 1) + AT(c, i + 1)))
        }
}

extern "C" __global__ void seven_point(REAL* __restrict__ out, const REAL* __restrict__ u, int batch, int nz, int ny, int nx,
                                       long long out_batch, long long out_plane, long long out_row,
                                       long long u_batch, long long u_plane, long long u_row,
                                       REAL centre, REAL near_z, REAL near_y, REAL near_x)
{
#ifdef HPCML_HOST
    const bool large = LARGE(nz * u_plane);
    for (int b = 0; b < batch; ++b)
        FOR_Z(k, nz)
            FOR_Y(j, ny) {
                REAL* __restrict__ o = out + b * out_batch + k * out_plane + j * out_row;
                const REAL* __restrict__ c = u + b * u_batch + (k + 1) * u_plane + (j + 1) * u_row + 1;
                if (large) FETCH_ROW(c + u_plane + AHEAD * u_row, nx);
                WRITE_ROW(o, out_row, i, nx, large,
                          centre * AT(c, i) + near_z * (AT(c, i - u_plane) + AT(c, i + u_plane))
                              + near_y * (AT(c, i - u_row) + AT(c, i + u_row)) + near_x * (AT(c, i - 1) + AT(c, i + 1)))
            }
#else
    COLUMNS(b, j, i, first, last) {
        const REAL* __restrict__ c = u + b * u_batch + (first + 1) * u_plane + (j + 1) * u_row + 1 + i;
        REAL* __restrict__ o = out + b * out_batch + first * out_plane + j * out_row + i;
        REAL below = c[-u_plane], here = c[0];
        #pragma unroll 4
        for (long long k = first; k < last; ++k, c += u_plane, o += out_plane) {
            const REAL above = c[u_plane];
            *o = centre * here + near_z * (below + above) + near_y * (c[-u_row] + c[u_row]) + near_x * (c[-1] + c[1]);
            below = here;
            here = above;
        }
    }
#endif
}

// Flux through the two faces of a cell across one dim, whose neighbors lie s elements away.
#define FACES(u, a, i, s)                                                        \
    ((REAL)0.5 * (AT(a, i) + AT(a, (i) + (s))) * (AT(u, (i) + (s)) - AT(u, i))   \
     - (REAL)0.5 * (AT(a, (i) - (s)) + AT(a, i)) * (AT(u, i) - AT(u, (i) - (s))))

extern "C" __global__ void diffusion_2d(REAL* __restrict__ out, const REAL* __restrict__ u, const REAL* __restrict__ a, int batch,
                                        int ny, int nx, long long out_batch, long long out_row, long long u_batch, long long u_row,
                                        long long a_batch, REAL scale_y, REAL scale_x)
{
    const bool large = LARGE(batch * ny * u_row);
    FOR_Z(b, batch)
        FOR_Y(j, ny) {
            REAL* __restrict__ o = out + b * out_batch + j * out_row;
            const REAL* __restrict__ c = u + b * u_batch + (j + 1) * u_row + 1;
            const REAL* __restrict__ d = a + b * a_batch + (j + 1) * u_row + 1;
            WRITE_ROW(o, out_row, i, nx, large, scale_y * FACES(c, d, i, u_row) + scale_x * FACES(c, d, i, 1))
        }
}

extern "C" __global__ void diffusion_3d(REAL* __restrict__ out, const REAL* __restrict__ u, const REAL* __restrict__ a, int batch,
                                        int nz, int ny, int nx, long long out_batch, long long out_plane, long long out_row,
                                        long long u_batch, long long u_plane, long long u_row,
                                        long long a_batch, REAL scale_z, REAL scale_y, REAL scale_x)
{
#ifdef HPCML_HOST
    const bool large = LARGE(nz * u_plane);
    for (int b = 0; b < batch; ++b)
        FOR_Z(k, nz)
            FOR_Y(j, ny) {
                REAL* __restrict__ o = out + b * out_batch + k * out_plane + j * out_row;
                const REAL* __restrict__ c = u + b * u_batch + (k + 1) * u_plane + (j + 1) * u_row + 1;
                const REAL* __restrict__ d = a + b * a_batch + (k + 1) * u_plane + (j + 1) * u_row + 1;
                if (large) {
                    FETCH_ROW(c + u_plane + AHEAD * u_row, nx);
                    FETCH_ROW(d + u_plane + AHEAD * u_row, nx);
                }
                WRITE_ROW(o, out_row, i, nx, large,
                          scale_z * FACES(c, d, i, u_plane) + scale_y * FACES(c, d, i, u_row) + scale_x * FACES(c, d, i, 1))
            }
#else
    COLUMNS(b, j, i, first, last) {
        const long long at = b * u_batch + (first + 1) * u_plane + (j + 1) * u_row + 1 + i;
        const REAL* __restrict__ c = u + at;
        const REAL* __restrict__ d = a + at - b * (u_batch - a_batch);
        REAL* __restrict__ o = out + b * out_batch + first * out_plane + j * out_row + i;
        #pragma unroll 2
        for (long long k = first; k < last; ++k, c += u_plane, d += u_plane, o += out_plane)
            *o = scale_z * FACES(c, d, 0, u_plane) + scale_y * FACES(c, d, 0, u_row) + scale_x * FACES(c, d, 0, 1);
    }
#endif
}
