// Packs, unpacks or both of one step of an exchange, each unpack after its flag: what lies between two calls from Python.
//
// A flag is the number of the last step that a rank has packed. Its owner alone writes it, with release order after the bytes; a reader
// loads it with acquire order before it reads them. Behind each flag lie the numbers of the calls that even and odd steps belong to.
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

struct Move {
    void (*run)(const char*);    // kernel, or null
    const char* arguments;       // its record
    const long long* flag;       // to wait for, or null
};
struct Moves {
    long long count, spins;
    long long* ready;            // flag to raise after the first so many moves, or null
    long long first, step;
    long long call;              // number of the call, which the neighbors' must equal, or negative
    long long differs;           // whether a neighbor's did not
    Move move[];
};

// What an exchange counts: see `State` in moves.py.
struct State {
    long long step, status, call, messages, bytes;
    long long* traffic;
};
enum Status { IDLE, IN_FLIGHT };
struct Turns {
    State* state;
    Moves* half[2];  // those of even and of odd steps
};

static inline void pause_core()
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

static inline bool has_come(const long long* flag, long long step) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE) >= step; }

// Nanoseconds waited beyond spinning, and those of them in which this thread could run, but had no core: see hpcml/mpi/waited.py.
extern "C" {
long long hpcml_waited = 0, hpcml_queued = 0;
}

static long long now()
{
    timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec * 1000000000LL + moment.tv_nsec;
}

static long long queued()
{
    static const int file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    char text[64];
    const ssize_t size = file < 0 ? 0 : pread(file, text, sizeof text - 1, 0);
    long long ran = 0, waited = 0;
    if (size <= 0) return 0;
    text[size] = 0;
    sscanf(text, "%lld %lld", &ran, &waited);
    return waited;
}

static bool wait_long(const long long* flag, long long step)
{
    for (int i = 0; i < 1000; ++i) {
        if (has_come(flag, step)) return true;
        sched_yield();
    }
    const timespec moment = {0, 100000};
    for (int i = 0; i < 200; ++i) {
        if (has_come(flag, step)) return true;
        nanosleep(&moment, nullptr);
    }
    return has_come(flag, step);
}

// Spin for some microseconds, then let others run, then sleep; give up after 20 ms so that the caller can look after the neighbor.
static bool wait_for(const long long* flag, long long step, long long spins)
{
    for (long long i = 0; i < spins; ++i) {
        if (has_come(flag, step)) return true;
        pause_core();
    }
    if (has_come(flag, step)) return true;
    const long long before = queued(), start = now();
    const bool came = wait_long(flag, step);
    hpcml_waited += now() - start;
    hpcml_queued += queued() - before;
    return came;
}

// Run moves from a number on; 0 when all are done, -1 when they are and a neighbor was in another call, else the number, counted from 1, of
// the one whose flag has not come.
extern "C" long long hpcml_move_from(Moves* moves, long long from)
{
    const long long step = moves->step, call = moves->call, turn = 1 + step % 2;
    if (from == 0) moves->differs = 0;
    for (long long i = from;; ++i) {
        if (moves->ready && i == moves->first) {
            if (call >= 0) moves->ready[turn] = call;
            __atomic_store_n(moves->ready, step, __ATOMIC_RELEASE);
        }
        if (i == moves->count) return -moves->differs;
        const Move& move = moves->move[i];
        if (move.flag) {
            if (!wait_for(move.flag, step, moves->spins)) return i + 1;
            if (call >= 0 && move.flag[turn] != call) moves->differs = 1;
        }
        if (move.run) move.run(move.arguments);
    }
}

// All of them: one argument, since each takes the caller longer than a cache line takes from core to core.
extern "C" long long hpcml_move(Moves* moves) { return hpcml_move_from(moves, 0); }

// Begin a step and run its moves; what `hpcml_move_from` gives, or -2 where none may begin. The step is over if that is 0.
extern "C" long long hpcml_turn(Turns* turns)
{
    State& state = *turns->state;
    if (state.status != IDLE) return -2;
    state.status = IN_FLIGHT;
    ++state.step;
    state.traffic[0] += state.messages;
    state.traffic[1] += state.bytes;
    Moves* moves = turns->half[state.step % 2];
    moves->step = state.step;
    moves->call = state.call;
    const long long left = hpcml_move_from(moves, 0);
    if (left == 0) state.status = IDLE;
    return left;
}
