/* Threads map, use and unmap one region at once, while signal handlers duplicate and close its descriptor. */
#include "check.h"
#include <sys/time.h>

#define THREADS 6
#define ROUNDS 150

static int fd;
static _Atomic int signals;

static void handler(int signal)
{
    (void)signal;
    int error = errno;
    int copy = dup(fd);
    if (copy >= 0)
        close(copy);
    signals++;
    errno = error;
}

static void *worker(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        size_t offset = (rand_r(&seed) % 64) * 4096;
        size_t length = 4096 + (rand_r(&seed) % 32) * 1000;
        char *at = map_region(fd, length, offset);
        atomic_fetch_add((_Atomic int *)(at + (4096 - 4)), 1);
        CHECK(munmap(at, length) == 0);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    fd = open_region(name);
    _Atomic int *words = map_region(fd, SIZE, 0);
    for (size_t i = 0; i < SIZE / 4; i++)
        if (words[i] != 0)
            words[i] = 0;

    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, worker, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    /* Forks with handlers about. */
    for (int i = 0; i < 20; i++)
        expect_success(fork() ?: (atomic_fetch_add(&words[0], 1), _exit(0), 0));
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);

    long sum = 0;
    for (size_t page = 0; page < SIZE / 4096; page++)
        sum += words[(page + 1) * 1024 - 1];
    CHECK(sum == THREADS * ROUNDS);
    CHECK(words[0] == 20);
    CHECK(signals > 0);
    CHECK(shm_unlink(name) == 0);
    return 0;
}
