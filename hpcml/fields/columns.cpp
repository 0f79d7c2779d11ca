// Fourier transforms of many columns at once, from where they lie to where they shall lie: Stockham's algorithm in vectors over the columns.
//
// A vector holds LINE bytes of complex numbers, each of another column, so that no column's arithmetic depends on which others there are.
// Tiles of one or two vectors of columns are transformed in a core's own cache, and memory is read and written once.
#include <omp.h>
#include <string.h>
#include <algorithm>
#include <type_traits>
#include <utility>

#if defined __AVX512F__
#define LINE 64  // bytes of a register
#elif defined __AVX__
#define LINE 32
#else
#define LINE 16
#endif
#define INLINE static inline __attribute__((always_inline))
// Some rows of a slab: their number, their first byte, and the bytes from one row, slab and field to the next.
struct Piece { long long rows; char* base; long long row, slab, field; };
// Transform of n numbers: radices, whose product it is, and the factors between their passes.
struct Plan { long long n; const long long* radices; const void* factors; };
struct Job {
    Plan columns, lines;  // lines.n is half the length of a real line, or zero
    const void* turns;    // exp(-pi i k / lines.n)
    double scale;
    long long count, slabs, slabs_of_field, slab_modes, back, threads, share;  // count: columns of a slab; share: bytes of work of a thread
    char *work, *cells;  // cells: real slabs, one after the other
    const Piece *in, *out;
};

template <class T> struct Shape {
    static const int reals = LINE / sizeof(T), lanes = reals / 2;
    typedef T V __attribute__((vector_size(LINE)));
    typedef typename std::conditional<sizeof(T) == 4, int, long long>::type Index;
    typedef Index Indices __attribute__((vector_size(LINE)));
    typedef std::make_integer_sequence<int, reals> Places;
};
template <class T> using Vec = typename Shape<T>::V;
template <class T> INLINE Vec<T> load(const T* from)
{
    Vec<T> v;
    return memcpy(&v, from, LINE), v;
}
template <class T> INLINE void store(T* to, Vec<T> v) { memcpy(to, &v, LINE); }
// Numbers of a and b by their places.
template <class T, int... place> INLINE Vec<T> mixed(Vec<T> a, Vec<T> b, std::integer_sequence<int, place...>)
{
#ifdef __clang__
    return __builtin_shufflevector(a, b, place...);
#else
    return __builtin_shuffle(a, b, (typename Shape<T>::Indices){place...});
#endif
}
template <class T, int... i> INLINE Vec<T> swap_parts(Vec<T> a, std::integer_sequence<int, i...>)
{
    return mixed<T>(a, a, std::integer_sequence<int, (i ^ 1)...>());
}
// Complex numbers of the first (or second) halves of a and b in turn.
template <class T, bool second, int... i> INLINE Vec<T> zipped(Vec<T> a, Vec<T> b, std::integer_sequence<int, i...>)
{
    constexpr int n = sizeof...(i), from = second ? n / 2 : 0;
    return mixed<T>(a, b, std::integer_sequence<int, (i / 4 * 2 + i % 2 + from + i / 2 % 2 * n)...>());
}
template <class T, int... i> INLINE Vec<T> paired(T re, T im, std::integer_sequence<int, i...>) { return Vec<T>{(i % 2 ? im : re)...}; }
template <class T> INLINE Vec<T> swapped(Vec<T> a) { return swap_parts<T>(a, typename Shape<T>::Places()); }
template <class T> INLINE Vec<T> pairs(T re, T im) { return paired<T>(re, im, typename Shape<T>::Places()); }
template <class T> INLINE Vec<T> conj(Vec<T> a) { return a * pairs<T>(1, -1); }
template <class T> INLINE Vec<T> times(Vec<T> a, T re, T im) { return a * pairs<T>(re, re) + swapped<T>(a) * pairs<T>(-im, im); }
// Times -i, or times i on the way back.
template <class T, bool back> INLINE Vec<T> turned(Vec<T> a) { return swapped<T>(a) * (back ? pairs<T>(-1, 1) : pairs<T>(1, -1)); }

