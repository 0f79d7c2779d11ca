// Rows of arrays that no cache holds: fetched some rows before they are read or written, or written past the cache.
//
// A CPU's own prefetcher stops at the end of every row, and a store first reads the line that it overwrites, which a row of whole lines
// need not. Measured on a 7-point stencil at 128^3 float64: 0.65 of the time by fetching alone, 0.5 with rows of whole lines. Where the
// cache holds both arrays nothing is gained, hence LARGE. A GPU needs none of it. The value reads array[i] as AT(array, i), see ROW.
#include "vector.h"
#define AHEAD 4
#define LARGE(cells) ((cells) * (long long)sizeof(REAL) > (4ll << 20))
#ifdef HPCML_HOST
#define PIECE 256
#define WHOLE_LINES(row, n) (((unsigned long long)(row) | (n) * sizeof(REAL)) % 64 == 0)
#define FETCH_ROW(row, n) for (long long i_ = 0; i_ < (n); i_ += 64 / sizeof(REAL)) __builtin_prefetch((row) + i_)
#define WRITE_ROW(row, pitch, i, n, large, value)                            \
    if ((large) && WHOLE_LINES(row, n)) {                                    \
        REAL piece_[PIECE];                                                  \
        for (long long s_ = 0; s_ < (n); s_ += PIECE) {                      \
            const long long e_ = s_ + PIECE < (n) ? s_ + PIECE : (n);        \
            ROW(piece_, i, s_, e_, value)                                    \
            hpcml_write_past_cache((row) + s_, piece_, e_ - s_);             \
        }                                                                    \
    } else {                                                                 \
        if (large) FETCH_ROW((row) + AHEAD * (pitch), n);                    \
        ROW(row, i, 0ll, n, value)                                           \
    }
#else
#define FETCH_ROW(row, n)
#define WRITE_ROW(row, pitch, i, n, large, value) ROW(row, i, 0, n, value)
#endif
