// Nearest-neighbor stencils: 5 points in two dims, 7 points in three.
//
//   five_point    out = centre u + near_y (u_j-1 + u_j+1) + near_x (u_i-1 + u_i+1)
//   seven_point   out = centre u + near_z (u_k-1 + u_k+1) + near_y (u_j-1 + u_j+1) + near_x (u_i-1 + u_i+1)
//
// Types    REAL: float, double
// Layout   u holds the cells of out and one ghost cell on every side; rows are contiguous, rows, planes and batch entries lie a stride
//          (in elements) apart.
// Launch   any grid and block: grid-stride, x along a row, y over rows, z over planes (over the batch in 2-D). On a GPU a thread takes planes
//          that follow one another, and keeps what the next one needs of the column above its cell.
// Aliasing out must not overlap u.   Determinism: bit-exact.   Twin: stencil_twin.five_point_twin and so on.
#include "grid_stride.h"
#include "large_arrays.h"

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
    const long long threads = (long long)gridDim.z * blockDim.z, thread = (long long)blockIdx.z * blockDim.z + threadIdx.z;
    const long long first = nz * thread / threads, last = nz * (thread + 1) / threads;
    for (int b = 0; b < batch; ++b)
        FOR_Y(j, ny)
            FOR_X(i, nx) {
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