template <class T, bool back> INLINE void transform_3(Vec<T>* x)
{
    const T s = (back ? 1 : -1) * 0.866025403784438646763723170752936183;
    const Vec<T> sum = x[1] + x[2], across = swapped<T>(x[1] - x[2]) * pairs<T>(-s, s), middle = x[0] - pairs<T>(0.5, 0.5) * sum;
    x[0] = x[0] + sum, x[1] = middle + across, x[2] = middle - across;
}
template <class T, bool back> INLINE void transform_4(Vec<T>* x)
{
    const Vec<T> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = turned<T, back>(x[1] - x[3]);
    x[0] = a + c, x[1] = b + d, x[2] = a - c, x[3] = b - d;
}
template <class T, bool back> INLINE void transform_5(Vec<T>* x)
{
    const T c1 = 0.309016994374947424102293417182819059, c2 = -0.809016994374947424102293417182819059;
    const T s1 = (back ? 1 : -1) * 0.951056516295153572116439333379382143, s2 = (back ? 1 : -1) * 0.587785252292473129168705954639072769;
    const Vec<T> p = x[1] + x[4], q = x[2] + x[3], u = swapped<T>(x[1] - x[4]), v = swapped<T>(x[2] - x[3]);
    const Vec<T> a = x[0] + pairs<T>(c1, c1) * p + pairs<T>(c2, c2) * q, b = x[0] + pairs<T>(c2, c2) * p + pairs<T>(c1, c1) * q;
    const Vec<T> c = u * pairs<T>(-s1, s1) + v * pairs<T>(-s2, s2), d = u * pairs<T>(-s2, s2) - v * pairs<T>(-s1, s1);
    x[0] = x[0] + p + q, x[1] = a + c, x[2] = b + d, x[3] = b - d, x[4] = a - c;
}
template <class T, bool back> INLINE void transform_8(Vec<T>* x)
{
    const T h = 0.707106781186547524400844362104849039;
    Vec<T> even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
    transform_4<T, back>(even), transform_4<T, back>(odd);
    odd[1] = (odd[1] + turned<T, back>(odd[1])) * pairs<T>(h, h);
    odd[2] = turned<T, back>(odd[2]);
    odd[3] = (turned<T, back>(odd[3]) - odd[3]) * pairs<T>(h, h);
    for (int k = 0; k < 4; ++k) x[k] = even[k] + odd[k], x[k + 4] = even[k] - odd[k];
}
template <class T, bool back, int R> INLINE void transform_few(Vec<T>* x)
{
    if constexpr (R == 3) transform_3<T, back>(x);
    else if constexpr (R == 4) transform_4<T, back>(x);
    else if constexpr (R == 5) transform_5<T, back>(x);
    else if constexpr (R == 8) transform_8<T, back>(x);
    else {
        const Vec<T> b = x[1];
        x[1] = x[0] - b, x[0] = x[0] + b;
    }
}

// Rows of columns, from one of them on.
template <class T> struct Rows {
    T* const* rows;
    long long at;
    T* operator()(long long i) const { return rows[i] + at; }
};

// One pass: of what is left of a transform, m = left / R, and s results of earlier passes side by side. The last pass scales.
template <class T, bool back, int R, bool last>
static void pass(long long m, long long s, const T* w, T scale, Rows<T> in, Rows<T> out, long long width)
{
    for (long long p = 0; p < m; ++p, w += 2 * (R - 1))
        for (long long q = 0; q < s; ++q)
#pragma GCC unroll 1
            for (long long c = 0; c < width; c += Shape<T>::reals) {
                Vec<T> x[R];
#pragma GCC unroll 8
                for (int k = 0; k < R; ++k) x[k] = load<T>(in(q + s * (p + m * k)) + c);
                transform_few<T, back, R>(x);
                store<T>(out(q + s * R * p) + c, last ? x[0] * pairs<T>(scale, scale) : x[0]);
#pragma GCC unroll 8
                for (int k = 1; k < R; ++k)
                    store<T>(out(q + s * (R * p + k)) + c, last ? x[k] * pairs<T>(scale, scale) : times<T>(x[k], w[2 * k - 2], w[2 * k - 1]));
            }
}
template <class T, bool back, bool last, class... Rest> static void pass_of(long long radix, Rest... rest)
{
    if (radix == 2) pass<T, back, 2, last>(rest...);
    else if (radix == 3) pass<T, back, 3, last>(rest...);
    else if (radix == 4) pass<T, back, 4, last>(rest...);
    else if (radix == 5) pass<T, back, 5, last>(rest...);
    else pass<T, back, 8, last>(rest...);
}

