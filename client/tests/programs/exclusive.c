/*
 * Of many processes that open a region with O_CREAT | O_EXCL at the same time, one makes it. Usage: exclusive REGION for
 * the processes of one node; exclusive REGION N for N programs of this name that run at the same time, on any nodes.
 */
#include "check.h"
#include <sched.h>

#define PROCESSES 8
#define ROUNDS 20

/* Whether this process has made it. */
static int make(const char *name)
{
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 || errno == EEXIST);
    if (fd >= 0)
        CHECK(close(fd) == 0);
    return fd >= 0;
}

static void among_children(const char *name)
{
    shm_unlink(name);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] == 0)
            _exit(make(name));
    }
    int made = 0;
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        CHECK(waitpid(children[i], &status, 0) == children[i]);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        made += WEXITSTATUS(status);
    }
    CHECK(made == 1);
}

/* Where programs meet: in a region of zeros. */
struct meeting {
    _Atomic long arrived;
    _Atomic long made;
};

/* Waits until all have come here as often as this one. */
static void meet(struct meeting *meeting, long programs)
{
    static long times;
    atomic_fetch_add(&meeting->arrived, 1);
    times++;
    while (meeting->arrived < times * programs)
        sched_yield();
}

static void among_programs(const char *name, struct meeting *meeting, long programs, int round)
{
    meet(meeting, programs);
    int mine = make(name);
    atomic_fetch_add(&meeting->made, mine);
    meet(meeting, programs);
    CHECK(meeting->made == round + 1);
    if (mine)
        CHECK(shm_unlink(name) == 0);
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    if (argc == 2) {
        for (int round = 0; round < ROUNDS; round++)
            among_children(name);
        CHECK(shm_unlink(name) == 0);
        return 0;
    }
    int fd = shm_open(name, O_RDWR, 0);
    CHECK(fd >= 0);
    struct meeting *meeting = map_region(fd, 4096, 0);
    for (int round = 0; round < ROUNDS; round++)
        among_programs(name, meeting, atol(argv[2]), round);
    return 0;
}
