// Vector updates of Krylov methods, each in one pass over memory.
//
//   axpy       y += a x
//   xpby       y = x + b y                                 the next direction of conjugate gradients
//   cg_update  x += a p;  r -= a q                         solution and residual of conjugate gradients, q = A p
//   bicgstab_direction  p = r + b (p - w v)
//   bicgstab_update     x += a p + w s;  r = s - w t
//
// Types    REAL: float, double
// Layout   contiguous vectors of n.
// Launch   any grid and block: grid-stride, x over the vector.
// Aliasing vectors must not overlap.   Determinism: bit-exact.   Twin: krylov_twin.axpy_twin and so on.
#include "grid_stride.h"

extern "C" __global__ void axpy(REAL* __restrict__ y, const REAL* __restrict__ x, REAL a, long long n)
{
    INDEPENDENT FOR_X(i, n) y[i] = y[i] + a * x[i];
}

extern "C" __global__ void xpby(REAL* __restrict__ y, const REAL* __restrict__ x, REAL b, long long n)
{
    INDEPENDENT FOR_X(i, n) y[i] = x[i] + b * y[i];
}

extern "C" __global__ void cg_update(REAL* __restrict__ x, REAL* __restrict__ r, const REAL* __restrict__ p, const REAL* __restrict__ q,
                                     REAL a, long long n)
{
    INDEPENDENT FOR_X(i, n) {
        x[i] = x[i] + a * p[i];
        r[i] = r[i] - a * q[i];
    }
}

extern "C" __global__ void bicgstab_direction(REAL* __restrict__ p, const REAL* __restrict__ r, const REAL* __restrict__ v, REAL b,
                                              REAL w, long long n)
{
    INDEPENDENT FOR_X(i, n) p[i] = r[i] + b * (p[i] - w * v[i]);
}

extern "C" __global__ void bicgstab_update(REAL* __restrict__ x, REAL* __restrict__ r, const REAL* __restrict__ p,
                                           const REAL* __restrict__ s, const REAL* __restrict__ t, REAL a, REAL w, long long n)
{
    INDEPENDENT FOR_X(i, n) {
        x[i] = x[i] + (a * p[i] + w * s[i]);
        r[i] = s[i] - w * t[i];
    }
}
