// Fluxes through the faces between cells along one dim by fifth-order WENO (Jiang and Shu).
//
//   weno5_flux   flux_f = c_f u_left    where c_f > 0, else c_f u_right,      both states reconstructed from five cells
//
// Types    REAL: float, double
// Layout   u is (outer, cells + 6, inner) with 3 ghost cells a side, flux and speed are (outer, cells + 1, inner), all
//          contiguous; faces = (cells + 1) inner, and neighbors along the dim lie inner elements apart, so that one loop serves every dim.
// Launch   any grid and block: grid-stride, x over faces, y over outer.
// Aliasing flux must not overlap u or speed.   Determinism: bit-exact.   Twin: flux_twin.weno5_flux_twin.
#include "grid_stride.h"

// State at the face after cell c, seen from the side of a, b, c.
__device__ __forceinline__ REAL weno5(REAL a, REAL b, REAL c, REAL d, REAL e)
{
    const REAL tiny = (REAL)1e-6, third = (REAL)(13.0 / 12.0), quarter = (REAL)0.25;
    REAL bend0 = a - 2 * b + c, bend1 = b - 2 * c + d, bend2 = c - 2 * d + e;
    REAL tilt0 = a - 4 * b + 3 * c, tilt1 = b - d, tilt2 = 3 * c - 4 * d + e;
    REAL rough0 = tiny + (third * (bend0 * bend0) + quarter * (tilt0 * tilt0));
    REAL rough1 = tiny + (third * (bend1 * bend1) + quarter * (tilt1 * tilt1));
    REAL rough2 = tiny + (third * (bend2 * bend2) + quarter * (tilt2 * tilt2));
    REAL w0 = 1 / (rough0 * rough0), w1 = 6 * (1 / (rough1 * rough1)), w2 = 3 * (1 / (rough2 * rough2));
    REAL sum = w0 * (2 * a - 7 * b + 11 * c) + w1 * (5 * c - b + 2 * d) + w2 * (2 * c + 5 * d - e);
    return sum / (6 * (w0 + w1 + w2));
}

extern "C" __global__ void weno5_flux(REAL* __restrict__ flux, const REAL* __restrict__ u, const REAL* __restrict__ speed,
                                      int outer, long long faces, int inner)
{
    FOR_Y(o, outer) {
        const REAL* __restrict__ from = u + o * (faces + 5ll * inner);
        INDEPENDENT FOR_X(f, faces) {
            const REAL* p = from + f;
            // All are read before one side is taken: a vector holds faces of both signs.
            const REAL s = speed[o * faces + f], a = p[0], b = p[inner], c = p[2ll * inner], d = p[3ll * inner], e = p[4ll * inner];
            const REAL g = p[5ll * inner], first = s > 0 ? a : g, second = s > 0 ? b : e, third = s > 0 ? c : d;
            const REAL fourth = s > 0 ? d : c, fifth = s > 0 ? e : b;
            flux[o * faces + f] = s * weno5(first, second, third, fourth, fifth);
        }
    }
}
