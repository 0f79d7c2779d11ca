"""C++ for the CPU around the unchanged text of a kernel file.

The text becomes the body of three structs whose members are threadIdx, blockIdx, blockDim and gridDim, so that the names of CUDA resolve to
members and every kernel becomes a method:

    hpcml_serial   all constant: one thread, whose loops run over everything and vectorise
    hpcml_team     one grid dim (the outermost that the kernel uses) counts OpenMP threads
    hpcml_grid     any launch shape, thread after thread

Each kernel gets one C function per struct. Its arguments come in one record of 8 bytes each, which a launch keeps and reuses.
"""

from collections.abc import Mapping

from hpcml.kernels.signature import as_functions
from hpcml.kernels.source import KernelSource

_PRELUDE = """\
#include <math.h>
#include <omp.h>
#include <string.h>
#define HPCML_HOST 1
#define __global__
#define __device__
#define __host__
#define __shared__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n)
#define __launch_bounds__(...)
#define __syncthreads() ((void)0)
static inline void hpcml_sincospi(double x, double* s, double* c) { *s = sin(M_PI * x); *c = cos(M_PI * x); }
#define sincospi hpcml_sincospi
struct hpcml_argument { const char* at; template <class T> operator T() const { return *(const T*)at; } };
#ifdef __SSE2__
#include <immintrin.h>
#define HPCML_FENCE _mm_sfence();  // what was written past the cache is seen before anything written later
template <class T> static inline void hpcml_write_past_cache(T* to, const T* from, long long n)
{
    for (long long i = 0; i < n; i += 16 / sizeof(T)) _mm_stream_si128((__m128i*)(to + i), _mm_loadu_si128((const __m128i*)(from + i)));
}
#else
#ifdef __aarch64__
#include <arm_neon.h>
#endif
#define HPCML_FENCE
template <class T> static inline void hpcml_write_past_cache(T* to, const T* from, long long n) { memcpy(to, from, n * sizeof(T)); }
#endif
struct hpcml_index { int x, y, z; };
struct hpcml_zero { static constexpr int x = 0, y = 0, z = 0; };
struct hpcml_one { static constexpr int x = 1, y = 1, z = 1; };
struct hpcml_zero_but_y { static constexpr int x = 0, z = 0; int y; };
struct hpcml_zero_but_z { static constexpr int x = 0, y = 0; int z; };
struct hpcml_one_but_y { static constexpr int x = 1, z = 1; int y; };
struct hpcml_one_but_z { static constexpr int x = 1, y = 1; int z; };
"""
_SERIAL = "struct hpcml_serial { static constexpr hpcml_zero threadIdx{}, blockIdx{}; static constexpr hpcml_one blockDim{}, gridDim{};\n"
_TEAM = (
    "struct hpcml_team_{d} {{ static constexpr hpcml_zero threadIdx{{}}; static constexpr hpcml_one blockDim{{}};"
    " hpcml_zero_but_{d} blockIdx; hpcml_one_but_{d} gridDim;\n"
)
_GRID = "struct hpcml_grid { hpcml_index threadIdx, blockIdx, blockDim, gridDim;\n"
_LAUNCHERS = """\
extern "C" void {name}__serial(const char* a) {{ hpcml_serial c; c.{name}({arguments}); HPCML_FENCE }}
extern "C" void {name}__grid(const char* a, const int* g)
{{
    for (int z = 0; z < g[2]; ++z) for (int y = 0; y < g[1]; ++y) for (int x = 0; x < g[0]; ++x)
    for (int w = 0; w < g[5]; ++w) for (int v = 0; v < g[4]; ++v) for (int u = 0; u < g[3]; ++u) {{
        hpcml_grid c{{{{u, v, w}}, {{x, y, z}}, {{g[3], g[4], g[5]}}, {{g[0], g[1], g[2]}}}};
        c.{name}({arguments});
    }}
    HPCML_FENCE
}}
"""
_TEAM_LAUNCHER = """\
extern "C" void {name}__team(const char* a, int threads)
{{
    #pragma omp parallel num_threads(threads)
    {{
        hpcml_team_{d} c;
        c.blockIdx.{d} = omp_get_thread_num();
        c.gridDim.{d} = omp_get_num_threads();
        c.{name}({arguments});
        HPCML_FENCE
    }}
}}
"""


def team_dim(source: KernelSource, name: str) -> str | None:
    """Grid dim over which CPU threads share a kernel's work: z or y, None for a kernel whose only dim is x."""
    body = source.text.split(f"void {name}(", 1)[1].split('extern "C"', 1)[0]
    return next((d for d in "zy" if f"FOR_{d.upper()}(" in body or f"blockIdx.{d}" in body), None)


def host_text(source: KernelSource, types: Mapping[str, str]) -> str:
    """Complete C++ text of a kernel file for the CPU, with its symbols standing for ``types``."""
    body = as_functions(source.text) + "\n};\n"
    teams = {name: team_dim(source, name) for name in source.signatures}
    parts = [_PRELUDE, *(f"#define {symbol} {c_type}\n" for symbol, c_type in types.items()), _SERIAL, body, _GRID, body]
    for d in sorted({d for d in teams.values() if d}):
        parts += [_TEAM.format(d=d), body]
    parts.append('#line 1 "launchers"\n')
    for name, signature in source.signatures.items():
        arguments = ", ".join(f"hpcml_argument{{a + {8 * i}}}" for i in range(len(signature.parameters)))
        parts.append(_LAUNCHERS.format(name=name, arguments=arguments))
        if teams[name]:
            parts.append(_TEAM_LAUNCHER.format(name=name, d=teams[name], arguments=arguments))
    return "".join(parts)
