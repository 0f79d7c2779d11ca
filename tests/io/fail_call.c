/* Counts the calls that change, or open, files below one folder, in all processes that load this, and fails one of them.

   LD_PRELOAD=fail_call.so FAIL_FOLDER=/run FAIL_CONTROL=/control      control: count, number that fails, errno, calls failed, name of it
   FAIL_RANK=1                                                         only in this rank of an MPI job, and in what it starts */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    _Atomic long count, fails, error, failed;
    char what[480];
};
static struct control *control;
static char folder[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAIL_CONTROL"), *below = getenv("FAIL_FOLDER"), *only = getenv("FAIL_RANK");
    const char *rank = getenv("OMPI_COMM_WORLD_RANK") ? getenv("OMPI_COMM_WORLD_RANK") : getenv("PMI_RANK");
    int (*plain_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    if (!path || !below || (only && (!rank || strcmp(only, rank)))) return;
    int fd = plain_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *memory = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) return;
    snprintf(folder, sizeof folder, "%s", below);
    control = memory;
}

static int fails(const char *name, const char *path) {
    if (!control || !path || strncmp(path, folder, strlen(folder))) return 0;
    if (atomic_fetch_add(&control->count, 1) + 1 != atomic_load(&control->fails)) return 0;
    snprintf(control->what, sizeof control->what, "%s %s", name, path + strlen(folder));
    atomic_fetch_add(&control->failed, 1);
    errno = (int)atomic_load(&control->error);
    return 1;
}

static int fails_at(const char *name, int directory, const char *path) {
    char whole[2 * PATH_MAX], link[64];
    if (!path || path[0] == '/') return fails(name, path);
    if (directory == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t length = readlink(link, whole, PATH_MAX - 1);
        if (length < 0) return 0;
        whole[length] = 0;
    }
    strcat(whole, "/");
    strncat(whole, path, PATH_MAX - 1);
    return fails(name, whole);
}

static int fails_open(const char *name, int fd) {
    char path[PATH_MAX], link[64];
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(name, path);
}

#define NEXT(result, name, ...) ((result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        va_list rest;                                                                    \
        va_start(rest, flags);                                                           \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;          \
        va_end(rest);                                                                    \
        if (fails_at("open", AT_FDCWD, path)) return -1;                                 \
        return NEXT(int, name, const char *, int, ...)(path, flags, mode);               \
    }
#define OPENAT(name)                                                                     \
    int name(int at, const char *path, int flags, ...) {                                 \
        va_list rest;                                                                    \
        va_start(rest, flags);                                                           \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;          \
        va_end(rest);                                                                    \
        if (fails_at("open", at, path)) return -1;                                       \
        return NEXT(int, name, int, const char *, int, ...)(at, path, flags, mode);      \
    }
#define BY_FD(result, name, word, parameters, arguments, ...)                            \
    result name parameters {                                                             \
        if (fails_open(word, fd)) return -1;                                             \
        return NEXT(result, name, __VA_ARGS__) arguments;                                \
    }
#define BY_PATH(name, word, parameters, arguments, ...)                                  \
    int name parameters {                                                                \
        if (fails_at(word, AT_FDCWD, path)) return -1;                                   \
        return NEXT(int, name, __VA_ARGS__) arguments;                                   \
    }
#define BY_PLACE(name, word, parameters, arguments, ...)                                 \
    int name parameters {                                                                \
        if (fails_at(word, at, path)) return -1;                                         \
        return NEXT(int, name, __VA_ARGS__) arguments;                                   \
    }
#define ALLOCATE(name)                                                                   \
    int name(int fd, off_t start, off_t length) {                                        \
        if (fails_open("fallocate", fd)) return errno;                                   \
        return NEXT(int, name, int, off_t, off_t)(fd, start, length);                    \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
BY_FD(ssize_t, write, "write", (int fd, const void *data, size_t n), (fd, data, n), int, const void *, size_t)
BY_FD(ssize_t, pwrite, "write", (int fd, const void *data, size_t n, off_t at), (fd, data, n, at), int, const void *, size_t, off_t)
BY_FD(ssize_t, pwrite64, "write", (int fd, const void *data, size_t n, off_t at), (fd, data, n, at), int, const void *, size_t, off_t)
BY_FD(ssize_t, writev, "write", (int fd, const struct iovec *data, int n), (fd, data, n), int, const struct iovec *, int)
BY_FD(int, fsync, "fsync", (int fd), (fd), int)
BY_FD(int, fdatasync, "fsync", (int fd), (fd), int)
BY_FD(int, ftruncate, "truncate", (int fd, off_t length), (fd, length), int, off_t)
BY_FD(int, ftruncate64, "truncate", (int fd, off_t length), (fd, length), int, off_t)
ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)
BY_PATH(mkdir, "mkdir", (const char *path, mode_t mode), (path, mode), const char *, mode_t)
BY_PATH(rename, "rename", (const char *path, const char *to), (path, to), const char *, const char *)
BY_PATH(link, "link", (const char *path, const char *to), (path, to), const char *, const char *)
BY_PATH(unlink, "unlink", (const char *path), (path), const char *)
BY_PLACE(mkdirat, "mkdir", (int at, const char *path, mode_t mode), (at, path, mode), int, const char *, mode_t)
BY_PLACE(renameat, "rename", (int at, const char *path, int there, const char *to), (at, path, there, to), int, const char *, int,
         const char *)
BY_PLACE(linkat, "link", (int at, const char *path, int there, const char *to, int flags), (at, path, there, to, flags), int,
         const char *, int, const char *, int)
BY_PLACE(unlinkat, "unlink", (int at, const char *path, int flags), (at, path, flags), int, const char *, int)
BY_PLACE(utimensat, "utime", (int at, const char *path, const struct timespec times[2], int flags), (at, path, times, flags), int,
         const char *, const struct timespec *, int)