// What a thread works in, as rows: two tiles of two vectors, one of one, a slab of modes; and the rows that it reads and writes.
template <class T> struct Room {
    T **a, **b, **tile, **from, **to, *slab;
    Room(const Job& job)
    {
        const long long n = std::max(job.columns.n, job.lines.n + 1), reals = Shape<T>::reals;
        T* memory = (T*)(job.work + omp_get_thread_num() * job.share);
        slab = memory + 5 * n * reals;
        a = (T**)(slab + 2 * job.slab_modes), b = a + n, tile = b + n, from = tile + n, to = from + n;
        for (long long i = 0; i < n; ++i) a[i] = memory + 2 * i * reals, b[i] = a[i] + 2 * n * reals, tile[i] = memory + (4 * n + i) * reals;
    }
};
// A tile of some vectors' width.
template <class T, bool back>
static void transform(const Plan& plan, T scale, const Room<T>& room, Rows<T> in, Rows<T> out, long long width)
{
    const T* w = (const T*)plan.factors;
    const long long* radix = plan.radices;
    Rows<T> next = {room.a, 0}, spare = {room.b, 0};
    for (long long left = plan.n, m, s = 1;; s *= *radix++) {
        m = left / *radix;
        if (m == 1) return pass_of<T, back, true>(*radix, 1, s, w, scale, in, out, width);
        pass_of<T, back, false>(*radix, m, s, w, scale, in, next, width);
        w += 2 * (*radix - 1) * m, left = m, in = next, std::swap(next, spare);
    }
}
// Fewer columns than a vector has: the rest are zeros.
template <class T, bool back> static void few_columns(const Plan& plan, T scale, const Room<T>& room, long long count)
{
    memset(room.tile[0], 0, plan.n * LINE);
    for (long long i = 0; i < plan.n; ++i) memcpy(room.tile[i], room.from[i], 2 * count * sizeof(T));
    transform<T, back>(plan, scale, room, {room.tile, 0}, {room.tile, 0}, Shape<T>::reals);
    for (long long i = 0; i < plan.n; ++i) memcpy(room.to[i], room.tile[i], 2 * count * sizeof(T));
}
// Columns from first to end of all: the last vector may reach back over columns that are done, to the same result.
template <class T, bool back>
static void columns(const Plan& plan, T scale, const Room<T>& room, long long first, long long end, long long all)
{
    const long long reals = Shape<T>::reals;
    if (2 * all < reals) return few_columns<T, back>(plan, scale, room, all);
    long long at = 2 * first;
    for (; at + 2 * reals <= 2 * end; at += 2 * reals) {
        for (long long i = 0, next = at + 2 * reals; next + 2 * reals <= 2 * end && i < plan.n; ++i) {  // no core foresees so many streams
            __builtin_prefetch(room.from[i] + next, 0, 2), __builtin_prefetch(room.from[i] + next + reals, 0, 2);
            __builtin_prefetch(room.to[i] + next, 1, 2), __builtin_prefetch(room.to[i] + next + reals, 1, 2);
        }
        transform<T, back>(plan, scale, room, {room.from, at}, {room.to, at}, 2 * reals);
    }
    for (; at < 2 * end; at += reals) {
        const long long last = std::min(at, 2 * end - reals);
        transform<T, back>(plan, scale, room, {room.from, last}, {room.to, last}, reals);
    }
}

template <class T> static void point_to_rows(T** rows, const Piece* piece, const Job& job, long long slab)
{
    for (T** end = rows + job.columns.n; rows < end; ++piece)
        for (long long i = 0; i < piece->rows; ++i)
            *rows++ = (T*)(piece->base + i * piece->row + slab % job.slabs_of_field * piece->slab + slab / job.slabs_of_field * piece->field);
}

template <class T> INLINE void transpose(Vec<T>* a)
{
    const int lanes = Shape<T>::lanes;
    for (int round = 1; round < lanes; round *= 2) {
        Vec<T> t[lanes];
#pragma GCC unroll 8
        for (int i = 0; i < lanes / 2; ++i) {
            t[2 * i] = zipped<T, false>(a[i], a[i + lanes / 2], typename Shape<T>::Places());
            t[2 * i + 1] = zipped<T, true>(a[i], a[i + lanes / 2], typename Shape<T>::Places());
        }
        memcpy(a, t, sizeof t);
    }
}
// Complex numbers from as many lines as a vector has lanes, some apart, into a tile, or back.
template <class T, bool into> static void exchange_tile(T* tile, T* lines, long long apart, long long count)
{
    const int lanes = Shape<T>::lanes, reals = Shape<T>::reals;
    long long j = 0;
    for (; j + lanes <= count; j += lanes) {
        Vec<T> a[lanes];
#pragma GCC unroll 8
        for (int i = 0; i < lanes; ++i) a[i] = load<T>(into ? lines + i * apart + 2 * j : tile + (j + i) * reals);
        transpose<T>(a);
#pragma GCC unroll 8
        for (int i = 0; i < lanes; ++i) store<T>(into ? tile + (j + i) * reals : lines + i * apart + 2 * j, a[i]);
    }
    for (int i = 0; i < lanes * (count - j); ++i) {
        T *one = tile + j * reals + 2 * i, *other = lines + i % lanes * apart + 2 * (j + i / lanes);
        memcpy(into ? one : other, into ? other : one, 2 * sizeof(T));
    }
}

