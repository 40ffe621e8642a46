/* Records what a program does to the files below a directory, and what it says on sockets, in the order it does so.
 *
 * Preloaded (LD_PRELOAD) by tests/conformance/blackout.py, which reads the log and documents the records there. What
 * makes things durable is logged when it begins and when it has ended, everything else before it is done, so that the
 * log never claims more than was true.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef O_TMPFILE
#define O_TMPFILE (020000000 | O_DIRECTORY)
#endif
#define MOST_SAID 65536

static const char *root;
static size_t root_length;
static int journal = -1;

struct head {
    uint32_t kind, thread;
    uint64_t inode, offset;
    uint32_t path, other, data, zero;
};

#define NEXT(name) ((typeof(&name))next_symbol(#name))

static void *next_symbol(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("RECORDER_LOG");
    root = getenv("RECORDER_ROOT");
    if (!name || !root) return;
    root_length = strlen(root);
    journal = NEXT(open)(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (journal >= 0) {
        /* Out of the way of programs that close all they do not know. */
        int high = fcntl(journal, F_DUPFD_CLOEXEC, 900);
        if (high >= 0) { close(journal); journal = high; }
    }
}

static void note(char kind, uint64_t inode, uint64_t offset, const char *path, const char *other,
                 const struct iovec *data, int count) {
    int saved = errno;
    struct iovec all[1027];
    struct head head = {kind, (uint32_t)syscall(SYS_gettid), inode, offset, 0, 0, 0, 0};
    if (count > 1024) { fprintf(stderr, "recorder: too many buffers\n"); abort(); }
    head.path = path ? strlen(path) : 0;
    head.other = other ? strlen(other) : 0;
    for (int i = 0; i < count; i++) { all[3 + i] = data[i]; head.data += data[i].iov_len; }
    all[0] = (struct iovec){&head, sizeof head};
    all[1] = (struct iovec){(void *)path, head.path};
    all[2] = (struct iovec){(void *)other, head.other};
    /* One piece: appended whole, whoever else appends. */
    size_t total = sizeof head + head.path + head.other + head.data, at = 0;
    char *whole = malloc(total);
    for (int i = 0; i < count + 3; i++)
        if (all[i].iov_len) { memcpy(whole + at, all[i].iov_base, all[i].iov_len); at += all[i].iov_len; }
    if (NEXT(write)(journal, whole, total) != (ssize_t)total) { fprintf(stderr, "recorder: log is full\n"); abort(); }
    free(whole);
    errno = saved;
}

static int inside(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The absolute path of what is named; 0 when it does not lie below the root. */
static int below(int directory, const char *name, char *path) {
    char base[64];
    ssize_t length;
    if (journal < 0 || !name) return 0;
    if (name[0] == '/') {
        if (strlen(name) >= PATH_MAX) return 0;
        strcpy(path, name);
    } else {
        if (directory == AT_FDCWD) strcpy(base, "/proc/self/cwd");
        else snprintf(base, sizeof base, "/proc/self/fd/%d", directory);
        length = readlink(base, path, PATH_MAX - 1);
        if (length < 0 || length + strlen(name) + 2 > PATH_MAX) return 0;
        path[length] = '/';
        strcpy(path + length + 1, name);
    }
    return inside(path);
}

/* What a descriptor stands for: 'f' a file or directory below the root, with its status, 's' a socket, 0 others. */
static char kind_of(int fd, struct stat *status) {
    char base[64], path[PATH_MAX];
    int saved = errno;
    char kind = 0;
    if (journal >= 0 && fd != journal && !fstat(fd, status)) {
        if (S_ISSOCK(status->st_mode)) kind = 's';
        else if (S_ISREG(status->st_mode) || S_ISDIR(status->st_mode)) {
            snprintf(base, sizeof base, "/proc/self/fd/%d", fd);
            ssize_t length = readlink(base, path, PATH_MAX - 1);
            if (length > 0) { path[length] = 0; kind = inside(path) ? 'f' : 0; }
        }
    }
    errno = saved;
    return kind;
}

static uint64_t inode_at(const char *path) {
    struct stat status;
    return lstat(path, &status) ? 0 : status.st_ino;
}

static int opened(int fd, const char *path, int flags, int was) {
    struct stat status;
    if (fd < 0 || !(flags & (O_CREAT | O_TRUNC | O_TMPFILE)) || fstat(fd, &status)) return fd;
    if ((flags & O_TMPFILE) == O_TMPFILE) note('C', status.st_ino, 0, "", path, 0, 0);
    else if ((flags & O_CREAT) && !was) note('C', status.st_ino, 0, path, 0, 0, 0);
    else if (flags & O_TRUNC) note('Z', status.st_ino, 0, 0, 0, 0, 0);
    return fd;
}

#define OPEN(name, real, at, file)                                                        \
    mode_t mode = 0;                                                                      \
    char path[PATH_MAX];                                                                  \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                  \
        va_list more;                                                                     \
        va_start(more, flags);                                                            \
        mode = va_arg(more, mode_t);                                                      \
        va_end(more);                                                                     \
    }                                                                                     \
    if (!below(at, file, path)) return real;                                              \
    int was = inode_at(path) != 0;                                                        \
    return opened(real, path, flags, was)

