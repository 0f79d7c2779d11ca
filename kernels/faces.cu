// Divergence of a flux whose coefficient is given for every face: what a finite-volume operator with a variable coefficient does.
//
//   faces_2d, faces_3d   out = sum over dims d of w_d (u - u_-) - w_d+ (u_+ - u),      w_d and w_d+ at the two faces of the cell
//
// Types    REAL: float, double
// Layout   u holds the cells of out and one ghost cell on every side; its rows are contiguous, rows, planes and batch entries lie a stride
//          (in elements) apart. out, and the weights with one face more along their dim, are contiguous.
// Launch   any grid and block: grid-stride, x along a row, y over rows, z over planes (over the batch in 2-D).
// Aliasing out must not overlap anything.   Determinism: bit-exact.   Twin: face_divergence_twin.faces_2d_twin, faces_3d_twin.
#include "grid_stride.h"
#include "vector.h"

// What flows out of a cell across one dim, whose faces lie `face` and whose neighbors `cell` elements away.
#define FACES(w, face, u, cell, i) \
    (AT(w, i) * (AT(u, i) - AT(u, (i) - (cell))) - AT(w, (i) + (face)) * (AT(u, (i) + (cell)) - AT(u, i)))

extern "C" __global__ void faces_2d(REAL* __restrict__ out, const REAL* __restrict__ u, const REAL* __restrict__ wy,
                                    const REAL* __restrict__ wx, int batch, int ny, int nx, long long u_batch, long long u_row)
{
    FOR_Z(b, batch)
        FOR_Y(j, ny) {
            REAL* __restrict__ o = out + (b * ny + j) * nx;
            const REAL* __restrict__ c = u + b * u_batch + (j + 1) * u_row + 1;
            const REAL* __restrict__ y = wy + (b * (ny + 1) + j) * nx;
            const REAL* __restrict__ x = wx + (b * ny + j) * (nx + 1);
            ROW(o, i, 0, nx, FACES(y, nx, c, u_row, i) + FACES(x, 1, c, 1, i))
        }
}

extern "C" __global__ void faces_3d(REAL* __restrict__ out, const REAL* __restrict__ u, const REAL* __restrict__ wz,
                                    const REAL* __restrict__ wy, const REAL* __restrict__ wx, int batch, int nz, int ny, int nx,
                                    long long u_batch, long long u_plane, long long u_row)
{
    for (long long b = 0; b < batch; ++b)
        FOR_Z(k, nz)
            FOR_Y(j, ny) {
                const long long plane = (long long)ny * nx;
                REAL* __restrict__ o = out + (b * nz + k) * plane + j * nx;
                const REAL* __restrict__ c = u + b * u_batch + (k + 1) * u_plane + (j + 1) * u_row + 1;
                const REAL* __restrict__ z = wz + (b * (nz + 1) + k) * plane + j * nx;
                const REAL* __restrict__ y = wy + ((b * nz + k) * (ny + 1) + j) * nx;
                const REAL* __restrict__ x = wx + ((b * nz + k) * ny + j) * (nx + 1);
                ROW(o, i, 0, nx, FACES(z, plane, c, u_plane, i) + FACES(y, nx, c, u_row, i) + FACES(x, 1, c, 1, i))
            }
}
