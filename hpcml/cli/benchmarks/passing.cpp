// The least that two cores need to pass bytes both ways: each stores its own, raises a flag, waits for that of the other, and loads.
//
// Plain stores and loads of whole words, as wide as the compiler likes: nothing is gathered, scattered or kept.
#include <sched.h>

typedef unsigned long long word;

static void store(word* __restrict__ to, long long count, word value)
{
    for (long long i = 0; i < count; ++i) to[i] = value + i;
}

static word load(const word* __restrict__ from, long long count)
{
    word sum = 0;
    for (long long i = 0; i < count; ++i) sum += from[i];
    return sum;
}

static void wait_for(const long long* flag, long long step)
{
    for (long long i = 0; __atomic_load_n(flag, __ATOMIC_ACQUIRE) < step; ++i) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
        if (i > 2000) sched_yield();
    }
}

// Pass words value, value + 1, ... and give the sum of those that came.
extern "C" word hpcml_pass(word* mine, const word* theirs, long long count, word value, long long* ready, const long long* flag, long long step)
{
    store(mine, count, value);
    __atomic_store_n(ready, step, __ATOMIC_RELEASE);
    wait_for(flag, step);
    return load(theirs, count);
}

// Raise the flag and wait for that of the other so many times: each time takes a cache line from core to core.
extern "C" void hpcml_meet(long long* ready, const long long* flag, long long step, long long times)
{
    for (long long i = step; i < step + times; ++i) {
        __atomic_store_n(ready, i, __ATOMIC_RELEASE);
        wait_for(flag, i);
    }
}