int open(const char *file, int flags, ...) { OPEN(open, NEXT(open)(file, flags, mode), AT_FDCWD, file); }
int open64(const char *file, int flags, ...) { OPEN(open64, NEXT(open64)(file, flags, mode), AT_FDCWD, file); }
int openat(int at, const char *file, int flags, ...) { OPEN(openat, NEXT(openat)(at, file, flags, mode), at, file); }
int openat64(int at, const char *file, int flags, ...) {
    OPEN(openat64, NEXT(openat64)(at, file, flags, mode), at, file);
}

static void wrote(int fd, const struct iovec *data, int count, off_t offset) {
    struct stat status;
    char kind = kind_of(fd, &status);
    if (kind == 's') note('A', 0, 0, 0, 0, data, count);
    else if (kind == 'f') {
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
        note('W', status.st_ino, offset, 0, 0, data, count);
    }
}

/* Where an append went is known only behind it. */
static int appends(int fd) { return journal >= 0 && fd != journal && fcntl(fd, F_GETFL) & O_APPEND; }

ssize_t write(int fd, const void *data, size_t size) {
    struct iovec one = {(void *)data, size};
    if (appends(fd)) {
        ssize_t result = NEXT(write)(fd, data, size);
        if (result > 0) {
            one.iov_len = result;
            wrote(fd, &one, 1, lseek(fd, 0, SEEK_CUR) - result);
        }
        return result;
    }
    wrote(fd, &one, 1, -1);
    return NEXT(write)(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *data, int count) {
    if (count <= 1024) wrote(fd, data, count, -1);
    return NEXT(writev)(fd, data, count);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    struct iovec one = {(void *)data, size};
    wrote(fd, &one, 1, offset);
    return NEXT(pwrite)(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    struct iovec one = {(void *)data, size};
    wrote(fd, &one, 1, offset);
    return NEXT(pwrite64)(fd, data, size, offset);
}
ssize_t pwritev(int fd, const struct iovec *data, int count, off_t offset) {
    if (count <= 1024) wrote(fd, data, count, offset);
    return NEXT(pwritev)(fd, data, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *data, int count, off64_t offset) {
    if (count <= 1024) wrote(fd, data, count, offset);
    return NEXT(pwritev64)(fd, data, count, offset);
}

static void said(int fd, const struct iovec *data, int count) {
    struct stat status;
    size_t size = 0;
    for (int i = 0; i < count; i++) size += data[i].iov_len;
    if (size <= MOST_SAID && count <= 1024 && kind_of(fd, &status) == 's') note('A', 0, 0, 0, 0, data, count);
}
ssize_t send(int fd, const void *data, size_t size, int flags) {
    struct iovec one = {(void *)data, size};
    said(fd, &one, 1);
    return NEXT(send)(fd, data, size, flags);
}
ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    struct iovec one = {(void *)data, size};
    said(fd, &one, 1);
    return NEXT(sendto)(fd, data, size, flags, to, length);
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    said(fd, message->msg_iov, message->msg_iovlen);
    return NEXT(sendmsg)(fd, message, flags);
}

static int truncated(int fd, off_t size, int result) {
    struct stat status;
    if (!result && kind_of(fd, &status) == 'f') note('Z', status.st_ino, size, 0, 0, 0, 0);
    return result;
}
int ftruncate(int fd, off_t size) { return truncated(fd, size, NEXT(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { return truncated(fd, size, NEXT(ftruncate64)(fd, size)); }

static void timed(int fd, const struct timespec times[2]) {
    struct stat status;
    if (times && kind_of(fd, &status) == 'f')
        note('T', status.st_ino, times[1].tv_sec * 1000000000ull + times[1].tv_nsec, 0, 0, 0, 0);
}
int futimens(int fd, const struct timespec times[2]) {
    timed(fd, times);
    return NEXT(futimens)(fd, times);
}

#define SYNC(name)                                                                        \
    struct stat status;                                                                   \
    char kind = kind_of(fd, &status);                                                     \
    if (kind == 'f') note('B', status.st_ino, 0, 0, 0, 0, 0);                             \
    int result = NEXT(name)(fd);                                                          \
    if (kind == 'f' && !result) note('E', status.st_ino, 0, 0, 0, 0, 0);                  \
    return result
int fsync(int fd) { SYNC(fsync); }
int fdatasync(int fd) { SYNC(fdatasync); }

/* Names are logged when they have changed, with what they stand for then; threads of one server never change the same
 * name at one time. */
static int linked(int at, const char *to, int result) {
    char path[PATH_MAX];
    if (!result && below(at, to, path)) note('L', inode_at(path), 0, path, 0, 0, 0);
    return result;
}
int link(const char *from, const char *to) { return linked(AT_FDCWD, to, NEXT(link)(from, to)); }
int linkat(int from_at, const char *from, int at, const char *to, int flags) {
    return linked(at, to, NEXT(linkat)(from_at, from, at, to, flags));
}
static int renamed(int from_at, const char *from, int at, const char *to, int result) {
    char old[PATH_MAX], new[PATH_MAX];
    if (!result && below(from_at, from, old) && below(at, to, new)) note('R', inode_at(new), 0, old, new, 0, 0);
    return result;
}
int rename(const char *from, const char *to) {
    return renamed(AT_FDCWD, from, AT_FDCWD, to, NEXT(rename)(from, to));
}
int renameat(int from_at, const char *from, int at, const char *to) {
    return renamed(from_at, from, at, to, NEXT(renameat)(from_at, from, at, to));
}
int renameat2(int from_at, const char *from, int at, const char *to, unsigned int flags) {
    return renamed(from_at, from, at, to, NEXT(renameat2)(from_at, from, at, to, flags));
}
static int gone(int at, const char *file, int result) {
    char path[PATH_MAX];
    if (!result && below(at, file, path)) note('U', 0, 0, path, 0, 0, 0);
    return result;
}
int unlink(const char *file) { return gone(AT_FDCWD, file, NEXT(unlink)(file)); }
int unlinkat(int at, const char *file, int flags) { return gone(at, file, NEXT(unlinkat)(at, file, flags)); }
int rmdir(const char *file) { return gone(AT_FDCWD, file, NEXT(rmdir)(file)); }
static int made(int at, const char *file, int result) {
    char path[PATH_MAX];
    if (!result && below(at, file, path)) note('D', inode_at(path), 0, path, 0, 0, 0);
    return result;
}
int mkdir(const char *file, mode_t mode) { return made(AT_FDCWD, file, NEXT(mkdir)(file, mode)); }
int mkdirat(int at, const char *file, mode_t mode) { return made(at, file, NEXT(mkdirat)(at, file, mode)); }
