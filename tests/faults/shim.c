/* Faults at the border to the operating system, loaded by LD_PRELOAD.
 *
 * After fault_arm(), every call that changes a file under `folder` is counted: a file opened to be written, bytes
 * written, a file or folder made durable, renamed or cut. Call number `at` then fails with `error`, or, if `error` is
 * 0, the process is killed there, half of the bytes of a write being in the file already. With `every`, all calls from
 * that number on fail, as on a folder that cannot be written to. fault_clock() sets the wall clock back.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long at, calls, injected;
static int error, every;
static time_t behind;
static char where[PATH_MAX];

void fault_arm(const char *path, long number, int what, int all) {
    at = number, error = what, every = all, calls = injected = 0, where[0] = 0;
    strncpy(folder, path, PATH_MAX - 1);
}
long fault_calls(void) { return calls; }
long fault_injected(void) { return injected; }
const char *fault_where(void) { return where; }
void fault_clock(long seconds) { behind = seconds; }

static int inside(const char *path) {
    char full[2 * PATH_MAX];
    if (!folder[0]) return 0;
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(full, sizeof full, "%s/%s", here, path);
        path = full;
    }
    return !strncmp(path, folder, strlen(folder));
}

static int inside_of(int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = folder[0] ? readlink(link, path, sizeof path - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    int yes = inside(path);
    if (yes && __atomic_load_n(&calls, __ATOMIC_SEQ_CST) + 1 == at) strcpy(where, path);
    return yes;
}

/* Is this the call to fail? Where the process is to be killed, `half` has been written. */
static int strikes(void) {
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (!at || (every ? number < at : number != at)) return 0;
    __atomic_add_fetch(&injected, 1, __ATOMIC_SEQ_CST);
    if (!error) kill(getpid(), SIGKILL);
    errno = error;
    return 1;
}

#define REAL(name) \
    static typeof(name) *real; \
    if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t size) {
    REAL(write);
    if (inside_of(file)) {
        if (at && !error && calls + 1 == at && size > 1) real(file, bytes, size / 2);
        if (strikes()) return -1;
    }
    return real(file, bytes, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    return inside_of(file) && strikes() ? -1 : real(file, parts, count);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
    REAL(pwrite);
    return inside_of(file) && strikes() ? -1 : real(file, bytes, size, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t offset) {
    REAL(pwrite64);
    return inside_of(file) && strikes() ? -1 : real(file, bytes, size, offset);
}

int fsync(int file) {
    REAL(fsync);
    return inside_of(file) && strikes() ? -1 : real(file);
}

int ftruncate(int file, off_t size) {
    REAL(ftruncate);
    return inside_of(file) && strikes() ? -1 : real(file, size);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return inside(to) && strikes() ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    struct stat facts;
    return inside(path) && stat(path, &facts) && strikes() ? -1 : real(path, mode);
}

#define OPENER(name, before, given) \
    int name before { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list list; \
            va_start(list, flags); \
            mode = va_arg(list, mode_t); \
            va_end(list); \
        } \
        if ((flags & O_ACCMODE) != O_RDONLY && inside(path) && strikes()) return -1; \
        return real given; \
    }

OPENER(open, (const char *path, int flags, ...), (path, flags, mode))
OPENER(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENER(openat, (int at_folder, const char *path, int flags, ...), (at_folder, path, flags, mode))
OPENER(openat64, (int at_folder, const char *path, int flags, ...), (at_folder, path, flags, mode))

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    return mode[0] != 'r' && inside(path) && strikes() ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode) {
    REAL(fopen64);
    return mode[0] != 'r' && inside(path) && strikes() ? NULL : real(path, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int code = real(clock, now);
    if (!code && clock == CLOCK_REALTIME) now->tv_sec -= behind;
    return code;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec, now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
