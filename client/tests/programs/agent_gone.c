/*
 * The agent dies and is started again: what is here stays usable, what is not makes its reader wait, and all goes on with the
 * next agent.
 * Usage: agent_gone REGION PID, of an agent that this program may kill and that somebody starts again.
 */
#include "check.h"

static _Atomic char *memory;

static void *reader(void *unused)
{
    CHECK(memory[SIZE - 1] == 0);
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
    CHECK(memory[10] == 42);
    memory[10] = 43;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(memory[10] == 43 ? 0 : 1);

    /* Attached before it died and after. */
    int again = open_region(name);
    _Atomic char *other = map_region(again, SIZE, 0);
    CHECK(other[10] == 43);
    other[SIZE / 2] = 44;
    CHECK(memory[SIZE / 2] == 44);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(munmap((void *)memory, SIZE) == 0);
    CHECK(other[10] == 43);
    CHECK(close(fd) == 0 && close(again) == 0);
    return 0;
}
