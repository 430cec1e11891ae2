/*
 * Processes on several nodes count together in shared memory, first with atomic additions to one word, then to a plain
 * number that a spinlock guards. Nothing is lost if both end at exactly PROCESSES * INCREMENTS.
 *
 * Nothing here knows of pagemesh. On one machine it works without, on several with `pagemesh run`.
 *
 * usage: counter NAME reset                 before the processes start
 *        counter NAME PROCESSES             in each of them
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define INCREMENTS 10000
/* After so many in a row a process pauses, or the first would be done before the second has begun. */
#define IN_A_ROW 10
/* What different processes write at the same time lies in different pages. */
#define APART _Alignas(4096)

struct shared {
    APART _Atomic long arrived; /* at the barriers, all of them */
    APART _Atomic long atomic_count;
    APART _Atomic int lock; /* beside what it guards, so that one page brings both */
    long plain_count;
};

static void nap(long nanoseconds)
{
    struct timespec time = {0, nanoseconds};
    nanosleep(&time, NULL);
}

static void pause_after(int i)
{
    if (i % IN_A_ROW == 0)
        nap(20 * 1000);
}

/* Waits until `processes` have come here. Each barrier continues the count of the one before. */
static void barrier(struct shared *shared, int number, long processes)
{
    atomic_fetch_add(&shared->arrived, 1);
    while (atomic_load(&shared->arrived) < number * processes)
        nap(1000 * 1000);
}

/* Test, and only then test-and-set: a swap takes the page away from everybody else, even when it fails. */
static void lock(struct shared *shared)
{
    long wait = 10 * 1000;
    for (int tries = 0;; tries++) {
        if (atomic_load_explicit(&shared->lock, memory_order_relaxed) == 0 &&
            atomic_exchange_explicit(&shared->lock, 1, memory_order_acquire) == 0)
            return;
        if (tries < 20) {
            sched_yield();
        } else {
            nap(wait);
            wait = wait < 1000 * 1000 ? 2 * wait : wait;
        }
    }
}

static void unlock(struct shared *shared)
{
    atomic_store_explicit(&shared->lock, 0, memory_order_release);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: counter NAME reset|PROCESSES\n");
        return 2;
    }
    char name[256];
    snprintf(name, sizeof name, "/%s", argv[1]);
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct shared)) != 0) {
        fprintf(stderr, "counter: %s: %s\n", name, strerror(errno));
        return 1;
    }
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        perror("counter: mmap");
        return 1;
    }
    if (strcmp(argv[2], "reset") == 0) {
        memset(shared, 0, sizeof *shared);
        return 0;
    }
    long processes = atol(argv[2]);
    long expected = processes * INCREMENTS;

    barrier(shared, 1, processes);
    double start = seconds();
    for (int i = 0; i < INCREMENTS; i++) {
        atomic_fetch_add(&shared->atomic_count, 1);
        pause_after(i);
    }
    barrier(shared, 2, processes);
    double added = seconds();
    for (int i = 0; i < INCREMENTS; i++) {
        lock(shared);
        shared->plain_count++;
        unlock(shared);
        pause_after(i);
    }
    barrier(shared, 3, processes);
    double locked = seconds();

    long atomic_count = atomic_load(&shared->atomic_count), plain_count = shared->plain_count;
    printf("atomic %ld in %.2f s, under the lock %ld in %.2f s\n", atomic_count, added - start, plain_count,
           locked - added);
    return atomic_count == expected && plain_count == expected ? 0 : 1;
}
