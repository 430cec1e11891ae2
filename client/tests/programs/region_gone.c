/*
 * A region that is not there any more when its program forks: the child goes on without it, and has all else.
 * Usage: region_gone REGION OTHER. It says when it has them, and goes on when it has read a byte.
 */
#include "check.h"

int main(int argc, char **argv)
{
    char other_name[256];
    const char *name = region_name(argc, argv);
    CHECK(argc == 3);
    snprintf(other_name, sizeof other_name, "/%s", argv[2]);
    int fd = open_region(name), other = open_region(other_name);
    char *memory = map_region(fd, SIZE, 0), *part = map_region(fd, 8192, 4096);
    _Atomic char *kept = map_region(other, SIZE, 0);
    memory[0] = part[0] = 1;
    kept[0] = 2;
    puts("attached");
    CHECK(fflush(stdout) == 0 && getchar() != EOF);

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(kept[0] == 2);
        kept[1] = 3;
        CHECK(store_is_fatal(memory) && store_is_fatal(memory + SIZE - 1) && store_is_fatal(part));
        /* What it may do with the memory makes no difference. */
        CHECK(mprotect(memory, SIZE, PROT_READ | PROT_WRITE) == 0);
        CHECK(store_is_fatal(memory));
        FAILS(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0), EBADF);
        CHECK(munmap(memory, SIZE) == 0 && munmap(part, 8192) == 0);
        CHECK(close(fd) == 0);
        _Atomic char *again = map_region(other, SIZE, 0);
        CHECK(again[1] == 3);
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    expect_success(child);
    CHECK(kept[1] == 3);
    return 0;
}
