/* exec, vfork and posix_spawn: a region's descriptors are close-on-exec, and one that is passed on purpose works. */
#include "check.h"
#include <spawn.h>

extern char **environ;

/* After the exec: argv[2] is a descriptor of the region, argv[3] one that must be closed. */
static int inheritor(char **argv)
{
    int fd = atoi(argv[2]);
    struct stat stat;
    FAILS(fstat(atoi(argv[3]), &stat), EBADF);
    CHECK(fstat(fd, &stat) == 0 && stat.st_size == (off_t)SIZE);
    _Atomic int *words = map_region(fd, SIZE, 0);
    CHECK(words[5] == 55);
    words[6] = 66;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return inheritor(argv);
    const char *name = region_name(argc, argv);
    int fd = open_region(name);
    int passed = dup(fd);
    _Atomic int *words = map_region(fd, SIZE, 0);
    words[5] = 55;
    words[6] = 0;
    char first[16], second[16];
    snprintf(first, sizeof first, "%d", passed);
    snprintf(second, sizeof second, "%d", fd);
    char *arguments[] = {argv[0], argv[1], first, second, NULL};

    /* fork and exec. */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(words[5] == 55);
        execv("/proc/self/exe", arguments);
        _exit(127);
    }
    expect_success(child);
    CHECK(words[6] == 66);

    /* posix_spawn. */
    words[6] = 0;
    CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ) == 0);
    expect_success(child);
    CHECK(words[6] == 66);

    /* A child of vfork closes everything: that is its own affair. */
    child = vfork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int i = 3; i < 1024; i++)
            close(i);
        close_range(3, ~0U, 0);
        dup2(0, 600);
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    expect_success(child);
    struct stat stat;
    CHECK(fstat(fd, &stat) == 0 && stat.st_size == (off_t)SIZE);
    CHECK(*(_Atomic int *)map_region(passed, 4096, 0) == words[0]);
    words[7] = 77;

    CHECK(system("exit 3") == 3 << 8);
    CHECK(shm_unlink(name) == 0);
    return 0;
}
