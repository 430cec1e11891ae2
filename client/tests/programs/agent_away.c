/*
 * No agent listens, and one may come: who opens a region waits for it, and nobody else does. PAGEMESH_SOCKET is a socket that
 * refuses connections.
 */
#include "check.h"

static _Atomic int interrupted;

static void handler(int signal)
{
    (void)signal;
    interrupted = 1;
}

static void *opener(void *unused)
{
    shm_open("/table", O_RDWR, 0);
    return unused;
}

int main(void)
{
    /* Much less than is waited for. */
    alarm(10);
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/pagemesh-away-%d", getpid());
    int file = open("/dev/null", O_RDWR), directory = open("/dev/shm", O_RDONLY | O_DIRECTORY);
    CHECK(file >= 0 && directory >= 0);
    /* A file of this machine, by a way that the library does not look at. */
    int local = openat(directory, path + strlen("/dev/shm/"), O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(local >= 0);

    struct sigaction action = {.sa_handler = handler};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, opener, NULL) == 0);
    for (int i = 0; i < 100; i++) {
        struct stat stat_;
        CHECK(stat(path, &stat_) == 0 && access(path, R_OK) == 0);
        FAILS(stat("/dev/shm/table", &stat_), ENOENT);
        FAILS(access("/dev/shm/table", F_OK), ENOENT);
        FAILS(stat("/pagemesh/table", &stat_), ECONNREFUSED);
        void *at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(at != MAP_FAILED && munmap(at, 4096) == 0);
        CHECK(close(dup(file)) == 0);
        expect_success(fork() ?: (_exit(0), 0));
    }
    /* Who waits can be interrupted. */
    while (!interrupted)
        CHECK(pthread_kill(thread, SIGUSR1) == 0);
    CHECK(unlinkat(directory, path + strlen("/dev/shm/"), 0) == 0);
    return 0;
}
