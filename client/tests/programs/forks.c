/* Children of a program with threads have the region where the parent has it, and what each writes all see. */
#include "check.h"

#define THREADS 4
#define CHILDREN 12

static _Atomic long *words;
static long *constant;
static int fd;

/* Counts itself and has a child of its own that does so too. */
static void child(int depth)
{
    CHECK(constant[3] == 1234567);
    atomic_fetch_add(&words[0], 1);
    _Atomic long *again = map_region(fd, 4096, 0);
    atomic_fetch_add(&again[1], 1);
    CHECK(munmap((void *)again, 4096) == 0);
    if (depth > 0) {
        pid_t grandchild = fork();
        CHECK(grandchild >= 0);
        if (grandchild == 0) {
            child(depth - 1);
            _exit(0);
        }
        expect_success(grandchild);
    }
}

static void *forker(void *unused)
{
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            child(1);
            _exit(0);
        }
        expect_success(pid);
    }
    return unused;
}

/* Keeps malloc and our lock busy while others fork. */
static _Atomic int stop;
static void *noise(void *unused)
{
    while (!stop) {
        free(malloc(1 << 17));
        int copy = dup(fd);
        void *at = map_region(copy, 8192, 4096);
        CHECK(close(copy) == 0);
        CHECK(munmap(at, 8192) == 0);
    }
    return unused;
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    fd = open_region(name);
    words = map_region(fd, SIZE, 0);
    words[0] = words[1] = words[(SIZE / 8) - 1] = 0;
    /* The same page with other protections. */
    words[4096 / 8 + 3] = 1234567;
    constant = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096);
    CHECK(constant != MAP_FAILED);

    pthread_t threads[THREADS], busy;
    CHECK(pthread_create(&busy, NULL, noise, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, forker, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    stop = 1;
    CHECK(pthread_join(busy, NULL) == 0);
    CHECK(words[0] == 2 * THREADS * CHILDREN);
    CHECK(words[1] == 2 * THREADS * CHILDREN);
    CHECK(store_is_fatal((volatile char *)constant));

    /* An attachment that ends leaves the others alone. */
    words[(SIZE / 8) - 1] = 99;
    CHECK(munmap((void *)words, SIZE) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(constant[3] == 1234567);
        words = map_region(fd, SIZE, 0);
        _exit(words[(SIZE / 8) - 1] != 99);
    }
    expect_success(pid);
    words = map_region(fd, SIZE, 0);
    CHECK(words[(SIZE / 8) - 1] == 99);
    CHECK(shm_unlink(name) == 0);
    return 0;
}
