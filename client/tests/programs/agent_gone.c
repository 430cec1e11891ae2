/*
 * The agent dies: what is here stays usable, what is not makes its reader wait; nobody reads zeros or old data.
 * Usage: agent_gone REGION PID, of an agent that this program may kill.
 */
#include "check.h"

/* How long something must go on waiting to count as waiting. */
#define A_WHILE 300000

static _Atomic char *memory;
static _Atomic int arrived;

static void *reader(void *unused)
{
    arrived = memory[SIZE - 1] + 1;
    return unused;
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    CHECK(argc == 3);
    int fd = open_region(name);
    memory = map_region(fd, SIZE, 0);
    memory[10] = 42;

    pid_t agent = atoi(argv[2]);
    CHECK(kill(agent, SIGKILL) == 0);
    /* Its socket refuses as soon as it is gone. */
    while (shm_open(name, O_RDWR, 0) >= 0)
        ;
    CHECK(errno == ECONNREFUSED);

    CHECK(memory[10] == 42);
    memory[10] = 43;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(0);
    usleep(A_WHILE);
    CHECK(arrived == 0);

    /* The child waits for an agent before fork returns in it, and can be ended. */
    int status;
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    CHECK(kill(child, SIGTERM) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);

    FAILS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), ECONNREFUSED);
    FAILS(shm_unlink(name), ECONNREFUSED);
    CHECK(memory[10] == 43);
    CHECK(munmap((void *)memory, 4096) == 0);
    CHECK(close(fd) == 0);
    usleep(A_WHILE);
    CHECK(arrived == 0);
    return 0;
}
