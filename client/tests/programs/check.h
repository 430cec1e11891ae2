/* Checks for the test programs: each exits 0 only if every check held. The region to use is the first argument. */
#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                        \
    do {                                                                                                        \
        if (!(condition)) {                                                                                     \
            fprintf(stderr, "%s:%d: %s does not hold (errno %d: %s)\n", __FILE__, __LINE__, #condition, errno,  \
                    strerror(errno));                                                                           \
            exit(1);                                                                                            \
        }                                                                                                       \
    } while (0)

/* A call that fails, and with what. */
#define FAILS(call, error)                                                                                      \
    do {                                                                                                        \
        errno = 0;                                                                                              \
        CHECK((intptr_t)(call) == -1 && errno == (error));                                                      \
    } while (0)

#ifndef __GLIBC__
/* musl does not have them all in every release. Not by system calls: those pass the library by. */
static inline int close_range(unsigned first, unsigned last, int flags)
{
    for (unsigned fd = first; fd <= last && fd < 4096; fd++)
        close((int)fd);
    return flags;
}

static inline void closefrom(int first)
{
    close_range((unsigned)first, ~0U, 0);
}
#endif

/* The region is at least this big. */
#define SIZE ((size_t)1 << 20)

static inline const char *region_name(int argc, char **argv)
{
    static char name[256];
    if (argc < 2) {
        fprintf(stderr, "usage: %s REGION\n", argv[0]);
        exit(2);
    }
    snprintf(name, sizeof name, "/%s", argv[1]);
    return name;
}

/* Opens the region and gives it its first size. */
static inline int open_region(const char *name)
{
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    CHECK(ftruncate(fd, SIZE) == 0);
    return fd;
}

static inline void *map_region(int fd, size_t length, off_t offset)
{
    void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    CHECK(at != MAP_FAILED);
    return at;
}

/* Waits for a child that must end well. */
static inline void expect_success(pid_t child)
{
    int status;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        fprintf(stderr, "process %d ended by signal %d\n", child, WTERMSIG(status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Whether a child that stores to `at` dies of it. */
static inline int store_is_fatal(volatile char *at)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        *at = 1;
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

#endif
