// Ask the CPU for a row of a large array a few rows before it is read or written: its own prefetcher stops at the end of every row.
//
// Measured on a 7-point stencil: 128^3 float64 takes 0.66 of the time, 64^3, which stays in the cache, 1.09; hence LARGE. A GPU needs none of it.
#define AHEAD 4
#define LARGE(cells) ((cells) * (long long)sizeof(REAL) > (4ll << 20))
#ifdef HPCML_HOST
#define PREFETCH_READ(row, n) for (long long i_ = 0; i_ < (n); i_ += 64 / sizeof(REAL)) __builtin_prefetch((row) + i_, 0)
#define PREFETCH_WRITE(row, n) for (long long i_ = 0; i_ < (n); i_ += 64 / sizeof(REAL)) __builtin_prefetch((row) + i_, 1)
#else
#define PREFETCH_READ(row, n)
#define PREFETCH_WRITE(row, n)
#endif
