// One step of Adam with decoupled weight decay, in one pass over parameters, gradient and both moments.
//
//   m += (g - m) (1 - beta1);   v = beta2 v + (1 - beta2) g^2;   p = keep p - rate m / (sqrt(v) / root + epsilon)
//
// with keep = 1 - lr decay, rate = lr / (1 - beta1^t) and root = sqrt(1 - beta2^t), which the caller works out for step t.
//
// Types    REAL: float, double
// Layout   contiguous vectors of n.
// Launch   any grid and block: grid-stride, x over the vector.
// Aliasing vectors must not overlap.   Determinism: bit-exact; the twin's square root may differ in the last bit.
// Twin: adam_twin.adam_twin.
#include "grid_stride.h"

extern "C" __global__ void adam(REAL* __restrict__ p, const REAL* __restrict__ g, REAL* __restrict__ m, REAL* __restrict__ v, long long n,
                                REAL keep, REAL rest1, REAL beta2, REAL rest2, REAL rate, REAL root, REAL epsilon)
{
    INDEPENDENT FOR_X(i, n) {
        m[i] = m[i] + rest1 * (g[i] - m[i]);
        v[i] = v[i] * beta2 + rest2 * (g[i] * g[i]);
        p[i] = p[i] * keep - rate * (m[i] / (sqrt(v[i]) / root + epsilon));
    }
}
