// One colour of a red-black successive over-relaxation sweep for a constant 5- or 7-point operator, in place.
//
//   u += omega [(f - near_z (u_k-1 + u_k+1) - near_y (...) - near_x (...)) inverse_centre - u]     where (i + j + k) mod 2 = colour
//
// Types    REAL: float, double
// Layout   u holds the cells of f and one ghost cell on every side; rows are contiguous, rows, planes and batch entries lie a stride (in
//          elements) apart. colour counts from cell (0, 0, 0) of f: the caller adds the parity of its global offset.
// Launch   any grid and block: grid-stride, x along the cells of the colour in a row, y over rows, z over planes (over the batch in 2-D).
// Aliasing u is read and written, but no cell of the colour reads another one; f must not overlap u.
// Determinism: bit-exact.   Twin: sor_twin.sor_5_twin, sor_twin.sor_7_twin.
#include "grid_stride.h"
#include "large_arrays.h"

extern "C" __global__ void sor_5(REAL* __restrict__ u, const REAL* __restrict__ f, int batch, int ny, int nx,
                                 long long u_batch, long long u_row, long long f_batch, long long f_row,
                                 REAL inverse_centre, REAL near_y, REAL near_x, REAL omega, int colour)
{
    FOR_Z(b, batch)
        FOR_Y(j, ny) {
            int first = (int)(j + colour) & 1;
            REAL* c = u + b * u_batch + (j + 1) * u_row + 1 + first;
            const REAL* __restrict__ r = f + b * f_batch + j * f_row + first;
            INDEPENDENT
            FOR_X(h, (nx - first + 1) / 2) {
                long long i = 2 * h;
                REAL rest = r[i] - near_y * (c[i - u_row] + c[i + u_row]) - near_x * (c[i - 1] + c[i + 1]);
                c[i] = c[i] + omega * (rest * inverse_centre - c[i]);
            }
        }
}

extern "C" __global__ void sor_7(REAL* __restrict__ u, const REAL* __restrict__ f, int batch, int nz, int ny, int nx,
                                 long long u_batch, long long u_plane, long long u_row,
                                 long long f_batch, long long f_plane, long long f_row,
                                 REAL inverse_centre, REAL near_z, REAL near_y, REAL near_x, REAL omega, int colour)
{
    for (int b = 0; b < batch; ++b)
        FOR_Z(k, nz)
            FOR_Y(j, ny) {
                int first = (int)(k + j + colour) & 1;
                REAL* c = u + b * u_batch + (k + 1) * u_plane + (j + 1) * u_row + 1 + first;
                const REAL* __restrict__ r = f + b * f_batch + k * f_plane + j * f_row + first;
                if (LARGE(nz * u_plane)) {
                    FETCH_ROW(c + u_plane + AHEAD * u_row, nx);
                    FETCH_ROW(r + AHEAD * f_row, nx);
                }
                INDEPENDENT
                FOR_X(h, (nx - first + 1) / 2) {
                    long long i = 2 * h;
                    REAL rest = r[i] - near_z * (c[i - u_plane] + c[i + u_plane]) - near_y * (c[i - u_row] + c[i + u_row])
                              - near_x * (c[i - 1] + c[i + 1]);
                    c[i] = c[i] + omega * (rest * inverse_centre - c[i]);
                }
            }
}