// Between a spectrum of n complex numbers, z[j] = x[2j] + i x[2j + 1], and the n + 1 modes of the real line x, times two.
template <class T, bool back> static void split_modes(T* tile, long long n, const T* turns)
{
    const long long reals = Shape<T>::reals;
    const Vec<T> first = load<T>(tile), real = pairs<T>(1, 0);
    if (back) {
        const Vec<T> x = first * real, y = load<T>(tile + n * reals) * real;
        store<T>(tile, x + y + swapped<T>(x - y));
    } else {
        store<T>(tile, (first + swapped<T>(first)) * pairs<T>(2, 0));
        store<T>(tile + n * reals, (first - swapped<T>(first)) * pairs<T>(2, 0));
    }
    for (long long k = 1; 2 * k <= n; ++k) {
        const Vec<T> p = load<T>(tile + k * reals), q = conj<T>(load<T>(tile + (n - k) * reals)), even = p + q;
        const Vec<T> odd = turned<T, back>(times<T>(p - q, turns[2 * k], back ? -turns[2 * k + 1] : turns[2 * k + 1]));
        store<T>(tile + k * reals, even + odd);
        store<T>(tile + (n - k) * reals, conj<T>(even - odd));
    }
}
template <class T, bool back> static void real_lines(const Job& job, const Room<T>& room, T* cells)
{
    const long long n = job.lines.n, apart = 2 * (n + 1);
    T* const tile = room.tile[0];
    for (long long i = 0; i < job.columns.n; i += Shape<T>::lanes) {
        const long long line = std::min(i, job.columns.n - Shape<T>::lanes);  // as in columns
        T *real = cells + line * 2 * n, *modes = room.slab + line * apart;
        if (back) exchange_tile<T, true>(tile, modes, apart, n + 1), split_modes<T, true>(tile, n, (const T*)job.turns);
        else exchange_tile<T, true>(tile, real, 2 * n, n);
        transform<T, back>(job.lines, (T)(back ? job.scale : 0.5), room, {room.tile, 0}, {room.tile, 0}, Shape<T>::reals);
        if (back) exchange_tile<T, false>(tile, real, 2 * n, n);
        else split_modes<T, false>(tile, n, (const T*)job.turns), exchange_tile<T, false>(tile, modes, apart, n + 1);
    }
}

template <class T, bool back> static void run_part(const Job& job, long long slab, long long first, long long end)
{
    const Room<T> room(job);
    const bool real = job.lines.n;
    T* const cells = (T*)job.cells + slab * job.columns.n * 2 * job.lines.n;
    for (long long i = 0; real && i < job.columns.n; ++i) (back ? room.to : room.from)[i] = room.slab + i * job.count * 2;
    if (!real || back) point_to_rows(room.from, job.in, job, slab);
    if (!real || !back) point_to_rows(room.to, job.out, job, slab);
    if (real && !back) real_lines<T, false>(job, room, cells);
    columns<T, back>(job.columns, real && back ? 1 : job.scale, room, first, end, job.count);
    if (real && back) real_lines<T, true>(job, room, cells);
}

template <class T, bool back> static void run(const Job& job)
{
    const long long wide = 2 * Shape<T>::lanes, tiles = std::max(1LL, job.count / wide);
    const long long parts = job.lines.n ? 1 : std::min(tiles, job.threads);
#pragma omp parallel for schedule(static) num_threads(job.threads) if (job.threads > 1)
    for (long long item = 0; item < job.slabs * parts; ++item) {
        const long long part = item % parts, end = part + 1 < parts ? tiles * (part + 1) / parts * wide : job.count;
        run_part<T, back>(job, item / parts, tiles * part / parts * wide, end);
    }
}
extern "C" void hpcml_columns_float(const Job* job) { job->back ? run<float, true>(*job) : run<float, false>(*job); }
extern "C" void hpcml_columns_double(const Job* job) { job->back ? run<double, true>(*job) : run<double, false>(*job); }
