// Vectors of numbers on the CPU, as wide as its registers: code that says so itself, which no compiler's tuning takes apart again. Some tune
// for shorter registers than the processor has, and then do one number at a time what was written for long ones.
//
//   ROW(to, i, first, last, value)   to[i - first] = value for first <= i < last, whose value reads array[i] as AT(array, i): in vectors,
//                                    the rest in short ones, then number by number; on a GPU a loop by threads
//
// Vectors add, subtract and multiply as numbers do; multiply_add rounds once, whatever the flags say of contraction.
#ifdef HPCML_HOST
#if defined __AVX512F__
#define LINE 64  // bytes of a register
#elif defined __AVX__
#define LINE 32
#else
#define LINE 16
#endif
#define LANES ((int)(LINE / sizeof(REAL)))
typedef REAL line __attribute__((vector_size(LINE)));
typedef REAL part __attribute__((vector_size(16)));

template <class V>
static __forceinline__ V load(const REAL* from)
{
    V value;
    memcpy(&value, from, sizeof(V));
    return value;
}

static __forceinline__ line all(REAL value)
{
    return value - line();  // unlike a sum with zero this is the value itself, -0 too
}

static __forceinline__ line multiply_add(line a, line b, line c)
{
#if defined __AVX512F__
    if constexpr (sizeof(REAL) == 4) return (line)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
    else return (line)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined __FMA__
    if constexpr (sizeof(REAL) == 4) return (line)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
    else return (line)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined __aarch64__
    if constexpr (sizeof(REAL) == 4) return (line)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
    else return (line)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    line sum;
    for (int i = 0; i < LANES; ++i) sum[i] = fma(a[i], b[i], c[i]);
    return sum;
#endif
}

static __forceinline__ REAL total(line value)
{
    REAL sum = 0;
    for (int i = 0; i < LANES; ++i) sum += value[i];
    return sum;
}

#define AT(array, i) load<V>((array) + (i))
#define ROW(to, i, first, last, value)                                                                                 \
    {                                                                                                                  \
        const long long threads_ = (long long)gridDim.x * blockDim.x, thread_ = blockIdx.x * blockDim.x + threadIdx.x; \
        const long long end_ = (first) + ((last) - (first)) * (thread_ + 1) / threads_;                                \
        long long i = (first) + ((last) - (first)) * thread_ / threads_;                                               \
        STORE(line, to, i, first, end_, value)                                                                         \
        STORE(part, to, i, first, end_, value)                                                                         \
        STORE(REAL, to, i, first, end_, value)                                                                         \
    }
// The assembly is empty: it keeps the compiler from making vectors of these vectors and of the rest.
#define STORE(T, to, i, first, end, value)                                                                             \
    for (typedef T V; i + (long long)(sizeof(V) / sizeof(REAL)) <= end; i += sizeof(V) / sizeof(REAL)) {               \
        const V value_ = value;                                                                                        \
        memcpy((to) + (i - (first)), &value_, sizeof(V));                                                              \
        __asm__ volatile("" : "+r"(i));                                                                                \
    }
#else
#define AT(array, i) (array)[i]
#define ROW(to, i, first, last, value)                                                                                 \
    FOR_X(i_, (last) - (first)) {                                                                                      \
        const long long i = (first) + i_;                                                                              \
        (to)[i_] = value;                                                                                              \
    }
#endif
