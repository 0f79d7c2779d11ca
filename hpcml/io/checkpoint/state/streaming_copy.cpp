// Copies blocks past the caches: what is written is not read again soon, and a line that is written whole need not be fetched before.
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

struct Block {
    char* to;
    const char* from;
    long long bytes;
};

#if defined(__SSE2__)
static const long long line = 64;

// From the first whole line of the target on; returns how many bytes are done.
static long long stream_lines(char* to, const char* from, long long bytes)
{
    long long done = 0;
    for (; done + line <= bytes; done += line) {
        const __m128i* source = (const __m128i*)(from + done);
        __m128i* target = (__m128i*)(to + done);
        const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
        const __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    }
    return done;
}

static void copy(const Block& block)
{
    const long long misaligned = (long long)(-(uintptr_t)block.to & (line - 1));
    const long long head = misaligned < block.bytes ? misaligned : block.bytes;
    memcpy(block.to, block.from, head);
    const long long done = head + stream_lines(block.to + head, block.from + head, block.bytes - head);
    memcpy(block.to + done, block.from + done, block.bytes - done);
}
#else
static void copy(const Block& block) { memcpy(block.to, block.from, block.bytes); }
#endif

extern "C" void hpcml_streaming_copy(const Block* blocks, long long count)
{
    for (long long i = 0; i < count; ++i) copy(blocks[i]);
#if defined(__SSE2__)
    _mm_sfence();  // before anyone is told that the copy is complete
#endif
}
